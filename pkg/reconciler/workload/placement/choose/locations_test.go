package choose

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func TestLocationStatus(t *testing.T) {
	later := now.Add(time.Hour)
	location := func(selector *metav1.LabelSelector) *schedulingv1alpha1.Location {
		return &schedulingv1alpha1.Location{Spec: schedulingv1alpha1.LocationSpec{InstanceSelector: selector}}
	}
	every := &metav1.LabelSelector{}
	for _, test := range []struct {
		name                 string
		location             *schedulingv1alpha1.Location
		targets              []Target
		instances, available int32
		reason               string
		again                time.Time
	}{
		{"without a selector it is empty", location(nil), []Target{target("a")}, 0, 0, "NoInstances", time.Time{}},
		{"it counts what is ready, not cordoned and not to be evicted", location(every), []Target{target("a"), target("b", notReady), target("c", cordoned), target("d", evictAt(now))}, 4, 1, "InstancesAvailable", time.Time{}},
		{"a later eviction is awaited", location(every), []Target{target("a", evictAt(later))}, 1, 1, "InstancesAvailable", later},
		{"a taint does not count", location(every), []Target{target("a", tainted("NoExecute"))}, 1, 1, "InstancesAvailable", time.Time{}},
		{"nothing is available", location(every), []Target{target("a", notReady)}, 1, 0, "NoneAvailable", time.Time{}},
		{"only what it selects", location(&metav1.LabelSelector{MatchLabels: map[string]string{"name": "b"}}), []Target{target("a"), target("b")}, 1, 1, "InstancesAvailable", time.Time{}},
		{"a selector that nobody understands", location(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Has"}}}), []Target{target("a")}, 0, 0, "InvalidSelector", time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, again := LocationStatus(test.location, test.targets, now)
			if status.Instances != test.instances || status.AvailableInstances != test.available || status.Conditions[0].Reason != test.reason || !again.Equal(test.again) {
				t.Errorf("got %+v, again %s", status, again)
			}
			test.location.Status = status
			if next, _ := LocationStatus(test.location, test.targets, now.Add(time.Minute)); !equality.Semantic.DeepEqual(next, status) {
				t.Errorf("it changes without a reason: %+v", next)
			}
		})
	}
}

func TestLocationTellsLabels(t *testing.T) {
	targets := []Target{target("a", cell("region", "eu"), label("zone", "1")), target("b", cell("region", "us"), label(workloadv1alpha1.SyncTargetKeyLabel, "x"))}
	status, _ := LocationStatus(&schedulingv1alpha1.Location{Spec: schedulingv1alpha1.LocationSpec{InstanceSelector: &metav1.LabelSelector{}}}, targets, now)
	want := []schedulingv1alpha1.AvailableSelectorLabel{
		{Key: "name", Values: []schedulingv1alpha1.LabelValue{"a", "b"}},
		{Key: "region", Values: []schedulingv1alpha1.LabelValue{"eu", "us"}},
		{Key: "zone", Values: []schedulingv1alpha1.LabelValue{"1"}},
	}
	if !equality.Semantic.DeepEqual(status.AvailableSelectorLabels, want) {
		t.Errorf("got %+v", status.AvailableSelectorLabels)
	}
}

func TestDefaultLocation(t *testing.T) {
	for _, test := range []struct {
		name   string
		marks  map[string]bool
		exists bool
		create bool
		mark   []string
	}{
		{"a workspace without SyncTargets gets none", nil, false, false, nil},
		{"with the first SyncTarget it gets one", map[string]bool{"a": false}, false, true, []string{"a"}},
		{"if it was created and not yet marked, it is marked", map[string]bool{"a": false}, true, false, []string{"a"}},
		{"then nothing is to be done", map[string]bool{"a": true}, true, false, nil},
		{"a user deletes it: it stays away", map[string]bool{"a": true}, false, false, nil},
		{"and with another SyncTarget too", map[string]bool{"a": true, "b": false}, false, false, []string{"b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if create, mark := DefaultLocation(test.marks, test.exists); create != test.create || !slices.Equal(mark, test.mark) {
				t.Errorf("got %t, %v", create, mark)
			}
		})
	}
}

// TestTargetOf says what of a SyncTarget placement looks at.
func TestTargetOf(t *testing.T) {
	healthy := func() *workloadv1alpha1.SyncTarget {
		st := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: "east", UID: "u"}}
		for _, c := range []string{workloadv1alpha1.ConditionHeartbeatHealthy, workloadv1alpha1.ConditionSyncerReady, workloadv1alpha1.ConditionAPIsReady} {
			st.Status.Conditions = append(st.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue})
		}
		return st
	}
	for _, test := range []struct {
		name               string
		change             func(*workloadv1alpha1.SyncTarget)
		same               bool
		notReady, degraded string
	}{
		{"a heartbeat is nothing new", func(st *workloadv1alpha1.SyncTarget) {
			st.ResourceVersion, st.Status.LastSyncerHeartbeatTime = "2", new(metav1.NewTime(now))
			st.Status.SyncedResources = []workloadv1alpha1.SyncedResource{{Resource: "pods", Objects: 3}}
			st.Status.Conditions[0].Message = "other words"
		}, true, "", ""},
		{"a cordon is", func(st *workloadv1alpha1.SyncTarget) { st.Spec.Unschedulable = true }, false, "", ""},
		{"an eviction is", func(st *workloadv1alpha1.SyncTarget) { st.Spec.EvictAfter = new(metav1.NewTime(now)) }, false, "", ""},
		{"a node is", func(st *workloadv1alpha1.SyncTarget) { st.Status.Allocatable = resources("1") }, false, "", ""},
		{"no heartbeat is", func(st *workloadv1alpha1.SyncTarget) {
			st.Status.Conditions[0].Status, st.Status.Conditions[0].Reason = metav1.ConditionUnknown, "HeartbeatExpired"
		}, false, "HeartbeatExpired", ""},
		{"no syncer is", func(st *workloadv1alpha1.SyncTarget) {
			st.Status.Conditions[1].Status, st.Status.Conditions[1].Reason = metav1.ConditionFalse, "ClusterUnreachable"
		}, false, "ClusterUnreachable", ""},
		{"some types that are not synced are no outage", func(st *workloadv1alpha1.SyncTarget) {
			st.Status.Conditions[2].Status, st.Status.Conditions[2].Reason = metav1.ConditionFalse, "APIsForbidden"
		}, false, "", "APIsForbidden"},
		{"no types at all are", func(st *workloadv1alpha1.SyncTarget) {
			st.Status.Conditions[2].Status, st.Status.Conditions[2].Reason = metav1.ConditionFalse, "NoCommonAPIs"
		}, false, "NoCommonAPIs", ""},
		{"nobody was ever heard of", func(st *workloadv1alpha1.SyncTarget) { st.Status.Conditions = nil }, false, "NeverConnected", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, st := TargetOf(healthy(), provider, "root:compute"), healthy()
			test.change(st)
			after := TargetOf(st, provider, "root:compute")
			if before.Same(after) != test.same || after.NotReady != test.notReady || after.Degraded != test.degraded {
				t.Errorf("got %+v", after)
			}
		})
	}
}
