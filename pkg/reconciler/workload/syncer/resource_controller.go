package syncer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	kcpcache "github.com/kcp-dev/apimachinery/v2/pkg/cache"
	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/apply"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/report"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/transform"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// resourceType is a type that both sides serve.
type resourceType struct {
	gvr        schema.GroupVersionResource
	gvk        schema.GroupVersionKind
	namespaced bool
	// statusUpstream: the upstream type has a status subresource.
	statusUpstream bool
	// servedDownstream: the physical cluster serves it. If not, there is nothing to sync, but what was claimed while it
	// did is released, and users are told.
	servedDownstream bool
	// up: its objects are the cluster's own, and come up.
	up bool
}

// The two servers, as named in metrics and conditions.
const (
	sideKCP     = "kcp"
	sideCluster = "cluster"
)

// ResourceController syncs the objects of one type, down and up in the same pass: gather both sides from the caches,
// decide, act. Upstream and downstream events meet in one queue, keyed by the upstream object.
type ResourceController struct {
	resourceType
	target     target
	settings   *live
	feed       *feed.Feed
	sources    []*sourceCache
	downstream cache.SharedIndexInformer
	writer     *apply.Writer
	namespaces *namespaces
	selection  *selection
	// autoscalers know what is scaled in the cluster; scalersChanged hears that one has changed, or is gone, in a namespace.
	autoscalers    *autoscalers
	scalersChanged func(cluster logicalcluster.Name, namespace string)
	upsynced       func() []schema.GroupResource
	records        *records
	recovery       *tmc.Recovery
	loop           *tmc.Loop[Key]
	// claims has objects claimed; nil if the type comes up, where an object is claimed when it is created.
	claims    *claims
	clock     clock.PassiveClock
	metrics   *typeMetrics
	tracing   *tmc.Tracing
	kcp, phys *tmc.Breaker
	progress  *tmc.Watermark
	// origins are the traces that changes carried, until they are worked on.
	origins tmc.Origins[Key]

	watchErrors watchErrors
	// keyOf finds the upstream object that one downstream stands for; ok is false for what stands for none.
	keyOf func(*object) (key Key, ok bool)
	// homes are where objects of a logical cluster were last brought up to, and upProblem is why the last one could not be.
	homes     sync.Map
	upProblem atomic.Pointer[string]

	// forbidden is set while writes fail for want of a permission.
	forbidden atomic.Pointer[error]
	running   atomic.Bool
	// since is when the controller was made.
	since time.Time
	// changed asks for another look at everything, with other settings.
	changed chan struct{}
}

// sourceCache is what one source has of the type.
type sourceCache struct {
	source   *feed.Source
	informer cache.SharedIndexInformer
}

// controllerDeps are the parts of the engine that its controllers share.
type controllerDeps struct {
	target     target
	settings   *live
	workers    int
	feed       *feed.Feed
	cluster    *tmc.Link
	dynamic    dynamic.Interface
	namespaces *namespaces
	selection  *selection
	// autoscalers know what is scaled in the cluster; scalersChanged hears that one has changed, or is gone, in a namespace.
	autoscalers    *autoscalers
	scalersChanged func(cluster logicalcluster.Name, namespace string)
	clock          clock.PassiveClock
	metrics        *Metrics
	queues         workqueue.MetricsProvider
	tracing        *tmc.Tracing
	kcp, phys      *tmc.Breaker
	recovery       *tmc.Recovery
	progress       *tmc.Watermark
	health         *tmc.Health
	// upsynced are the resources that the target may bring up.
	upsynced func() []schema.GroupResource
}

