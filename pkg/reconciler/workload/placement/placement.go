package placement

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"
	corev1alpha1 "github.com/kcp-dev/sdk/apis/core/v1alpha1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement/choose"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// processPlacement gathers, decides and writes. The patch holds for the version that was decided about: of a stale one the
// answer is a conflict, and the next pass sees the other.
func (c *Controller) processPlacement(ctx context.Context, key fleet.Key) (time.Duration, error) {
	p, ok := c.placements.Get(key)
	if !ok {
		c.deps.Fleet.Recovery().Mended(fleet.PlacementComponent, key)
		return 0, nil
	}
	rollBacks := c.rollBacksOf(key)
	if p.DeletionTimestamp != nil && !slices.Contains(p.Finalizers, schedulingv1alpha1.PlacementFinalizer) {
		return 0, nil // nothing was placed, or all has left
	}
	gone, again, err := c.goneOf(ctx, p)
	if err != nil {
		return 0, err
	}
	decision, wait := c.decide(p, gone, rollBacks)
	if wait > 0 {
		return wait, nil
	}
	if err := c.write(ctx, p, &decision); err != nil {
		c.ledger.drop(key)
		return 0, err
	}
	c.forgetRollBacks(key, rollBacks)
	c.noteDecision(key, &decision)
	if !decision.Again.IsZero() {
		again = sooner(again, max(decision.Again.Sub(c.clock.Now()), time.Millisecond))
	}
	return again, nil
}

// sooner is the shorter one of two waits, of which zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// goneOf are the targets of a Placement that are certain not to exist any more. Of others that cannot be seen, again says when
// to ask anew.
func (c *Controller) goneOf(ctx context.Context, p *schedulingv1alpha1.Placement) (gone sets.Set[string], again time.Duration, err error) {
	gone = sets.New[string]()
	for i := range p.Status.SelectedTargets {
		entry := &p.Status.SelectedTargets[i]
		where := fleet.Key{Cluster: logicalcluster.Name(entry.Cluster), Name: entry.Name}
		if _, seen := c.targets.Get(where); seen {
			continue
		}
		certain, after, err := c.absences.Gone(ctx, entry.Key, where)
		if err != nil {
			return nil, 0, err
		}
		if certain {
			gone.Insert(entry.Key)
		}
		again = sooner(again, after)
	}
	return gone, again, nil
}

// decide makes the decision and enters it in the ledger, one at a time where that matters.
func (c *Controller) decide(p *schedulingv1alpha1.Placement, gone sets.Set[string], rollBacks []choose.RollBack) (decision choose.Decision, wait time.Duration) {
	if len(p.Spec.Resources.Requests) > 0 {
		c.deciding.Lock()
		defer c.deciding.Unlock()
	}
	observed := c.gather(p, gone)
	observed.RollBacks = rollBacks
	if observed.Provider.Cluster == "" || observed.Consumer.Path == "" {
		if wait = c.pathsUnsettled(); wait > 0 {
			return decision, wait
		}
	}
	decision = choose.Decide(observed)
	if c.ledger.assume(fleet.KeyOf(p), claimOf(&p.Spec, &decision.Status)) {
		c.wakeAll(c.placements.All(), tmc.PriorityBacklog, wantsRoom)
	}
	return decision, 0
}

// pathsUnsettled is how long to wait before an unknown path counts as one that nobody has.
func (c *Controller) pathsUnsettled() time.Duration {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.started.Add(pathsSettle).Sub(c.clock.Now())
}

// gather reads caches only.
func (c *Controller) gather(p *schedulingv1alpha1.Placement, gone sets.Set[string]) choose.Observed {
	cluster := logicalcluster.From(p)
	provider := c.provider(p)
	o := choose.Observed{
		Now: c.clock.Now(), Placement: p,
		Consumer:    choose.Workspace{Cluster: string(cluster), Path: c.pathOf(cluster)},
		Provider:    provider,
		OffersToAll: c.isProvider(logicalcluster.Name(provider.Cluster)),
	}
	known := sets.New[string]()
	if provider.Cluster != "" {
		for _, l := range c.locations.In(logicalcluster.Name(provider.Cluster)) {
			o.Locations = append(o.Locations, choose.LocationOf(l))
		}
		for _, st := range c.targets.In(logicalcluster.Name(provider.Cluster)) {
			t := c.target(st)
			known.Insert(t.Key)
			o.Targets = append(o.Targets, t)
		}
	}
	o.Targets = append(o.Targets, c.chosenElsewhere(p, known, gone)...)
	if p.Spec.AntiAffinity != nil {
		c.gatherOthers(&o, cluster, known)
	}
	o.Requested = c.ledger.requested(fleet.KeyOf(p), sets.List(known))
	c.gatherNamespaces(&o, cluster)
	return o
}

