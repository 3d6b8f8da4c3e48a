package apiexport

import (
	"context"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

var (
	exportsGVR = apisv1alpha2.SchemeGroupVersion.WithResource("apiexports")
	schemasGVR = apisv1alpha1.SchemeGroupVersion.WithResource("apiresourceschemas")
)

// provider is the provider's workspace: the APIExport that tenants bind, and its schemas.
type provider struct {
	path   logicalcluster.Path
	client dynamic.Interface
	export cache.SharedIndexInformer

	// changing is held while schemas or the export are changed.
	changing sync.Mutex

	lock    sync.Mutex
	lastErr error
	// read are the schemas that were read; they never change.
	read map[string]*apisv1alpha1.APIResourceSchema
}

func newProvider(client dynamic.Interface, path logicalcluster.Path) *provider {
	p := &provider{path: path, client: client, read: map[string]*apisv1alpha1.APIResourceSchema{}}
	p.export = cache.NewSharedIndexInformer(tmc.ListWatch(client.Resource(exportsGVR), func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, workloadv1alpha1.KubernetesExport).String()
	}, p.told), &unstructured.Unstructured{}, 0, cache.Indexers{})
	return p
}

func (p *provider) told(err error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.lastErr = err
}

// onChange has changed called whenever the export changes.
func (p *provider) onChange(changed func()) error {
	_, err := p.export.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
	})
	return err
}

// current is the export as it was last seen.
func (p *provider) current() (*apisv1alpha2.APIExport, error) {
	for _, obj := range p.export.GetStore().List() {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			return toExport(u)
		}
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.lastErr != nil {
		return nil, tmc.Classify(fmt.Errorf("watching APIExport %s in workspace %s: %w", workloadv1alpha1.KubernetesExport, p.path, p.lastErr))
	}
	return nil, tmc.As(tmc.Unavailable, fmt.Errorf("workspace %s has no APIExport %s: run kubectl workload init", p.path, workloadv1alpha1.KubernetesExport))
}

func toExport(u *unstructured.Unstructured) (*apisv1alpha2.APIExport, error) {
	export := &apisv1alpha2.APIExport{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, export); err != nil {
		return nil, fmt.Errorf("reading APIExport %s: %w", u.GetName(), err)
	}
	return export, nil
}

// entry is the resource in the list of the export, nil if it is not there.
func entry(export *apisv1alpha2.APIExport, gr schema.GroupResource) *apisv1alpha2.ResourceSchema {
	i := slices.IndexFunc(export.Spec.Resources, func(r apisv1alpha2.ResourceSchema) bool { return r.Group == gr.Group && r.Name == gr.Resource })
	if i < 0 {
		return nil
	}
	return &export.Spec.Resources[i]
}

// schema reads an APIResourceSchema.
func (p *provider) schema(ctx context.Context, name string) (*apisv1alpha1.APIResourceSchema, error) {
	p.lock.Lock()
	known := p.read[name]
	p.lock.Unlock()
	if known != nil {
		return known, nil
	}
	u, err := p.client.Resource(schemasGVR).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, tmc.Classify(fmt.Errorf("reading APIResourceSchema %s in workspace %s: %w", name, p.path, err))
	}
	out := &apisv1alpha1.APIResourceSchema{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, fmt.Errorf("reading APIResourceSchema %s: %w", name, err)
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	p.read[name] = out
	return out, nil
}

// publish makes the schema, if it is missing, and has the export name it.
func (p *provider) publish(ctx context.Context, in *apisv1alpha1.APIResourceSchema) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(in)
	if err != nil {
		return err
	}
	delete(content, "status")
	_, err = p.client.Resource(schemasGVR).Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{FieldManager: workloadv1alpha1.ManagerFieldManager})
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &refusedError{err}
	case err != nil && !apierrors.IsAlreadyExists(err):
		return tmc.Classify(fmt.Errorf("creating APIResourceSchema %s in workspace %s: %w", in.Name, p.path, err))
	}
	return p.change(ctx, groupResource(in), in.Name)
}

// withdraw takes the resource out of the export's list.
func (p *provider) withdraw(ctx context.Context, gr schema.GroupResource) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	return p.change(ctx, gr, "")
}

// change sets which schema the export names for a resource; none takes it out of the list. It changes the export as it is
// now, and nothing else of it: kubectl workload init and administrators have entries of their own.
func (p *provider) change(ctx context.Context, gr schema.GroupResource, schemaName string) error {
	client := p.client.Resource(exportsGVR)
	u, err := client.Get(ctx, workloadv1alpha1.KubernetesExport, metav1.GetOptions{})
	if err != nil {
		return tmc.Classify(fmt.Errorf("reading APIExport %s in workspace %s: %w", workloadv1alpha1.KubernetesExport, p.path, err))
	}
	entries, _, err := unstructured.NestedSlice(u.Object, "spec", "resources")
	if err != nil {
		return err
	}
	if schemaName != "" && names(entries, gr) == schemaName {
		return nil
	}
	next := slices.DeleteFunc(slices.Clone(entries), func(e any) bool {
		return isOf(e, gr)
	})
	if schemaName != "" {
		next = append(next, map[string]any{
			"group": gr.Group, "name": gr.Resource, "schema": schemaName, "storage": map[string]any{"crd": map[string]any{}},
		})
	}
	if err := unstructured.SetNestedSlice(u.Object, next, "spec", "resources"); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Changing what tenants are offered", "resource", gr.String(), "schema", schemaName)
	if _, err := client.Update(ctx, u, metav1.UpdateOptions{FieldManager: workloadv1alpha1.ManagerFieldManager}); err != nil {
		return tmc.Classify(fmt.Errorf("changing the resources of APIExport %s in workspace %s: %w", workloadv1alpha1.KubernetesExport, p.path, err))
	}
	return nil
}

func isOf(entry any, gr schema.GroupResource) bool {
	content, _ := entry.(map[string]any)
	group, _ := content["group"].(string)
	return group == gr.Group && content["name"] == gr.Resource
}

// names is the schema that the export names for a resource.
func names(entries []any, gr schema.GroupResource) string {
	for _, e := range entries {
		if isOf(e, gr) {
			content, _ := e.(map[string]any)
			name, _ := content["schema"].(string)
			return name
		}
	}
	return ""
}
