// Package publish tells kcp which types the physical cluster serves and how: for each version of a resource it keeps an
// APIResourceImport in the workspace of the SyncTarget.
//
// Only what is asked for is imported: the resources of the kubernetes export, and those that the SyncTarget's
// exportedResources name. An import is written only when what the cluster serves has changed. Nothing is removed because a
// part of the cluster's API did not answer.
package publish

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

var importsResource = apiresourcev1alpha1.SchemeGroupVersion.WithResource("apiresourceimports")

// Options are what a Publisher needs.
type Options struct {
	// Workspace reaches the workspace of the SyncTarget.
	Workspace dynamic.Interface
	// SyncTarget, UID and Key are those of the SyncTarget.
	SyncTarget string
	UID        types.UID
	Key        string
	// Discovery makes a client for the physical cluster whose requests end with the context; Cluster reads its objects.
	Discovery func(context.Context) (discovery.DiscoveryInterface, error)
	Cluster   dynamic.Interface
	// Exported are the resources to import beside those of Kubernetes; the answer may change.
	Exported func() []schema.GroupResource
	// Offered hears when tenants are offered a resource that was imported, or no longer.
	Offered func()
}

// Publisher keeps the imports of one SyncTarget.
type Publisher struct {
	options  Options
	client   dynamic.ResourceInterface
	informer cache.SharedIndexInformer
	relook   *tmc.Relook
	openapi  documents

	lock sync.Mutex
	// unlisted and unkept are why the imports cannot be listed or kept right, nil if they can be.
	unlisted, unkept error
	// failed are resources that were asked for and of which nothing can be said, and why; looked: that is known.
	failed map[schema.GroupResource]error
	looked bool
}

// New sends no request.
func New(options Options) *Publisher {
	p := &Publisher{options: options, client: options.Workspace.Resource(importsResource)}
	p.relook = tmc.NewRelook(tmc.RelookOptions{
		Task: "importing the types of the cluster", Look: p.publish, Settling: settling, Period: func() time.Duration { return slowPeriod }, Retry: retryAfter,
	})
	selector := labels.Set{workloadv1alpha1.SyncTargetKeyLabel: options.Key}.String()
	p.informer = cache.NewSharedIndexInformer(tmc.ListWatch(p.client, func(o *metav1.ListOptions) { o.LabelSelector = selector }, p.told),
		&unstructured.Unstructured{}, 0, cache.Indexers{})
	if err := p.informer.SetTransform(decode); err != nil {
		panic(err) // only for an informer that runs already
	}
	return p
}

// decode keeps schemas as the JSON that they came in, which takes a fraction of the memory.
func decode(obj any) (any, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	i := &apiresourcev1alpha1.APIResourceImport{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, i); err != nil {
		return nil, fmt.Errorf("reading APIResourceImport %s: %w", u.GetName(), err)
	}
	i.ManagedFields = nil
	return i, nil
}

// told hears what came of listing and watching the imports.
func (p *Publisher) told(err error) {
	if err != nil {
		err = tmc.Classify(fmt.Errorf("listing the APIResourceImports in the SyncTarget's workspace: %w", err))
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	p.unlisted = err
}

// Recheck has the imports compared with what the cluster serves, soon.
func (p *Publisher) Recheck() { p.relook.Hint() }

// How soon after a hint the cluster is looked at: soon, and twice more, because servers tell of a new type before they
// serve it. Without a hint it is looked at every slowPeriod, which is for upgrades of the cluster.
var settling = []time.Duration{500 * time.Millisecond, 2 * time.Second, 10 * time.Second}

const (
	slowPeriod = 30 * time.Minute
	retryAfter = 10 * time.Second
)

// Run works until ctx is done. What goes wrong is told by Exports, and tried again.
func (p *Publisher) Run(ctx context.Context) error {
	registration, err := p.informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		UpdateFunc: p.changed, DeleteFunc: func(any) { p.Recheck() },
	})
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { p.informer.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil
	}
	p.Recheck()
	p.relook.Run(ctx)
	return nil
}

