package syncer

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	kcpcache "github.com/kcp-dev/apimachinery/v2/pkg/cache"
	kcpinformers "github.com/kcp-dev/apimachinery/v2/third_party/informers"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// ourCopies selects what carries the target's label, and upsynced what comes up.
func ourCopies(key string) string {
	return labels.Set{workloadv1alpha1.DownstreamClusterLabel: key}.String()
}

func upsynced(key string) string {
	return labels.Set{workloadv1alpha1.StateLabel(key): string(workloadv1alpha1.StateUpsync)}.String()
}

// newDownstreamInformer watches the objects of a type that are selected by their labels, and nothing else.
func newDownstreamInformer(cluster *tmc.Link, gvr schema.GroupVersionResource, selector string, shared *contents, told func(error)) (cache.SharedIndexInformer, error) {
	r, err := newReader(cluster.Config(), cluster.Client(), gvr, shared)
	if err != nil {
		return nil, err
	}
	lw := tmc.ListWatch(r, func(options *metav1.ListOptions) { options.LabelSelector = selector }, told)
	informer := cache.NewSharedIndexInformer(lw, &object{}, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	return quiet(informer), nil
}

// newUpstreamInformer watches what belongs to the target in one source, over all its workspaces.
func newUpstreamInformer(source *feed.Source, gvr schema.GroupVersionResource, shared *contents, told func(error)) (cache.SharedIndexInformer, error) {
	config, client := source.Endpoint()
	r, err := newReader(config, client, gvr, shared)
	if err != nil {
		return nil, err
	}
	lw := tmc.ListWatch(r, func(options *metav1.ListOptions) { options.LabelSelector = source.Selector() }, told)
	informer := kcpinformers.NewSharedIndexInformer(lw, &object{}, 0, cache.Indexers{
		kcpcache.ClusterAndNamespaceIndexName: kcpcache.ClusterAndNamespaceIndexFunc,
	})
	return quiet(informer), nil
}

// quiet informers leave it to us to tell why they cannot watch.
func quiet(informer cache.SharedIndexInformer) cache.SharedIndexInformer {
	// It fails only for an informer that runs already.
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		klog.FromContext(ctx).V(2).Info("A watch ended and is set up anew", "why", err.Error())
	}); err != nil {
		panic(err)
	}
	return informer
}

// watchErrors remembers, for each side, why a type cannot be listed or watched at the moment.
type watchErrors struct {
	mu     sync.Mutex
	bySide map[string]error
}

// told gives the function that hears the result of every list and watch call of one side.
func (w *watchErrors) told(side string) func(error) {
	return func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.bySide == nil {
			w.bySide = map[string]error{}
		}
		w.bySide[side] = err
	}
}

// current is the error of the side, nil if its last call succeeded.
func (w *watchErrors) current(side string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bySide[side]
}
