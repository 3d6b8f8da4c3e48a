package openapi

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Resource is what discovery tells of a resource.
type Resource struct {
	Names        apiextensionsv1.CustomResourceDefinitionNames
	Scope        apiextensionsv1.ResourceScope
	Subresources apiextensionsv1.CustomResourceSubresources
}

// Find gives the resource with that plural name of a group and version; false if the server does not serve it.
func Find(served *metav1.APIResourceList, plural string) (Resource, bool) {
	found := find(served.APIResources, plural)
	if found == nil {
		return Resource{}, false
	}
	out := Resource{
		Names: apiextensionsv1.CustomResourceDefinitionNames{
			Plural:     found.Name,
			Singular:   found.SingularName,
			ShortNames: found.ShortNames,
			Kind:       found.Kind,
			ListKind:   found.Kind + "List",
			Categories: found.Categories,
		},
		Scope:        apiextensionsv1.ClusterScoped,
		Subresources: subresources(served.APIResources, plural),
	}
	if found.Namespaced {
		out.Scope = apiextensionsv1.NamespaceScoped
	}
	return out, true
}

func find(resources []metav1.APIResource, name string) *metav1.APIResource {
	i := slices.IndexFunc(resources, func(r metav1.APIResource) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &resources[i]
}

// subresources are those of the server that a CustomResourceDefinition can have too. The selector of scale is none of
// the paths that it can name: the built-in types keep it as an object in spec.
func subresources(resources []metav1.APIResource, name string) (out apiextensionsv1.CustomResourceSubresources) {
	if find(resources, name+"/status") != nil {
		out.Status = &apiextensionsv1.CustomResourceSubresourceStatus{}
	}
	if find(resources, name+"/scale") != nil {
		out.Scale = &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas"}
	}
	return out
}