func newResourceController(rt resourceType, d controllerDeps) (*ResourceController, error) {
	direct, err := newRESTClient(d.cluster.Config(), d.cluster.Client(), rt.gvr.GroupVersion())
	if err != nil {
		return nil, err
	}
	c := &ResourceController{
		resourceType: rt, target: d.target, settings: d.settings, feed: d.feed,
		writer: apply.NewWriter(d.dynamic, direct, rt.gvr), namespaces: d.namespaces, selection: d.selection, upsynced: d.upsynced,
		autoscalers: d.autoscalers, scalersChanged: d.scalersChanged,
		records: newRecords(), clock: d.clock, metrics: d.metrics.forType(rt.gvr.GroupResource()), tracing: d.tracing,
		kcp: d.kcp, phys: d.phys, recovery: d.recovery, progress: d.progress, since: d.clock.Now(), changed: make(chan struct{}, 1),
	}
	process, selector, sources := c.process, ourCopies(d.target.key), d.feed.Sources()
	c.keyOf = c.downstreamKey
	if rt.up {
		process, selector, sources, c.keyOf = c.processUp, upsynced(d.target.key), d.feed.UpSources(), c.upKey
	}
	c.loop = tmc.NewLoop(tmc.LoopOptions[Key]{
		Name: rt.gvr.GroupResource().String(), Workers: d.workers, Process: process, Failed: c.noteFailure,
		Gates: []func(context.Context) error{d.kcp.Wait, d.phys.Wait}, Progress: d.progress, Queues: d.queues, Recovery: d.recovery,
	})
	shared := newContents()
	if !rt.up {
		c.claims = newClaims(tmc.LoopOptions[Key]{
			Name: rt.gvr.GroupResource().String() + " claims", Workers: claimsAtOnce, Process: c.claim,
			Gates: []func(context.Context) error{d.kcp.Wait}, Progress: d.progress, Queues: d.queues,
		})
	}
	if rt.servedDownstream {
		if c.downstream, err = newDownstreamInformer(d.cluster, rt.gvr, selector, shared, c.watchErrors.told(sideCluster)); err != nil {
			return nil, err
		}
		handler := c.downstreamHandler()
		if _, err := c.downstream.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	for _, source := range sources {
		informer, err := newUpstreamInformer(source, rt.gvr, shared, c.watchErrors.told(sideKCP))
		if err != nil {
			return nil, err
		}
		if _, err := informer.AddEventHandler(c.tracingHandler(c.handler(upstreamKey, c.records.markUpstream, never))); err != nil {
			return nil, err
		}
		c.sources = append(c.sources, &sourceCache{source: source, informer: informer})
	}
	return c, nil
}

// run works until ctx is done, and returns when every worker and watch has stopped.
func (c *ResourceController) run(ctx context.Context) {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("resource", c.gvr.GroupResource().String()))
	var wg sync.WaitGroup
	defer c.recovery.Forget(c.gvr.GroupResource().String())
	defer wg.Wait()
	defer func() {
		for _, loop := range c.loops() {
			loop.Close()
		}
	}()
	if c.downstream != nil {
		// Its events are told by the namespaces, so these come first.
		if !cache.WaitForCacheSync(ctx.Done(), c.namespaces.hasSynced) {
			return
		}
		wg.Go(func() { c.downstream.RunWithContext(ctx) })
	}
	for _, s := range c.sources {
		wg.Go(func() { s.informer.RunWithContext(ctx) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), c.downstreamSynced, c.selection.synced) {
		return
	}
	c.running.Store(true)
	wg.Go(func() { c.resync(ctx) })
	if c.claims != nil {
		wg.Go(func() { c.claims.loop.Run(ctx) })
	}
	c.loop.Run(ctx)
}

// loops are those whose workers work for the type.
func (c *ResourceController) loops() []*tmc.Loop[Key] {
	if c.claims == nil {
		return []*tmc.Loop[Key]{c.loop}
	}
	return []*tmc.Loop[Key]{c.loop, c.claims.loop}
}

// waiting is how much is ready and waits for a worker.
func (c *ResourceController) waiting() (items int) {
	for _, loop := range c.loops() {
		items += loop.Len()
	}
	return items
}

// process runs one pass over the object, remembers what it learned, and says when to look again.
func (c *ResourceController) process(ctx context.Context, key Key) (after time.Duration, err error) {
	p := &pass{c: c, key: key, now: c.clock.Now(), record: c.records.load(key)}
	p.takeClaim()
	if err = p.run(ctx); err == nil && p.wrote && !p.claiming {
		c.forbidden.Store(nil)
	}
	p.noteConflict(err)
	p.noteFight()
	if p.gone() {
		c.records.forget(key)
		return p.after, err
	}
	p.record.state = p.state(err)
	c.records.store(key, p.record, p.now)
	if p.made { // what the cache does not show by then is gone again, and no event tells so
		p.after = soonest(p.after, unseenPatience)
	}
	if err == nil && p.retrying {
		err = tmc.ErrUndecided
	}
	return p.after, err
}

func (c *ResourceController) noteFailure(ctx context.Context, failed tmc.FailedPass[Key]) {
	c.metrics.retries(string(failed.Category))
	if failed.Category == tmc.Permission && !c.up { // one workspace says nothing of others
		c.forbidden.Store(&failed.Err)
	}
	tmc.LogFailure[Key](ctx, failed)
}

// resync looks at every object again although nothing changed, in the background of live changes.
func (c *ResourceController) resync(ctx context.Context) {
	for {
		var due <-chan time.Time // never
		if period := c.settings.Load().resyncPeriod; period > 0 {
			due = time.After(period)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		case <-due:
		}
		c.enqueueAll()
	}
}

// lookAgain has every object looked at with other settings.
func (c *ResourceController) lookAgain() {
	select {
	case c.changed <- struct{}{}:
	default: // one is due already
	}
}

func (c *ResourceController) enqueueAll() {
	for _, s := range c.sources {
		for _, obj := range s.informer.GetStore().List() {
			if key, ok := upstreamKey(obj.(*object)); ok {
				c.records.distrust(key)
				c.loop.Add(key, tmc.PriorityBacklog)
			}
		}
	}
	if c.downstream == nil {
		return
	}
	for _, obj := range c.downstream.GetStore().List() {
		if key, ok := c.keyOf(obj.(*object)); ok {
			c.records.distrust(key)
			c.loop.Add(key, tmc.PriorityBacklog)
		}
	}
}

// enqueueNamespace looks again at all upstream objects of one namespace.
func (c *ResourceController) enqueueNamespace(cluster logicalcluster.Name, namespace string) {
	for _, obj := range c.upstreamIn(cluster, namespace) {
		if key, ok := upstreamKey(obj); ok {
			c.records.distrust(key)
			c.loop.Add(key, tmc.PriorityLive)
		}
	}
}

func (c *ResourceController) upstreamIn(cluster logicalcluster.Name, namespace string) []*object {
	var found []*object
	for _, s := range c.sources {
		objs, err := s.informer.GetIndexer().ByIndex(kcpcache.ClusterAndNamespaceIndexName, kcpcache.ClusterAndNamespaceIndexKey(cluster, namespace))
		if err != nil {
			continue // only for an index that does not exist
		}
		for _, obj := range objs {
			found = append(found, obj.(*object))
		}
	}
	return found
}

// noteScaler has what an autoscaler may have scaled looked at again, now that its copy is gone.
func (c *ResourceController) noteScaler(obj any) {
	if o, ok := lastSeen(obj); ok && c.gvr.GroupResource() == autoscalersGVR.GroupResource() {
		c.autoscalers.forget(o.Namespace)
		if key, ok := c.downstreamKey(o); ok {
			c.scalersChanged(key.Cluster, key.Namespace)
		}
	}
}

// noteFinished remembers what a copy that was deleted last told, if it had run to its end.
func (c *ResourceController) noteFinished(obj any) {
	o, ok := lastSeen(obj)
	if !ok {
		return
	}
	if u, err := o.decode(c.gvk); err != nil || !transform.Finished(c.gvr, u) {
		return
	}
	if key, ok := c.downstreamKey(o); ok {
		c.records.noteFinished(key, o)
	}
}

// lastSeen is the object that an event is about, also when its deletion itself was missed.
func lastSeen(obj any) (*object, bool) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	o, ok := obj.(*object)
	return o, ok
}

