package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Connection is how one API server is reached.
type Connection struct {
	// Kubeconfig is the path of the file with the address of the server and the credentials for it.
	Kubeconfig string `json:"kubeconfig"`
	// Context to use in the kubeconfig; its current context when empty.
	Context string `json:"context"`
	// Rate limits the requests to this server.
	Rate `json:",inline"`
}

// Rate limits requests.
type Rate struct {
	// QPS is how many requests are sent per second. A negative number is no limit: the server's own fairness rules decide.
	QPS float32 `json:"qps"`
	// Burst is how many requests may be sent at once above that. Zero is twice the rate.
	Burst int `json:"burst"`
}

// Serving is where and what the program serves about itself.
type Serving struct {
	// BindAddress is the IP address to serve on.
	BindAddress string `json:"bindAddress"`
	// MetricsPort is the port of /metrics, /configz and, if enabled, /debug/pprof. Zero is any free one.
	MetricsPort int `json:"metricsPort"`
	// HealthPort is the port of /healthz, /livez and /readyz. Zero is any free one.
	HealthPort int `json:"healthPort"`
	// EnableMetrics serves /metrics and /configz.
	EnableMetrics bool `json:"enableMetrics"`
	// EnableHealth serves /healthz, /livez and /readyz.
	EnableHealth bool `json:"enableHealth"`
	// EnableProfiling serves /debug/pprof beside the metrics.
	EnableProfiling bool `json:"enableProfiling"`
}

// Tracing is what becomes of traces. The standard OTEL_* environment variables go before what is said here.
type Tracing struct {
	// Enabled sends traces by OTLP.
	Enabled bool `json:"enabled"`
	// Endpoint is the URL of the collector, as http://collector:4318. At localhost if empty.
	Endpoint string `json:"endpoint"`
	// Protocol that the collector speaks: http/protobuf or grpc.
	Protocol string `json:"protocol"`
	// SamplingRatio is the part of the traces that begin here that is sent, from 0 to 1. What somebody else began is sent if they
	// say so.
	SamplingRatio float64 `json:"samplingRatio"`
	// Carry has the trace of a change go along on the object, as an annotation, so that one trace goes from the change through
	// all programs and back.
	Carry bool `json:"carry"`
}

// Recovery is what is done about failures that last.
type Recovery struct {
	// Enabled pauses the work on a server that does not answer and probes it, and takes up changed kubeconfigs. Without it,
	// failures are only tried again.
	Enabled bool `json:"enabled"`
}

// LeaderElection is how replicas agree on the one that works.
type LeaderElection struct {
	// LeaderElect has the replica work only while it holds the Lease.
	LeaderElect bool `json:"leaderElect"`
	// LeaseDuration is how long a standby waits for a leader that no longer renews its Lease.
	LeaseDuration metav1.Duration `json:"leaseDuration"`
	// RenewDeadline is how long the leader tries to renew its Lease before it gives up. Shorter than the lease duration.
	RenewDeadline metav1.Duration `json:"renewDeadline"`
	// RetryPeriod is how long to wait between two tries to acquire or renew the Lease.
	RetryPeriod metav1.Duration `json:"retryPeriod"`
	// ResourceNamespace is the namespace of the Lease.
	ResourceNamespace string `json:"resourceNamespace"`
	// ResourceName is the name of the Lease.
	ResourceName string `json:"resourceName"`
}
