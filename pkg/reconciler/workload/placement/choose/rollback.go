package choose

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// RollBack is a move that has failed: what was to leave From is not ready on To.
type RollBack struct {
	// From and To are keys of targets.
	From, To string
	// Reason is MigrationTimeout or MigrationFailure, Why the same for people.
	Reason, Why string
}

// failedTarget is a target on which work was not ready in time, and since when it was to be there at the earliest.
type failedTarget struct {
	since   time.Time
	message string
}

// A move that was rolled back is tried again after retryMove, then after twice as long each time, at most mostRetryMove.
const (
	retryMove     = 5 * time.Minute
	mostRetryMove = time.Hour
)

func pauseAfter(attempts int32) time.Duration {
	return min(retryMove<<min(max(attempts, 1)-1, 8), mostRetryMove)
}

// rollBack takes a failed move back: the target that was to be left is selected again. It does not where the target has to be
// left at once by now, cannot be used, or the Placement would rather go on.
func (p *pass) rollBack(entry *schedulingv1alpha1.SelectedTarget, verdict verdict) bool {
	i := slices.IndexFunc(p.RollBacks, func(r RollBack) bool { return r.From == entry.Key })
	target := p.byKey[entry.Key]
	if i < 0 || entry.Phase != schedulingv1alpha1.TargetLeaving || p.Placement.Spec.MoveFailurePolicy == schedulingv1alpha1.Proceed ||
		!entry.Reason.RollsBack() || verdict.leave.ForbidsWaiting() || target == nil || target.NotReady != "" {
		return false
	}
	failure := p.RollBacks[i]
	attempts := int32(1)
	if entry.FailedMove != nil {
		attempts += entry.FailedMove.Attempts
	}
	retry := p.now.Add(pauseAfter(attempts))
	move := &schedulingv1alpha1.FailedMove{
		To: failure.To, Name: p.nameOf(failure.To), Reason: failure.Reason, Message: bounded(failure.Why, 1024), Attempts: attempts,
		RetryAt: metav1.NewTime(retry), Generation: p.Placement.Generation,
	}
	if p.failed == nil {
		p.failed = map[string]failedTarget{}
	}
	p.failed[failure.To] = failedTarget{since: entry.Since.Time, message: bounded(failure.Why, 1024)}
	entry.Phase, entry.Reason, entry.Since, entry.FailedMove = schedulingv1alpha1.TargetSelected, schedulingv1alpha1.TargetRolledBack, metav1.NewTime(p.now), move
	entry.LeavesAt, entry.Message = &move.RetryAt, describe(move)
	p.lookAgain(retry)
	p.moves = append(p.moves, Move{Act: RollsBack, Target: *entry})
	return true
}

func (p *pass) nameOf(key string) string {
	if target := p.byKey[key]; target != nil {
		return target.Name
	}
	return ""
}

func describe(move *schedulingv1alpha1.FailedMove) string {
	return fmt.Sprintf("the move to %s was rolled back: %s", move.Name, move.Message)
}

// holdBack keeps work where a move was rolled back to, although there is a reason to leave, until the move is tried again.
func (p *pass) holdBack(entry *schedulingv1alpha1.SelectedTarget, verdict verdict) bool {
	move := entry.FailedMove
	if move == nil || entry.Phase != schedulingv1alpha1.TargetSelected || verdict.leave == "" || verdict.leave.ForbidsWaiting() ||
		!p.now.Before(move.RetryAt.Time) || move.Generation != p.Placement.Generation {
		return false
	}
	entry.LeavesAt, entry.Message = &move.RetryAt, describe(move)
	entry.Tolerated = nil
	p.lookAgain(move.RetryAt.Time)
	return true
}

// leaveFailed leaves the targets of moves that were rolled back, if they were chosen for the move.
func (p *pass) leaveFailed() {
	p.selected = slices.DeleteFunc(p.selected, func(entry schedulingv1alpha1.SelectedTarget) bool {
		failed, ok := p.failed[entry.Key]
		if !ok || entry.Since.Time.Before(failed.since) {
			return false
		}
		p.leave(entry, schedulingv1alpha1.TargetMoveFailed, failed.message)
		return true
	})
}

// rejectFailed keeps work from going to a target at once on which it was not ready in a move that was rolled back.
func rejectFailed(p *pass, t *Target, _ string) string {
	for i := range p.selected {
		if move := p.selected[i].FailedMove; move != nil && move.To == t.Key && p.now.Before(move.RetryAt.Time) {
			return "where the work was not ready in a move that was rolled back"
		}
	}
	return ""
}

// failedBefore is true for a target on which the work was not ready when it was last to move.
func (p *pass) failedBefore(t *Target) bool {
	return slices.ContainsFunc(p.leaving, func(entry schedulingv1alpha1.SelectedTarget) bool {
		return entry.FailedMove != nil && entry.FailedMove.To == t.Key
	})
}

// standsAgainst is the reason against the targets that are missing.
func (p *pass) standsAgainst() string {
	scheduled := p.scheduled()
	switch {
	case scheduled.Status == metav1.ConditionTrue || scheduled.Reason == schedulingv1alpha1.ReasonPlacementDeleting:
		return ""
	case scheduled.Reason == schedulingv1alpha1.ReasonTooFewTargets && len(p.rejected) > 0:
		return p.commonReason()
	}
	return scheduled.Reason
}

// rolledBack is a move that was rolled back and is not tried again yet; nil if there is none.
func (p *pass) rolledBack() *schedulingv1alpha1.SelectedTarget {
	for i := range p.selected {
		if p.selected[i].FailedMove != nil {
			return &p.selected[i]
		}
	}
	return nil
}

// RolledBack reports whether the status says that the move away from a target was taken back, or is over.
func RolledBack(status *schedulingv1alpha1.PlacementStatus, from string) bool {
	for i := range status.SelectedTargets {
		if entry := &status.SelectedTargets[i]; entry.Key == from {
			return entry.Phase == schedulingv1alpha1.TargetSelected
		}
	}
	return true
}

// Scheduled reports whether the Placement has what it asks for, on targets that are ready.
func Scheduled(status *schedulingv1alpha1.PlacementStatus) bool {
	disturbed := slices.ContainsFunc(status.SelectedTargets, func(e schedulingv1alpha1.SelectedTarget) bool {
		return e.Phase == schedulingv1alpha1.TargetSelected && len(e.Tolerated) > 0
	})
	return !disturbed && meta.IsStatusConditionTrue(status.Conditions, schedulingv1alpha1.PlacementScheduled)
}
