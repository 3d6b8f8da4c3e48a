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
	feed     *feed.Feed
	settings *live
	// informers of upstream namespaces, one per source. They run once there is a namespace filter.
	informers []cache.SharedIndexInformer
	wanted    chan struct{}
	// changed hears of upstream namespaces whose labels changed.
	changed func(cluster logicalcluster.Name, namespace string)
	errors  watchErrors
}

func newSelection(f *feed.Feed, settings *live) (*selection, error) {
	s := &selection{feed: f, settings: settings, wanted: make(chan struct{}, 1), changed: func(logicalcluster.Name, string) {}}
	for _, source := range f.Sources() {
		informer, err := newUpstreamInformer(source, namespacesGVR, nil, s.errors.told(sideKCP))
		if err != nil {
			return nil, err
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: s.tell, UpdateFunc: func(_, obj any) { s.tell(obj) }}); err != nil {
			return nil, err
		}
		s.informers = append(s.informers, informer)
	}
	s.follow()
	return s, nil
}

// byNamespace is the filter on namespaces, nil for none.
func (s *selection) byNamespace() labels.Selector {
	if filter := s.settings.Load().filters.Namespaces; filter != nil && !filter.Empty() {
		return filter
	}
	return nil
}

// follow has the namespaces watched if there is a filter on them.
func (s *selection) follow() {
	if s.byNamespace() == nil {
		return
	}
	select {
	case s.wanted <- struct{}{}:
	default: // they are about to be, or are already
	}
}

func (s *selection) tell(obj any) {
	if o, ok := obj.(*object); ok {
		s.changed(logicalcluster.From(o), o.Name)
	}
}

// run watches the namespaces from the time on that there is a filter on them.
func (s *selection) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-s.wanted:
	}
	var wg sync.WaitGroup
	for _, informer := range s.informers {
		wg.Go(func() { informer.RunWithContext(ctx) })
	}
	wg.Wait()
}

// synced: what is needed to select has been seen completely.
func (s *selection) synced() bool {
	if s.byNamespace() == nil {
		return true
	}
	for _, informer := range s.informers {
		if !informer.HasSynced() {
			return false
		}
	}
	return true
}

// selects reports whether the object belongs to this target; known is false while its namespace has not been seen.
func (s *selection) selects(o *object) (selected, known bool) {
	objects := s.settings.Load().filters.Labels
	if !s.feed.Selects(o.Labels) || objects != nil && !objects.Matches(labels.Set(o.Labels)) {
		return false, true
	}
	return s.selectsNamespace(logicalcluster.From(o), o.Namespace)
}

func (s *selection) selectsNamespace(cluster logicalcluster.Name, namespace string) (selected, known bool) {
	filter := s.byNamespace()
	if filter == nil || namespace == "" {
		return true, true
	}
	id := kcpcache.ToClusterAwareKey(string(cluster), "", namespace)
	for _, informer := range s.informers {
		if obj, exists, err := informer.GetIndexer().GetByKey(id); err == nil && exists {
			return filter.Matches(labels.Set(obj.(*object).Labels)), true
		}
	}
	return false, false
}
