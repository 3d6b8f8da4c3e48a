package placement

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement/choose"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// categories of what stands against targets.
var categories = map[string]tmc.Category{
	schedulingv1alpha1.ReasonInvalidSpec:              tmc.Validation,
	schedulingv1alpha1.ReasonLocationWorkspaceUnknown: tmc.NotFound,
	schedulingv1alpha1.ReasonNoMatchingLocation:       tmc.PlacementConstraint,
	schedulingv1alpha1.ReasonNoTargets:                tmc.PlacementConstraint,
	schedulingv1alpha1.ReasonAffinityUnmatched:        tmc.PlacementConstraint,
	schedulingv1alpha1.ReasonAntiAffinityUnsatisfied:  tmc.PlacementConstraint,
	schedulingv1alpha1.ReasonSpreadUnsatisfiable:      tmc.PlacementConstraint,
	schedulingv1alpha1.ReasonNoTargetFits:             tmc.PlacementConstraint,
	schedulingv1alpha1.ReasonTooFewTargets:            tmc.PlacementCapacity,
	schedulingv1alpha1.ReasonInsufficientResources:    tmc.PlacementCapacity,
	schedulingv1alpha1.ReasonTargetsCordoned:          tmc.PlacementPolicy,
	schedulingv1alpha1.ReasonTaintsNotTolerated:       tmc.PlacementPolicy,
	schedulingv1alpha1.ReasonLocationForbidden:        tmc.PlacementPolicy,
	schedulingv1alpha1.ReasonTargetsNotReady:          tmc.Unavailable,
}

// failureOf is why a decision does not give the Placement what it asks for, or gives it targets that have failed; nil if all is
// well.
func failureOf(decision *choose.Decision) error {
	scheduled := meta.FindStatusCondition(decision.Status.Conditions, schedulingv1alpha1.PlacementScheduled)
	switch {
	case decision.Against != "" && scheduled != nil:
		return tmc.As(categories[decision.Against], errors.New(decision.Against+": "+scheduled.Message))
	case !choose.Scheduled(&decision.Status) && decision.Holds():
		if ready := meta.FindStatusCondition(decision.Status.Conditions, schedulingv1alpha1.PlacementReady); ready != nil && ready.Reason == schedulingv1alpha1.ReasonTargetDisturbed {
			return tmc.As(tmc.Unavailable, errors.New(ready.Reason+": "+ready.Message))
		}
	}
	return nil
}

// noteDecision tells the recovery whether the Placement has what it asks for.
func (c *Controller) noteDecision(key fleet.Key, decision *choose.Decision) {
	recovery := c.deps.Fleet.Recovery()
	if err := failureOf(decision); err != nil {
		recovery.Failed(tmc.Incident{Component: fleet.PlacementComponent, Subject: key, Err: tmc.WithContext(err, tmc.Context{
			Component: name, Operation: "placing", Cluster: string(key.Cluster), Name: key.Name,
			Resource: fleet.PlacementResource.GroupResource(), Kind: placementKind,
		})})
		return
	}
	recovery.Mended(fleet.PlacementComponent, key)
}

// Reschedule has another look at a Placement.
func (c *Controller) Reschedule(placement fleet.Key) {
	c.placementLoop.Add(placement, tmc.PriorityBacklog)
}

// RollBack has the work of a move that failed stay where it was.
func (c *Controller) RollBack(m fleet.Move, failure error) {
	c.rememberRollBack(m, failure)
	c.placementLoop.Add(m.Placement, tmc.PriorityLive)
}

func (c *Controller) rememberRollBack(m fleet.Move, failure error) {
	why := failure
	var sorted *tmc.Error
	if errors.As(failure, &sorted) && sorted.Err != nil {
		why = sorted.Err // without the circumstances, which the Placement knows
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.rollBacks[m.Placement] == nil {
		c.rollBacks[m.Placement] = map[string]choose.RollBack{}
	}
	c.rollBacks[m.Placement][m.From] = choose.RollBack{From: m.From, To: m.To, Reason: string(tmc.CategoryOf(failure)), Why: why.Error()}
}

// rollBacksOf are the failed moves that a Placement has to take back.
func (c *Controller) rollBacksOf(placement fleet.Key) (all []choose.RollBack) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, r := range c.rollBacks[placement] {
		all = append(all, r)
	}
	return all
}

// forgetRollBacks forgets those that a decision was made about.
func (c *Controller) forgetRollBacks(placement fleet.Key, decided []choose.RollBack) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, r := range decided {
		if c.rollBacks[placement][r.From] == r {
			delete(c.rollBacks[placement], r.From)
		}
	}
	if len(c.rollBacks[placement]) == 0 {
		delete(c.rollBacks, placement)
	}
}

// rollBackPatience is for how long a Placement is waited for to take a move back.
const rollBackPatience = 10 * time.Second

// RolledBack waits until the Placement says that the work stays, or does not move any more.
func (c *Controller) RolledBack(ctx context.Context, m fleet.Move) error {
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, rollBackPatience, true, func(context.Context) (bool, error) {
		placement, ok := c.placements.Get(m.Placement)
		return !ok || choose.RolledBack(&placement.Status, m.From), nil
	})
	if err != nil {
		return tmc.As(tmc.MigrationRollback, fmt.Errorf("the work of Placement %s cannot stay where it was: its target there is not ready, or has to be left", m.Placement.Name))
	}
	return nil
}
