package assignment

import (
	"context"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/references"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// namespaceKey names a namespace.
type namespaceKey struct {
	cluster logicalcluster.Name
	name    string
}

func (n namespaceKey) String() string { return string(n.cluster) + "|" + n.name }

func (n namespaceKey) item() item {
	return item{resource: namespaces, Key: fleet.Key{Cluster: n.cluster, Name: n.name}}
}

func namespaceOf(o metav1.Object) namespaceKey {
	return namespaceKey{logicalcluster.From(o), o.GetNamespace()}
}

// placedNamespace is what the last pass over a namespace found out, and what its objects' passes read.
type placedNamespace struct {
	plan decide.Plan
	// labelled are the targets that the namespace itself is assigned to. Objects go there after it.
	labelled []string
	// may says for each target that is to be left whether that may be now.
	may map[string]decide.Verdict

	// since is when a target was first seen to be left for no reason that a Placement tells. ever are the targets that a
	// Placement chose at any time.
	since map[string]time.Time
	ever  map[string]bool
	// placedAt is when this manager first knew a target for the objects; zero while there is none.
	placedAt time.Time
	// told is for what a slow move waits, by the target that is to be left, as it was told.
	told map[string]string
}

// namespacePass is one look at one namespace.
type namespacePass struct {
	c    *Controller
	key  namespaceKey
	now  time.Time
	seen *metav1.PartialObjectMetadata
	was  placedNamespace

	placed  []decide.Placed
	named   map[string]bool // by a Placement of the workspace, whether or not that selects the namespace
	plan    decide.Plan
	leaving []string
	may     map[string]decide.Verdict
	told    map[string]string
	after   time.Duration
}

// placedIn is what is known of a namespace.
func (c *Controller) placedIn(ns namespaceKey) (placedNamespace, bool) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if p, ok := c.placed[ns]; ok {
		return *p, true
	}
	return placedNamespace{}, false
}

// isLeaving reports whether the namespace has targets to leave.
func (c *Controller) isLeaving(ns namespaceKey) bool {
	p, _ := c.placedIn(ns)
	return len(p.may) > 0
}

// processNamespace finds out where the objects of a namespace are to be, and which targets they may leave now.
func (c *Controller) processNamespace(ctx context.Context, ns namespaceKey) (time.Duration, error) {
	seen, ok := c.namespaces.Get(fleet.Key{Cluster: ns.cluster, Name: ns.name})
	if !ok || !c.deps.Fleet.Bound(workloadv1alpha1.SchedulingExport) {
		c.lock.Lock()
		delete(c.placed, ns)
		c.lock.Unlock()
		return 0, nil // where its objects are to be is not known: they stay
	}
	p := &namespacePass{c: c, key: ns, now: c.clock.Now(), seen: seen}
	p.was, _ = c.placedIn(ns)
	p.gather()
	if err := p.decide(ctx); err != nil {
		return 0, err
	}
	p.publish()
	if err := p.label(ctx); err != nil {
		return 0, err
	}
	return p.after, nil
}

// gather reads what the Placements of the workspace say.
func (p *namespacePass) gather() {
	p.named = map[string]bool{}
	for _, placement := range p.c.placements.In(p.key.cluster) {
		selects := selects(placement, p.seen.Labels)
		for _, target := range placement.Status.SelectedTargets {
			p.named[target.Key] = true
			if selects || placement.DeletionTimestamp != nil && target.Phase == schedulingv1alpha1.TargetLeaving {
				p.placed = append(p.placed, placedBy(placement, target, p.c.deps.Fleet.Recovery().Enabled()))
			}
		}
	}
	p.plan = decide.PlanOf(p.placed)
}

func selects(placement *schedulingv1alpha1.Placement, namespaceLabels map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(placement.Spec.NamespaceSelector)
	return err == nil && selector.Matches(labels.Set(namespaceLabels))
}

