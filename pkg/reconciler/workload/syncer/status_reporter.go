package syncer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/publish"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// StatusReporter keeps the SyncTarget's status true: a heartbeat at a steady pace, and conditions as soon as the facts
// behind them change.
type StatusReporter struct {
	targets *syncTargets
	// workspace is where the SyncTarget is.
	workspace  dynamic.Interface
	target     target
	identifier string
	feed       FeedKind
	period     time.Duration
	clock      clock.PassiveClock
	metrics    *Metrics
	heartbeat  *tmc.Heartbeat
	// progress tells of a heartbeat that hangs.
	progress *tmc.Watermark
	// nodes of the physical cluster; nil if they may not be listed.
	nodes cache.SharedIndexInformer
	facts func() facts
	// imports are what became of the types that the cluster serves.
	imports func() publish.Report

	// last is the status as kcp has it after our last write.
	last workloadv1alpha1.SyncTargetStatus
	// generation of the SyncTarget that was seen last.
	generation int64
	lastSent   time.Time
	failures   int
	notBefore  time.Time
}

const (
	// factsPeriod is how often the facts are compared with what was told; that costs no request.
	factsPeriod = time.Second
	// conditionPause is the shortest time between two writes of conditions, so that a flapping fact is not a storm.
	conditionPause = 2 * time.Second
	// heartbeatJitter spreads the heartbeats of many syncers.
	heartbeatJitter = 0.1
)

// run reports until ctx is done; then it says, if kcp still answers, that the syncer was stopped.
func (r *StatusReporter) run(ctx context.Context) error {
	ticker := time.NewTicker(factsPeriod)
	defer ticker.Stop()
	next := r.jittered()
	for {
		now := r.clock.Now()
		due := now.Sub(r.lastSent) >= next
		if !now.Before(r.notBefore) && (due || r.changed(now)) {
			if err := r.send(ctx, r.facts()); err != nil {
				return err
			}
			next = r.jittered()
		}
		select {
		case <-ctx.Done():
			r.sayGoodbye(ctx)
			return nil
		case <-ticker.C:
		}
	}
}

func (r *StatusReporter) jittered() time.Duration {
	return time.Duration(float64(r.period) * (1 - heartbeatJitter/2 + heartbeatJitter*rand.Float64()))
}

// changed reports whether the conditions, or what is told of a resource, would be others, and the last write is long enough
// ago.
func (r *StatusReporter) changed(now time.Time) bool {
	if now.Sub(r.lastSent) < conditionPause {
		return false
	}
	f := r.facts()
	return !reflect.DeepEqual(conditionsOf(f, r.last.Conditions, r.generation, now), r.last.Conditions) ||
		!sameStates(syncedResourcesOf(withVerdicts(f.types, r.imports())), r.last.SyncedResources)
}

// send writes what differs from the last status, and the time. Only an error that ends the syncer is returned.
func (r *StatusReporter) send(ctx context.Context, f facts) error {
	defer r.progress.Begin("the heartbeat")()
	wanted := r.wanted(f)
	st, err := r.targets.patchStatus(ctx, difference(r.last, wanted), "")
	r.metrics.heartbeats.WithLabelValues(result(err)).Inc()
	if err != nil {
		return r.sendFailed(ctx, err)
	}
	r.tellConfiguration(ctx, r.last.Conditions, st)
	r.failures, r.lastSent, r.last, r.generation = 0, r.clock.Now(), st.Status, st.Generation
	r.heartbeat.Beat()
	r.metrics.lastHeartbeat.Set(float64(r.lastSent.Unix()))
	return r.stillOurs(st)
}

func (r *StatusReporter) sendFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // stopping is no failure
	}
	if why := r.targets.finalAnswer(err); why != nil && tmc.IsObjectNotFound(err, syncTargetsGVR.Resource, r.target.name) {
		return why
	}
	r.failures++
	delay := min(tmc.Backoff(tmc.CategoryOf(err), r.failures, rand.Float64), r.period)
	r.notBefore = r.clock.Now().Add(delay)
	klog.FromContext(ctx).Error(err, "Sending a heartbeat", "attempt", r.failures, "retryAfter", delay.Round(time.Millisecond).String())
	return nil
}

