package synctarget

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// recoveries remembers what syncers said last of what they recover from. A syncer may not write Events beside its SyncTarget.
type recoveries struct {
	lock sync.Mutex
	said map[fleet.Key]metav1.Condition
}

// see takes what a SyncTarget says now, and gives what it said before; nil if that is not known.
func (r *recoveries) see(key fleet.Key, now *metav1.Condition) (before *metav1.Condition) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if said, ok := r.said[key]; ok {
		before = &said
	}
	if r.said == nil {
		r.said = map[fleet.Key]metav1.Condition{}
	}
	if now == nil {
		delete(r.said, key)
	} else {
		r.said[key] = *now
	}
	return before
}

// recoveryEvent is what is worth an Event: that something has to be recovered from, that it cannot be, and that it has been.
func recoveryEvent(before, now *metav1.Condition) (event tmc.Event, worth bool) {
	if before == nil || now == nil || before.Status == now.Status && before.Reason == now.Reason {
		return event, false
	}
	switch {
	case now.Status == metav1.ConditionFalse:
		return tmc.Event{Type: corev1.EventTypeWarning, Reason: now.Reason, Message: now.Message}, true
	case before.Status == metav1.ConditionFalse && now.Status == metav1.ConditionTrue:
		return tmc.Event{Type: corev1.EventTypeNormal, Reason: workloadv1alpha1.ConditionRecovered, Message: "the syncer has recovered from: " + before.Message}, true
	}
	return event, false
}

// tellRecovery writes an Event beside the SyncTarget. Its condition says the same, so one that cannot be written is not tried
// again.
func (c *Controller) tellRecovery(ctx context.Context, key fleet.Key, st *workloadv1alpha1.SyncTarget) {
	now := meta.FindStatusCondition(st.Status.Conditions, workloadv1alpha1.ConditionRecovered)
	event, worth := recoveryEvent(c.recoveries.see(key, now), now)
	if !worth {
		return
	}
	event.About, event.Kind = st, workloadv1alpha1.SchemeGroupVersion.WithKind("SyncTarget")
	if err := c.writer.Emit(ctx, event); err != nil {
		klog.FromContext(ctx).V(2).Info("An Event was not written", "reason", event.Reason, "why", err.Error())
	}
}
