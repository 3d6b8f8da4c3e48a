package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	kcpdynamic "github.com/kcp-dev/client-go/dynamic"
	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

var endpointSlices = apisv1alpha1.SchemeGroupVersion.WithResource("apiexportendpointslices")

// URLs are the virtual workspaces of each APIExport, one per shard on which the export is bound; sorted.
type URLs map[string][]string

// Equal reports whether both are the same virtual workspaces.
func (u URLs) Equal(other URLs) bool {
	return maps.EqualFunc(u, other, slices.Equal[[]string])
}

// Endpoints follows where the virtual workspaces of the provider's APIExports are.
//
// A shard is listed once an export is bound in one of its workspaces, so that a provider without consumers has none.
type Endpoints struct {
	provider logicalcluster.Path
	exports  []string
	informer cache.SharedIndexInformer
	client   dynamic.ResourceInterface
	// Failed hears why they cannot be followed; may be nil.
	Failed func(error)

	lock    sync.Mutex
	lastErr error
	current URLs
	// changed is closed and replaced whenever current changes.
	changed chan struct{}
}

// NewEndpoints follows the exports of the provider's workspace. Config reaches kcp, without a workspace in its host.
func NewEndpoints(config *rest.Config, provider logicalcluster.Path, exports ...string) (*Endpoints, error) {
	client, err := kcpdynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to kcp: %w", err)
	}
	e := &Endpoints{
		provider: provider, exports: exports, changed: make(chan struct{}), client: client.Cluster(provider).Resource(endpointSlices),
	}
	e.informer = cache.NewSharedIndexInformer(
		tmc.ListWatch(client.Cluster(provider).Resource(endpointSlices), nil, e.told), &unstructured.Unstructured{}, 0, cache.Indexers{})
	return e, nil
}

// Run follows until ctx is done.
func (e *Endpoints) Run(ctx context.Context) error {
	look := func(any) { e.look(ctx) }
	registration, err := e.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) }, DeleteFunc: look,
	})
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { e.informer.RunWithContext(ctx) })
	if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		e.look(ctx) // also when there are none
	}
	<-ctx.Done()
	return nil
}

func (e *Endpoints) told(err error) {
	e.lock.Lock()
	e.lastErr = err
	e.lock.Unlock()
	if err != nil && e.Failed != nil {
		e.Failed(err)
	}
}

// Reread reads the URLs past the cache, whose watch may be one that tells nothing.
func (e *Endpoints) Reread(ctx context.Context) error {
	list, err := e.client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return tmc.Classify(err)
	}
	found := make([]any, 0, len(list.Items))
	for i := range list.Items {
		found = append(found, &list.Items[i])
	}
	e.see(ctx, found)
	e.told(nil)
	return nil
}

// Complete is nil if these are the virtual workspaces of the export on all shards that have workspaces bound to it, by what kcp says
// now. It is for who concludes from what nobody there has that nobody at all has it: of a shard that is not asked, nothing is known.
func (e *Endpoints) Complete(ctx context.Context, export string, asked []string) error {
	list, err := e.client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return tmc.Classify(fmt.Errorf("making sure that all shards are asked: %w", err))
	}
	found := make([]any, 0, len(list.Items))
	for i := range list.Items {
		found = append(found, &list.Items[i])
	}
	return complete(found, export, asked)
}

// complete judges the slices that there are.
func complete(found []any, export string, asked []string) error {
	whole := slices.ContainsFunc(slicesIn(found), func(slice apisv1alpha1.APIExportEndpointSlice) bool {
		return slice.Spec.APIExport.Name == export && slice.Spec.Partition == ""
	})
	if !whole {
		return tmc.As(tmc.Configuration, fmt.Errorf("no APIExportEndpointSlice of export %s is of all shards: what is on the others is not known", export))
	}
	if now := urlsIn(found, []string{export}); !slices.Equal(now[export], asked) {
		return tmc.As(tmc.Unavailable, fmt.Errorf("export %s is served on other shards by now: what is there is not known yet", export))
	}
	return nil
}

// Current are the URLs as they are known now, and a channel that is closed when they change. They are nil until they
// have been read for the first time.
func (e *Endpoints) Current() (URLs, <-chan struct{}) {
	e.lock.Lock()
	defer e.lock.Unlock()
	return e.current, e.changed
}

// Await waits until the URLs have been read.
func (e *Endpoints) Await(ctx context.Context) (URLs, <-chan struct{}, error) {
	for {
		urls, changed := e.Current()
		if urls != nil {
			return urls, changed, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-changed:
		}
	}
}

// Check is a [tmc.Check.Run]: it fails while the URLs are not known, or cannot be followed.
func (e *Endpoints) Check(context.Context) error {
	e.lock.Lock()
	defer e.lock.Unlock()
	switch {
	case e.lastErr != nil:
		return fmt.Errorf("reading the APIExportEndpointSlices of workspace %s: %w (%s)", e.provider, e.lastErr, tmc.CategoryOf(e.lastErr).Hint())
	case e.current == nil:
		return fmt.Errorf("the APIExportEndpointSlices of workspace %s have not been read yet", e.provider)
	}
	return nil
}

func (e *Endpoints) look(ctx context.Context) {
	if !e.informer.HasSynced() {
		return // a part would look like a change
	}
	e.see(ctx, e.informer.GetStore().List())
}

// see takes all the slices that there are.
func (e *Endpoints) see(ctx context.Context, all []any) {
	found := urlsIn(all, e.exports)
	e.lock.Lock()
	defer e.lock.Unlock()
	if e.current != nil && e.current.Equal(found) {
		return
	}
	klog.FromContext(ctx).Info("Found the virtual workspaces", "urls", found)
	e.current = found
	close(e.changed)
	e.changed = make(chan struct{})
}

// slicesIn are those that can be read.
func slicesIn(found []any) (all []apisv1alpha1.APIExportEndpointSlice) {
	for _, obj := range found {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		var slice apisv1alpha1.APIExportEndpointSlice
		if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &slice) == nil {
			all = append(all, slice)
		}
	}
	return all
}

// urlsIn merges the slices of each export: kcp makes one of the export's name, and an administrator may make others.
func urlsIn(found []any, exports []string) URLs {
	urls := URLs{}
	for _, slice := range slicesIn(found) {
		export := slice.Spec.APIExport.Name
		if !slices.Contains(exports, export) {
			continue
		}
		for _, endpoint := range slice.Status.APIExportEndpoints {
			urls[export] = append(urls[export], strings.TrimSuffix(endpoint.URL, "/"))
		}
	}
	for export := range urls {
		slices.Sort(urls[export])
		urls[export] = slices.Compact(urls[export])
	}
	return urls
}
