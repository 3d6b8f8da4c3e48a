package bind

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

func TestSelectorsAreRead(t *testing.T) {
	all, some := "", "team=a,tier!=test"
	for _, tc := range []struct {
		says string
		p    Placement
		want string
	}{
		{"nothing asked, nothing said", Placement{}, `{}`},
		{"all namespaces", Placement{NamespaceSelector: &all}, `{"namespaceSelector":{}}`},
		{"some namespaces", Placement{NamespaceSelector: &some}, `{"namespaceSelector":{"matchExpressions":[{"key":"tier","operator":"NotIn","values":["test"]}],"matchLabels":{"team":"a"}}}`},
		{"locations of another workspace", Placement{LocationWorkspace: "root:infra"}, `{"locationWorkspace":"root:infra"}`},
		{"either location", Placement{LocationSelectors: []string{"region=eu", "region=us"}}, `{"locationSelectors":[{"matchLabels":{"region":"eu"}},{"matchLabels":{"region":"us"}}]}`},
	} {
		spec, err := tc.p.spec()
		if err != nil {
			t.Errorf("%s: %v", tc.says, err)
			continue
		}
		if got, _ := json.Marshal(spec); string(got) != tc.want {
			t.Errorf("%s: got %s", tc.says, got)
		}
	}
}

func TestAllMistakesInSelectorsAreToldAtOnce(t *testing.T) {
	wrong := "a b"
	_, err := Placement{LocationSelectors: []string{"=x", "region in"}, NamespaceSelector: &wrong, LocationWorkspace: "Root"}.spec()
	if err == nil || !strings.Contains(err.Error(), "--location-workspace") || strings.Count(err.Error(), "--location-selectors") != 2 || strings.Count(err.Error(), "--namespace-selector") != 1 {
		t.Errorf("got %v", err)
	}
}

func TestWhenAPlacementIsScheduled(t *testing.T) {
	condition := func(status metav1.ConditionStatus, generation int64) []metav1.Condition {
		return []metav1.Condition{{Type: schedulingv1alpha1.PlacementScheduled, Status: status, ObservedGeneration: generation, Reason: "Why", Message: "because"}}
	}
	for _, tc := range []struct {
		says       string
		conditions []metav1.Condition
		done       bool
		want       string
	}{
		{"nobody has looked at it", nil, false, "no workload manager"},
		{"nobody has looked at the change", condition(metav1.ConditionTrue, 1), false, "not looked at the change"},
		{"it is not", condition(metav1.ConditionFalse, 2), false, "not scheduled: Why: because"},
		{"it is, and what it leaves is not told", condition(metav1.ConditionTrue, 2), true, "scheduled  to east (location eu)"},
	} {
		placement := &schedulingv1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		placement.Status.Conditions = tc.conditions
		placement.Status.SelectedTargets = []schedulingv1alpha1.SelectedTarget{
			{Name: "east", Location: "eu", Phase: schedulingv1alpha1.TargetSelected}, {Name: "west", Phase: schedulingv1alpha1.TargetLeaving},
		}
		done, says := scheduled(placement)
		if done != tc.done || !strings.Contains(says, tc.want) || strings.Contains(says, "west") {
			t.Errorf("%s: got %t, %q", tc.says, done, says)
		}
	}
}
