package cli

import (
	"net"
	"strings"

	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Serving are the flags of the probes and metrics, and of the infrastructure behind them.
type Serving struct {
	tmc.Exposition
	EnableTracing  bool
	EnableRecovery bool
}

// NewServing returns the defaults.
func NewServing() Serving {
	return Serving{
		Exposition:     tmc.Exposition{BindAddress: "0.0.0.0", MetricsPort: 8080, HealthPort: 8081, EnableMetrics: true, EnableHealth: true},
		EnableRecovery: true,
	}
}

// AddServingFlags adds those that say where and what is served.
func (s *Serving) AddServingFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.BindAddress, "bind-address", s.BindAddress, "IP `address` to serve metrics and health on.")
	fs.IntVar(&s.MetricsPort, "metrics-port", s.MetricsPort, "The `port` of /metrics. Zero is any free one.")
	fs.IntVar(&s.HealthPort, "health-port", s.HealthPort, "The `port` of /healthz, /livez and /readyz. Zero is any free one.")
	fs.BoolVar(&s.EnableProfiling, "enable-profiling", s.EnableProfiling, "Serve /debug/pprof beside the metrics.")
}

// AddInfrastructureFlags adds those that switch parts of the infrastructure.
func (s *Serving) AddInfrastructureFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&s.EnableMetrics, "enable-tmc-metrics", s.EnableMetrics, "Serve /metrics.")
	fs.BoolVar(&s.EnableHealth, "enable-tmc-health", s.EnableHealth, "Serve /healthz, /livez and /readyz.")
	fs.BoolVar(&s.EnableTracing, "enable-tmc-tracing", s.EnableTracing,
		"Send traces by OTLP, to where the OTEL_EXPORTER_OTLP_* environment variables say.")
	fs.BoolVar(&s.EnableRecovery, "enable-tmc-recovery", s.EnableRecovery,
		"Act on failures that last: pause the work on a server that does not answer and probe it, take up changed kubeconfigs.")
}

// Validate notes what is wrong with them.
func (s *Serving) Validate(mistakes *Mistakes) {
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
