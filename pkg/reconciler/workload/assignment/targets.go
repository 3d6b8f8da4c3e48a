package assignment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kcp-dev/logicalcluster/v3"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// targets knows the SyncTargets by their keys, and which keys are of SyncTargets that do not exist any more.
type targets struct {
	cache    *fleet.Cache[*workloadv1alpha1.SyncTarget]
	absences *fleet.Absences
	// upsynced are the resources that SyncTargets may allow.
	upsynced []schema.GroupResource
	// named are where Placements say that the SyncTarget with a key is.
	named func(key string) []fleet.Key
}

func newTargets(f *fleet.Fleet, upsynced []schema.GroupResource, changed func(key string, priority tmc.Priority)) (*targets, error) {
	t := &targets{upsynced: upsynced, named: func(string) []fleet.Key { return nil }}
	var err error
	if t.cache, err = fleet.SyncTargets(f); err != nil {
		return nil, err
	}
	if t.absences, err = f.Absences(); err != nil {
		return nil, err
	}
	if err := t.cache.AddIndex(byTarget, func(st *workloadv1alpha1.SyncTarget) []string { return []string{keyOf(st)} }); err != nil {
		return nil, err
	}
	return t, t.absences.OnChange(func(change fleet.Change[*workloadv1alpha1.SyncTarget]) {
		key := keyOf(change.Object)
		switch {
		case change.Deleted:
			changed(key, tmc.PriorityLive)
		case change.Before == nil:
			changed(key, change.Priority)
		case !slices.Equal(change.Before.Spec.UpsyncedResources, change.Object.Spec.UpsyncedResources):
			changed(key, change.Priority)
		case silence(change.Before) != silence(change.Object):
			changed(key, priorityTell)
		}
	})
}

func keyOf(st *workloadv1alpha1.SyncTarget) string {
	return workloadv1alpha1.SyncTargetKey(string(logicalcluster.From(st)), st.Name)
}

// get is the SyncTarget with that key.
func (t *targets) get(key string) (*workloadv1alpha1.SyncTarget, bool) {
	for _, st := range t.cache.By(byTarget, key) {
		return st, true
	}
	return nil, false
}

// silence says since when a target has not been heard of, in the words for users; empty while it is. A target that never
// was heard of has nothing that could have become unknown.
func silence(st *workloadv1alpha1.SyncTarget) string {
	heartbeat := meta.FindStatusCondition(st.Status.Conditions, workloadv1alpha1.ConditionHeartbeatHealthy)
	if heartbeat == nil || heartbeat.Status == metav1.ConditionTrue || heartbeat.Reason != workloadv1alpha1.ReasonHeartbeatExpired {
		return ""
	}
	return fmt.Sprintf("target %s has not been heard of since %s: what runs there is not known", st.Name, heartbeat.LastTransitionTime.UTC().Format(time.RFC3339))
}

// claims reports whether the target's syncer syncs a type, and so takes claims of its objects off again.
func claims(st *workloadv1alpha1.SyncTarget, resource schema.GroupResource) bool {
	return slices.ContainsFunc(st.Status.SyncedResources, func(r workloadv1alpha1.SyncedResource) bool {
		return r.Group == resource.Group && r.Resource == resource.Resource && r.State != workloadv1alpha1.ResourceIncompatible
	})
}

// facts are what is known of a target, for objects of a resource. gone is the UID of a SyncTarget that had the key and is
// known to be gone; another one may have it by now.
func (t *targets) facts(ctx context.Context, key, gone string, resource schema.GroupResource) (facts decide.Target, known bool, again time.Duration, err error) {
	st, ok := t.get(key)
	if !ok {
		deleted, again, err := t.absences.Gone(ctx, key, t.named(key)...)
		return decide.Target{Deleted: deleted}, deleted, again, err
	}
	if gone != "" && gone != string(st.UID) {
		return decide.Target{Deleted: true}, true, 0, nil
	}
	forbids := !slices.Contains(t.upsynced, resource) || !slices.Contains(st.UpsyncedResources(), resource)
	return decide.Target{Silent: silence(st), Claims: claims(st, resource), Forbids: forbids}, true, 0, nil
}
