// Package heartbeat watches whether the syncers of all SyncTargets are alive. It judges by heartbeats that change, by the
// manager's own clock; what the heartbeats say about the time only shows that clocks differ.
//
// A target whose syncer has fallen silent is told to be unknown, by its conditions, and after a longer while tainted, so that
// workloads which do not tolerate that go elsewhere. Both end when the syncer is heard again: the conditions by the syncer's
// own word, the taint by this package.
//
// A missed heartbeat never moves everything at once: targets are tainted one after the other at a limited rate, and none
// while most of a workspace's targets are silent. Every write holds for the version that was judged only, so that a target
// that was heard of meanwhile is never called silent.
package heartbeat

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const name = "heartbeat"

// Deps are what the reconciler needs.
type Deps struct {
	Fleet    *fleet.Fleet
	Workers  int
	Settings func() Settings // as of now
	// TaintRate is how many targets are tainted per second at most, as of now.
	TaintRate func() float64
	Metrics   *Metrics
}

// Controller is the reconciler.
type Controller struct {
	deps    Deps
	targets *fleet.Cache[*workloadv1alpha1.SyncTarget]
	writer  *fleet.Writer
	loop    *fleet.Loop[fleet.Key]
	limiter *rate.Limiter

	lock sync.Mutex
	seen map[fleet.Key]sighting
	// deaf is when the targets could not be watched last: no heartbeat could be seen then.
	deaf time.Time
}

// sighting is what was seen of a target's heartbeat.
type sighting struct {
	heartbeat time.Time
	at        time.Time
	live      bool
	silent    bool
}

// New sends no request.
func New(deps Deps) (*Controller, error) {
	c := &Controller{
		deps: deps, writer: deps.Fleet.Writer(name, workloadv1alpha1.WorkloadExport), seen: map[fleet.Key]sighting{},
		limiter: rate.NewLimiter(0, 1),
	}
	c.loop = fleet.NewLoop(deps.Fleet, name, deps.Workers, c.process)
	var err error
	if c.targets, err = fleet.SyncTargets(deps.Fleet); err != nil {
		return nil, err
	}
	return c, c.targets.OnChange(c.see)
}

// deafPeriod is how often it is checked whether the targets can be watched.
const deafPeriod = time.Second

// Run works until ctx is done.
func (c *Controller) Run(ctx context.Context) error {
	defer c.deps.Metrics.forget()
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { c.noteDeafness(ctx) })
	if !fleet.Synced(ctx, c.targets) { // else the share of the silent ones would be wrong
		c.loop.Close()
		return nil
	}
	c.loop.Run(ctx)
	return nil
}

// hearing: the targets can be watched. While they cannot, nothing is known of any heartbeat.
func (c *Controller) hearing() bool { return c.targets.Problem() == nil }

