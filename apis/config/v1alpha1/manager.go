package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// ManagerConfiguration is the configuration file of workload-manager. Its command virtual-workspace reads the same kind and
// uses only what concerns it: it takes no notice of workers, assignment, heartbeats and leaderElection.
//
// +kubebuilder:object:root=true
type ManagerConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// KCP is how kcp is reached, and each of its shards. The kubeconfig is required; a workspace in its server's URL
	// (/clusters/<path>) is the default for providerWorkspace.
	KCP Connection `json:"kcp"`
	// ProviderWorkspace holds the APIExports, see kubectl workload init. When empty, the one that kcp's kubeconfig names, or else
	// root:compute.
	ProviderWorkspace string `json:"providerWorkspace"`
	// Workers is how many objects each reconciler works on at the same time.
	Workers int `json:"workers"`
	// UnusedSchemaGrace is how long an APIResourceSchema that the manager has made of what clusters serve stays when no APIExport
	// names it any more and no workspace is bound by it. Then it is removed.
	UnusedSchemaGrace metav1.Duration `json:"unusedSchemaGrace"`

	// Assignment is how objects get to the selected targets.
	Assignment Assignment `json:"assignment"`
	// Heartbeats are what follows from SyncTargets whose syncers fall silent.
	Heartbeats Heartbeats `json:"heartbeats"`
	// VirtualWorkspace is what syncers reach.
	VirtualWorkspace VirtualWorkspace `json:"virtualWorkspace"`

	// Serving is where and what the manager serves about itself.
	Serving Serving `json:"serving"`
	// Tracing is what becomes of traces.
	Tracing Tracing `json:"tracing"`
	// Recovery is what is done about failures that last.
	Recovery Recovery `json:"recovery"`
	// LeaderElection is how replicas agree on the one that works, by a Lease in the provider's workspace.
	LeaderElection LeaderElection `json:"leaderElection"`
	// Logging is how the program logs, as in all Kubernetes components.
	Logging logsapi.LoggingConfiguration `json:"logging"`
	// FeatureGates switch features by their names.
	FeatureGates map[string]bool `json:"featureGates"`
}

// Assignment is how objects get to the selected targets.
type Assignment struct {
	// Workers is how many objects are assigned at the same time. A number beyond what kcp can write at once makes nothing faster.
	Workers int `json:"workers"`
	// MoveTimeout is how long work stays on a target that it is to leave while it is not ready on the new one. Then the move is
	// taken back or goes on, as the Placement's moveFailurePolicy says.
	MoveTimeout metav1.Duration `json:"moveTimeout"`
	// Webhook assigns objects at their creation, which saves a write for each.
	Webhook AssignmentWebhook `json:"webhook"`
}

// AssignmentWebhook is the webhook that assigns objects at their creation.
type AssignmentWebhook struct {
	// URL at which kcp reaches this manager's webhook. Must be https. When empty, there is no webhook, and one of an earlier time
	// is removed.
	URL string `json:"url"`
	// CAFile is the PEM file with the certificates by which kcp knows the webhook. Required with the URL.
	CAFile string `json:"caFile"`
	// CertFile is the PEM file with the webhook's certificate. It is read again when it changes. Required with the URL.
	CertFile string `json:"certFile"`
	// KeyFile is the PEM file with the key of the certificate. Required with the URL.
	KeyFile string `json:"keyFile"`
	// Port at which the webhook listens. Zero is any free one.
	Port int `json:"port"`
}

// Heartbeats are what follows from SyncTargets whose syncers fall silent.
type Heartbeats struct {
	// Grace is how long a SyncTarget's heartbeat may stay the same before its conditions turn Unknown. Several of the syncers'
	// heartbeatPeriod.
	Grace metav1.Duration `json:"grace"`
	// TaintAfter is how long after that the SyncTarget gets the taint workload.kcp.io/unreachable:NoExecute, so that workloads
	// which do not tolerate it go elsewhere. Zero for never.
	TaintAfter metav1.Duration `json:"taintAfter"`
	// TaintRate is how many SyncTargets get that taint per second at most, such as 0.1 for one in 10 seconds.
	TaintRate float64 `json:"taintRate"`
	// TaintThreshold is the share of a workspace's SyncTargets that may be silent at the same time. While more are, none gets
	// the taint: kcp or the network is taken to be at fault. 1 for no limit.
	TaintThreshold float64 `json:"taintThreshold"`
}

// VirtualWorkspace is the server that syncers reach.
type VirtualWorkspace struct {
	// URL at which syncers reach the server. It goes into the status of each SyncTarget, with a path for each kcp shard. When
	// empty, that is left as it is.
	URL string `json:"url"`
	// Port, at serving.bindAddress, where syncers see what is assigned to their SyncTargets. Zero is any free one.
	Port int `json:"port"`
	// CertFile is the PEM file with the certificate of the server, which syncers have to trust as they do kcp's, with intermediate
	// ones behind it. It is read again when it changes. When empty, nothing is served.
	CertFile string `json:"certFile"`
	// KeyFile is the PEM file with the key of the certificate.
	KeyFile string `json:"keyFile"`
	// ClientCAFile is the file with the authorities whose client certificates are accepted beside tokens: the common name is the
	// user, organizations are groups, in every workspace. When empty, only tokens are.
	ClientCAFile string `json:"clientCAFile"`
	// UpsyncResources are those that SyncTargets may have in spec.upsyncedResources, so that their clusters bring objects of them up
	// into the tenants' namespaces. They are not synced down, and those that the APIExport does not have are not served. The plural in lower case, followed by a dot and the group unless that is the core group.
	UpsyncResources []string `json:"upsyncResources"`
	// MaxWatches is how many watches one SyncTarget may have open at this replica at the same time.
	MaxWatches int `json:"maxWatches"`
	// MaxRequests is how many other requests of one SyncTarget may be under way at this replica at the same time.
	MaxRequests int `json:"maxRequests"`
}
