package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Engine discovers which types are to be synced and runs one ResourceController for each, as CustomResourceDefinitions,
// APIBindings and permissions come and go. A type that fails fails alone.
type Engine struct {
	controllerDeps
	// discovery makes a client for the physical cluster.
	discovery func(context.Context) (discovery.DiscoveryInterface, error)
	// crds are the physical cluster's CustomResourceDefinitions; somebody else runs the informer.
	crds cache.SharedIndexInformer
	// exports are those whose types are accepted; they may change.
	exports func() []workloadv1alpha1.APIExportReference

	// seeTarget is told of the SyncTarget as it was read live.
	seeTarget func(*workloadv1alpha1.SyncTarget)
	// upsynced are the resources that the target may bring up; they may change.
	upsynced func() []schema.GroupResource
	// offered are resources that kcp is about to serve upstream, if it does not yet.
	offered func() []schema.GroupResource

	relook *tmc.Relook
	// looking tells of a look at the types that hangs.
	looking *tmc.Watermark

	mu      sync.Mutex
	running map[resourceType]*runningType
	// lastError is why the types could not be determined or started; known is set once they could.
	lastError error
	known     bool
	// again are types to be started anew.
	again map[resourceType]bool
	// contents are the namespaced types that the physical cluster serves.
	contents []schema.GroupVersionResource
}

type runningType struct {
	controller *ResourceController
	// unregister takes the type's check away.
	unregister func()
	stop       context.CancelFunc
	done       chan struct{}
}

// TypeStatus is how a resource type is doing.
type TypeStatus struct {
	Resource schema.GroupResource
	Version  string
	State    workloadv1alpha1.ResourceState
	Message  string
	// Category of the error behind the message, if any.
	Category tmc.Category
	Objects  map[State]int
	// Oldest is since when the object has been waiting that has waited longest; zero if none does.
	Oldest time.Time
}

func newEngine(deps controllerDeps, disco func(context.Context) (discovery.DiscoveryInterface, error), crds cache.SharedIndexInformer, exports func() []workloadv1alpha1.APIExportReference) *Engine {
	e := &Engine{
		controllerDeps: deps, discovery: disco, crds: crds, exports: exports, offered: func() []schema.GroupResource { return nil },
		seeTarget: func(*workloadv1alpha1.SyncTarget) {}, upsynced: deps.upsynced,
		running: map[resourceType]*runningType{}, looking: tmc.NewWatermark(deps.clock, tmc.StuckAfter),
	}
	e.relook = tmc.NewRelook(tmc.RelookOptions{
		Task: "determining the types to sync", Look: e.reconcileTypes, Settling: settling, Period: e.period, Retry: discoveryRetry,
	})
	e.autoscalers, e.scalersChanged = newAutoscalers(deps.dynamic, deps.clock), e.namespaceChanged
	e.namespaces.inUse, e.namespaces.contentTypes = e.inUse, e.contentTypes
	e.selection.changed = e.namespaceChanged
	return e
}

// Recheck has the engine compare what should run with what runs, soon.
func (e *Engine) Recheck() { e.relook.Hint() }

// SettingsChanged has everything looked at with the other settings: the types, and the objects of those that stay. A type
// that the filters no longer name is stopped, as at a start without it: its copies stay, and nothing is released.
func (e *Engine) SettingsChanged() {
	e.selection.follow()
	e.namespaces.lookAgain()
	for _, c := range e.controllers() {
		c.lookAgain()
	}
	e.Recheck()
}

// How soon after a hint the types are looked at: at once, and twice more, because servers tell of a new type before
// they serve it. Without a hint they are looked at every discoveryPeriod.
var settling = []time.Duration{0, 2 * time.Second, 10 * time.Second}

const (
	discoveryPeriod = 5 * time.Minute
	// awaitedPeriod is how often they are looked at while one that is offered has not been seen.
	awaitedPeriod  = 15 * time.Second
	discoveryRetry = 5 * time.Second
)

