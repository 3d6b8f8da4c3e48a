package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SyncTarget is a physical Kubernetes cluster that workloads are synced to. Exactly one syncer, which runs in that
// cluster, serves it: the syncer pulls the objects assigned to the target, and reports their status and its own.
//
// The spec belongs to the operator, the status to the syncer and the workload manager. A syncer needs the verb "sync"
// on its SyncTarget.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=kcp
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Whether workloads are synced to the cluster"
// +kubebuilder:printcolumn:name="Reason",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].reason",description="Why the target is, or is not, ready"
// +kubebuilder:printcolumn:name="Heartbeat",type="date",JSONPath=".status.lastSyncerHeartbeatTime",description="When the syncer was last heard of"
// +kubebuilder:printcolumn:name="Cluster",type="string",JSONPath=".spec.workloadCluster.name",description="The physical cluster"
// +kubebuilder:printcolumn:name="Unschedulable",type="boolean",JSONPath=".spec.unschedulable",description="Whether new workloads are kept away"
// +kubebuilder:printcolumn:name="Endpoint",type="string",JSONPath=".spec.workloadCluster.endpoint",priority=1,description="The URL of the physical cluster"
// +kubebuilder:printcolumn:name="Feed",type="string",JSONPath=".status.feed",priority=1,description="Where the syncer takes objects from"
// +kubebuilder:printcolumn:name="Syncer",type="string",JSONPath=".status.syncerIdentifier",priority=1,description="The syncer that holds the target"
// +kubebuilder:printcolumn:name="Evict After",type="string",JSONPath=".spec.evictAfter",priority=1,description="When workloads are taken away"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type SyncTarget struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the operator wants.
	//
	// +optional
	// +kubebuilder:default={}
	Spec SyncTargetSpec `json:"spec,omitempty"`

	// status is what the syncer and the workload manager observed.
	//
	// +optional
	Status SyncTargetStatus `json:"status,omitempty"`
}

// SyncTargetSpec is what the operator wants of a SyncTarget.
type SyncTargetSpec struct {
	// workloadCluster describes the physical cluster, for people. Nothing connects to it: the syncer runs inside.
	//
	// +optional
	WorkloadCluster WorkloadCluster `json:"workloadCluster,omitempty"`

	// supportedAPIExports are the APIExports whose resources may be synced to the target. Of those, the resources that
	// the physical cluster serves too are synced; status.syncedResources tells which.
	//
	// +optional
	// +listType=map
	// +listMapKey=path
	// +listMapKey=export
	// +kubebuilder:default={{export: kubernetes}}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	SupportedAPIExports []APIExportReference `json:"supportedAPIExports,omitempty"`

	// exportedResources are resources of the physical cluster that tenants shall be offered beside the Kubernetes ones, as
	// resource.group, for example widgets.example.com. The syncer imports those that the cluster serves; what the clusters
	// of a provider have in common of a resource becomes part of its APIExport.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	ExportedResources []ExportedResource `json:"exportedResources,omitempty"`

	// upsyncedResources are resources of the physical cluster, as resource.group, whose objects the target may bring into
	// tenants' namespaces: those that carry its state label with the value Upsync, and that live where something is assigned
	// to it. They are the target's own, and are never synced down. What the workload manager's --upsync-resources does not have
	// is not brought up; nothing is if this is empty. What a resource had brought up goes when it is taken off the list.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:default={pods, endpoints, endpointslices.discovery.k8s.io, persistentvolumes}
	UpsyncedResources []ExportedResource `json:"upsyncedResources,omitzero"`

	// unschedulable keeps new workloads away. What already runs on the target stays.
	//
	// +optional
	Unschedulable bool `json:"unschedulable,omitempty"`

	// evictAfter is the time from which workloads are taken away from the target, and no new ones are placed on it.
	// A time in the past evicts at once.
	//
	// +optional
	EvictAfter *metav1.Time `json:"evictAfter,omitempty"`

	// cells are labels that say what the target shares with others, for example a region or a storage system. Targets
	// with equal cells are interchangeable for a workload.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 63 && k.matches('^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$'))",message="must have keys of at most 63 letters, digits, '-', '_', '.' or '/', which begin and end with a letter or digit"
	Cells map[string]CellValue `json:"cells,omitempty"`

	// taints keep workloads away that do not tolerate them.
	//
	// +optional
	// +listType=map
	// +listMapKey=key
	// +listMapKey=effect
	// +kubebuilder:validation:MaxItems=32
	Taints []Taint `json:"taints,omitempty"`
}

