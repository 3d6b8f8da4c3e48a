package options

import (
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
)

// Live are the fields, or what is above them, that are taken up while the syncer runs.
func (o *Options) Live() []string {
	return append(cli.LiveLogging(),
		"rate", "kcp.qps", "kcp.burst", "cluster.qps", "cluster.burst",
		"tracing.samplingRatio", "filters",
		"sync.resyncPeriod", "sync.statusWindow", "sync.namespaceCleanDelay", "sync.orphanGracePeriod", "sync.conflictPolicy",
	)
}

// Fields are the fields of the configuration file that flags set, by the flags' names.
func Fields() map[string]string {
	return cli.Fields(func() cli.Options[syncer.Config] { return New() })
}