// handler feeds the queue with the events of one side. Those of late objects wait for what else waits.
func (c *ResourceController) handler(keyOf func(*object) (Key, bool), mark func(Key, time.Time), late func(Key) bool) cache.ResourceEventHandlerDetailedFuncs {
	enqueue := func(obj any, priority tmc.Priority) {
		o, ok := lastSeen(obj)
		if !ok {
			return
		}
		key, ok := keyOf(o)
		if !ok {
			return
		}
		if late(key) {
			priority = tmc.PriorityBacklog
		}
		if priority == tmc.PriorityLive {
			mark(key, c.clock.Now())
		}
		c.loop.Add(key, priority)
	}
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			if initial {
				enqueue(obj, tmc.PriorityBacklog)
			} else {
				enqueue(obj, tmc.PriorityLive)
			}
		},
		UpdateFunc: func(old, obj any) {
			if was, ok := old.(*object); !ok || was.ResourceVersion != obj.(*object).ResourceVersion {
				enqueue(obj, tmc.PriorityLive)
			}
		},
		DeleteFunc: func(obj any) { enqueue(obj, tmc.PriorityLive) },
	}
}

func never(Key) bool { return false }

// downstreamHandler is the handler for what the cluster tells.
func (c *ResourceController) downstreamHandler() cache.ResourceEventHandlerDetailedFuncs {
	late := func(key Key) bool { return c.records.inBacklog(key, c.clock.Now()) }
	handler := c.handler(c.keyOf, c.records.markDownstream, late)
	enqueue := handler.DeleteFunc
	if c.up {
		// An object that loses what it comes up by has to go upstream: what it was says where.
		updated := handler.UpdateFunc
		handler.UpdateFunc = func(old, obj any) {
			if _, still := c.keyOf(obj.(*object)); !still {
				enqueue(old)
			}
			updated(old, obj)
		}
		return handler
	}
	handler.DeleteFunc = func(obj any) { c.noteFinished(obj); c.noteScaler(obj); enqueue(obj) }
	return handler
}

