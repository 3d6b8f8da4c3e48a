package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/apiexport/openapi"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

var crdsResource = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// look finds out what the cluster serves of what is asked for.
func (p *Publisher) look(ctx context.Context) (found, error) {
	f := found{resources: map[schema.GroupVersionResource]apiresourcev1alpha1.ResourceDescription{}, failed: map[schema.GroupResource]error{}}
	client, err := p.options.Discovery(ctx)
	if err != nil {
		return f, err
	}
	served, err := discover(client)
	if err != nil {
		return f, tmc.Classify(fmt.Errorf("discovering the types of the physical cluster: %w", err))
	}
	if err := p.openapi.refresh(ctx, client); err != nil {
		return f, tmc.Classify(err)
	}
	for _, gvr := range kubernetes {
		p.lookAt(ctx, client, served, gvr, &f)
	}
	for _, gr := range p.options.Exported() {
		p.lookAtExported(ctx, client, served, gr, &f)
	}
	p.openapi.open = nil // they are large
	return f, nil
}

// served are the lists of discovery, by their group and version, and the groups that did not answer.
type served struct {
	lists   map[string]*metav1.APIResourceList
	order   []string
	unknown map[string]error
}

func discover(client discovery.DiscoveryInterface) (served, error) {
	s := served{lists: map[string]*metav1.APIResourceList{}, unknown: map[string]error{}}
	_, lists, err := client.ServerGroupsAndResources()
	var partial *discovery.ErrGroupDiscoveryFailed
	switch {
	case errors.As(err, &partial):
		for gv, why := range partial.Groups {
			s.unknown[gv.Group] = why
		}
	case err != nil:
		return s, err
	}
	for _, list := range lists {
		s.lists[list.GroupVersion] = list
		s.order = append(s.order, list.GroupVersion)
	}
	return s, nil
}

// lookAt describes a built-in resource by discovery and OpenAPI.
func (p *Publisher) lookAt(ctx context.Context, client discovery.DiscoveryInterface, s served, gvr schema.GroupVersionResource, f *found) {
	if err := s.unknown[gvr.Group]; err != nil {
		f.failed[gvr.GroupResource()] = fmt.Errorf("its group does not answer: %w", err)
		return
	}
	list := s.lists[gvr.GroupVersion().String()]
	if list == nil {
		return // not served
	}
	resource, ok := openapi.Find(list, gvr.Resource)
	if !ok {
		return
	}
	raw, err := p.openapi.schema(ctx, client, gvr.GroupVersion().WithKind(resource.Names.Kind))
	if err != nil {
		f.failed[gvr.GroupResource()] = err
		return
	}
	f.resources[gvr] = apiresourcev1alpha1.ResourceDescription{
		Scope: resource.Scope, Names: resource.Names, Subresources: subresources(&resource.Subresources), Schema: runtime.RawExtension{Raw: raw},
	}
}

// lookAtExported describes a resource that the operator exports: most are made by a CustomResourceDefinition.
func (p *Publisher) lookAtExported(ctx context.Context, client discovery.DiscoveryInterface, s served, gr schema.GroupResource, f *found) {
	u, err := p.options.Cluster.Resource(crdsResource).Get(ctx, gr.String(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		for _, gv := range s.order {
			if parsed, err := schema.ParseGroupVersion(gv); err == nil && parsed.Group == gr.Group {
				p.lookAt(ctx, client, s, parsed.WithResource(gr.Resource), f)
			}
		}
		if err := s.unknown[gr.Group]; err != nil {
			f.failed[gr] = fmt.Errorf("its group does not answer: %w", err)
		}
		return
	case err != nil:
		f.failed[gr] = tmc.Classify(fmt.Errorf("reading the CustomResourceDefinition %s of the physical cluster: %w", gr, err))
		return
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, crd); err != nil {
		f.failed[gr] = fmt.Errorf("reading the CustomResourceDefinition %s: %w", gr, err)
		return
	}
	if err := describe(crd, f.resources); err != nil {
		f.failed[gr] = err
	}
}

// describe adds the versions of a CustomResourceDefinition that can be used. With a webhook that converts between versions it is
// one: kcp cannot call the webhook, and would convert by changing the apiVersion only.
func describe(crd *apiextensionsv1.CustomResourceDefinition, into map[schema.GroupVersionResource]apiresourcev1alpha1.ResourceDescription) error {
	if crd.DeletionTimestamp != nil {
		return nil
	}
	single := ""
	if crd.Spec.Conversion != nil && crd.Spec.Conversion.Strategy == apiextensionsv1.WebhookConverter {
		single = preferred(crd)
	}
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		if !v.Served || v.Schema == nil || v.Schema.OpenAPIV3Schema == nil || single != "" && v.Name != single {
			continue
		}
		raw, err := json.Marshal(v.Schema.OpenAPIV3Schema)
		if err != nil {
			return fmt.Errorf("encoding the schema of %s: %w", crd.Name, err)
		}
		gvr := schema.GroupVersionResource{Group: crd.Spec.Group, Version: v.Name, Resource: crd.Spec.Names.Plural}
		into[gvr] = apiresourcev1alpha1.ResourceDescription{
			Scope: crd.Spec.Scope, Names: crd.Spec.Names, Subresources: subresources(v.Subresources),
			Columns: v.AdditionalPrinterColumns, Schema: runtime.RawExtension{Raw: raw},
		}
	}
	return nil
}