// run works until ctx is done and returns when every controller has stopped.
func (e *Engine) run(ctx context.Context) error {
	typeSources, err := e.typeSources()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { e.namespaces.run(ctx) })
	wg.Go(func() { e.selection.run(ctx) })
	wg.Go(func() { e.giveBack(ctx) })
	for _, informer := range typeSources {
		wg.Go(func() { informer.RunWithContext(ctx) })
	}
	defer e.stopAll()

	e.relook.Hint()
	e.relook.Run(ctx)
	return nil
}

// period is how often the types are looked at without a hint.
func (e *Engine) period() time.Duration {
	if e.awaitsType() {
		return awaitedPeriod
	}
	return discoveryPeriod
}

// awaitsType reports whether a type is offered to tenants and would be synced, but was not seen upstream yet.
func (e *Engine) awaitsType() bool {
	running := map[schema.GroupResource]bool{}
	for _, rt := range e.runningTypes() {
		running[rt.gvr.GroupResource()] = true
	}
	resources := e.settings.Load().filters.Resources
	return slices.ContainsFunc(e.offered(), func(gr schema.GroupResource) bool {
		return !running[gr] && (len(resources) == 0 || slices.Contains(resources, gr))
	})
}

// typeSources watch what types come from, and ask for a recheck whenever it changes.
func (e *Engine) typeSources() ([]cache.SharedIndexInformer, error) {
	var watched []cache.SharedIndexInformer
	for _, source := range e.feed.Sources() {
		for _, gvr := range source.TypeSources() {
			informer, err := newUpstreamInformer(source, gvr, nil, func(error) {})
			if err != nil {
				return nil, err
			}
			watched = append(watched, informer)
		}
	}
	for _, informer := range append(watched, e.crds) {
		if err := onAnyChange(informer, e.Recheck); err != nil {
			return nil, err
		}
	}
	return watched, nil
}

func onAnyChange(informer cache.SharedIndexInformer, call func()) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { call() }, UpdateFunc: func(any, any) { call() }, DeleteFunc: func(any) { call() },
	})
	return err
}

var crdsGVR = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// newMetadataInformer watches the names and versions of all objects of a type, not their content.
func newMetadataInformer(client metadata.Interface, gvr schema.GroupVersionResource) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(tmc.ListWatch(client.Resource(gvr), nil, nil), &metav1.PartialObjectMetadata{}, 0, cache.Indexers{})
}