// provider is the workspace of the Locations; without a Cluster if it is not known, or its Locations cannot be seen.
func (c *Controller) provider(p *schedulingv1alpha1.Placement) choose.Workspace {
	path := logicalcluster.NewPath(string(p.Spec.LocationWorkspace))
	if path.Empty() {
		path = c.deps.Provider
	}
	cluster, known := c.deps.Fleet.ClusterOf(path)
	if _, served := c.schedulers.Get(fleet.Key{Cluster: cluster, Name: corev1alpha1.LogicalClusterName}); !known || !served {
		return choose.Workspace{Path: path.String()}
	}
	return choose.Workspace{Cluster: string(cluster), Path: c.pathOf(cluster)}
}

// chosenElsewhere are the targets that the Placement is on and that are not among those known, but for those that are gone.
// Of one that cannot be seen nothing is known, so it counts as not ready.
func (c *Controller) chosenElsewhere(p *schedulingv1alpha1.Placement, known, gone sets.Set[string]) (targets []choose.Target) {
	for i := range p.Status.SelectedTargets {
		entry := &p.Status.SelectedTargets[i]
		if known.Has(entry.Key) || gone.Has(entry.Key) {
			continue
		}
		if st, ok := c.targets.Get(fleet.Key{Cluster: logicalcluster.Name(entry.Cluster), Name: entry.Name}); ok {
			targets = append(targets, c.target(st))
		} else {
			targets = append(targets, c.unseen(entry))
		}
		known.Insert(entry.Key)
	}
	return targets
}

// unseen is a target that is chosen and cannot be seen.
func (c *Controller) unseen(entry *schedulingv1alpha1.SelectedTarget) choose.Target {
	c.lock.Lock()
	defer c.lock.Unlock()
	since, noted := c.notReadySince[entry.Key]
	if !noted {
		since = c.clock.Now()
		c.notReadySince[entry.Key] = since
	}
	return choose.Unseen(entry, since)
}

func (c *Controller) gatherOthers(o *choose.Observed, cluster logicalcluster.Name, known sets.Set[string]) {
	for _, other := range c.placements.In(cluster) {
		if other.Name == o.Placement.Name {
			continue
		}
		entry := choose.Other{Name: other.Name, Labels: other.Labels}
		for i := range other.Status.SelectedTargets {
			s := &other.Status.SelectedTargets[i]
			entry.Chosen = append(entry.Chosen, choose.Chosen{Key: s.Key, Location: s.Location})
		}
		o.Others = append(o.Others, entry)
		o.Targets = append(o.Targets, c.chosenElsewhere(other, known, nil)...)
	}
}

// gatherNamespaces counts the namespaces that use the Placement, and finds the targets that they are on. Those of a deleted
// Placement are all that are on its targets, whether or not its selector still matches them.
func (c *Controller) gatherNamespaces(o *choose.Observed, cluster logicalcluster.Name) {
	p := o.Placement
	o.Occupied = sets.New[string]()
	selector, err := choose.NamespaceSelector(&p.Spec)
	if err != nil {
		return
	}
	for _, ns := range c.namespaces.In(cluster) {
		matches := selector.Matches(labels.Set(ns.Labels))
		if matches && ns.DeletionTimestamp == nil {
			o.Namespaces++
		}
		if !matches && p.DeletionTimestamp == nil {
			continue
		}
		for i := range p.Status.SelectedTargets {
			key := p.Status.SelectedTargets[i].Key
			if _, on := ns.Labels[workloadv1alpha1.StateLabel(key)]; on && !c.wantedByOther(p, cluster, ns.Labels, key) {
				o.Occupied.Insert(key)
			}
		}
	}
}

// wantedByOther is true if another Placement wants a namespace with those labels to be on the target.
func (c *Controller) wantedByOther(p *schedulingv1alpha1.Placement, cluster logicalcluster.Name, namespaceLabels map[string]string, key string) bool {
	for _, other := range c.placements.In(cluster) {
		if other.Name == p.Name {
			continue
		}
		selected := slices.ContainsFunc(other.Status.SelectedTargets, func(s schedulingv1alpha1.SelectedTarget) bool {
			return s.Key == key && s.Phase == schedulingv1alpha1.TargetSelected
		})
		selector, err := choose.NamespaceSelector(&other.Spec)
		if selected && err == nil && selector.Matches(labels.Set(namespaceLabels)) {
			return true
		}
	}
	return false
}

// write sends what differs: the finalizer before the first target is selected, the status, and the finalizer's removal when
// nothing is left.
func (c *Controller) write(ctx context.Context, p *schedulingv1alpha1.Placement, decision *choose.Decision) error {
	key, version := fleet.KeyOf(p), p.ResourceVersion
	finalized := slices.Contains(p.Finalizers, schedulingv1alpha1.PlacementFinalizer)
	if decision.Holds() && !finalized {
		after, err := c.patchFinalizers(ctx, key, version, append(slices.Clone(p.Finalizers), schedulingv1alpha1.PlacementFinalizer))
		if err != nil {
			return err
		}
		version = after.GetResourceVersion()
	}
	if p.DeletionTimestamp != nil && !decision.Holds() {
		// The status of what goes now is nobody's concern.
		if _, err := c.patchFinalizers(ctx, key, version, slices.DeleteFunc(slices.Clone(p.Finalizers), func(f string) bool { return f == schedulingv1alpha1.PlacementFinalizer })); err != nil {
			return err
		}
		c.tell(ctx, p, decision)
		return nil
	}
	if equality.Semantic.DeepEqual(p.Status, decision.Status) {
		return nil
	}
	status, err := statusPatch(&decision.Status, version)
	if err != nil {
		return err
	}
	if _, err := c.scheduling.Patch(ctx, fleet.PlacementResource, key, status, "status"); err != nil {
		return err
	}
	logDecision(ctx, key, decision)
	c.tell(ctx, p, decision)
	return nil
}

