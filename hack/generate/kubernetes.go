package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// apiServer answers what a Kubernetes API server knows about its types.
type apiServer struct {
	discovery discovery.DiscoveryInterface
	raw       rest.Interface
	version   string
}

func newAPIServer(config *rest.Config) (*apiServer, error) {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	version, err := client.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("asking the API server for its version: %w", err)
	}
	return &apiServer{discovery: client, raw: client.RESTClient(), version: version.GitVersion}, nil
}

// crd describes the resource as a CustomResourceDefinition.
func (a *apiServer) crd(ctx context.Context, b builtin) (*apiextensionsv1.CustomResourceDefinition, error) {
	served, err := a.discovery.ServerResourcesForGroupVersion(b.groupVersion())
	if err != nil {
		return nil, fmt.Errorf("discovering %s: %w", b.groupVersion(), err)
	}
	resource := find(served.APIResources, b.resource)
	if resource == nil {
		return nil, fmt.Errorf("the API server does not serve it in %s", b.groupVersion())
	}
	schema, err := a.schema(ctx, b, resource.Kind)
	if err != nil {
		return nil, err
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name:        b.resource + "." + nameOfGroup(b.group),
			Annotations: b.annotations(a.version),
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: b.group,
			Scope: scopeOf(resource),
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Plural:     resource.Name,
				Singular:   resource.SingularName,
				ShortNames: resource.ShortNames,
				Kind:       resource.Kind,
				ListKind:   resource.Kind + "List",
				Categories: resource.Categories,
			},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: b.version, Served: true, Storage: true,
				Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: schema},
				Subresources:             subresources(served.APIResources, b.resource),
				AdditionalPrinterColumns: b.printerColumns(),
			}},
		},
	}, nil
}

func (a *apiServer) schema(ctx context.Context, b builtin, kind string) (*apiextensionsv1.JSONSchemaProps, error) {
	document, err := a.document(ctx, b.groupVersion())
	if err != nil {
		return nil, err
	}
	typeName, err := document.typeOf(b.group, b.version, kind)
	if err != nil {
		return nil, err
	}
	schema, err := document.resource(typeName)
	if err != nil {
		return nil, err
	}
	for _, d := range b.defaults {
		if err := setDefault(schema, d); err != nil {
			return nil, fmt.Errorf("default of %s: %w", d.path, err)
		}
	}
	return schema, nil
}

// document is the server's OpenAPI v3 document for a group and version.
func (a *apiServer) document(ctx context.Context, groupVersion string) (structural, error) {
	path := "/openapi/v3/apis/" + groupVersion
	if !strings.Contains(groupVersion, "/") {
		path = "/openapi/v3/api/" + groupVersion
	}
	raw, err := a.raw.Get().AbsPath(path).Do(ctx).Raw()
	if err != nil {
		return structural{}, fmt.Errorf("reading %s: %w", path, err)
	}
	var document struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		return structural{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return structural{schemas: document.Components.Schemas}, nil
}

// typeOf is the name of the type that the document marks as this kind.
func (s structural) typeOf(group, version, kind string) (string, error) {
	for name, schema := range s.schemas {
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		for _, entry := range kinds {
			gvk, _ := entry.(map[string]any)
			if gvk["group"] == group && gvk["version"] == version && gvk["kind"] == kind {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("no type in the document is the %s of %s/%s", kind, group, version)
}

func (b builtin) groupVersion() string {
	return metav1.GroupVersion{Group: b.group, Version: b.version}.String()
}

// annotations hold the approval that API servers ask for before they serve a group of the Kubernetes community.
func (b builtin) annotations(version string) map[string]string {
	if !strings.HasSuffix(b.group, ".k8s.io") {
		return nil
	}
	path, _, _ := strings.Cut(b.group, ".")
	return map[string]string{
		apiextensionsv1.KubeAPIApprovedAnnotation: "https://github.com/kubernetes/kubernetes/tree/" + version + "/staging/src/k8s.io/api/" + path + "/" + b.version,
	}
}

func (b builtin) printerColumns() (out []apiextensionsv1.CustomResourceColumnDefinition) {
	for _, c := range b.columns {
		definition := apiextensionsv1.CustomResourceColumnDefinition{Name: c.name, Type: c.kind, JSONPath: c.path, Description: c.description}
		if c.wide {
			definition.Priority = 1
		}
		out = append(out, definition)
	}
	return out
}

func find(resources []metav1.APIResource, name string) *metav1.APIResource {
	i := slices.IndexFunc(resources, func(r metav1.APIResource) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &resources[i]
}

func scopeOf(resource *metav1.APIResource) apiextensionsv1.ResourceScope {
	if resource.Namespaced {
		return apiextensionsv1.NamespaceScoped
	}
	return apiextensionsv1.ClusterScoped
}

// subresources are those of the server that a CustomResourceDefinition can have too. The selector of scale is none of
// the paths that it can name: the built-in types keep it as an object in spec.
func subresources(resources []metav1.APIResource, name string) *apiextensionsv1.CustomResourceSubresources {
	out := &apiextensionsv1.CustomResourceSubresources{}
	if find(resources, name+"/status") != nil {
		out.Status = &apiextensionsv1.CustomResourceSubresourceStatus{}
	}
	if find(resources, name+"/scale") != nil {
		out.Scale = &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas"}
	}
	return out
}

// setDefault sets the default of one field, which must exist and have none: a table that repeats the document, or
// contradicts it, is out of date.
func setDefault(schema *apiextensionsv1.JSONSchemaProps, d defaultValue) error {
	first, below, more := strings.Cut(d.path, ".")
	if first == "[]" {
		if schema.Items == nil || schema.Items.Schema == nil {
			return fmt.Errorf("there is no list before %q", d.path)
		}
		return setDefault(schema.Items.Schema, defaultValue{below, d.value})
	}
	property, ok := schema.Properties[first]
	if !ok {
		return fmt.Errorf("there is no field %q", first)
	}
	switch {
	case more:
		if err := setDefault(&property, defaultValue{below, d.value}); err != nil {
			return err
		}
	case property.Default != nil:
		return fmt.Errorf("the API server's own document has %s", property.Default.Raw)
	default:
		property.Default = &apiextensionsv1.JSON{Raw: []byte(d.value)}
	}
	schema.Properties[first] = property
	return nil
}

// nameOfGroup is what kcp calls the group in names of APIResourceSchemas.
func nameOfGroup(group string) string {
	if group == "" {
		return "core"
	}
	return group
}