// noteDeafness remembers until when the targets could not be watched. The patience with each of them begins anew then.
func (c *Controller) noteDeafness(ctx context.Context) {
	ticker := c.deps.Fleet.Clock().NewTicker(deafPeriod)
	defer ticker.Stop()
	for {
		if !c.hearing() {
			c.lock.Lock()
			c.deaf = c.deps.Fleet.Clock().Now()
			c.lock.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// see takes note of a heartbeat that changed, and has the target judged.
func (c *Controller) see(change fleet.Change[*workloadv1alpha1.SyncTarget]) {
	key := fleet.KeyOf(change.Object)
	c.lock.Lock()
	if change.Deleted {
		delete(c.seen, key)
	} else if now := c.deps.Fleet.Clock().Now(); change.Before == nil {
		c.seen[key] = sighting{heartbeat: heartbeatOf(change.Object), at: now}
	} else if heartbeat := heartbeatOf(change.Object); !heartbeat.Equal(c.seen[key].heartbeat) {
		c.seen[key] = sighting{heartbeat: heartbeat, at: now, live: true}
	}
	c.lock.Unlock()
	c.loop.Add(key, change.Priority)
}

func heartbeatOf(st *workloadv1alpha1.SyncTarget) time.Time {
	if st.Status.LastSyncerHeartbeatTime == nil {
		return time.Time{}
	}
	return st.Status.LastSyncerHeartbeatTime.Time
}

// LookAgain has all targets judged anew, because the patience with them is another.
func (c *Controller) LookAgain() {
	for _, st := range c.targets.All() {
		c.loop.Add(fleet.KeyOf(st), tmc.PriorityBacklog)
	}
}

// mayTaint keeps to the rate.
func (c *Controller) mayTaint() bool {
	now := c.deps.Fleet.Clock().Now()
	c.limiter.SetLimitAt(now, rate.Limit(c.deps.TaintRate()))
	return c.limiter.AllowN(now, 1)
}

// process judges a target and acts on it by at most one request.
func (c *Controller) process(ctx context.Context, key fleet.Key) (time.Duration, error) {
	st, ok := c.targets.Get(key)
	if !ok || st.DeletionTimestamp != nil {
		c.deps.Metrics.drop(key)
		return 0, nil
	}
	if !c.hearing() {
		return deafPeriod, nil
	}
	j := Judge(c.observe(st, key), c.deps.Settings())
	c.note(key, st, j)
	switch {
	case j.Changed(st):
		return j.Again, c.tell(ctx, key, st, j)
	case j.Untaint:
		return j.Again, c.setTaints(ctx, key, st, slices.DeleteFunc(slices.Clone(st.Spec.Taints), ours))
	case j.Taint && !c.mayTaint():
		return c.nextTaint(), nil
	case j.Taint:
		return 0, c.taint(ctx, key, st)
	}
	return j.Again, nil
}

// nextTaint is when the next target may be tainted.
func (c *Controller) nextTaint() time.Duration {
	return max(time.Duration(float64(time.Second)/c.deps.TaintRate()), 100*time.Millisecond)
}

func (c *Controller) observe(st *workloadv1alpha1.SyncTarget, key fleet.Key) Observed {
	o := Observed{Target: st, Now: c.deps.Fleet.Clock().Now()}
	c.lock.Lock()
	defer c.lock.Unlock()
	seen := c.seen[key]
	o.Seen, o.Live = seen.at, seen.live
	if c.deaf.After(o.Seen) {
		o.Seen, o.Live = c.deaf, false
	}
	for _, other := range c.targets.In(key.Cluster) {
		if heartbeatOf(other).IsZero() || other.DeletionTimestamp != nil {
			continue
		}
		o.Heard++
		if expired(other.Status.Conditions) || c.seen[fleet.KeyOf(other)].silent {
			o.Silent++
		}
	}
	return o
}

// note remembers what was judged, for the others of the workspace and for the metrics.
func (c *Controller) note(key fleet.Key, st *workloadv1alpha1.SyncTarget, j Judgement) {
	c.lock.Lock()
	if seen, ok := c.seen[key]; ok {
		seen.silent = j.Silent
		c.seen[key] = seen
	}
	c.lock.Unlock()
	switch {
	case slices.ContainsFunc(st.Spec.Taints, ours):
		c.deps.Metrics.set(key, stateUnreachable)
	case j.Silent:
		c.deps.Metrics.set(key, stateSilent)
	case heartbeatOf(st).IsZero():
		c.deps.Metrics.set(key, stateNeverHeard)
	default:
		c.deps.Metrics.set(key, stateHeard)
	}
}

// tell writes the conditions.
func (c *Controller) tell(ctx context.Context, key fleet.Key, st *workloadv1alpha1.SyncTarget, j Judgement) error {
	klog.FromContext(ctx).V(2).Info("Telling the conditions of a SyncTarget", "syncTarget", key.String(), "silent", j.Silent)
	return c.patch(ctx, key, st, map[string]any{"status": map[string]any{"conditions": j.Conditions}}, "status")
}

func (c *Controller) taint(ctx context.Context, key fleet.Key, st *workloadv1alpha1.SyncTarget) error {
	now := metav1.NewTime(c.deps.Fleet.Clock().Now()).Rfc3339Copy()
	klog.FromContext(ctx).Info("Tainting a SyncTarget whose syncer has been silent for too long", "syncTarget", key.String())
	if err := c.setTaints(ctx, key, st, append(slices.Clone(st.Spec.Taints), workloadv1alpha1.Taint{
		Key: workloadv1alpha1.TaintUnreachable, Effect: workloadv1alpha1.TaintNoExecute, TimeAdded: &now,
	})); err != nil {
		return err
	}
	event := tmc.Event{
		About: st, Kind: workloadv1alpha1.SchemeGroupVersion.WithKind("SyncTarget"), Type: corev1.EventTypeWarning, Reason: workloadv1alpha1.ReasonTargetUnreachable,
		Message: fmt.Sprintf("no heartbeat for more than %s: workloads that do not tolerate the taint %s are taken away", c.deps.Settings().Grace+c.deps.Settings().TaintAfter, workloadv1alpha1.TaintUnreachable),
	}
	if err := c.writer.Emit(ctx, event); err != nil { // the taint says the same
		klog.FromContext(ctx).V(2).Info("No Event could be written", "syncTarget", key.String(), "why", err.Error())
	}
	return nil
}

func (c *Controller) setTaints(ctx context.Context, key fleet.Key, st *workloadv1alpha1.SyncTarget, taints []workloadv1alpha1.Taint) error {
	return c.patch(ctx, key, st, map[string]any{"spec": map[string]any{"taints": taints}})
}

// patch holds for the version that was judged only: conditions and taints are lists, and the syncer may be heard of meanwhile.
func (c *Controller) patch(ctx context.Context, key fleet.Key, st *workloadv1alpha1.SyncTarget, body map[string]any, subresources ...string) error {
	body["metadata"] = map[string]any{"resourceVersion": st.ResourceVersion, "uid": string(st.UID)}
	_, err := c.writer.Patch(ctx, fleet.SyncTargetResource, key, body, subresources...)
	return err
}
