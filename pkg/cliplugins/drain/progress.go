package drain

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// progress is how far a drain has come, as the SyncTarget tells it.
type progress struct {
	// heard is when the syncer was heard of before the drain. What it counts is worth something from the next time on.
	heard *metav1.Time
}

// left is what is still on the target, and how many of each type.
type left struct {
	resource schema.GroupVersionResource
	objects  int64
}

func leftOn(target *workloadv1alpha1.SyncTarget) (remaining []left) {
	for _, synced := range target.Status.SyncedResources {
		if n := synced.Objects + synced.PendingObjects; n > 0 {
			resource := schema.GroupVersionResource{Group: synced.Group, Resource: synced.Resource}
			if len(synced.Versions) > 0 {
				resource.Version = synced.Versions[0]
			}
			remaining = append(remaining, left{resource, n})
		}
	}
	slices.SortStableFunc(remaining, func(a, b left) int { return int(b.objects - a.objects) })
	return remaining
}

// judge tells whether nothing is on the target any more, and what there is to say at the moment.
func (p progress) judge(target *workloadv1alpha1.SyncTarget) (done bool, says string) {
	remaining := leftOn(target)
	heard := !target.Status.LastSyncerHeartbeatTime.Equal(p.heard)
	ready := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady)
	switch {
	case target.DeletionTimestamp != nil:
		return false, "the SyncTarget is being deleted"
	case len(remaining) > 0:
		says = summary(remaining) + " left"
	case heard:
		return true, "nothing is on it any more"
	default:
		says = "waiting to hear from its syncer"
	}
	if ready != nil && ready.Status != metav1.ConditionTrue {
		says += fmt.Sprintf("; its syncer cannot take anything away at the moment: %s: %s", ready.Reason, ready.Message)
	}
	return false, says
}

func summary(remaining []left) string {
	var total int64
	var parts []string
	for _, l := range remaining {
		total += l.objects
		parts = append(parts, fmt.Sprintf("%d %s", l.objects, l.resource.GroupResource()))
	}
	return fmt.Sprintf("%d objects (%s)", total, strings.Join(parts, ", "))
}
