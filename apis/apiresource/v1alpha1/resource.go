package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ResourceDescription says what a version of a resource is, in the words of a CustomResourceDefinition.
//
// What holds one is atomic, so that managed fields do not grow with the schema. The schema itself cannot be: kcp's virtual
// workspaces (v0.28.1) do not serve a type with a field that is atomic and keeps unknown fields.
type ResourceDescription struct {
	// scope of the resource.
	//
	// +required
	// +kubebuilder:validation:Enum=Cluster;Namespaced
	Scope apiextensionsv1.ResourceScope `json:"scope"`

	// names of the resource: plural, singular, shortNames, kind, listKind, categories.
	//
	// +required
	Names apiextensionsv1.CustomResourceDefinitionNames `json:"names"`

	// subresources of the resource: status, scale.
	//
	// +optional
	Subresources *apiextensionsv1.CustomResourceSubresources `json:"subresources,omitempty"`

	// columns that kubectl get shows.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Columns []apiextensionsv1.CustomResourceColumnDefinition `json:"columns,omitempty"`

	// schema is the structural schema of the resource's objects.
	//
	// +required
	// +kubebuilder:pruning:PreserveUnknownFields
	Schema runtime.RawExtension `json:"schema"`
}

// ResourceName names a version of a resource.
type ResourceName struct {
	// group of the resource; empty for the core group.
	//
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`

	// version of the resource, for example v1.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Version string `json:"version"`

	// resource in its plural form, for example deployments.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Resource string `json:"resource"`
}

// GVR is the name in the form that clients use.
func (n ResourceName) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: n.Group, Version: n.Version, Resource: n.Resource}
}

// NameOf is the name in the form of this API.
func NameOf(gvr schema.GroupVersionResource) ResourceName {
	return ResourceName{Group: gvr.Group, Version: gvr.Version, Resource: gvr.Resource}
}

// ObjectName is the name of the NegotiatedAPIResource: resource.version.group, with core for the core group.
func (n ResourceName) ObjectName() string {
	group := n.Group
	if group == "" {
		group = "core"
	}
	return n.Resource + "." + n.Version + "." + group
}

// maxNameLength is that of an object's name.
const maxNameLength = 253

// ImportName is the name of the APIResourceImport of that SyncTarget: the resource's, followed by the SyncTarget's.
func (n ResourceName) ImportName(syncTarget string) string {
	name := n.ObjectName() + "." + syncTarget
	if len(name) <= maxNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	suffix := "-" + hex.EncodeToString(sum[:8])
	return strings.TrimRight(name[:maxNameLength-len(suffix)], ".-") + suffix
}
