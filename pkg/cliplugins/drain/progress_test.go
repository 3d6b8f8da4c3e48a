package drain

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var noon = metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))

func later(d time.Duration) *metav1.Time {
	t := metav1.NewTime(noon.Add(d))
	return &t
}

func TestHowFarADrainIs(t *testing.T) {
	some := []workloadv1alpha1.SyncedResource{
		{Resource: "configmaps", Objects: 1}, {Group: "apps", Resource: "deployments", Versions: []string{"v1"}, Objects: 2, PendingObjects: 1}, {Resource: "secrets"},
	}
	unready := []metav1.Condition{{Type: workloadv1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: "HeartbeatExpired", Message: "silent"}}
	for _, tc := range []struct {
		says   string
		status workloadv1alpha1.SyncTargetStatus
		heard  *metav1.Time
		done   bool
		want   string
	}{
		{"objects are left, the most of a type first", workloadv1alpha1.SyncTargetStatus{SyncedResources: some, LastSyncerHeartbeatTime: later(time.Minute)}, &noon, false, "4 objects (3 deployments.apps, 1 configmaps) left"},
		{"nothing is left, says a syncer that has been heard of since", workloadv1alpha1.SyncTargetStatus{LastSyncerHeartbeatTime: later(time.Second)}, &noon, true, "nothing is on it any more"},
		{"what the syncer counted before means nothing", workloadv1alpha1.SyncTargetStatus{LastSyncerHeartbeatTime: &noon}, &noon, false, "waiting to hear"},
		{"nobody has ever been heard of", workloadv1alpha1.SyncTargetStatus{}, nil, false, "waiting to hear"},
		{"the clock of the cluster does not matter", workloadv1alpha1.SyncTargetStatus{LastSyncerHeartbeatTime: later(-time.Hour)}, &noon, true, "nothing"},
		{"a syncer that is away takes nothing away", workloadv1alpha1.SyncTargetStatus{SyncedResources: some, Conditions: unready, LastSyncerHeartbeatTime: &noon}, &noon, false, "left; its syncer cannot take anything away at the moment: HeartbeatExpired: silent"},
	} {
		done, says := progress{heard: tc.heard}.judge(&workloadv1alpha1.SyncTarget{Status: tc.status})
		if done != tc.done || !strings.Contains(says, tc.want) {
			t.Errorf("%s: got %t, %q", tc.says, done, says)
		}
	}
	if done, _ := (progress{}).judge(&workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &noon}, Status: workloadv1alpha1.SyncTargetStatus{LastSyncerHeartbeatTime: &noon}}); done {
		t.Error("a SyncTarget that is being deleted is not drained")
	}
}

func TestWhyItIsStillThere(t *testing.T) {
	const key = "k"
	placement := &schedulingv1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{Name: "default", Annotations: map[string]string{"kcp.io/cluster": "abc"}}}
	placement.Status.SelectedTargets = []schedulingv1alpha1.SelectedTarget{{Key: "other"}, {Key: key, Phase: schedulingv1alpha1.TargetLeaving, Reason: schedulingv1alpha1.TargetEvicted, Message: "it is drained"}}
	placement.Status.Conditions = []metav1.Condition{{Type: schedulingv1alpha1.PlacementScheduled, Status: metav1.ConditionFalse, Reason: "NoTargetFits", Message: "1 is cordoned"}}
	if got, want := placementLine(placement, key), "Placement abc|default: Leaving (Evicted) it is drained; it has nowhere else to go: NoTargetFits: 1 is cordoned"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for want, annotations := range map[string]map[string]string{
		"not asked to leave yet":         nil,
		"leaving since then":             {workloadv1alpha1.DeletionAnnotation(key): "then"},
		"kept by a coordinator":          {workloadv1alpha1.DeletionAnnotation(key): "then", workloadv1alpha1.SoftFinalizersAnnotation(key): "a coordinator"},
		"Deleting: a finalizer blocks":   {workloadv1alpha1.ConditionsAnnotation(key): `[{"reason":"Deleting","message":"a finalizer blocks"}]`},
		"leaving since another day":      {workloadv1alpha1.DeletionAnnotation(key): "another day", workloadv1alpha1.ConditionsAnnotation(key): "nonsense"},
		"not asked to leave yet, by far": {workloadv1alpha1.DeletionAnnotation("other"): "then"},
	} {
		object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: annotations}}
		want, _, _ = strings.Cut(want, ", by far")
		if got := objectLine("deployments.apps", object, key); !strings.HasPrefix(got, "deployments.apps |shop/web") || !strings.HasSuffix(got, ": "+want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
