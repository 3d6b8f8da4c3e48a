// Package assignment turns what the Placements decided into labels: every object of a placed namespace that belongs to its
// workloads is assigned to the selected targets, with its claim, in one patch; it is asked to leave the targets that the
// namespace leaves, when it may; and it is released from targets that do not exist any more.
//
// A namespace is looked at as a whole ([Controller.processNamespace]: where it is to be, and which targets it may leave), an
// object by itself ([Controller.processObject]). What to write is decided in the package decide. It never touches a spec, and
// writes a status only of objects on several targets, to put together what these report.
package assignment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/references"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const name = "assignment"

// Deps are what the reconciler needs.
type Deps struct {
	Fleet *fleet.Fleet
	// Provider is the workspace that holds the APIExports.
	Provider logicalcluster.Path
	// Upsynced are the resources that SyncTargets may allow their targets to bring up.
	Upsynced []schema.GroupResource
	// Workers is how many objects are worked on at the same time.
	Workers int
	// MoveTimeout is for how long the new copies are waited for in a move, as of now.
	MoveTimeout func() time.Duration
	Metrics     *Metrics
	// Webhook is nil when objects are assigned after they were created only.
	Webhook *Webhook
}

// item is what a pass is about: an object, or a namespace.
type item struct {
	resource schema.GroupResource
	fleet.Key
}

// String is for people.
func (i item) String() string { return i.resource.String() + " " + i.Key.String() }

// Controller is the reconciler.
type Controller struct {
	deps       Deps
	clock      clock.PassiveClock
	types      *types
	namespaces *fleet.Cache[*metav1.PartialObjectMetadata]
	placements *fleet.Cache[*schedulingv1alpha1.Placement]
	targets    *targets
	writer     *fleet.Writer
	// scheduling tells Placements how their moves are doing.
	scheduling *fleet.Writer
	loop       *fleet.Loop[item]
	metrics    *Metrics

	// telling bounds how fast objects are told that their target is silent.
	telling *rate.Limiter

	lock    sync.Mutex
	records map[item]*record
	placed  map[namespaceKey]*placedNamespace
}

// What goes behind everything else: telling users that a target is silent.
const priorityTell = tmc.PriorityBacklog - 100

// tellsPerSecond is how many objects are told per second that their target is silent: a whole cluster's at once would keep
// kcp busy at the worst of times.
const tellsPerSecond = 10

// The indexes of the caches.
const (
	// byTarget finds what says something about a target; byPlace what is assigned to it in a namespace.
	byTarget = "target"
	byPlace  = "place"
	// byNeed finds who names an object, byNamed the Placements that name a target.
	byNeed  = "need"
	byNamed = "assignment/target"
)

// New sends no request.
func New(deps Deps) (*Controller, error) {
	f := deps.Fleet
	c := &Controller{
		deps: deps, clock: f.Clock(), types: newTypes(f, deps.Provider, deps.Upsynced), metrics: deps.Metrics,
		writer: f.Writer(name, workloadv1alpha1.KubernetesExport), scheduling: f.Writer(name, workloadv1alpha1.SchedulingExport),
		telling: rate.NewLimiter(tellsPerSecond, tellsPerSecond),
		records: map[item]*record{}, placed: map[namespaceKey]*placedNamespace{},
	}
	c.loop = fleet.NewLoop(f, name, deps.Workers, c.process)
	var err error
	if c.targets, err = newTargets(f, deps.Upsynced, c.targetChanged); err != nil {
		return nil, err
	}
	if c.namespaces, err = fleet.Namespaces(f); err != nil {
		return nil, err
	}
	if err := c.namespaces.AddIndex(byTarget, func(o *metav1.PartialObjectMetadata) []string { return keysOn(o) }); err != nil {
		return nil, err
	}
	if err := c.namespaces.OnChange(c.namespaceChanged); err != nil {
		return nil, err
	}
	if c.placements, err = fleet.Placements(f); err != nil {
		return nil, err
	}
	if err := c.placements.AddIndex(byNamed, namedBy); err != nil {
		return nil, err
	}
	c.targets.named = c.whereTargetIs
	if err := c.placements.OnChange(c.placementChanged); err != nil {
		return nil, err
	}
	c.types.started, c.types.changed = c.typeStarted, c.enqueueAll
	return c, nil
}

func namedBy(p *schedulingv1alpha1.Placement) (keys []string) {
	for i := range p.Status.SelectedTargets {
		keys = append(keys, p.Status.SelectedTargets[i].Key)
	}
	return keys
}

