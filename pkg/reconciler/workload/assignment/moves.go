package assignment

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// slowMove is how long a move may wait before its Placement says for what.
const slowMove = 30 * time.Second

// moveWaits is the reason of the Event that tells for what a move waits.
const moveWaits = "MoveWaits"

var placementKind = schema.GroupVersionKind{
	Group: schedulingv1alpha1.GroupName, Version: schedulingv1alpha1.SchemeGroupVersion.Version, Kind: "Placement",
}

// slowAfter is never later than half the time that there is.
func (c *Controller) slowAfter() time.Duration { return min(slowMove, c.deps.MoveTimeout()/2) }

// follow has a move that failed taken back, and a slow one say for what it waits.
func (p *namespacePass) follow(ctx context.Context, key string, leave decide.Leave, verdict decide.Verdict) {
	if verdict.Failed != "" {
		category := tmc.MigrationTimeout
		if verdict.Failed == decide.Refused {
			category = tmc.MigrationFailure
		}
		for _, placement := range leave.By {
			move := fleet.Move{Placement: fleet.Key{Cluster: p.key.cluster, Name: placement}, From: key, To: verdict.To}
			p.c.deps.Fleet.FailMove(move, category, p.key.name, verdict.Why)
		}
	}
	if verdict.Yes || leave.Urgent {
		return
	}
	if left := p.c.slowAfter() - p.now.Sub(leave.Since); left > 0 {
		p.lookAgain(left)
		p.told[key] = p.was.told[key]
		return
	}
	if p.told[key] = verdict.Why; p.was.told[key] != verdict.Why {
		p.tellWaiting(ctx, key, leave, verdict.Why)
	}
}

// tellWaiting writes an Event beside each Placement that the move is of. The status says the rest, so one that cannot be written
// is not tried again.
func (p *namespacePass) tellWaiting(ctx context.Context, key string, leave decide.Leave, why string) {
	for _, name := range leave.By {
		placement, ok := p.c.placements.Get(fleet.Key{Cluster: p.key.cluster, Name: name})
		if !ok {
			continue
		}
		err := p.c.scheduling.Emit(ctx, tmc.Event{
			About: placement, Kind: placementKind, Type: corev1.EventTypeWarning, Reason: moveWaits,
			Message: fmt.Sprintf("namespace %s has been waiting to leave %s since %s: %s", p.key.name, p.c.targets.nameOf(key), leave.Since.UTC().Format(time.RFC3339), why),
		})
		if err != nil {
			klog.FromContext(ctx).V(2).Info("An Event was not written", "reason", moveWaits, "why", err.Error())
		}
	}
}

// nameOf is what people call a target.
func (t *targets) nameOf(key string) string {
	if st, ok := t.get(key); ok {
		return st.Name
	}
	return key
}
