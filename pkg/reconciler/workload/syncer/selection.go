package syncer

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	kcpcache "github.com/kcp-dev/apimachinery/v2/pkg/cache"
	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
)

// selection says which upstream objects are this target's: by the feed, and by the label filters of the operator.
type selection struct {
	feed       *feed.Feed
	objects    labels.Selector
	namespaces labels.Selector
	// informers of upstream namespaces, one per source; empty unless there is a namespace filter.
	informers []cache.SharedIndexInformer
	// changed hears of upstream namespaces whose labels changed.
	changed func(cluster logicalcluster.Name, namespace string)
	errors  watchErrors
}

func newSelection(f *feed.Feed, filters Filters) (*selection, error) {
	s := &selection{feed: f, objects: filters.Labels, namespaces: filters.Namespaces, changed: func(logicalcluster.Name, string) {}}
	if filters.Namespaces == nil || filters.Namespaces.Empty() {
		return s, nil
	}
	for _, source := range f.Sources() {
		informer, err := newUpstreamInformer(source, namespacesGVR, s.errors.told(sideKCP))
		if err != nil {
			return nil, err
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: s.tell, UpdateFunc: func(_, obj any) { s.tell(obj) }}); err != nil {
			return nil, err
		}
		s.informers = append(s.informers, informer)
	}
	return s, nil
}

func (s *selection) tell(obj any) {
	if o, ok := obj.(*object); ok {
		s.changed(logicalcluster.From(o), o.Name)
	}
}

func (s *selection) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, informer := range s.informers {
		wg.Go(func() { informer.RunWithContext(ctx) })
	}
	wg.Wait()
}

func (s *selection) synced() bool {
	for _, informer := range s.informers {
		if !informer.HasSynced() {
			return false
		}
	}
	return true
}

// selects reports whether the object belongs to this target; known is false while its namespace has not been seen.
func (s *selection) selects(o *object) (selected, known bool) {
	if !s.feed.Selects(o.Labels) || s.objects != nil && !s.objects.Matches(labels.Set(o.Labels)) {
		return false, true
	}
	return s.selectsNamespace(logicalcluster.From(o), o.Namespace)
}

func (s *selection) selectsNamespace(cluster logicalcluster.Name, namespace string) (selected, known bool) {
	if len(s.informers) == 0 || namespace == "" {
		return true, true
	}
	id := kcpcache.ToClusterAwareKey(string(cluster), "", namespace)
	for _, informer := range s.informers {
		if obj, exists, err := informer.GetIndexer().GetByKey(id); err == nil && exists {
			return s.namespaces.Matches(labels.Set(obj.(*object).Labels)), true
		}
	}
	return false, false
}