// changed looks at an import whose spec was changed, by us or by somebody else, and tells when its resource is offered.
func (p *Publisher) changed(before, after any) {
	was, isOld := before.(*apiresourcev1alpha1.APIResourceImport)
	now, isNew := after.(*apiresourcev1alpha1.APIResourceImport)
	if !isOld || !isNew {
		return
	}
	if was.Generation != now.Generation {
		p.Recheck()
	}
	if isOffered(was) != isOffered(now) {
		p.options.Offered()
	}
}

func isOffered(i *apiresourcev1alpha1.APIResourceImport) bool {
	return meta.IsStatusConditionTrue(i.Status.Conditions, apiresourcev1alpha1.ImportAvailable)
}

func (p *Publisher) publish(ctx context.Context) error {
	err := p.reconcile(ctx)
	p.lock.Lock()
	defer p.lock.Unlock()
	p.unkept = err
	return err
}

func (p *Publisher) reconcile(ctx context.Context) error {
	found, err := p.look(ctx)
	if err != nil {
		return err
	}
	p.lock.Lock()
	p.failed, p.looked = found.failed, true
	p.lock.Unlock()
	changes := plan(found, p.imports(), p.options.SyncTarget)
	for i := range changes.create {
		if err := p.write(ctx, "create", &changes.create[i], p.create); err != nil {
			return err
		}
	}
	for i := range changes.update {
		if err := p.write(ctx, "update", &changes.update[i], p.update); err != nil {
			return err
		}
	}
	for i := range changes.remove {
		if err := p.write(ctx, "delete", &changes.remove[i], p.remove); err != nil {
			return err
		}
	}
	return nil
}

// imports are those of this target, as they were last seen. They are shared: nobody may change them.
func (p *Publisher) imports() []*apiresourcev1alpha1.APIResourceImport {
	var all []*apiresourcev1alpha1.APIResourceImport
	for _, obj := range p.informer.GetStore().List() {
		if i, ok := obj.(*apiresourcev1alpha1.APIResourceImport); ok && i.Spec.SyncTarget == p.options.SyncTarget {
			all = append(all, i)
		}
	}
	return all
}

func (p *Publisher) write(ctx context.Context, verb string, i *apiresourcev1alpha1.APIResourceImport, send func(context.Context, *apiresourcev1alpha1.APIResourceImport) error) error {
	klog.FromContext(ctx).V(2).Info("Changing an import", "import", i.Name, "verb", verb)
	return tmc.WithContext(send(ctx, i), tmc.Context{Operation: verb, Resource: importsResource.GroupResource(), Name: i.Name})
}

func (p *Publisher) create(ctx context.Context, i *apiresourcev1alpha1.APIResourceImport) error {
	i.Labels = map[string]string{workloadv1alpha1.SyncTargetKeyLabel: p.options.Key}
	i.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: workloadv1alpha1.SchemeGroupVersion.String(), Kind: "SyncTarget", Name: p.options.SyncTarget, UID: p.options.UID,
	}}
	u, err := encode(i)
	if err != nil {
		return err
	}
	_, err = p.client.Create(ctx, u, metav1.CreateOptions{FieldManager: workloadv1alpha1.FieldManager})
	return err
}

func (p *Publisher) update(ctx context.Context, i *apiresourcev1alpha1.APIResourceImport) error {
	u, err := encode(i)
	if err != nil {
		return err
	}
	_, err = p.client.Update(ctx, u, metav1.UpdateOptions{FieldManager: workloadv1alpha1.FieldManager})
	return err
}

func (p *Publisher) remove(ctx context.Context, i *apiresourcev1alpha1.APIResourceImport) error {
	return p.client.Delete(ctx, i.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(i.UID))})
}

func encode(i *apiresourcev1alpha1.APIResourceImport) (*unstructured.Unstructured, error) {
	i.TypeMeta = metav1.TypeMeta{APIVersion: apiresourcev1alpha1.SchemeGroupVersion.String(), Kind: "APIResourceImport"}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(i)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	return &unstructured.Unstructured{Object: content}, nil
}
