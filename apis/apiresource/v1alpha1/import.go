package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIResourceImport is a version of a resource as one physical cluster serves it. The cluster's syncer writes the spec, into
// the workspace of its SyncTarget; the workload manager writes the status: whether the cluster takes what tenants are offered.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=kcp
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="SyncTarget",type="string",JSONPath=".spec.syncTarget",description="The cluster that serves it"
// +kubebuilder:printcolumn:name="Resource",type="string",JSONPath=".spec.resource",description="The resource"
// +kubebuilder:printcolumn:name="Group",type="string",JSONPath=".spec.group",description="The API group"
// +kubebuilder:printcolumn:name="Version",type="string",JSONPath=".spec.version",description="The version"
// +kubebuilder:printcolumn:name="Compatible",type="string",JSONPath=".status.conditions[?(@.type==\"Compatible\")].status",description="Whether the cluster takes what tenants are offered"
// +kubebuilder:printcolumn:name="Reason",type="string",JSONPath=".status.conditions[?(@.type==\"Compatible\")].reason",description="Why it does, or does not"
// +kubebuilder:printcolumn:name="Available",type="string",JSONPath=".status.conditions[?(@.type==\"Available\")].status",description="Whether tenants are offered the resource"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type APIResourceImport struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the cluster serves.
	//
	// +required
	// +structType=atomic
	Spec APIResourceImportSpec `json:"spec"`

	// status is what the workload manager makes of it.
	//
	// +optional
	Status APIResourceImportStatus `json:"status,omitempty"`
}

// APIResourceImportSpec is what a physical cluster serves.
type APIResourceImportSpec struct {
	// syncTarget is the name of the cluster's SyncTarget, in the same workspace.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SyncTarget string `json:"syncTarget"`

	ResourceName        `json:",inline"`
	ResourceDescription `json:",inline"`
}

// APIResourceImportStatus is what the workload manager makes of an import.
type APIResourceImportStatus struct {
	// conditions are Compatible and Available.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// APIResourceImportList is a list of APIResourceImports.
//
// +kubebuilder:object:root=true
type APIResourceImportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []APIResourceImport `json:"items"`
}