// stillOurs ends the syncer when the SyncTarget is another one, or another syncer's, by now.
func (r *StatusReporter) stillOurs(st *workloadv1alpha1.SyncTarget) error {
	switch {
	case st.UID != r.target.uid:
		return refused("SyncTarget %s was deleted and created anew: its UID is now %s instead of %s", r.target.name, st.UID, r.target.uid)
	case st.Status.SyncerIdentifier != r.identifier:
		return refused("SyncTarget %s was taken over by syncer %q; this one is %q", r.target.name, st.Status.SyncerIdentifier, r.identifier)
	default:
		return nil
	}
}

func (r *StatusReporter) wanted(f facts) workloadv1alpha1.SyncTargetStatus {
	now := r.clock.Now()
	wanted := r.last
	wanted.Conditions = conditionsOf(f, r.last.Conditions, r.generation, now)
	wanted.SyncedResources = syncedResourcesOf(withVerdicts(f.types, r.imports()))
	wanted.LastSyncerHeartbeatTime = &metav1.Time{Time: now}
	wanted.Feed = workloadv1alpha1.FeedKind(r.feed)
	if capacity, allocatable, known := r.resources(); known {
		wanted.Capacity, wanted.Allocatable = capacity, allocatable
	}
	return wanted
}

const goodbyeTimeout = time.Second

func (r *StatusReporter) sayGoodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
	defer cancel()
	f := r.facts()
	f.stopped = true
	if err := r.send(ctx, f); err != nil {
		klog.FromContext(ctx).V(2).Info("The SyncTarget could not be told that the syncer stops", "why", err.Error())
	}
}

// difference is a JSON merge patch of the fields that the syncer owns and that differ.
func difference(was, wanted workloadv1alpha1.SyncTargetStatus) map[string]any {
	before, after := fieldsOf(was), fieldsOf(wanted)
	patch := map[string]any{}
	for name, value := range after {
		if !reflect.DeepEqual(before[name], value) {
			patch[name] = mergeOf(before[name], value)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			patch[name] = nil
		}
	}
	return patch
}

// mergeOf replaces a value; of a map it also removes what is no longer there.
func mergeOf(before, after any) any {
	was, wasMap := before.(map[string]any)
	is, isMap := after.(map[string]any)
	if !wasMap || !isMap {
		return after
	}
	merged := map[string]any{}
	for k := range was {
		merged[k] = nil
	}
	for k, v := range is {
		merged[k] = v
	}
	return merged
}

func fieldsOf(s workloadv1alpha1.SyncTargetStatus) map[string]any {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&s)
	if err != nil {
		panic(err) // an API type always converts
	}
	return fields
}

// resources sums up what the nodes have, and what the ready ones that take pods offer.
func (r *StatusReporter) resources() (capacity, allocatable corev1.ResourceList, known bool) {
	if r.nodes == nil || !r.nodes.HasSynced() {
		return nil, nil, false
	}
	capacity, allocatable = corev1.ResourceList{}, corev1.ResourceList{}
	for _, obj := range r.nodes.GetStore().List() {
		node, ok := obj.(*corev1.Node)
		if !ok {
			continue
		}
		add(capacity, node.Status.Capacity)
		if usableNode(node) {
			add(allocatable, node.Status.Allocatable)
		}
	}
	return capacity, allocatable, true
}

// checkNodes tells when nothing is known of the cluster's capacity.
func (r *StatusReporter) checkNodes(context.Context) error {
	if r.nodes.HasSynced() {
		return nil
	}
	return tmc.Degraded(errors.New("the nodes have not been listed, so no capacity is reported; grant list and watch on nodes to the user of --cluster-kubeconfig"))
}

