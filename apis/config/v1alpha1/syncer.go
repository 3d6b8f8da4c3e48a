package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// SyncerConfiguration is the configuration file of workload-syncer.
//
// +kubebuilder:object:root=true
type SyncerConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// KCP is how kcp is reached. The kubeconfig is required; a workspace in its server's URL (/clusters/<path>) is the default
	// for syncTarget.workspace. QPS and burst of 0 take those of rate.
	KCP Connection `json:"kcp"`
	// Cluster is how the physical cluster is reached. Without a kubeconfig it is the one in which the syncer runs. QPS and burst
	// of 0 take those of rate.
	Cluster Connection `json:"cluster"`
	// Rate holds for both servers, unless one has its own.
	Rate Rate `json:"rate"`

	// SyncTarget is what the syncer serves.
	SyncTarget SyncTarget `json:"syncTarget"`
	// Feed is where workloads come from.
	Feed Feed `json:"feed"`
	// Filters narrow what is synced.
	Filters Filters `json:"filters"`
	// Sync is how workloads are synced.
	Sync Sync `json:"sync"`
	// HeartbeatPeriod is how often the SyncTarget's status is renewed, give or take a tenth.
	HeartbeatPeriod metav1.Duration `json:"heartbeatPeriod"`

	// Serving is where and what the syncer serves about itself.
	Serving Serving `json:"serving"`
	// Tracing is what becomes of traces.
	Tracing Tracing `json:"tracing"`
	// Recovery is what is done about failures that last.
	Recovery Recovery `json:"recovery"`
	// LeaderElection is how replicas agree on the one that works, by a Lease in the physical cluster. The namespace is the
	// syncer's own when empty and it runs in the cluster, the name workload-syncer- and a hash of the SyncTarget's workspace and
	// name.
	LeaderElection LeaderElection `json:"leaderElection"`
	// Logging is how the program logs, as in all Kubernetes components.
	Logging logsapi.LoggingConfiguration `json:"logging"`
	// FeatureGates switch features by their names.
	FeatureGates map[string]bool `json:"featureGates"`
}

// SyncTarget names the target of a syncer.
type SyncTarget struct {
	// Name of the SyncTarget. Required.
	Name string `json:"name"`
	// UID that the SyncTarget must have: keeps a syncer from serving a namesake that was created later. Any when empty.
	UID string `json:"uid"`
	// Workspace of the SyncTarget: a path such as root:team-a, or a logical cluster. Required unless kcp's kubeconfig names it.
	Workspace string `json:"workspace"`
}

// Feed is where workloads come from.
type Feed struct {
	// Kind of the feed. workspace: all objects in the SyncTarget's workspace. assigned: the objects of any workspace that are
	// assigned to the SyncTarget.
	Kind string `json:"kind"`
	// URLs of the virtual workspaces to read assigned objects from, one per kcp shard; those in the SyncTarget's status when
	// empty. Only with the kind assigned.
	URLs []string `json:"urls"`
}

// Filters narrow what is synced.
type Filters struct {
	// Resources to sync, as <plural>.<group>, e.g. deployments.apps and configmaps. All that both sides serve and the SyncTarget
	// accepts when empty. Copies of a type that is taken out stay as they are, and are no longer synced.
	Resources []string `json:"resources"`
	// NamespaceSelectors are label selectors that the labels of an upstream namespace must all match for its objects to be synced.
	NamespaceSelectors []string `json:"namespaceSelectors"`
	// LabelSelectors are label selectors that the labels of an upstream object must all match for it to be synced.
	LabelSelectors []string `json:"labelSelectors"`
}

// Sync is how workloads are synced.
type Sync struct {
	// Workers is how many objects of one resource type are worked on at the same time.
	Workers int `json:"workers"`
	// ResyncPeriod is how often every object is looked at again although nothing changed. It costs no request. Zero for never.
	ResyncPeriod metav1.Duration `json:"resyncPeriod"`
	// StatusWindow is the shortest time between two status writes to kcp for one object.
	StatusWindow metav1.Duration `json:"statusWindow"`
	// NamespaceCleanDelay is how long a namespace that the syncer created is kept in the physical cluster once it is empty.
	NamespaceCleanDelay metav1.Duration `json:"namespaceCleanDelay"`
	// OrphanGracePeriod is how long a copy is kept whose object in kcp is found to be gone without notice.
	OrphanGracePeriod metav1.Duration `json:"orphanGracePeriod"`
	// ConflictPolicy is what to do when a name is taken in the physical cluster by an object that the syncer did not create:
	// Fail, IfNoDiff or Force. An object's annotation workload.kcp.io/conflict-policy goes first.
	ConflictPolicy string `json:"conflictPolicy"`
}