// tracingHandler notes the traces that changes carry, before their objects are queued.
func (c *ResourceController) tracingHandler(next cache.ResourceEventHandlerDetailedFuncs) cache.ResourceEventHandlerDetailedFuncs {
	if !c.tracing.Carries() {
		return next
	}
	add, update := next.AddFunc, next.UpdateFunc
	next.AddFunc = func(obj any, initial bool) {
		if o, ok := obj.(*object); ok && !initial {
			c.noteTrace(nil, o)
		}
		add(obj, initial)
	}
	next.UpdateFunc = func(old, obj any) {
		before, _ := old.(*object)
		if o, ok := obj.(*object); ok {
			c.noteTrace(before, o)
		}
		update(old, obj)
	}
	return next
}

func upstreamKey(o *object) (Key, bool) {
	return Key{Cluster: logicalcluster.From(o), Namespace: o.Namespace, Name: o.Name}, true
}

// downstreamKey finds the upstream object of a copy through the locator of its namespace, or its own if it has none.
func (c *ResourceController) downstreamKey(o *object) (Key, bool) {
	if !o.ours() {
		return Key{}, false
	}
	locator, ok := workloadv1alpha1.NamespaceLocator{}, false
	if o.Namespace != "" {
		locator, ok = c.namespaces.locator(o.Namespace)
	} else if found, has, err := workloadv1alpha1.ParseNamespaceLocator(o.Annotations); has && err == nil {
		locator, ok = found, c.target.owns(found)
	}
	return Key{Cluster: logicalcluster.Name(locator.ClusterName), Namespace: locator.Namespace, Name: o.Name}, ok
}

