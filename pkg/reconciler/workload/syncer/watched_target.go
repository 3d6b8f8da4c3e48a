package syncer

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// watchedTarget follows the SyncTarget while it is served.
type watchedTarget struct {
	informer cache.SharedIndexInformer
	uid      string
	// onChange hears of changes of the APIExports, onExportedChange of those of the exported resources, onUpsyncedChange of those
	// of the resources that come up.
	onChange, onExportedChange, onUpsyncedChange func()

	mu      sync.Mutex
	current workloadv1alpha1.SyncTarget
	// urls are those that the feed was made from; followURLs: it was.
	urls       []workloadv1alpha1.VirtualWorkspace
	followURLs bool
	// ended receives why the SyncTarget can no longer be served as it was.
	ended   chan error
	updated chan struct{}
	// missed: a list did not have the SyncTarget, and resolve reads it to find out why.
	missed  chan struct{}
	resolve func(context.Context) (*workloadv1alpha1.SyncTarget, error)
}

func newWatchedTarget(targets *syncTargets, st *workloadv1alpha1.SyncTarget) *watchedTarget {
	return &watchedTarget{
		informer: targets.informer(), uid: string(st.UID), onChange: func() {}, onExportedChange: func() {}, onUpsyncedChange: func() {},
		current: *st, urls: st.Status.VirtualWorkspaces,
		ended: make(chan error, 1), updated: make(chan struct{}, 1), missed: make(chan struct{}, 1), resolve: targets.resolve,
	}
}

// run watches until ctx is done, or until the SyncTarget can no longer be served as it was.
func (w *watchedTarget) run(ctx context.Context) error {
	if _, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { w.see(ctx, obj) },
		UpdateFunc: func(_, obj any) { w.see(ctx, obj) },
		DeleteFunc: w.lose,
	}); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { w.informer.RunWithContext(watching) })
	wg.Go(func() { w.makeSure(watching) })
	select {
	case <-ctx.Done():
		return nil
	case err := <-w.ended:
		return err
	}
}

// lose ends it for a deletion that was seen. A list that does not have the SyncTarget is none: something else than kcp may have
// answered, or show less.
func (w *watchedTarget) lose(obj any) {
	if _, inferred := obj.(cache.DeletedFinalStateUnknown); !inferred {
		w.end(refused("SyncTarget %s was deleted", w.name()))
		return
	}
	select {
	case w.missed <- struct{}{}:
	default: // it is about to be looked for
	}
}

// makeSure reads a SyncTarget that is missed, until ctx is done.
func (w *watchedTarget) makeSure(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.missed:
		}
		st, err := w.resolve(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.end(err)
		default:
			w.take(st)
		}
	}
}

func (w *watchedTarget) see(ctx context.Context, obj any) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	st, err := toSyncTarget(u)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Reading the watched SyncTarget")
		return
	}
	w.take(st)
}

// take follows the SyncTarget as it is now.
func (w *watchedTarget) take(st *workloadv1alpha1.SyncTarget) {
	if string(st.UID) != w.uid {
		w.end(refused("SyncTarget %s was deleted and created anew: its UID is now %s instead of %s", st.Name, st.UID, w.uid))
		return
	}
	w.mu.Lock()
	changed := !slices.Equal(w.current.Spec.SupportedAPIExports, st.Spec.SupportedAPIExports)
	exported := !slices.Equal(w.current.Spec.ExportedResources, st.Spec.ExportedResources)
	upsynced := !slices.Equal(w.current.Spec.UpsyncedResources, st.Spec.UpsyncedResources)
	moved := w.followURLs && !slices.Equal(w.urls, st.Status.VirtualWorkspaces)
	w.current = *st
	w.mu.Unlock()
	select {
	case w.updated <- struct{}{}:
	default:
	}
	if changed {
		w.onChange()
	}
	if exported {
		w.onExportedChange()
	}
	if upsynced {
		w.onUpsyncedChange()
	}
	if moved {
		w.end(errFeedChanged)
	}
}

func (w *watchedTarget) end(why error) {
	select {
	case w.ended <- why:
	default: // the first reason counts
	}
}

func (w *watchedTarget) name() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current.Name
}

// exports are those whose types are accepted, as of now.
func (w *watchedTarget) exports() []workloadv1alpha1.APIExportReference {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current.Spec.SupportedAPIExports
}

// exported are the resources that the operator exports, as of now.
func (w *watchedTarget) exported() []schema.GroupResource {
	w.mu.Lock()
	defer w.mu.Unlock()
	return workloadv1alpha1.GroupResources(w.current.Spec.ExportedResources)
}

// upsynced are the resources that the target may bring up, as of now.
func (w *watchedTarget) upsynced() []schema.GroupResource {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current.UpsyncedResources()
}