// reconcileTypes has those controllers run that should. The types count as known only when all of them do: until then nothing else says
// that there is something to wait for, and the syncer would be ready with nothing listed.
func (e *Engine) reconcileTypes(ctx context.Context) error {
	defer e.looking.Begin("the look at the types")()
	err := e.startAndStop(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastError, e.known = err, e.known || err == nil
	return err
}

func (e *Engine) startAndStop(ctx context.Context) error {
	wanted, err := e.wanted(ctx)
	if err != nil {
		if feedFailed(err) && ctx.Err() == nil {
			e.recovery.Failed(tmc.Incident{Component: tmc.FeedComponent, Subject: feedSubject{}, Err: err})
		}
		return err
	}
	start, stop := plan(wanted, e.runningTypes())
	for rt := range e.takeAgain() {
		if slices.Contains(e.runningTypes(), rt) && !slices.Contains(stop, rt) {
			stop, start = append(stop, rt), append(start, rt)
		}
	}
	for _, rt := range stop {
		e.stop(ctx, rt)
	}
	for _, rt := range start {
		if err := e.start(ctx, rt); err != nil {
			return err
		}
	}
	return nil
}

// feedError is why the feed does not say which types there are.
type feedError struct{ error }

// Unwrap gives the reason.
func (e *feedError) Unwrap() error { return e.error }

func (e *Engine) wanted(ctx context.Context) ([]resourceType, error) {
	up := served{types: map[schema.GroupResource][]servedVersion{}}
	var accepts []func(schema.GroupResource) bool
	for _, source := range e.feed.Sources() {
		here, err := discover(ctx, source.Discovery)
		if err != nil {
			return nil, tmc.Classify(&feedError{fmt.Errorf("discovering the types of %s: %w", source, err)})
		}
		up.merge(here)
		accepted, err := source.Accepted(ctx, e.exports())
		if err != nil {
			return nil, tmc.Classify(&feedError{err})
		}
		accepts = append(accepts, accepted)
	}
	down, err := discover(ctx, e.discovery)
	if err != nil {
		return nil, tmc.Classify(fmt.Errorf("discovering the types of the physical cluster: %w", err))
	}
	e.noteContents(down)
	accepted := func(gr schema.GroupResource) bool { // what may come up is never synced down
		return !slices.Contains(e.upsynced(), gr) && slices.ContainsFunc(accepts, func(accepted func(schema.GroupResource) bool) bool { return accepted(gr) })
	}
	running := e.runningTypes()
	comeUp, err := e.comeUp(ctx, down, running)
	if err != nil {
		return nil, err
	}
	return append(wantedTypes(up, down, accepted, e.settings.Load().filters.Resources, running), comeUp...), nil
}

// comeUp are the types whose objects come up.
func (e *Engine) comeUp(ctx context.Context, down served, running []resourceType) ([]resourceType, error) {
	allowed := e.upsynced()
	if len(allowed) == 0 {
		return nil, nil
	}
	up := served{types: map[schema.GroupResource][]servedVersion{}}
	for _, source := range e.feed.UpSources() {
		here, err := discover(ctx, source.Discovery)
		if err != nil {
			return nil, tmc.Classify(&feedError{fmt.Errorf("discovering the types of %s: %w", source, err)})
		}
		up.merge(here)
	}
	return upsyncedTypes(up, down, allowed, e.settings.Load().filters.Resources, running), nil
}

// UpsyncedChanged has the engine look at what comes up: at the types, and at all copies, whose labels say what of that which is
// derived from them does.
func (e *Engine) UpsyncedChanged() {
	e.Recheck()
	for _, c := range e.controllers() {
		c.enqueueAll()
	}
}

func (e *Engine) noteContents(down served) {
	var contents []schema.GroupVersionResource
	for gr, versions := range down.types {
		if v := versions[0]; v.namespaced && v.verbs.HasAll("list", "delete") {
			contents = append(contents, gr.WithVersion(v.version))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.contents = contents
}

func (e *Engine) contentTypes() []schema.GroupVersionResource {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.contents
}

func (e *Engine) runningTypes() []resourceType {
	e.mu.Lock()
	defer e.mu.Unlock()
	types := make([]resourceType, 0, len(e.running))
	for rt := range e.running {
		types = append(types, rt)
	}
	return types
}

func (e *Engine) controllers() []*ResourceController {
	e.mu.Lock()
	defer e.mu.Unlock()
	controllers := make([]*ResourceController, 0, len(e.running))
	for _, r := range e.running {
		controllers = append(controllers, r.controller)
	}
	return controllers
}

func (e *Engine) start(ctx context.Context, rt resourceType) error {
	controller, err := newResourceController(rt, e.controllerDeps)
	if err != nil {
		return fmt.Errorf("starting the controller for %s: %w", rt.gvr.GroupResource(), err)
	}
	klog.FromContext(ctx).Info("Starting to sync a type", "resource", rt.gvr.GroupResource().String(), "version", rt.gvr.Version, "servedByCluster", rt.servedDownstream, "up", rt.up)
	ctx, cancel := context.WithCancel(ctx)
	r := &runningType{controller: controller, stop: cancel, done: make(chan struct{})}
	r.unregister = e.health.Register(tmc.Check{Name: typeCheck + rt.gvr.GroupResource().String(), Deadline: lockDeadline, Run: controller.check})
	e.mu.Lock()
	e.running[rt] = r
	e.mu.Unlock()
	go func() { // waited for in stop
		defer close(r.done)
		controller.run(ctx)
	}()
	return nil
}

func (e *Engine) stop(ctx context.Context, rt resourceType) {
	e.mu.Lock()
	r := e.running[rt]
	delete(e.running, rt)
	e.mu.Unlock()
	klog.FromContext(ctx).Info("Stopping to sync a type", "resource", rt.gvr.GroupResource().String(), "version", rt.gvr.Version)
	r.unregister()
	r.stop()
	<-r.done
}

func (e *Engine) stopAll() {
	e.mu.Lock()
	running := e.running
	e.running = map[resourceType]*runningType{}
	e.mu.Unlock()
	for _, r := range running {
		r.unregister()
		r.stop()
	}
	for _, r := range running {
		<-r.done
	}
}

// inUse reports whether a downstream namespace is needed; that is known only when every type has been seen completely.
func (e *Engine) inUse(locator workloadv1alpha1.NamespaceLocator) (used, known bool) {
	e.mu.Lock()
	known = e.known && len(e.running) > 0
	e.mu.Unlock()
	name := locator.DownstreamNamespace()
	for _, c := range e.controllers() {
		if !c.namespaced || c.up {
			continue
		}
		known = known && c.synced()
		if c.hasCopies(name) || c.wantsCopies(logicalcluster.Name(locator.ClusterName), locator.Namespace) {
			return true, true
		}
	}
	return false, known
}

func (e *Engine) namespaceChanged(cluster logicalcluster.Name, namespace string) {
	for _, c := range e.controllers() {
		c.enqueueNamespace(cluster, namespace)
	}
}

// statuses are how the types are doing, in the order of their names.
func (e *Engine) statuses() []TypeStatus {
	var all []TypeStatus
	for _, c := range e.controllers() {
		all = append(all, c.status())
	}
	slices.SortFunc(all, func(a, b TypeStatus) int { return strings.Compare(a.Resource.String(), b.Resource.String()) })
	return all
}

// discovered reports whether the types are known, and why not.
func (e *Engine) discovered() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lastError != nil {
		return e.lastError
	}
	if !e.known {
		return errors.New("the types to sync are not determined yet")
	}
	return nil
}

// status says how the type is doing.
func (c *ResourceController) status() TypeStatus {
	s := TypeStatus{Resource: c.gvr.GroupResource(), Version: c.gvr.Version, Objects: c.records.numbers(), Oldest: c.records.oldest(), State: workloadv1alpha1.ResourceAccepted}
	if !c.servedDownstream {
		s.State, s.Message = workloadv1alpha1.ResourceIncompatible, "the physical cluster does not serve it in a version that kcp serves too"
		return s
	}
	if doing, err := c.watchError(); err != nil {
		s.degrade(doing+": "+err.Error(), err)
		return s
	}
	if err := c.writeError(); err != nil {
		s.degrade(err.Error(), err)
		return s
	}
	if !c.synced() {
		s.State, s.Message = workloadv1alpha1.ResourcePending, "not all objects have been listed yet"
		return s
	}
	if c.up {
		s.Message = c.upMessage()
	}
	return s
}

// watchError is what cannot be listed and watched, and why: the type itself, or the namespaces that its objects wait for.
func (c *ResourceController) watchError() (doing string, err error) {
	for _, watched := range []struct {
		what, side string
		errors     *watchErrors
	}{
		{"listing and watching", sideKCP, &c.watchErrors},
		{"listing and watching", sideCluster, &c.watchErrors},
		{"listing and watching namespaces", sideKCP, &c.selection.errors},
		{"listing and watching namespaces", sideCluster, c.namespaces.watchErrors},
	} {
		if err := watched.errors.current(watched.side); err != nil && (c.namespaced || watched.errors == &c.watchErrors) {
			return watched.what + " in " + sideName[watched.side], err
		}
	}
	return "", nil
}

func (s *TypeStatus) degrade(message string, err error) {
	s.State, s.Message, s.Category = workloadv1alpha1.ResourceDegraded, message, tmc.CategoryOf(err)
}

var sideName = map[string]string{sideKCP: "kcp", sideCluster: "the physical cluster"}
