package placement

import (
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement/choose"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Indices of the Placements' cache.
const (
	byTarget   = "placement/target"   // by the keys of the targets that they are on
	byProvider = "placement/provider" // by spec.locationWorkspace, as it is written
	byHunger   = "placement/hunger"   // the same, of those that would take another target
)

func (c *Controller) index() error {
	provider := func(p *schedulingv1alpha1.Placement) []string { return []string{string(p.Spec.LocationWorkspace)} }
	for index, values := range map[string]func(*schedulingv1alpha1.Placement) []string{
		byTarget: func(p *schedulingv1alpha1.Placement) (keys []string) {
			for i := range p.Status.SelectedTargets {
				keys = append(keys, p.Status.SelectedTargets[i].Key)
			}
			return keys
		},
		byProvider: provider,
		byHunger: func(p *schedulingv1alpha1.Placement) []string {
			if hungry(p) {
				return provider(p)
			}
			return nil
		},
	} {
		if err := c.placements.AddIndex(index, values); err != nil {
			return err
		}
	}
	return nil
}

// hungry is true for a Placement that would take another target if there were one.
func hungry(p *schedulingv1alpha1.Placement) bool {
	takesAll := p.Spec.Strategy != schedulingv1alpha1.OneToAny && p.Spec.NumberOfTargets == nil
	return takesAll || !meta.IsStatusConditionTrue(p.Status.Conditions, schedulingv1alpha1.PlacementScheduled)
}

func (c *Controller) listen() error {
	c.deps.Fleet.OnPath(c.pathChanged)
	if err := c.placements.OnChange(c.placementChanged); err != nil {
		return err
	}
	if err := c.locations.OnChange(c.locationChanged); err != nil {
		return err
	}
	if err := c.absences.OnChange(c.targetChanged); err != nil {
		return err
	}
	if err := c.namespaces.OnChange(c.namespaceChanged); err != nil {
		return err
	}
	return c.schedulers.OnChange(func(change fleet.Change[*metav1.PartialObjectMetadata]) {
		cluster := logicalcluster.From(change.Object)
		if change.Before == nil {
			c.locationLoop.Add(fleet.Key{Cluster: cluster}, change.Priority)
			c.wakeOf(byProvider, cluster, change.Priority)
		}
	})
}

// placementChanged also wakes those that keep away from it, and those that wait for the room that it gave up.
func (c *Controller) placementChanged(change fleet.Change[*schedulingv1alpha1.Placement]) {
	now, key := change.Object, fleet.KeyOf(change.Object)
	var freed bool
	if change.Deleted {
		freed = c.ledger.forget(key)
	} else {
		freed = c.ledger.see(key, claimOf(&now.Spec, &now.Status))
		c.placementLoop.Add(key, change.Priority)
	}
	if freed {
		c.wakeAll(c.placements.All(), tmc.PriorityBacklog, wantsRoom)
	}
	if change.Deleted || change.Before != nil && movedAway(change.Before, now) {
		c.wakeAll(c.placements.In(key.Cluster), change.Priority, func(p *schedulingv1alpha1.Placement) bool { return p.Spec.AntiAffinity != nil && hungry(p) })
	}
}

func wantsRoom(p *schedulingv1alpha1.Placement) bool {
	return len(p.Spec.Resources.Requests) > 0 && hungry(p)
}

// movedAway is true if others may now be where they could not be before.
func movedAway(before, now *schedulingv1alpha1.Placement) bool {
	if !maps.Equal(before.Labels, now.Labels) {
		return true
	}
	on := map[string]bool{}
	for i := range now.Status.SelectedTargets {
		on[now.Status.SelectedTargets[i].Key] = true
	}
	for i := range before.Status.SelectedTargets {
		if !on[before.Status.SelectedTargets[i].Key] {
			return true
		}
	}
	return false
}

func (c *Controller) locationChanged(change fleet.Change[*schedulingv1alpha1.Location]) {
	key := fleet.KeyOf(change.Object)
	if change.Deleted {
		c.locationLoop.Add(fleet.Key{Cluster: key.Cluster}, change.Priority)
	} else {
		c.locationLoop.Add(key, change.Priority)
	}
	if change.Before != nil && equality.Semantic.DeepEqual(choose.LocationOf(change.Before), choose.LocationOf(change.Object)) {
		return // its status
	}
	c.wakeOf(byProvider, key.Cluster, change.Priority)
}

func (c *Controller) targetChanged(change fleet.Change[*workloadv1alpha1.SyncTarget]) {
	key := fleet.KeyOf(change.Object)
	target := workloadv1alpha1.SyncTargetKey(string(key.Cluster), key.Name)
	c.noteReadiness(target, change)
	if change.Before == nil || change.Before.Annotations[schedulingv1alpha1.DefaultLocationAnnotation] != change.Object.Annotations[schedulingv1alpha1.DefaultLocationAnnotation] {
		c.locationLoop.Add(fleet.Key{Cluster: key.Cluster}, change.Priority)
	}
	if change.Before != nil && choose.TargetOf(change.Before, string(key.Cluster), "").Same(choose.TargetOf(change.Object, string(key.Cluster), "")) {
		return // a heartbeat, for one
	}
	for _, l := range c.locations.In(key.Cluster) {
		c.locationLoop.Add(fleet.KeyOf(l), change.Priority)
	}
	for _, p := range c.placements.By(byTarget, target) {
		c.placementLoop.Add(fleet.KeyOf(p), change.Priority)
	}
	if !change.Deleted {
		c.wakeOf(byHunger, key.Cluster, change.Priority)
	}
}

// noteReadiness remembers since when a target has not been ready.
func (c *Controller) noteReadiness(target string, change fleet.Change[*workloadv1alpha1.SyncTarget]) {
	notReady := choose.TargetOf(change.Object, "", "").NotReady
	c.lock.Lock()
	defer c.lock.Unlock()
	if change.Deleted {
		delete(c.read, fleet.KeyOf(change.Object))
	}
	if change.Deleted || notReady == "" {
		delete(c.notReadySince, target)
	} else if _, known := c.notReadySince[target]; !known {
		c.notReadySince[target] = c.clock.Now()
	}
}

// namespaceChanged wakes the Placements of the workspace: its selector, and the state labels that tell what is on a target,
// are about labels.
func (c *Controller) namespaceChanged(change fleet.Change[*metav1.PartialObjectMetadata]) {
	now, before := change.Object, change.Before
	if before != nil && maps.Equal(now.Labels, before.Labels) && (now.DeletionTimestamp == nil) == (before.DeletionTimestamp == nil) {
		return
	}
	c.wakeAll(c.placements.In(logicalcluster.From(now)), change.Priority, nil)
}

func (c *Controller) pathChanged(cluster logicalcluster.Name) {
	c.wakeOf(byHunger, cluster, tmc.PriorityBacklog)
	c.wakeAll(c.placements.In(cluster), tmc.PriorityBacklog, nil)
}

// wakeOf wakes the Placements of an index whose Locations are in that logical cluster, under each of its names.
func (c *Controller) wakeOf(index string, cluster logicalcluster.Name, priority tmc.Priority) {
	names := map[string]bool{string(cluster): true}
	if path := c.pathOf(cluster); path != "" {
		names[path] = true
	}
	if c.isProvider(cluster) {
		names[""] = true
	}
	for name := range names {
		c.wakeAll(c.placements.By(index, name), priority, nil)
	}
}

func (c *Controller) wakeAll(placements []*schedulingv1alpha1.Placement, priority tmc.Priority, only func(*schedulingv1alpha1.Placement) bool) {
	for _, p := range placements {
		if only == nil || only(p) {
			c.placementLoop.Add(fleet.KeyOf(p), priority)
		}
	}
}
