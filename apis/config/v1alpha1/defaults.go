package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// unlimited is a rate without a limit. It is the default because API servers share their capacity fairly by themselves, and
// a limit in the client only hides from them what is waiting.
const unlimited = -1

// NewSyncerConfiguration returns the defaults. A file is read over them: a setting that it has counts also when it is zero
// or empty, so that each default can be switched off.
func NewSyncerConfiguration() *SyncerConfiguration {
	return &SyncerConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: SchemeGroupVersion.String(), Kind: SyncerConfigurationKind},
		Rate:     Rate{QPS: unlimited},
		Feed:     Feed{Kind: "workspace", URLs: []string{}},
		Filters:  Filters{Resources: []string{}, NamespaceSelectors: []string{}, LabelSelectors: []string{}},
		Sync: Sync{
			Workers:             32,
			ResyncPeriod:        duration(time.Hour),
			StatusWindow:        duration(500 * time.Millisecond),
			NamespaceCleanDelay: duration(30 * time.Second),
			OrphanGracePeriod:   duration(time.Minute),
			ConflictPolicy:      "Fail",
		},
		HeartbeatPeriod: duration(20 * time.Second),
		Serving:         newServing(),
		Tracing:         defaultTracing(),
		Recovery:        Recovery{Enabled: true},
		LeaderElection:  newLeaderElection(),
		Logging:         *logsapi.NewLoggingConfiguration(),
		FeatureGates:    map[string]bool{},
	}
}

// NewManagerConfiguration returns the defaults, as [NewSyncerConfiguration] does.
func NewManagerConfiguration() *ManagerConfiguration {
	c := &ManagerConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: SchemeGroupVersion.String(), Kind: ManagerConfigurationKind},
		KCP:      Connection{Rate: Rate{QPS: unlimited}},
		Workers:  4, UnusedSchemaGrace: duration(time.Hour),
		Assignment: Assignment{
			Workers: 16, MoveTimeout: duration(10 * time.Minute), Webhook: AssignmentWebhook{Port: 9444},
		},
		Heartbeats: Heartbeats{
			Grace: duration(time.Minute), TaintAfter: duration(5 * time.Minute), TaintRate: 0.1, TaintThreshold: 0.55,
		},
		VirtualWorkspace: VirtualWorkspace{
			Port:            9443,
			UpsyncResources: []string{"pods", "endpoints", "endpointslices.discovery.k8s.io", "persistentvolumes"},
			MaxWatches:      1000, MaxRequests: 200,
		},
		Serving:        newServing(),
		Tracing:        defaultTracing(),
		Recovery:       Recovery{Enabled: true},
		LeaderElection: newLeaderElection(),
		Logging:        *logsapi.NewLoggingConfiguration(),
		FeatureGates:   map[string]bool{},
	}
	c.LeaderElection.LeaderElect = true
	c.LeaderElection.ResourceNamespace, c.LeaderElection.ResourceName = metav1.NamespaceDefault, "workload-manager"
	return c
}

func newServing() Serving {
	return Serving{BindAddress: "0.0.0.0", MetricsPort: 8080, HealthPort: 8081, EnableMetrics: true, EnableHealth: true}
}

func newLeaderElection() LeaderElection {
	return LeaderElection{LeaseDuration: duration(15 * time.Second), RenewDeadline: duration(10 * time.Second), RetryPeriod: duration(2 * time.Second)}
}

func duration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

func defaultTracing() Tracing { return Tracing{Protocol: "http/protobuf", SamplingRatio: 1} }
