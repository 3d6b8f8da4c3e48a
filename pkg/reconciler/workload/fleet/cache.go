package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	kcpcache "github.com/kcp-dev/apimachinery/v2/pkg/cache"
	kcpinformers "github.com/kcp-dev/apimachinery/v2/third_party/informers"
	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Change is something that happened to an object.
type Change[T Object] struct {
	// Object as it is now, or as it was last seen if it was deleted.
	Object T
	// Before is how it was; nil if it is new or was deleted.
	Before T
	// Deleted: it is no longer visible through the export. The object was deleted, or its workspace is no longer bound,
	// or no longer grants the claim.
	Deleted bool
	// Inferred: the deletion itself was not seen. A list no longer had the object, which also happens when less is shown.
	Inferred bool
	// Priority is that of the work that follows: the initial list is backlog.
	Priority tmc.Priority
}

// Cache holds all objects of a resource that an export shows, on all shards.
type Cache[T Object] struct {
	*resourceCache
	decode Decode[T]
}

// resourceCache is what a cache is without the type of its objects.
type resourceCache struct {
	id     resourceID
	shards []*shardCache
	// stop is set once it runs.
	stop context.CancelFunc
}

type resourceID struct {
	export string
	gvr    schema.GroupVersionResource
}

func (id resourceID) String() string {
	return id.gvr.GroupResource().String() + " of export " + id.export
}

// shardCache is what one shard has of the resource.
type shardCache struct {
	source   *source
	informer cache.SharedIndexInformer

	lock    sync.Mutex
	lastErr error
}

// Watch gives the cache of a resource, the same to all who ask. It is filled once the fleet runs, or at once if it does.
// All who ask for a resource have to decode it into the same type.
func Watch[T Object](f *Fleet, export string, gvr schema.GroupVersionResource, decode Decode[T]) (*Cache[T], error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	id := resourceID{export: export, gvr: gvr}
	if existing, ok := f.caches[id]; ok {
		c, same := existing.typed.(*Cache[T])
		if !same {
			return nil, fmt.Errorf("%s is cached as another type already: %T", id, existing.typed)
		}
		return c, nil
	}
	c := &Cache[T]{resourceCache: &resourceCache{id: id}, decode: decode}
	for _, s := range f.sources[export] {
		shard, err := newShardCache(f, s, gvr, transform(decode))
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", id, err)
		}
		c.shards = append(c.shards, shard)
	}
	f.caches[id] = cacheEntry{resourceCache: c.resourceCache, typed: c}
	f.startLocked(c.resourceCache)
	return c, nil
}

func newShardCache(f *Fleet, s *source, gvr schema.GroupVersionResource, transform cache.TransformFunc) (*shardCache, error) {
	c := &shardCache{source: s}
	c.informer = kcpinformers.NewSharedIndexInformer(tmc.ListWatch(s.client.Resource(gvr), nil, c.told), &unstructured.Unstructured{}, 0, cache.Indexers{
		kcpcache.ClusterIndexName:             kcpcache.ClusterIndexFunc,
		kcpcache.ClusterAndNamespaceIndexName: kcpcache.ClusterAndNamespaceIndexFunc,
	})
	if err := c.informer.SetTransform(transform); err != nil {
		return nil, err
	}
	if err := c.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		klog.FromContext(ctx).V(2).Info("A watch ended and is set up anew", "resource", gvr.GroupResource().String(), "virtualWorkspace", s.url, "why", err.Error())
	}); err != nil {
		return nil, err
	}
	_, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		if o, ok := obj.(Object); ok {
			f.locate(logicalcluster.From(o), s.shard)
		}
	}})
	return c, err
}

func (c *shardCache) told(err error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.lastErr = err
}

// problem is why the shard's part cannot be listed or watched, nil if it can.
func (c *shardCache) problem() error {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.lastErr
}

// OnChange has heard called for every change, in order, once for every object that is there already.
func (c *Cache[T]) OnChange(heard func(Change[T])) error {
	priority := func(initial bool) tmc.Priority {
		if initial {
			return tmc.PriorityBacklog
		}
		return tmc.PriorityLive
	}
	handler := cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			if now, ok := obj.(T); ok {
				heard(Change[T]{Object: now, Priority: priority(initial)})
			}
		},
		UpdateFunc: func(old, obj any) {
			before, _ := old.(T)
			if now, ok := obj.(T); ok && before.GetResourceVersion() != now.GetResourceVersion() {
				heard(Change[T]{Object: now, Before: before, Priority: tmc.PriorityLive})
			}
		},
		DeleteFunc: func(obj any) {
			tombstone, inferred := obj.(cache.DeletedFinalStateUnknown)
			if inferred {
				obj = tombstone.Obj
			}
			if last, ok := obj.(T); ok {
				heard(Change[T]{Object: last, Deleted: true, Inferred: inferred, Priority: tmc.PriorityLive})
			}
		},
	}
	for _, shard := range c.shards {
		if _, err := shard.informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watching %s: %w", c.id, err)
		}
	}
	return nil
}

