package choose

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// moving has the Placement in a move from one target to another that began an hour ago and has failed by now.
func moving(reason schedulingv1alpha1.TargetReason, targets ...Target) *Observed {
	return newWorld(targets...).leaving("old", reason, time.Hour).on("new").with(func(o *Observed) {
		o.Placement.Generation = 3
		o.RollBacks = []RollBack{{From: "k-old", To: "k-new", Reason: "MigrationTimeout", Why: "deployments/web is not ready on new yet"}}
	})
}

func evicted(t *Target) { evictAt(now.Add(-time.Hour))(t) }

// TestRollBack says when a move that failed is taken back.
func TestRollBack(t *testing.T) {
	const rolledBack = schedulingv1alpha1.ReasonMoveRolledBack
	old := target("old", evicted)
	for _, test := range []struct {
		name string
		o    *Observed
		want told
	}{
		{"the work stays, and leaves where it was not ready", moving(schedulingv1alpha1.TargetEvicted, old, target("new")), told{"old", "new: MoveFailed", enough, rolledBack}},
		{"also if it no longer fits the affinity", moving(schedulingv1alpha1.TargetAffinityMismatch, target("old"), target("new")).asks(requires("name", "new")), told{"old", "new: MoveFailed", enough, rolledBack}},
		{"another target is not tried at once", moving(schedulingv1alpha1.TargetEvicted, old, target("new"), target("third")), told{"old", "new: MoveFailed", enough, rolledBack}},
		{"not if the Placement would rather go on", moving(schedulingv1alpha1.TargetEvicted, old, target("new")).asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.MoveFailurePolicy = schedulingv1alpha1.Proceed
		}), told{"new", "old: Evicted", enough, placed}},
		{"not to a target that cannot run it", moving(schedulingv1alpha1.TargetEvicted, target("old", evicted, notReady), target("new")), told{"new", "old: Evicted", enough, placed}},
		{"nor to one that has to be left at once by now", moving(schedulingv1alpha1.TargetEvicted, target("old", evicted, tainted("NoExecute")), target("new")), told{"new", "old: Tainted", enough, placed}},
		{"nor to one that is gone", moving(schedulingv1alpha1.TargetEvicted, target("new")), told{"new", "old: TargetDeleted", enough, placed}},
		{"nor when fewer targets are wanted", moving(schedulingv1alpha1.TargetNotNeeded, target("old"), target("new")), told{"new", "old: NotNeeded", enough, placed}},
		{"a target that it was on before goes on to be one", newWorld(old, target("new")).asks(many(schedulingv1alpha1.OneToMany, 2)).leaving("old", schedulingv1alpha1.TargetEvicted, time.Minute).on("new").with(func(o *Observed) {
			o.RollBacks = []RollBack{{From: "k-old", To: "k-new", Reason: "MigrationTimeout"}}
		}), told{"new old", "", enough, rolledBack}},
		{"a Placement that takes all does not take the target back at once", moving(schedulingv1alpha1.TargetEvicted, old, target("new")).asks(many(schedulingv1alpha1.OneToMany, 0)), told{"old", "new: MoveFailed", enough, rolledBack}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tell(decide(t, *test.o)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// A move that was rolled back is tried again, later and later, rather to another target, and at once when the spec changes.
func TestRollBackIsTriedAgain(t *testing.T) {
	o := moving(schedulingv1alpha1.TargetEvicted, target("old", evicted), target("new"), target("third"))
	o.Placement.Status.SelectedTargets[1].Since = metav1.NewTime(now)
	var story []string
	note := func(o Observed, d Decision) Observed {
		got := tell(d)
		story = append(story, fmt.Sprintf("%s: %s; %s", o.Now.Sub(now), got.selected, got.leaving))
		o.RollBacks = nil
		return settled(o, d)
	}
	d := decide(t, *o)
	next := note(*o, d)
	if !d.Again.Equal(now.Add(5 * time.Minute)) {
		t.Errorf("looks again at %s", d.Again.Sub(now))
	}
	if act := d.Moves[slices.IndexFunc(d.Moves, func(m Move) bool { return m.Act == RollsBack })]; !strings.Contains(act.Target.Message, "deployments/web is not ready on new") {
		t.Errorf("told: %+v", act)
	}
	next.Occupied.Delete("k-new") // it has left
	next.Now = now.Add(time.Minute)
	next = note(next, decide(t, next))
	next.Now = now.Add(5 * time.Minute)
	d = decide(t, next)
	next = note(next, d)
	next.Now = next.Now.Add(10 * time.Minute)
	next.RollBacks = []RollBack{{From: "k-old", To: "k-third", Reason: "MigrationFailure", Why: "no"}}
	next = note(next, decide(t, next))
	if move := next.Placement.Status.SelectedTargets[0].FailedMove; move.Attempts != 2 || !move.RetryAt.Time.Equal(next.Now.Add(10*time.Minute)) || move.Reason != "MigrationFailure" {
		t.Errorf("the pause grows: %+v", move)
	}
	next.Placement.Generation++
	next.Now = next.Now.Add(time.Second)
	note(next, decide(t, next))
	want := []string{
		"0s: old; new: MoveFailed", "1m0s: old; ", "5m0s: third; old: Evicted", "15m0s: old; third: MoveFailed", "15m1s: new; old: Evicted, third: MoveFailed",
	}
	if !slices.Equal(story, want) {
		t.Errorf("got  %q\nwant %q", story, want)
	}
}

// When the reason to leave is gone, so is the failed move.
func TestRollBackIsForgotten(t *testing.T) {
	o := moving(schedulingv1alpha1.TargetEvicted, target("old", evicted), target("new"))
	next := settled(*o, decide(t, *o))
	next.RollBacks, next.Targets = nil, []Target{target("old"), target("new")}
	d := decide(t, next)
	if got := tell(d); got.selected != "old" || got.ready != placed || d.Status.SelectedTargets[0].FailedMove != nil || d.Status.SelectedTargets[0].Reason != schedulingv1alpha1.TargetChosen {
		t.Errorf("got %+v, %+v", got, d.Status.SelectedTargets[0])
	}
}

func TestPauseAfter(t *testing.T) {
	for attempts, want := range map[int32]time.Duration{0: 5 * time.Minute, 1: 5 * time.Minute, 2: 10 * time.Minute, 4: 40 * time.Minute, 5: time.Hour, 1000: time.Hour} {
		if got := pauseAfter(attempts); got != want {
			t.Errorf("%d: got %s, want %s", attempts, got, want)
		}
	}
}

// Decisions tell what stands against the targets that are missing.
func TestAgainst(t *testing.T) {
	for name, test := range map[string]struct {
		o    *Observed
		want string
	}{
		"nothing":               {newWorld(target("east")), ""},
		"all are cordoned":      {newWorld(target("east", cordoned)), "TargetsCordoned"},
		"the others are":        {newWorld(target("east"), target("west", cordoned)).asks(many(schedulingv1alpha1.OneToMany, 2)), "TargetsCordoned"},
		"there are no others":   {newWorld(target("east")).asks(many(schedulingv1alpha1.OneToMany, 2)), "TooFewTargets"},
		"it is being deleted":   {newWorld(target("east")).with(func(o *Observed) { o.Placement.DeletionTimestamp = &metav1.Time{Time: now} }), ""},
		"there is not the room": {newWorld(target("east", offers("1"))).asks(needs("2")), "InsufficientResources"},
	} {
		if got := Decide(*test.o).Against; got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
