package main

import (
	"context"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/apiexport/openapi"
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
	resource, ok := openapi.Find(served, b.resource)
	if !ok {
		return nil, fmt.Errorf("the API server does not serve it in %s", b.groupVersion())
	}
	if b.made {
		resource.Subresources = apiextensionsv1.CustomResourceSubresources{}
	}
	schema, err := a.schema(ctx, b, resource.Names.Kind)
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
			Scope: resource.Scope,
			Names: resource.Names,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: b.version, Served: true, Storage: true,
				Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: schema},
				Subresources:             &resource.Subresources,
				AdditionalPrinterColumns: b.printerColumns(),
			}},
		},
	}, nil
}

func (a *apiServer) schema(ctx context.Context, b builtin, kind string) (*apiextensionsv1.JSONSchemaProps, error) {
	path := openapi.Path(b.group, b.version)
	raw, err := a.raw.Get().AbsPath(path).Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	document, err := openapi.Parse(raw)
	if err != nil {
		return nil, err
	}
	props, err := document.Schema(b.group, b.version, kind)
	if err != nil {
		return nil, err
	}
	for _, d := range b.defaults {
		if err := setDefault(props, d); err != nil {
			return nil, fmt.Errorf("default of %s: %w", d.path, err)
		}
	}
	return props, nil
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