// whereTargetIs is what Placements say about where the SyncTarget with a key is. Tenants can write what they want there.
func (c *Controller) whereTargetIs(key string) (said []fleet.Key) {
	for _, p := range c.placements.By(byNamed, key) {
		for i := range p.Status.SelectedTargets {
			if target := &p.Status.SelectedTargets[i]; target.Key == key {
				said = append(said, fleet.Key{Cluster: logicalcluster.Name(target.Cluster), Name: target.Name})
			}
		}
	}
	return said
}

// Run works until ctx is done.
func (c *Controller) Run(ctx context.Context) error {
	if !c.deps.Fleet.Bound(workloadv1alpha1.KubernetesExport) {
		<-ctx.Done() // there is no tenant yet; with the first one everything is made anew
		return nil
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	parts.Go(func() { failed = c.types.run(ctx); cancel() })
	parts.Go(func() { c.keepRegistered(ctx) })
	if fleet.Synced(ctx, c.namespaces, c.placements, c.targets.cache) {
		parts.Go(func() { c.deps.Webhook.answerFrom(ctx, c) })
		c.loop.Run(ctx)
	}
	parts.Wait()
	return failed
}

// typeStarted prepares the cache of a type.
func (c *Controller) typeStarted(t *typeCache) error {
	resource := t.gvr.GroupResource()
	for index, values := range map[string]func(*object) []string{
		byTarget: (*object).keys,
		byPlace: func(o *object) []string {
			var places []string
			for _, key := range workloadv1alpha1.AssignedKeys(o.Labels) {
				places = append(places, placeOf(namespaceOf(o), key))
			}
			return places
		},
		byNeed: func(o *object) []string {
			var needed []string
			for _, r := range o.needs {
				needed = append(needed, needOf(namespaceOf(o), r))
			}
			return needed
		},
	} {
		if err := t.AddIndex(index, values); err != nil {
			return err
		}
	}
	return t.OnChange(func(change fleet.Change[*object]) { c.objectChanged(resource, change) })
}

func placeOf(ns namespaceKey, key string) string { return ns.String() + "|" + key }

func needOf(ns namespaceKey, r references.Reference) string {
	return ns.String() + "|" + r.GroupResource.String() + "|" + r.Name
}

// objectChanged has the object looked at, and what depends on it.
func (c *Controller) objectChanged(resource schema.GroupResource, change fleet.Change[*object]) {
	now, before := change.Object, change.Before
	ns := namespaceOf(now)
	c.noteTrace(resource, change)
	c.loop.Add(item{resource: resource, Key: fleet.KeyOf(now)}, change.Priority)
	moved := before == nil || !maps.Equal(before.Labels, now.Labels)
	if before == nil || change.Deleted || moved || !slices.Equal(before.needs, now.needs) {
		c.enqueueNeeded(ns, now.needs, change.Priority)
		if before != nil {
			c.enqueueNeeded(ns, before.needs, change.Priority)
		}
	}
	if (moved || change.Deleted || now.workload != nil) && c.isLeaving(ns) {
		c.loop.AddAfter(ns.item(), tmc.PriorityLive, soon)
	}
}

// noteTrace has the pass belong to the trace that a change carries.
func (c *Controller) noteTrace(resource schema.GroupResource, change fleet.Change[*object]) {
	if carried := carriedBy(change); carried != "" {
		c.loop.NoteTrace(item{resource: resource, Key: fleet.KeyOf(change.Object)}, carried)
	}
}

// carriedBy is what a change carries; empty for none. What was there at the start is no change, and what comes with a change of
// where the object is to be is what was written with that, for a syncer.
func carriedBy(change fleet.Change[*object]) string {
	now, before := change.Object, change.Before
	if before == nil {
		before = &object{}
	}
	carried := now.Annotations[workloadv1alpha1.TraceAnnotation]
	ours := !maps.Equal(before.Labels, now.Labels) && len(workloadv1alpha1.AssignedKeys(now.Labels)) > 0 || !slices.Equal(leavingOf(before), leavingOf(now))
	if carried == before.Annotations[workloadv1alpha1.TraceAnnotation] || ours || change.Deleted || change.Priority < tmc.PriorityLive {
		return ""
	}
	return carried
}

// leavingOf are the targets that the object was asked to leave.
func leavingOf(o *object) []string {
	var leaving []string
	for name := range o.Annotations {
		if key, ok := workloadv1alpha1.KeyOfDeletionAnnotation(name); ok {
			leaving = append(leaving, key)
		}
	}
	slices.Sort(leaving)
	return leaving
}

// soon is how long changes of a namespace's objects are collected before it is looked at as a whole.
const soon = 100 * time.Millisecond

func (c *Controller) enqueueNeeded(ns namespaceKey, needed []references.Reference, priority tmc.Priority) {
	for _, r := range needed {
		c.loop.Add(item{resource: r.GroupResource, Key: fleet.Key{Cluster: ns.cluster, Namespace: ns.name, Name: r.Name}}, priority)
	}
}

func (c *Controller) namespaceChanged(change fleet.Change[*metav1.PartialObjectMetadata]) {
	if change.Before == nil || !maps.Equal(change.Before.Labels, change.Object.Labels) {
		c.loop.Add(namespaceKey{logicalcluster.From(change.Object), change.Object.Name}.item(), change.Priority)
	}
}

// placementChanged has all namespaces of the workspace looked at; they know whether they are selected.
func (c *Controller) placementChanged(change fleet.Change[*schedulingv1alpha1.Placement]) {
	now, before := change.Object, change.Before
	if before != nil && before.Spec.MovePolicy == now.Spec.MovePolicy && equality.Semantic.DeepEqual(before.Spec.NamespaceSelector, now.Spec.NamespaceSelector) &&
		equality.Semantic.DeepEqual(before.Status.SelectedTargets, now.Status.SelectedTargets) {
		return
	}
	cluster := logicalcluster.From(now)
	for _, namespace := range c.namespaces.In(cluster) {
		c.loop.Add(namespaceKey{cluster, namespace.Name}.item(), change.Priority)
	}
}

// targetChanged has everything looked at that says something about the target.
func (c *Controller) targetChanged(key string, priority tmc.Priority) {
	for _, namespace := range c.namespaces.By(byTarget, key) {
		c.loop.Add(namespaceKey{logicalcluster.From(namespace), namespace.Name}.item(), priority)
	}
	for _, t := range c.types.all() {
		for _, o := range t.By(byTarget, key) {
			c.loop.Add(item{resource: t.gvr.GroupResource(), Key: fleet.KeyOf(o)}, priority)
		}
	}
}

// enqueueAll has everything looked at, in the background.
func (c *Controller) enqueueAll() {
	for _, namespace := range c.namespaces.All() {
		c.loop.Add(namespaceKey{logicalcluster.From(namespace), namespace.Name}.item(), tmc.PriorityBacklog)
	}
	for _, t := range c.types.all() {
		for _, o := range t.All() {
			c.loop.Add(item{resource: t.gvr.GroupResource(), Key: fleet.KeyOf(o)}, tmc.PriorityBacklog)
		}
	}
}

// enqueueNamespace has all objects of a namespace looked at.
func (c *Controller) enqueueNamespace(ns namespaceKey, priority tmc.Priority) {
	for _, t := range c.types.all() {
		for _, o := range t.InNamespace(ns.cluster, ns.name) {
			c.loop.Add(item{resource: t.gvr.GroupResource(), Key: fleet.KeyOf(o)}, priority)
		}
	}
}

func (c *Controller) process(ctx context.Context, i item) (again time.Duration, err error) {
	if i.resource == namespaces {
		return c.processNamespace(ctx, namespaceKey{i.Cluster, i.Name})
	}
	return c.processObject(ctx, i)
}

// record is what is remembered of an object between passes. All of it can be lost.
type record struct {
	// wrote is the version that our last write made.
	wrote string
	// straySince is when it was first seen with a claim and no label; needlessSince when it was first not needed any more.
	straySince, needlessSince time.Time
	// tellAt is when it is its turn to be told that its target is silent.
	tellAt time.Time
	// lastStatus is when the status was last put together. futile is a patch of it that changed nothing.
	lastStatus time.Time
	futile     string
}

func (c *Controller) remembered(i item) record {
	c.lock.Lock()
	defer c.lock.Unlock()
	if r, ok := c.records[i]; ok {
		return *r
	}
	return record{}
}

func (c *Controller) remember(i item, r record) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if r == (record{}) {
		delete(c.records, i)
		return
	}
	c.records[i] = &r
}

// check that what a loop logs is for people.
var _ fmt.Stringer = item{}
