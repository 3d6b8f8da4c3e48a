package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Location is a choice that a provider offers to tenants, for example a region or a class of hardware: a set of SyncTargets
// of its own workspace, under labels that Placements select by. Tenants choose Locations, not SyncTargets.
//
// A Location called "default" with all SyncTargets is created once in each workspace that has SyncTargets. It can be
// changed, and deleted for good.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=kcp
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Resource",type="string",JSONPath=".spec.resource.resource",description="What the instances are"
// +kubebuilder:printcolumn:name="Available",type="integer",JSONPath=".status.availableInstances",description="Instances that new work can be placed on"
// +kubebuilder:printcolumn:name="Instances",type="integer",JSONPath=".status.instances",description="All instances"
// +kubebuilder:printcolumn:name="Labels",type="string",JSONPath=".metadata.labels",description="What Placements select by"
// +kubebuilder:printcolumn:name="Description",type="string",JSONPath=".spec.description",priority=1,description="What the location is, for people"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type Location struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the provider wants.
	//
	// +optional
	// +kubebuilder:default={}
	Spec LocationSpec `json:"spec,omitempty"`

	// status is what the workload manager observed.
	//
	// +optional
	Status LocationStatus `json:"status,omitempty"`
}

// LocationSpec is what the provider wants of a Location.
type LocationSpec struct {
	// resource is what the instances are.
	//
	// +optional
	// +kubebuilder:default={group: "workload.kcp.io", version: "v1alpha1", resource: "synctargets"}
	// +kubebuilder:validation:XValidation:rule="self.group == 'workload.kcp.io' && self.resource == 'synctargets'",message="must be synctargets of workload.kcp.io"
	Resource GroupVersionResource `json:"resource,omitempty"`

	// description tells people what the location is.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description,omitempty"`

	// availableSelectorLabels are the labels and cells of the instances that the provider promises to keep, so that
	// Placements can rely on them in affinities and topologySpreadConstraints. They are for people: nothing is decided by
	// them. status.availableSelectorLabels tells what the instances have.
	//
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=64
	AvailableSelectorLabels []AvailableSelectorLabel `json:"availableSelectorLabels,omitempty"`

	// instanceSelector selects SyncTargets of this workspace by their labels. Without it none is selected; an empty one
	// selects all.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="must have operators In, NotIn, Exists or DoesNotExist"
	InstanceSelector *metav1.LabelSelector `json:"instanceSelector,omitempty"`

	// consumers are the workspaces whose Placements may choose this location, each with all workspaces below it, for
	// example root:teams. Without any, those of the workspace that provides the API scheduling.kcp.io are open to every
	// workspace that has bound it, and all others to their own workspace only.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	Consumers []WorkspacePath `json:"consumers,omitempty"`
}

// WorkspacePath is the path of a workspace, for example root:compute, or the name of its logical cluster.
//
// +kubebuilder:validation:MaxLength=1024
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(:[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
type WorkspacePath string

// GroupVersionResource names a resource type.
type GroupVersionResource struct {
	// group of the resource; empty for the core group.
	//
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`

	// version of the resource.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Version string `json:"version"`

	// resource in its plural form, for example synctargets.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Resource string `json:"resource"`
}

// AvailableSelectorLabel is a label that Placements can rely on.
type AvailableSelectorLabel struct {
	// key of the label.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$`
	Key string `json:"key"`

	// values that instances have.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Values []LabelValue `json:"values,omitempty"`

	// description tells people what the label means.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
type LabelValue string

// LocationStatus is what was observed of a Location.
type LocationStatus struct {
	// instances is how many SyncTargets the location has.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Instances int32 `json:"instances"`

	// availableInstances is how many of them are ready, not cordoned and not to be evicted. Taints and free resources
	// do not count: what they mean depends on the Placement.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	AvailableInstances int32 `json:"availableInstances"`

	// availableSelectorLabels are the labels and cells that instances have, with their values: what affinities and
	// topologySpreadConstraints can name. Those of kcp's own machinery are left out.
	//
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=64
	AvailableSelectorLabels []AvailableSelectorLabel `json:"availableSelectorLabels,omitempty"`

	// conditions is Ready.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// LocationList is a list of Locations.
//
// +kubebuilder:object:root=true
type LocationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Location `json:"items"`
}