func usableNode(node *corev1.Node) bool {
	if node.Spec.Unschedulable {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func add(sum, more corev1.ResourceList) {
	for name, quantity := range more {
		total := sum[name]
		total.Add(quantity)
		sum[name] = total
	}
}

// holdPeriods is for how many heartbeat periods another syncer's heartbeat must not change before it counts as dead.
const holdPeriods = 3

// hold makes this syncer the one that serves the SyncTarget. It refuses while another one is alive, which shows in
// heartbeats that change, not in their age: clocks differ.
func (r *StatusReporter) hold(ctx context.Context, st *workloadv1alpha1.SyncTarget) error {
	if other := st.Status.SyncerIdentifier; other != "" && other != r.identifier && !saidGoodbye(st) {
		if err := r.awaitSilence(ctx, st, func(now *workloadv1alpha1.SyncTarget) error {
			return refused("SyncTarget %s is served by another cluster's syncer, %q, which is alive; this cluster's is %q. Give each cluster a SyncTarget of its own", st.Name, now.Status.SyncerIdentifier, r.identifier)
		}); err != nil {
			return err
		}
	}
	if r.feed == FeedWorkspace {
		if err := r.refuseSharedWorkspace(ctx); err != nil {
			return err
		}
	}
	return r.take(ctx)
}

// saidGoodbye: the syncer that held the target was stopped in an orderly manner.
func saidGoodbye(st *workloadv1alpha1.SyncTarget) bool {
	for _, c := range st.Status.Conditions {
		if c.Type == workloadv1alpha1.ConditionSyncerReady {
			return c.Reason == workloadv1alpha1.ReasonSyncerStopped
		}
	}
	return false
}

// awaitSilence watches a SyncTarget's heartbeat and gives alive's error as soon as it changes.
func (r *StatusReporter) awaitSilence(ctx context.Context, st *workloadv1alpha1.SyncTarget, alive func(*workloadv1alpha1.SyncTarget) error) error {
	klog.FromContext(ctx).Info("Watching whether another syncer is alive", "syncTarget", st.Name, "syncer", st.Status.SyncerIdentifier, "for", (holdPeriods * r.period).String())
	deadline := time.NewTimer(holdPeriods * r.period)
	defer deadline.Stop()
	ticker := time.NewTicker(max(r.period/4, 100*time.Millisecond))
	defer ticker.Stop()
	other := &syncTargets{client: r.targets.client, ref: SyncTargetRef{Workspace: r.targets.ref.Workspace, Name: st.Name}}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return nil
		case <-ticker.C:
			now, err := other.get(ctx)
			if err == nil && !now.Status.LastSyncerHeartbeatTime.Equal(st.Status.LastSyncerHeartbeatTime) && !saidGoodbye(now) {
				return alive(now)
			}
		}
	}
}

// refuseSharedWorkspace refuses to claim all objects of a workspace that another live target claims already.
func (r *StatusReporter) refuseSharedWorkspace(ctx context.Context) error {
	all, err := untilAnswered(ctx, "Listing the SyncTargets of the workspace", r.targets.list, r.targets.finalAnswer)
	if err != nil {
		return err
	}
	for i := range all {
		other := &all[i]
		if other.Name == r.target.name || other.Status.Feed != workloadv1alpha1.FeedWorkspace || saidGoodbye(other) {
			continue
		}
		if err := r.awaitSilence(ctx, other, func(*workloadv1alpha1.SyncTarget) error {
			return refused("SyncTarget %s already claims all objects of workspace %s and its syncer is alive: use --feed=assigned for both, or a workspace for each", other.Name, r.targets.ref.Workspace)
		}); err != nil {
			return err
		}
	}
	return nil
}

// take writes our identifier, in one step with the check that nobody else has done so in the meantime.
func (r *StatusReporter) take(ctx context.Context) error {
	st, err := untilAnswered(ctx, "Taking the SyncTarget", r.takeOnce, func(err error) error {
		if tmc.CategoryOf(err) == tmc.Validation {
			return fmt.Errorf("writing the status of SyncTarget %s: %w", r.target.name, err)
		}
		return r.targets.finalAnswer(err)
	})
	if err != nil {
		return err
	}
	r.last, r.generation, r.lastSent = st.Status, st.Generation, r.clock.Now()
	r.heartbeat.Beat()
	return nil
}

func (r *StatusReporter) takeOnce(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	st, err := r.targets.get(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.targets.check(st); err != nil {
		return nil, err
	}
	r.last, r.generation = st.Status, st.Generation
	wanted := r.wanted(r.facts())
	wanted.SyncerIdentifier = r.identifier
	return r.targets.patchStatus(ctx, difference(r.last, wanted), st.ResourceVersion)
}