// lookUpstream finds the object in the caches of all sources.
func (c *ResourceController) lookUpstream(key Key) (*object, *feed.Source) {
	id := kcpcache.ToClusterAwareKey(string(key.Cluster), key.Namespace, key.Name)
	for _, s := range c.sources {
		if obj, exists, err := s.informer.GetIndexer().GetByKey(id); err == nil && exists {
			return obj.(*object), s.source
		}
	}
	return nil, nil
}

// lookDownstream finds the copy that this target made of the object.
func (c *ResourceController) lookDownstream(key Key) *object {
	if c.downstream == nil {
		return nil
	}
	id := key.Name
	if c.namespaced {
		id = c.downstreamNamespace(key) + "/" + key.Name
	}
	obj, exists, err := c.downstream.GetIndexer().GetByKey(id)
	if err != nil || !exists {
		return nil
	}
	o := obj.(*object)
	if found, ok := c.keyOf(o); !ok || found != key {
		return nil
	}
	return o
}

func (c *ResourceController) downstreamNamespace(key Key) string {
	if !c.namespaced {
		return ""
	}
	return c.namespaces.nameFor(c.target.locate(key.Cluster, key.Namespace))
}

func (c *ResourceController) upstreamSynced() bool {
	for _, s := range c.sources {
		if !s.informer.HasSynced() {
			return false
		}
	}
	return true
}

// synced reports whether both sides have been seen completely and the workers are at work.
func (c *ResourceController) synced() bool {
	return c.running.Load() && c.upstreamSynced() && c.downstreamSynced()
}

// downstreamSynced reports whether all copies have been seen. A type that is not served has none.
func (c *ResourceController) downstreamSynced() bool {
	return c.downstream == nil || c.downstream.HasSynced()
}

// hasCopies reports whether there are copies in a downstream namespace.
func (c *ResourceController) hasCopies(downstreamNamespace string) bool {
	if c.downstream == nil || c.up {
		return false
	}
	objs, err := c.downstream.GetIndexer().ByIndex(cache.NamespaceIndex, downstreamNamespace)
	return err != nil || len(objs) > 0
}

// wantsCopies reports whether upstream objects in a namespace have or want copies.
func (c *ResourceController) wantsCopies(cluster logicalcluster.Name, namespace string) bool {
	if c.downstream == nil || c.up {
		return false
	}
	for _, o := range c.upstreamIn(cluster, namespace) {
		if selected, _ := c.selection.selects(o); selected && o.DeletionTimestamp == nil && !c.skips(o) {
			return true
		}
	}
	return false
}

// skips reports whether an object is never synced for what it is.
func (c *ResourceController) skips(o *object) bool {
	u, err := o.decode(c.gvk)
	if err != nil {
		return false
	}
	_, skip := transform.Skip(c.gvr, u)
	return skip
}

// writeError is why the last write of the type was forbidden; nil when one has succeeded since.
func (c *ResourceController) writeError() error {
	if err := c.forbidden.Load(); err != nil {
		return *err
	}
	return nil
}

func (c *ResourceController) reporter(source *feed.Source, cluster logicalcluster.Name) *report.Writer {
	return &report.Writer{Client: source.Cluster(cluster).Resource(c.gvr), Key: c.target.key, TakesTraces: c.tracing.Carries()}
}

// failed gives an error the words and the object that it is about, at the edge where it came from.
func (c *ResourceController) failed(doing string, key Key, err error) error {
	return tmc.WithContext(err, tmc.Context{
		Component: "syncer", Operation: doing, Target: c.target.name, Cluster: string(key.Cluster),
		Resource: c.gvr.GroupResource(), Kind: c.gvk, Namespace: key.Namespace, Name: key.Name,
	})
}