// logDecision says what a Placement was told.
func logDecision(ctx context.Context, key fleet.Key, decision *choose.Decision) {
	logger := klog.FromContext(ctx).V(2).WithValues("placement", key.String(), "phase", decision.Status.Phase, "moves", len(decision.Moves))
	if scheduled := meta.FindStatusCondition(decision.Status.Conditions, schedulingv1alpha1.PlacementScheduled); scheduled != nil && scheduled.Status != "True" {
		logger.Info("Not placed as asked for", "targets", decision.Status.TargetNames, "reason", scheduled.Reason, "why", scheduled.Message)
		return
	}
	logger.Info("Placed", "targets", decision.Status.TargetNames)
}

func (c *Controller) patchFinalizers(ctx context.Context, key fleet.Key, version string, finalizers []string) (*unstructured.Unstructured, error) {
	return c.scheduling.Patch(ctx, fleet.PlacementResource, key, map[string]any{
		"metadata": map[string]any{"finalizers": finalizers, "resourceVersion": version},
	})
}

// statusPatch replaces the status as a whole: what is not in it is removed.
func statusPatch(status any, version string) (map[string]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return nil, fmt.Errorf("encoding the status: %w", err)
	}
	for _, optional := range []string{"selectedLocation", "targetNames", "selectedTargets", "availableSelectorLabels"} {
		if _, there := content[optional]; !there {
			content[optional] = nil
		}
	}
	return map[string]any{"metadata": map[string]any{"resourceVersion": version}, "status": content}, nil
}

// tell says what moved, and why. The status says it too, so an Event that cannot be written is not tried again.
func (c *Controller) tell(ctx context.Context, p *schedulingv1alpha1.Placement, decision *choose.Decision) {
	for _, move := range decision.Moves {
		c.deps.Metrics.moves.WithLabelValues(string(move.Act), string(move.Target.Reason)).Inc()
		c.emit(ctx, tmc.Event{About: p, Kind: placementKind, Type: severity(move), Reason: string(move.Act), Message: sentence(move)})
	}
	before := meta.FindStatusCondition(p.Status.Conditions, schedulingv1alpha1.PlacementScheduled)
	after := meta.FindStatusCondition(decision.Status.Conditions, schedulingv1alpha1.PlacementScheduled)
	if p.DeletionTimestamp == nil && after != nil && after.Status != "True" && (before == nil || before.Reason != after.Reason) {
		c.emit(ctx, tmc.Event{About: p, Kind: placementKind, Type: corev1.EventTypeWarning, Reason: after.Reason, Message: after.Message})
	}
}

func (c *Controller) emit(ctx context.Context, event tmc.Event) {
	if err := c.scheduling.Emit(ctx, event); err != nil {
		klog.FromContext(ctx).V(2).Info("An Event was not written", "reason", event.Reason, "why", err.Error())
	}
}

func severity(move choose.Move) string {
	if move.Act == choose.RollsBack {
		return corev1.EventTypeWarning
	}
	if move.Act == choose.Leaves && move.Target.Reason != schedulingv1alpha1.TargetNotNeeded && move.Target.Reason != schedulingv1alpha1.TargetPlacementDeleted {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

func sentence(move choose.Move) string {
	t := &move.Target
	who := fmt.Sprintf("SyncTarget %s of %s", t.Name, choose.Workspace{Cluster: t.Cluster, Path: t.Path})
	switch move.Act {
	case choose.Leaves:
		return fmt.Sprintf("the work leaves %s: %s: %s", who, t.Reason, t.Message)
	case choose.Forgets:
		return fmt.Sprintf("no work is left on %s", who)
	case choose.RollsBack:
		return fmt.Sprintf("the work stays on %s: %s; it is tried again at %s", who, t.Message, t.FailedMove.RetryAt.UTC().Format(time.RFC3339))
	case choose.Returns:
		return fmt.Sprintf("the work stays on %s after all", who)
	}
	return fmt.Sprintf("%s was selected through Location %s with score %d%s", who, t.Location, t.Score, parts(t.Scores))
}

func parts(scores []schedulingv1alpha1.Score) string {
	if len(scores) == 0 {
		return ""
	}
	var out []string
	for _, s := range scores {
		out = append(out, fmt.Sprintf("%s %d", s.Name, s.Score))
	}
	return " (" + strings.Join(out, ", ") + ")"
}
