package cli

import (
	"net"
	"strings"

	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/util/validation"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// AddServingFlags adds those that say where and what is served.
func AddServingFlags(s *configv1alpha1.Serving, fs *pflag.FlagSet) {
	fs.StringVar(&s.BindAddress, "bind-address", s.BindAddress, "IP `address` to serve metrics and health on.")
	fs.IntVar(&s.MetricsPort, "metrics-port", s.MetricsPort, "The `port` of /metrics and /configz. Zero is any free one.")
	fs.IntVar(&s.HealthPort, "health-port", s.HealthPort, "The `port` of /healthz, /livez and /readyz. Zero is any free one.")
	fs.BoolVar(&s.EnableProfiling, "enable-profiling", s.EnableProfiling, "Serve /debug/pprof beside the metrics.")
}

// Infrastructure are the parts of the settings that switch the infrastructure.
type Infrastructure struct {
	Serving  *configv1alpha1.Serving
	Tracing  *configv1alpha1.Tracing
	Recovery *configv1alpha1.Recovery
}

// AddFlags adds the flags that switch parts of the infrastructure.
func (i Infrastructure) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&i.Serving.EnableMetrics, "enable-tmc-metrics", i.Serving.EnableMetrics, "Serve /metrics and /configz.")
	fs.BoolVar(&i.Serving.EnableHealth, "enable-tmc-health", i.Serving.EnableHealth, "Serve /healthz, /livez and /readyz.")
	fs.BoolVar(&i.Tracing.Enabled, "enable-tmc-tracing", i.Tracing.Enabled,
		"Send traces by OTLP, to where the OTEL_EXPORTER_OTLP_* environment variables say.")
	fs.BoolVar(&i.Recovery.Enabled, "enable-tmc-recovery", i.Recovery.Enabled,
		"Act on failures that last: pause the work on a server that does not answer and probe it, take up changed kubeconfigs.")
}

// CompleteServing gives the configuration, and notes what is wrong with it.
func CompleteServing(s configv1alpha1.Serving, mistakes *Mistakes) tmc.Exposition {
	validateServing(s, mistakes)
	return tmc.Exposition{
		BindAddress: s.BindAddress, MetricsPort: s.MetricsPort, HealthPort: s.HealthPort,
		EnableMetrics: s.EnableMetrics, EnableHealth: s.EnableHealth, EnableProfiling: s.EnableProfiling,
	}
}

func validateServing(s configv1alpha1.Serving, mistakes *Mistakes) {
	if net.ParseIP(s.BindAddress) == nil {
		mistakes.Add("bind-address", "%q is not an IP address, as 127.0.0.1 or :: is", s.BindAddress)
	}
	for flag, port := range map[string]int{"metrics-port": s.MetricsPort, "health-port": s.HealthPort} {
		if problems := validation.IsInRange(port, 0, 65535); len(problems) > 0 {
			mistakes.Add(flag, "%d is not a port: %s", port, strings.Join(problems, "; "))
		}
	}
	if s.MetricsPort == s.HealthPort && s.MetricsPort != 0 {
		mistakes.Add("health-port", "%d is the --metrics-port too: give each its own", s.HealthPort)
	}
}
