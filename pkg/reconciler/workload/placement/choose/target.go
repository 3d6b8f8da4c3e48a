package choose

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Target is what placement knows of a SyncTarget. Two that are equal are the same to it: a heartbeat changes none.
type Target struct {
	Key, Cluster, Path, Name string
	UID                      types.UID

	// Labels and Cells are kept apart for a Location's instanceSelector, which sees labels only.
	Labels, Cells map[string]string
	Taints        []workloadv1alpha1.Taint
	Unschedulable bool
	// EvictAfter is zero if work may stay.
	EvictAfter  metav1.Time
	Allocatable corev1.ResourceList

	// NotReady is the reason why nothing is synced to the target; empty if it is.
	NotReady string
	// Silent is true if it is not ready because nothing is heard of its syncer: work may well be running there.
	Silent bool
	// Degraded is the reason why not everything is synced to the target that should be.
	Degraded string
	// OwnWorkspaceOnly is true for a target whose syncer looks at the SyncTarget's own workspace and nowhere else.
	OwnWorkspaceOnly bool
	Deleting         bool
	// Unseen: the SyncTarget cannot be seen, which is not to say that it is gone. Nothing that it says of itself is known.
	Unseen bool

	// NotReadySince is since when this process has seen the target not to be ready. It is no part of the SyncTarget.
	NotReadySince metav1.Time
}

// TargetOf reads a SyncTarget of the workspace at path, which may be unknown.
func TargetOf(target *workloadv1alpha1.SyncTarget, cluster, path string) Target {
	t := Target{
		Key: workloadv1alpha1.SyncTargetKey(cluster, target.Name), Cluster: cluster, Path: path, Name: target.Name, UID: target.UID,
		Labels: target.Labels, Cells: cells(target), Taints: target.Spec.Taints, Unschedulable: target.Spec.Unschedulable,
		Allocatable:      target.Status.Allocatable,
		OwnWorkspaceOnly: target.Status.Feed == workloadv1alpha1.FeedWorkspace,
		Deleting:         target.DeletionTimestamp != nil,
	}
	if target.Spec.EvictAfter != nil {
		t.EvictAfter = *target.Spec.EvictAfter
	}
	t.NotReady, t.Silent, t.Degraded = health(target.Status.Conditions)
	return t
}

// Unseen is a target that a Placement is on and that has not been seen since then.
func Unseen(entry *schedulingv1alpha1.SelectedTarget, since time.Time) Target {
	return Target{
		Key: entry.Key, Cluster: entry.Cluster, Path: entry.Path, Name: entry.Name, UID: entry.UID,
		NotReady: "it cannot be seen by the manager", Silent: true, Unseen: true, NotReadySince: metav1.NewTime(since),
	}
}

// Same is true for what placement need not look at again.
func (t Target) Same(u Target) bool { return equality.Semantic.DeepEqual(t, u) }

func cells(target *workloadv1alpha1.SyncTarget) map[string]string {
	out := make(map[string]string, len(target.Spec.Cells))
	for key, value := range target.Spec.Cells {
		out[key] = string(value)
	}
	return out
}

// health tells apart what concerns all work on a target, and what concerns some resource types only: that is no reason to
// move all work away.
func health(conditions []metav1.Condition) (notReady string, silent bool, degraded string) {
	for _, conditionType := range []string{workloadv1alpha1.ConditionHeartbeatHealthy, workloadv1alpha1.ConditionSyncerReady} {
		condition := meta.FindStatusCondition(conditions, conditionType)
		if condition == nil {
			return workloadv1alpha1.ReasonNeverConnected, true, ""
		}
		if condition.Status != metav1.ConditionTrue {
			return condition.Reason, conditionType == workloadv1alpha1.ConditionHeartbeatHealthy, ""
		}
	}
	apis := meta.FindStatusCondition(conditions, workloadv1alpha1.ConditionAPIsReady)
	switch {
	case apis == nil:
		return "", false, workloadv1alpha1.ReasonDiscovering
	case apis.Status == metav1.ConditionTrue:
		return "", false, ""
	case apis.Reason == workloadv1alpha1.ReasonNoCommonAPIs, apis.Reason == workloadv1alpha1.ReasonAPIExportMissing:
		return apis.Reason, false, ""
	}
	return "", false, apis.Reason
}

// available is true if new work can be placed on the target, as far as the target itself is concerned.
func (t *Target) available(now time.Time) bool {
	return !t.Deleting && t.NotReady == "" && !t.OwnWorkspaceOnly && !t.Unschedulable && !t.evicting(now)
}

func (t *Target) evicting(now time.Time) bool {
	return !t.EvictAfter.IsZero() && !now.Before(t.EvictAfter.Time)
}

// topology are the labels and cells of the target; where both have a key, the label counts.
func (t *Target) topology() labels.Set {
	out := make(labels.Set, len(t.Labels)+len(t.Cells))
	maps.Copy(out, t.Cells)
	maps.Copy(out, t.Labels)
	return out
}

// domain is the target's domain under a topologyKey; ok is false if it is in none.
func (t *Target) domain(topologyKey, location string) (domain string, ok bool) {
	switch topologyKey {
	case schedulingv1alpha1.TargetTopologyKey:
		return t.Key, true
	case schedulingv1alpha1.LocationTopologyKey:
		return location, location != ""
	}
	if domain, ok = t.Labels[topologyKey]; !ok {
		domain, ok = t.Cells[topologyKey]
	}
	return domain, ok
}

// sorted puts targets in an order that does not depend on where they came from.
func sorted(targets []Target) []*Target {
	out := make([]*Target, 0, len(targets))
	for i := range targets {
		out = append(out, &targets[i])
	}
	slices.SortFunc(out, func(a, b *Target) int { return compareStrings(a.Key, b.Key) })
	return out
}
