package placement

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement/choose"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func TestFailureOf(t *testing.T) {
	decision := func(against string, tolerated ...schedulingv1alpha1.ToleratedTaint) *choose.Decision {
		status := metav1.ConditionTrue
		if against != "" {
			status = metav1.ConditionFalse
		}
		d := &choose.Decision{Against: against}
		d.Status.Conditions = []metav1.Condition{{Type: schedulingv1alpha1.PlacementScheduled, Status: status, Message: "as told"}}
		d.Status.SelectedTargets = []schedulingv1alpha1.SelectedTarget{{Phase: schedulingv1alpha1.TargetSelected, Tolerated: tolerated}}
		if len(tolerated) > 0 {
			d.Status.Conditions = append(d.Status.Conditions, metav1.Condition{Type: schedulingv1alpha1.PlacementReady, Reason: schedulingv1alpha1.ReasonTargetDisturbed})
		}
		return d
	}
	for what, test := range map[string]struct {
		decision *choose.Decision
		want     tmc.Category
	}{
		"all is well":                        {decision(""), ""},
		"a target has failed":                {decision("", schedulingv1alpha1.ToleratedTaint{Taint: "not-ready"}), tmc.Unavailable},
		"nothing matches":                    {decision(schedulingv1alpha1.ReasonAffinityUnmatched), tmc.PlacementConstraint},
		"there is no room":                   {decision(schedulingv1alpha1.ReasonInsufficientResources), tmc.PlacementCapacity},
		"an operator keeps it away":          {decision(schedulingv1alpha1.ReasonTargetsCordoned), tmc.PlacementPolicy},
		"no target is ready":                 {decision(schedulingv1alpha1.ReasonTargetsNotReady), tmc.Unavailable},
		"nobody understands it":              {decision(schedulingv1alpha1.ReasonInvalidSpec), tmc.Validation},
		"the provider's workspace is a typo": {decision(schedulingv1alpha1.ReasonLocationWorkspaceUnknown), tmc.NotFound},
	} {
		if got := tmc.CategoryOf(failureOf(test.decision)); got != test.want {
			t.Errorf("%s: got %q, want %q", what, got, test.want)
		}
	}
}

// Every reason that can stand against targets has a category.
func TestCategoriesAreComplete(t *testing.T) {
	for reason, category := range categories {
		if reason == "" || category.Domain() == "internal" {
			t.Errorf("%q: %q", reason, category)
		}
	}
	if len(categories) != 14 {
		t.Errorf("%d reasons", len(categories))
	}
}

// A failed move is handed to the decision until that is made.
func TestRollBacksAreRemembered(t *testing.T) {
	c := &Controller{rollBacks: map[fleet.Key]map[string]choose.RollBack{}}
	key := fleet.Key{Cluster: "team", Name: "web"}
	c.rememberRollBack(fleet.Move{Placement: key, From: "old", To: "new"}, tmc.WithContext(tmc.As(tmc.MigrationTimeout, errors.New("not ready")), tmc.Context{Operation: "moving", Name: "web"}))
	first := c.rollBacksOf(key)
	if want := (choose.RollBack{From: "old", To: "new", Reason: "MigrationTimeout", Why: "not ready"}); len(first) != 1 || first[0] != want {
		t.Errorf("got %+v", first)
	}
	c.rememberRollBack(fleet.Move{Placement: key, From: "old", To: "third"}, tmc.As(tmc.MigrationFailure, errors.New("refused")))
	c.forgetRollBacks(key, first)
	if left := c.rollBacksOf(key); len(left) != 1 || left[0].To != "third" {
		t.Errorf("what came meanwhile stays: %+v", left)
	}
	c.forgetRollBacks(key, c.rollBacksOf(key))
	if len(c.rollBacks) != 0 {
		t.Errorf("left: %+v", c.rollBacks)
	}
}
