package cli

import (
	"flag"
	"fmt"
	"strconv"
	"sync/atomic"

	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// source reads the configuration again when the file has other content: what was typed and the environment stay.
func (s Server[C]) source(typed []Typed, start *Loaded[C]) tmc.ConfigSource[C] {
	var inForce atomic.Pointer[Loaded[C]]
	inForce.Store(start)
	return tmc.ConfigSource[C]{
		Path: start.Path, Content: start.Content,
		InForce: func() any { return inForce.Load().Settings },
		Reload: func(content []byte) (candidate tmc.ConfigCandidate[C], err error) {
			from := SystemSources(s.Name, typed)
			from.Read = func(string) ([]byte, error) { return content, nil }
			fresh, err := Load(from, s.Options)
			if err != nil {
				return candidate, err
			}
			candidate.Config = fresh.Config
			candidate.Changed = Changed(inForce.Load().Settings, fresh.Settings)
			candidate.Restart = NeedRestart(candidate.Changed, fresh.Live)
			candidate.Commit = func() { setLogging(fresh.Logging); inForce.Store(fresh) }
			return candidate, nil
		},
	}
}

// LiveLogging are the fields of the logging that are taken up at run time.
func LiveLogging() []string {
	return []string{"logging.verbosity", "logging.vmodule", "logging.flushFrequency"}
}

// setLogging takes up what of a valid logging configuration can change at run time.
func setLogging(logging *logsapi.LoggingConfiguration) {
	_, err := logs.GlogSetter(strconv.FormatUint(uint64(logging.Verbosity), 10)) // also for other formats than klog's own
	if err == nil {
		var flags flag.FlagSet
		klog.InitFlags(&flags)
		err = flags.Set("vmodule", logsapi.VModuleConfigurationPflag(&logging.VModule).String())
	}
	if err != nil {
		panic(fmt.Sprintf("a valid logging configuration cannot be used: %v", err))
	}
	klog.StartFlushDaemon(logging.FlushFrequency.Duration.Duration)
}