// AddIndex makes By answer for a name. It has to be called before the cache is filled.
func (c *Cache[T]) AddIndex(name string, values func(T) []string) error {
	for _, shard := range c.shards {
		if _, exists := shard.informer.GetIndexer().GetIndexers()[name]; exists {
			continue
		}
		if err := shard.informer.AddIndexers(cache.Indexers{name: func(obj any) ([]string, error) {
			o, ok := obj.(T)
			if !ok {
				return nil, fmt.Errorf("indexing %T", obj)
			}
			return values(o), nil
		}}); err != nil {
			return fmt.Errorf("indexing %s: %w", c.id, err)
		}
	}
	return nil
}

// Get gives the object if it is there.
func (c *Cache[T]) Get(key Key) (found T, ok bool) {
	for _, shard := range c.shards {
		if obj, exists, err := shard.informer.GetIndexer().GetByKey(key.cached()); err == nil && exists {
			found, ok = obj.(T)
			return found, ok
		}
	}
	return found, false
}

// In gives the objects of a logical cluster.
func (c *Cache[T]) In(cluster logicalcluster.Name) []T {
	return c.By(kcpcache.ClusterIndexName, kcpcache.ClusterIndexKey(cluster))
}

// InNamespace gives the objects of a namespace.
func (c *Cache[T]) InNamespace(cluster logicalcluster.Name, namespace string) []T {
	return c.By(kcpcache.ClusterAndNamespaceIndexName, kcpcache.ClusterAndNamespaceIndexKey(cluster, namespace))
}

// By gives the objects that the index of that name has under the value. There is none under an index that was not added.
func (c *Cache[T]) By(index, value string) []T {
	var found []T
	for _, shard := range c.shards {
		objs, err := shard.informer.GetIndexer().ByIndex(index, value)
		if err != nil {
			continue // only for an index that does not exist
		}
		found = appendTyped(found, objs)
	}
	return found
}

// All gives all objects.
func (c *Cache[T]) All() []T {
	var found []T
	for _, shard := range c.shards {
		found = appendTyped(found, shard.informer.GetStore().List())
	}
	return found
}

func (c *Cache[T]) listIn(ctx context.Context, shard *shardCache, cluster logicalcluster.Name) (found []T, err error) {
	list, err := shard.source.client.Cluster(cluster.Path()).Resource(c.id.gvr).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, tmc.Classify(fmt.Errorf("listing %s of logical cluster %s at %s: %w", c.id, cluster, shard.source.url, err))
	}
	decode := transform(c.decode)
	for i := range list.Items {
		obj, err := decode(&list.Items[i])
		if err != nil {
			return nil, err
		}
		found = appendTyped(found, []any{obj})
	}
	return found, nil
}

// isNotServed is true for what kcp answers about a logical cluster that it does not have, or that has not bound the export:
// a 403, as if it were a secret.
func isNotServed(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) }

func appendTyped[T Object](found []T, objs []any) []T {
	for _, obj := range objs {
		if o, ok := obj.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// Synced reports whether all that there is has been seen, on every shard. While it is not, something that is not in the
// cache is unknown, not gone.
func (c *resourceCache) Synced() bool {
	for _, shard := range c.shards {
		if !shard.informer.HasSynced() {
			return false
		}
	}
	return true
}

// Problem is why the resource cannot be listed or watched on some shard, nil if it can be.
func (c *resourceCache) Problem() error {
	for _, shard := range c.shards {
		if err := shard.problem(); err != nil {
			return fmt.Errorf("listing and watching %s at %s: %w", c.id, shard.source.url, err)
		}
	}
	return nil
}

// check fails until everything was listed. A resource that kcp refuses to list is not waited for: it degrades itself alone.
func (c *resourceCache) check(context.Context) error {
	if err := c.Problem(); err != nil {
		return tmc.Degraded(fmt.Errorf("%w (%s)", err, tmc.CategoryOf(err).Hint()))
	}
	if !c.Synced() {
		return fmt.Errorf("%s: not everything has been listed yet", c.id)
	}
	return nil
}

func (c *resourceCache) size() int {
	n := 0
	for _, shard := range c.shards {
		n += len(shard.informer.GetStore().ListKeys())
	}
	return n
}

// Synced waits until all that there is has been seen in each of the caches; false if ctx ends before.
func Synced(ctx context.Context, caches ...interface{ Synced() bool }) bool {
	ticker := time.NewTicker(syncPoll)
	defer ticker.Stop()
	for {
		all := true
		for _, c := range caches {
			all = all && c.Synced()
		}
		if all {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

const syncPoll = 50 * time.Millisecond