// placedBy is what a Placement says about a target. A move is taken back when it fails only if anybody does so.
func placedBy(placement *schedulingv1alpha1.Placement, target schedulingv1alpha1.SelectedTarget, recovers bool) decide.Placed {
	stopFirst := placement.Spec.MovePolicy == schedulingv1alpha1.StopFirst
	placed := decide.Placed{By: placement.Name, Key: target.Key, StopFirst: stopFirst, Leaving: target.Phase == schedulingv1alpha1.TargetLeaving}
	if !placed.Leaving {
		return placed
	}
	placed.Leave = decide.Leave{Since: target.Since.Time, Urgent: target.Reason.ForbidsWaiting() || stopFirst, Why: string(target.Reason), By: []string{placement.Name}}
	placed.RollsBack = recovers && !stopFirst && placement.Spec.MoveFailurePolicy != schedulingv1alpha1.Proceed && target.Reason.RollsBack()
	if target.Message != "" {
		placed.Why += ": " + target.Message
	}
	if target.Reason == schedulingv1alpha1.TargetDeleted {
		placed.Gone = string(target.UID)
	}
	return placed
}

// decide says of each target that the namespace or an object of it is on, and is not to be on, whether it may be left.
func (p *namespacePass) decide(ctx context.Context) error {
	p.may, p.told = map[string]decide.Verdict{}, map[string]string{}
	p.leaving = slices.Collect(maps.Keys(p.plan.Leaving))
	for _, key := range workloadv1alpha1.AssignedKeys(p.seen.Labels) {
		if !slices.Contains(p.plan.Wanted, key) && !slices.Contains(p.leaving, key) {
			p.leaving = append(p.leaving, key)
		}
	}
	for key := range p.was.ever {
		if !slices.Contains(p.plan.Wanted, key) && !slices.Contains(p.leaving, key) && p.hasObjectsOn(key) {
			p.leaving = append(p.leaving, key)
		}
	}
	slices.Sort(p.leaving)
	for _, key := range p.leaving {
		verdict, err := p.mayLeave(ctx, key)
		if err != nil {
			return err
		}
		p.may[key] = verdict
		p.lookAgain(verdict.After)
		if leave, ok := p.plan.Leaving[key]; ok {
			p.follow(ctx, key, leave, verdict)
		}
	}
	return nil
}

func (p *namespacePass) lookAgain(after time.Duration) {
	if after > 0 && (p.after == 0 || after < p.after) {
		p.after = after
	}
}

func (p *namespacePass) mayLeave(ctx context.Context, key string) (decide.Verdict, error) {
	if !p.c.types.synced() {
		return decide.Verdict{Why: "not everything in the workspaces has been seen yet", After: time.Second}, nil
	}
	move := decide.Move{Key: key, Wanted: p.plan.Wanted, Now: p.now, Patience: p.c.deps.MoveTimeout(), Name: p.c.targets.nameOf}
	if leave, ok := p.plan.Leaving[key]; ok {
		move.Leave, move.Since = &leave, leave.Since
	} else {
		unnamed, after, err := p.unnamed(ctx, key)
		if !unnamed {
			return decide.Verdict{Why: "the Placement that chose it cannot be seen", After: after}, err
		}
		move.Since = p.since(key)
	}
	move.Workloads = p.c.workloadsIn(p.key, key)
	return decide.MayLeave(move), nil
}

// missingFor is for how long no Placement must have named a target before that may mean that none does.
const missingFor = 15 * time.Second

// unnamed reports whether it is certain that no Placement that selects the namespace names the target. A Placement that is
// there and says so is evidence; that none is there is, when it is so for some time, and the workspace itself says so too.
// A workspace that cannot be read says nothing.
func (p *namespacePass) unnamed(ctx context.Context, key string) (certain bool, again time.Duration, err error) {
	if p.named[key] {
		return true, 0, nil
	}
	if left := missingFor - p.now.Sub(p.since(key)); left > 0 {
		return false, left, nil
	}
	if p.was.may[key].Yes {
		return true, 0, nil // made sure of already
	}
	live, served, err := p.c.placements.LiveIn(ctx, p.key.cluster)
	if err != nil || !served {
		return false, time.Minute, err
	}
	for _, placement := range live {
		for _, target := range placement.Status.SelectedTargets {
			if target.Key == key {
				return false, missingFor, nil // the cache will show it
			}
		}
	}
	return true, 0, nil
}

// since is when the target was first seen to be left for no reason that a Placement tells.
func (p *namespacePass) since(key string) time.Time {
	if since, ok := p.was.since[key]; ok {
		return since
	}
	return p.now
}

