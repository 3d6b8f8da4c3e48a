package assignment

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// targets knows the SyncTargets by their keys, and which keys are of SyncTargets that do not exist any more.
type targets struct {
	fleet *fleet.Fleet
	cache *fleet.Cache[*workloadv1alpha1.SyncTarget]
	clock clock.PassiveClock

	lock    sync.Mutex
	missing map[string]*missingTarget
}

// missingTarget is a key that no SyncTarget has.
type missingTarget struct {
	since time.Time
	// deleted: its deletion was seen. confirmed: it was not found where it would have to be.
	deleted, confirmed bool
}

func newTargets(f *fleet.Fleet, c clock.PassiveClock, changed func(key string, priority tmc.Priority)) (*targets, error) {
	t := &targets{fleet: f, clock: c, missing: map[string]*missingTarget{}}
	var err error
	if t.cache, err = fleet.SyncTargets(f); err != nil {
		return nil, err
	}
	if err := t.cache.AddIndex(byTarget, func(st *workloadv1alpha1.SyncTarget) []string { return []string{keyOf(st)} }); err != nil {
		return nil, err
	}
	return t, t.cache.OnChange(func(change fleet.Change[*workloadv1alpha1.SyncTarget]) {
		key := keyOf(change.Object)
		switch {
		case change.Deleted:
			t.noteDeleted(key)
			changed(key, tmc.PriorityLive)
		case change.Before == nil:
			changed(key, change.Priority)
		case silence(change.Before) != silence(change.Object):
			changed(key, priorityTell)
		}
	})
}

func keyOf(st *workloadv1alpha1.SyncTarget) string {
	return workloadv1alpha1.SyncTargetKey(string(logicalcluster.From(st)), st.Name)
}

func (t *targets) noteDeleted(key string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.missing[key] = &missingTarget{since: t.clock.Now(), deleted: true}
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

// missingFor is for how long a SyncTarget must not have been seen before that may mean that it was deleted, if its deletion
// itself was not seen: while the manager was down, for one.
const missingFor = 15 * time.Second

// deleted reports whether the SyncTarget with that key does not exist. That is certain only when all SyncTargets have been
// listed on all shards, and once more past the cache: what cannot be read is not gone. Until then again says when to ask.
func (t *targets) deleted(ctx context.Context, key string) (deleted bool, again time.Duration, err error) {
	if !t.fleet.Bound(workloadv1alpha1.WorkloadExport) || !t.cache.Synced() || t.cache.Problem() != nil {
		return false, missingFor, nil
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	m, ok := t.missing[key]
	if !ok {
		m = &missingTarget{since: t.clock.Now()}
		t.missing[key] = m
	}
	if m.confirmed {
		return true, 0, nil
	}
	if left := missingFor - t.clock.Since(m.since); left > 0 && !m.deleted {
		return false, left, nil
	}
	live, err := t.cache.Live(ctx)
	if err != nil {
		return false, 0, fmt.Errorf("making sure that the SyncTarget with key %s is gone: %w", key, err)
	}
	exists := map[string]bool{}
	for _, st := range live {
		exists[keyOf(st)] = true
	}
	for other, known := range t.missing { // one answer is for all who wait for it
		if !exists[other] && (known.deleted || t.clock.Since(known.since) >= missingFor) {
			known.confirmed = true
		}
	}
	if exists[key] {
		delete(t.missing, key) // the cache will show it
		return false, missingFor, nil
	}
	return true, 0, nil
}

// back forgets that a target was missing.
func (t *targets) back(key string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	delete(t.missing, key)
}

// facts are what is known of a target, for objects of a resource. gone is the UID of a SyncTarget that had the key and is
// known to be gone; another one may have it by now.
func (t *targets) facts(ctx context.Context, key, gone string, resource schema.GroupResource) (facts decide.Target, known bool, again time.Duration, err error) {
	st, ok := t.get(key)
	if !ok {
		deleted, again, err := t.deleted(ctx, key)
		return decide.Target{Deleted: deleted}, deleted, again, err
	}
	t.back(key)
	if gone != "" && gone != string(st.UID) {
		return decide.Target{Deleted: true}, true, 0, nil
	}
	return decide.Target{Silent: silence(st), Claims: claims(st, resource)}, true, 0, nil
}