// preferred is the version that is stored, or else the first that is served.
func preferred(crd *apiextensionsv1.CustomResourceDefinition) string {
	first := ""
	for _, v := range crd.Spec.Versions {
		if v.Served && v.Storage {
			return v.Name
		}
		if v.Served && first == "" {
			first = v.Name
		}
	}
	return first
}

func subresources(s *apiextensionsv1.CustomResourceSubresources) *apiextensionsv1.CustomResourceSubresources {
	if s == nil || s.Status == nil && s.Scale == nil {
		return nil
	}
	return s
}

// documents reads the schemas of built-in types, each document again only when the server says that it has changed.
type documents struct {
	// hashes are what the server calls its documents now, by path.
	hashes map[string]string
	// schemas are what was made of them.
	schemas map[schema.GroupVersionKind]readSchema
	// open are the documents that were read since the list was.
	open map[string]openapi.Document
}

type readSchema struct {
	hash string
	raw  []byte
	err  error
}

// refresh asks for the server's list of documents.
func (d *documents) refresh(ctx context.Context, client discovery.DiscoveryInterface) error {
	raw, err := client.RESTClient().Get().AbsPath("/openapi/v3").Do(ctx).Raw()
	if err != nil {
		return fmt.Errorf("reading the list of OpenAPI documents of the physical cluster: %w", err)
	}
	var index struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("reading the list of OpenAPI documents of the physical cluster: %w", err)
	}
	d.hashes, d.open = map[string]string{}, map[string]openapi.Document{}
	for path, document := range index.Paths {
		d.hashes["/openapi/v3/"+strings.TrimPrefix(path, "/")] = document.ServerRelativeURL
	}
	return nil
}

// schema is the structural schema of the kind, as JSON.
func (d *documents) schema(ctx context.Context, client discovery.DiscoveryInterface, gvk schema.GroupVersionKind) ([]byte, error) {
	path := openapi.Path(gvk.Group, gvk.Version)
	hash := d.hashes[path]
	if known, ok := d.schemas[gvk]; ok && known.hash == hash && hash != "" {
		return known.raw, known.err
	}
	document, err := d.document(ctx, client, path)
	if err != nil {
		return nil, err
	}
	if d.schemas == nil {
		d.schemas = map[schema.GroupVersionKind]readSchema{}
	}
	read := readSchema{hash: hash}
	read.raw, read.err = extract(document, gvk)
	d.schemas[gvk] = read
	return read.raw, read.err
}

func (d *documents) document(ctx context.Context, client discovery.DiscoveryInterface, path string) (openapi.Document, error) {
	if known, ok := d.open[path]; ok {
		return known, nil
	}
	raw, err := client.RESTClient().Get().AbsPath(path).Do(ctx).Raw()
	if err != nil {
		return openapi.Document{}, tmc.Classify(fmt.Errorf("reading %s of the physical cluster: %w", path, err))
	}
	document, err := openapi.Parse(raw)
	if err != nil {
		return openapi.Document{}, err
	}
	d.open[path] = document
	return document, nil
}

func extract(document openapi.Document, gvk schema.GroupVersionKind) ([]byte, error) {
	props, err := document.Schema(gvk.Group, gvk.Version, gvk.Kind)
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", gvk.Kind, err)
	}
	return json.Marshal(props)
}
