package fleet

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

// What runs on a target that is not heard of any more is not known, and its workloads say so until it is heard of again;
// nothing else does. The syncer is played.
func TestA41WorkloadsOfASilentTarget(t *testing.T) {
	t.Parallel()
	s := newStage(t, harness.Shared(t))
	one := s.target("one", "", "", "8")
	s.place("web", "")
	s.team.Create(harness.Deployment("web", "hello", 1), harness.Deployment("web", "world", 1), service("plain"))
	isOn := harness.Has(workloadv1alpha1.StateSync, "metadata", "labels", workloadv1alpha1.StateLabel(one.Key))
	s.team.Eventually(deploymentKind, "web", "world", isOn)
	s.team.Eventually("Service", "web", "plain", isOn)
	heartbeat := func(status, reason string) {
		t.Helper()
		st := s.targets.MustGet(harness.SyncTargetKind, "", "one")
		conditions, _, _ := unstructured.NestedSlice(st.Object, "status", "conditions")
		for _, c := range conditions {
			if condition, _ := c.(map[string]any); condition["type"] == workloadv1alpha1.ConditionHeartbeatHealthy {
				condition["status"], condition["reason"] = status, reason
			}
		}
		patch := harness.Must(json.Marshal(map[string]any{"status": map[string]any{"conditions": conditions}}))(t)
		s.targets.Merge(harness.SyncTargetKind, "", "one", string(patch), "status")
	}
	told := func(u *unstructured.Unstructured) bool {
		text := u.GetAnnotations()[workloadv1alpha1.ConditionsAnnotation(one.Key)]
		return strings.Contains(text, workloadv1alpha1.ReasonTargetUnreachable) && strings.Contains(text, "Unknown")
	}
	says := func(want bool) func(*unstructured.Unstructured) error {
		return func(u *unstructured.Unstructured) error {
			if told(u) != want {
				return fmt.Errorf("%s says %v", u.GetName(), u.GetAnnotations())
			}
			return nil
		}
	}
	heartbeat("Unknown", workloadv1alpha1.ReasonHeartbeatExpired)
	s.team.Eventually(deploymentKind, "web", "hello", says(true))
	s.team.Eventually(deploymentKind, "web", "world", says(true))
	if err := says(false)(s.team.MustGet("Service", "web", "plain")); err != nil {
		t.Error(err)
	}
	heartbeat("True", workloadv1alpha1.ReasonHeartbeatRecent)
	s.team.Eventually(deploymentKind, "web", "hello", says(false))
	s.team.Eventually(deploymentKind, "web", "world", says(false))
}