// publish has the objects' passes know, and has all of them looked at if something is new.
func (p *namespacePass) publish() {
	now := placedNamespace{
		plan: p.plan, labelled: workloadv1alpha1.AssignedKeys(p.seen.Labels), may: p.may,
		since: map[string]time.Time{}, ever: maps.Clone(p.was.ever), told: p.told,
	}
	if len(p.plan.Wanted) > 0 {
		now.placedAt = p.was.placedAt
		if now.placedAt.IsZero() {
			now.placedAt = p.now
		}
	}
	if now.ever == nil {
		now.ever = map[string]bool{}
	}
	for _, key := range p.leaving {
		if _, named := p.plan.Leaving[key]; !named {
			now.since[key] = p.since(key)
		}
		now.ever[key] = true
	}
	for _, key := range p.plan.Wanted {
		now.ever[key] = true
	}
	p.c.lock.Lock()
	_, known := p.c.placed[p.key]
	p.c.placed[p.key] = &now
	p.c.lock.Unlock()
	if !known || !now.plan.Equal(p.was.plan) || !slices.Equal(now.labelled, p.was.labelled) || !maps.EqualFunc(now.may, p.was.may, sameVerdict) {
		p.c.enqueueNamespace(p.key, tmc.PriorityBacklog+1)
	}
}

func sameVerdict(a, b decide.Verdict) bool { return a.Yes == b.Yes }

// label keeps the labels of the namespace itself: they come before the first object is assigned, and go after the last.
func (p *namespacePass) label(ctx context.Context) error {
	changes := map[string]any{}
	for _, key := range p.plan.Wanted {
		label := workloadv1alpha1.StateLabel(key)
		if p.seen.Labels[label] != string(workloadv1alpha1.StateSync) && p.seen.DeletionTimestamp == nil {
			changes[label] = string(workloadv1alpha1.StateSync)
		}
	}
	for _, key := range p.leaving {
		label := workloadv1alpha1.StateLabel(key)
		if _, ok := p.seen.Labels[label]; ok && p.may[key].Yes && p.c.types.synced() && !p.hasObjectsOn(key) {
			changes[label] = nil
		}
	}
	if len(changes) == 0 {
		return nil
	}
	klog.FromContext(ctx).V(2).Info("Assigning a namespace", "namespace", p.key.String(), "labels", changes)
	p.c.metrics.acted("Namespace")
	_, err := p.c.writer.Patch(ctx, fleet.NamespaceResource, fleet.Key{Cluster: p.key.cluster, Name: p.key.name}, map[string]any{
		"metadata": map[string]any{"uid": string(p.seen.UID), "labels": changes},
	})
	if tmc.CategoryOf(err) == tmc.NotFound {
		return nil
	}
	return err
}

func (p *namespacePass) hasObjectsOn(key string) bool {
	for _, t := range p.c.types.all() {
		if len(t.By(byPlace, placeOf(p.key, key))) > 0 {
			return true
		}
	}
	return false
}

// workloadsIn are the workloads of a namespace, for the question whether they may leave a target.
func (c *Controller) workloadsIn(ns namespaceKey, leaving string) []decide.Workload {
	var found []decide.Workload
	for _, t := range c.types.all() {
		if !references.IsWorkload(t.gvr.GroupResource()) {
			continue
		}
		for _, o := range t.InNamespace(ns.cluster, ns.name) {
			found = append(found, workloadFacts(t, o, leaving))
		}
	}
	slices.SortFunc(found, func(a, b decide.Workload) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return found
}

func workloadFacts(t *typeCache, o *object, leaving string) decide.Workload {
	facts := decide.Workload{
		Name: t.gvr.Resource + "/" + o.Name, On: workloadv1alpha1.AssignedKeys(o.Labels), Finished: o.workload.finished,
		Stays: o.DeletionTimestamp != nil || o.Labels[workloadv1alpha1.AssignLabel] == assignNever,
	}
	for _, key := range facts.On {
		if o.isReadyOn(key, key == leaving) {
			facts.Ready = append(facts.Ready, key)
		}
		if why := o.refusedBy(key); why != "" {
			if facts.Refused == nil {
				facts.Refused = map[string]string{}
			}
			facts.Refused[key] = why
		}
	}
	return facts
}