// WorkloadCluster describes a physical cluster.
type WorkloadCluster struct {
	// name of the physical cluster.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// endpoint is the URL of the physical cluster's API server, for example https://prod-eu.example.com:6443.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self == '' || (isURL(self) && url(self).getScheme() == 'https' && url(self).getHost() != '')",message="must be an https URL with a host, for example https://prod-eu.example.com:6443"
	Endpoint string `json:"endpoint,omitempty"`
}

// APIExportReference names an APIExport.
type APIExportReference struct {
	// path is the workspace that holds the APIExport, for example root:compute. Empty is the export of that name that the
	// SyncTarget's own workspace holds or has bound.
	//
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(:[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be a workspace path, for example root:compute, or empty for the SyncTarget's own workspace"
	Path string `json:"path"`

	// export is the name of the APIExport.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Export string `json:"export"`
}

// ExportedResource is a resource and its group, as resource.group.
//
// +kubebuilder:validation:MaxLength=317
// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
type ExportedResource string

// CellValue is the value of a cell label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
type CellValue string

// Taint keeps workloads away from a target, as a node's taint does with pods.
type Taint struct {
	// key of the taint, for example maintenance.example.com/window.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Key string `json:"key"`

	// value of the taint.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
	Value string `json:"value,omitempty"`

	// effect on workloads that do not tolerate the taint.
	//
	// +required
	Effect TaintEffect `json:"effect"`

	// timeAdded is when the taint was set. A NoExecute taint counts from it.
	//
	// +optional
	TimeAdded *metav1.Time `json:"timeAdded,omitempty"`
}

// TaintEffect is what a taint does to workloads that do not tolerate it.
//
// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
type TaintEffect string

const (
	// TaintNoSchedule means: no new workloads; what runs stays.
	TaintNoSchedule TaintEffect = "NoSchedule"
	// TaintPreferNoSchedule means: new workloads only where there is no better target.
	TaintPreferNoSchedule TaintEffect = "PreferNoSchedule"
	// TaintNoExecute means: no new workloads, and what runs is taken away.
	TaintNoExecute TaintEffect = "NoExecute"
)

// SyncTargetStatus is what was observed of a SyncTarget.
type SyncTargetStatus struct {
	// conditions are Ready, SyncerReady, HeartbeatHealthy and APIsReady.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// syncedResources are the resources of the supported APIExports, and how the syncer fares with each.
	//
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=resource
	// +kubebuilder:validation:MaxItems=1024
	SyncedResources []SyncedResource `json:"syncedResources,omitempty"`

	// allocatable is the sum of what the physical cluster's ready nodes offer to workloads.
	//
	// +optional
	Allocatable corev1.ResourceList `json:"allocatable,omitempty"`

	// capacity is the sum of what the physical cluster's nodes have.
	//
	// +optional
	Capacity corev1.ResourceList `json:"capacity,omitempty"`

	// lastSyncerHeartbeatTime is when the syncer last said that it is alive, by the syncer's clock.
	//
	// +optional
	LastSyncerHeartbeatTime *metav1.Time `json:"lastSyncerHeartbeatTime,omitempty"`

	// syncerIdentifier is the syncer that holds the target. A second one is refused while the first is alive.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=512
	SyncerIdentifier string `json:"syncerIdentifier,omitempty"`

	// feed is where the syncer takes objects from. With "workspace" it claims all of the SyncTarget's workspace, and
	// another target of that workspace cannot do the same while this one is alive.
	//
	// +optional
	Feed FeedKind `json:"feed,omitempty"`

	// virtualWorkspaces are the URLs, one entry per kcp shard, through which the syncer sees what is assigned to the
	// target. Written by the workload manager.
	//
	// +optional
	// +listType=map
	// +listMapKey=syncerURL
	// +kubebuilder:validation:MaxItems=256
	VirtualWorkspaces []VirtualWorkspace `json:"virtualWorkspaces,omitempty"`
}

// FeedKind is where upstream objects come from.
//
// +kubebuilder:validation:Enum=workspace;assigned
type FeedKind string

const (
	// FeedWorkspace means: all objects of the workspace that holds the SyncTarget.
	FeedWorkspace FeedKind = "workspace"
	// FeedAssigned means: the objects of all workspaces that carry the target's state label.
	FeedAssigned FeedKind = "assigned"
)

// SyncedResource is a resource type and how the syncer fares with it.
type SyncedResource struct {
	// group of the resource; empty for the core group.
	//
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`

	// resource in its plural form, for example deployments.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Resource string `json:"resource"`

	// versions that both sides serve, the preferred one first.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Versions []string `json:"versions,omitempty"`

	// state of the resource.
	//
	// +required
	State ResourceState `json:"state"`

	// message says why the state is not Accepted, or which of the objects that come up cannot, and what to do about it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message,omitempty"`

	// objects is how many objects of this resource are assigned to the target and have their copy as they should.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Objects int64 `json:"objects,omitempty"`

	// pendingObjects is how many objects of this resource are assigned to the target and are not in sync yet.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	PendingObjects int64 `json:"pendingObjects,omitempty"`

	// failedObjects is how many of the pending objects the last attempt failed for. It is tried again.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	FailedObjects int64 `json:"failedObjects,omitempty"`

	// pendingSince is since when the object of this resource has been waiting that has waited longest: its first change that
	// has not arrived on the other side yet. It is there while any waits, by the syncer's clock, and as old as the heartbeat.
	//
	// +optional
	PendingSince *metav1.Time `json:"pendingSince,omitempty"`
}

// ResourceState is how the syncer fares with a resource type.
//
// +kubebuilder:validation:Enum=Pending;Accepted;Incompatible;Degraded
type ResourceState string

const (
	// ResourcePending means: known on both sides, not yet listed completely.
	ResourcePending ResourceState = "Pending"
	// ResourceAccepted means: objects are synced.
	ResourceAccepted ResourceState = "Accepted"
	// ResourceIncompatible means: the physical cluster does not serve the resource, or no version of it that kcp serves.
	ResourceIncompatible ResourceState = "Incompatible"
	// ResourceDegraded means: the resource cannot be listed, watched or written at the moment, for example for want of
	// a permission. Other resources are not affected, and syncing goes on by itself when the cause is gone.
	ResourceDegraded ResourceState = "Degraded"
)

// VirtualWorkspace is where one kcp shard serves the target's objects.
type VirtualWorkspace struct {
	// syncerURL serves what is synced down.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	SyncerURL string `json:"syncerURL"`

	// upsyncerURL serves what is synced up.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	UpsyncerURL string `json:"upsyncerURL,omitempty"`
}

// SyncTargetList is a list of SyncTargets.
//
// +kubebuilder:object:root=true
type SyncTargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []SyncTarget `json:"items"`
}

// GroupResources are the resources by group and name.
func GroupResources(names []ExportedResource) []schema.GroupResource {
	var all []schema.GroupResource
	for _, name := range names {
		all = append(all, schema.ParseGroupResource(string(name)))
	}
	return all
}

// UpsyncedResources are the resources that the target may bring up.
func (st *SyncTarget) UpsyncedResources() []schema.GroupResource {
	return GroupResources(st.Spec.UpsyncedResources)
}
