package cli

import (
	"net"
	"net/url"
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
		"Send traces by OTLP. The standard OTEL_* environment variables go before the flags.")
	fs.StringVar(&i.Tracing.Endpoint, "tracing-endpoint", i.Tracing.Endpoint,
		"The `URL` of the collector, as http://collector:4318. At localhost if empty.")
	fs.StringVar(&i.Tracing.Protocol, "tracing-protocol", i.Tracing.Protocol, "The `protocol` that the collector speaks: http/protobuf or grpc.")
	fs.Float64Var(&i.Tracing.SamplingRatio, "tracing-sampling-ratio", i.Tracing.SamplingRatio,
		"The `part` of the traces that begin here that is sent, from 0 to 1. What somebody else began is sent if they say so.")
	fs.BoolVar(&i.Tracing.Carry, "enable-trace-annotation", i.Tracing.Carry,
		"With tracing: carry the trace of a change on the object, as an annotation, so that one trace goes from the change through all programs and back.")
	fs.BoolVar(&i.Recovery.Enabled, "enable-tmc-recovery", i.Recovery.Enabled,
		"Act on failures that last: pause the work on a server that does not answer and probe it, take up changed credentials, leave objects alone that cannot be synced until they change, take back moves that fail. Without, everything is just tried again.")
}

// CompleteTracing gives the configuration, and notes what is wrong with it.
func CompleteTracing(t configv1alpha1.Tracing, mistakes *Mistakes) tmc.TracingConfig {
	if t.Carry && !t.Enabled {
		mistakes.Add("enable-trace-annotation", "there are no traces to carry without --enable-tmc-tracing")
	}
	if parsed, err := url.Parse(t.Endpoint); t.Endpoint != "" && (err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
		mistakes.Add("tracing-endpoint", "%q is not a URL, as http://collector:4318 is", t.Endpoint)
	}
	if parsed, err := url.Parse(t.Endpoint); err == nil && parsed.User != nil {
		mistakes.Add("tracing-endpoint", "%s has credentials in it, which everybody could read: they belong into OTEL_EXPORTER_OTLP_HEADERS", parsed.Redacted())
	}
	if t.Protocol != tmc.TracingHTTP && t.Protocol != tmc.TracingGRPC {
		mistakes.Add("tracing-protocol", "%q is none of %s, %s", t.Protocol, tmc.TracingHTTP, tmc.TracingGRPC)
	}
	if t.SamplingRatio < 0 || t.SamplingRatio > 1 {
		mistakes.Add("tracing-sampling-ratio", "%v is not a part of a whole: give a number from 0 to 1", t.SamplingRatio)
	}
	return tmc.TracingConfig{Enabled: t.Enabled, Carry: t.Carry, Endpoint: t.Endpoint, Protocol: t.Protocol, SamplingRatio: &t.SamplingRatio}
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
