package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NegotiatedAPIResource is what the physical clusters of a provider have in common of a version of a resource, and whether
// tenants are offered it. It is in the provider's workspace; the workload manager makes one for each version of a resource
// that some cluster imports.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=kcp
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Publish",type="boolean",JSONPath=".spec.publish",description="Whether tenants shall be offered it"
// +kubebuilder:printcolumn:name="Published",type="string",JSONPath=".status.conditions[?(@.type==\"Published\")].status",description="Whether tenants are offered it"
// +kubebuilder:printcolumn:name="Reason",type="string",JSONPath=".status.conditions[?(@.type==\"Published\")].reason",description="Why they are, or are not"
// +kubebuilder:printcolumn:name="Compatible",type="string",JSONPath=".status.conditions[?(@.type==\"Compatible\")].status",description="Whether every cluster that serves it takes what is offered"
// +kubebuilder:printcolumn:name="Clusters",type="integer",JSONPath=".status.imports",description="Clusters that serve it"
// +kubebuilder:printcolumn:name="Schema",type="string",JSONPath=".status.apiResourceSchema",priority=1,description="The APIResourceSchema that tenants use"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type NegotiatedAPIResource struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is which version of which resource it is about, and whether tenants shall be offered it.
	//
	// +required
	Spec NegotiatedAPIResourceSpec `json:"spec"`

	// status is what was negotiated.
	//
	// +optional
	Status NegotiatedAPIResourceStatus `json:"status,omitempty"`
}

// NegotiatedAPIResourceSpec says what is wanted.
//
// +kubebuilder:validation:XValidation:rule="self.group == oldSelf.group && self.version == oldSelf.version && self.resource == oldSelf.resource",message="group, version and resource cannot be changed"
type NegotiatedAPIResourceSpec struct {
	ResourceName `json:",inline"`

	// publish offers the resource to tenants. The operator may set it to false: the resource is then taken back as soon
	// as no workspace has an object of it. What kubectl workload init installed is offered in any case.
	//
	// +optional
	// +kubebuilder:default=true
	Publish *bool `json:"publish,omitempty"`
}

// NegotiatedAPIResourceStatus is what was negotiated.
type NegotiatedAPIResourceStatus struct {
	// conditions are Compatible and Published.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// imports is how many clusters serve this version of the resource.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Imports int64 `json:"imports,omitempty"`

	// apiResourceSchema is the APIResourceSchema in the provider's workspace by which tenants are offered the resource.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIResourceSchema string `json:"apiResourceSchema,omitempty"`

	// negotiated is what the clusters have in common: an object that it accepts is accepted by each of them. It is
	// not told of resources that kubectl workload init installed, which are offered as they are.
	//
	// +optional
	// +structType=atomic
	Negotiated *ResourceDescription `json:"negotiated,omitempty"`
}

// NegotiatedAPIResourceList is a list of NegotiatedAPIResources.
//
// +kubebuilder:object:root=true
type NegotiatedAPIResourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []NegotiatedAPIResource `json:"items"`
}
