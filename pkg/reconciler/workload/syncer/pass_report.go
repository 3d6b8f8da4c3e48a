package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/summarize"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/transform"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// summarize computes what of the copy's status is to come home, and sends it unless one was sent a moment ago.
func (p *pass) summarize(ctx context.Context) error {
	if p.decision.Do != decide.Sync || p.down == nil && p.record.finished == nil || p.upStale() {
		return nil
	}
	copied, err := p.copied()
	if err != nil {
		return err
	}
	in := summarize.Input{
		Upstream: p.upstream, Downstream: copied, GVR: p.c.gvr, Key: p.c.target.key,
		SpecSynced: p.write.Do == decide.Keep, SeveralTargets: workloadv1alpha1.Targets(p.up.Labels, p.up.Annotations) > 1,
	}
	if p.explicit {
		return p.summarizeFields(ctx, in)
	}
	home, err := summarize.Status(in)
	if err != nil {
		return tmc.As(tmc.Aggregation, p.c.failed("summarizing the status of", p.key, err))
	}
	if home.Patch == nil || hashOf(home.Patch) == p.record.futileStatus {
		p.record.downSeen = time.Time{}
		if transform.Finished(p.c.gvr, p.upstream) {
			p.record.finished = nil // the status is home, and says so
		}
		return nil
	}
	if left := p.untilStatus(); left > 0 {
		p.after = soonest(p.after, left)
		return nil
	}
	return p.sendStatus(ctx, home)
}

// summarizeFields brings home what the object's own rules say. A view takes it as it is, and holds it where it belongs; without one
// that is done here, by the same rules.
func (p *pass) summarizeFields(ctx context.Context, in summarize.Input) error {
	var fields summarize.FieldsWrite
	var err error
	if p.source.IsView() {
		fields, err = p.rules.FieldsInView(in)
	} else {
		fields, err = p.rules.Fields(in, !in.SeveralTargets)
	}
	if err != nil {
		return tmc.As(tmc.Aggregation, p.c.failed("summarizing", p.key, err))
	}
	both := slices.Concat(fields.Object, fields.Status)
	if len(both) == 0 || hashOf(both) == p.record.futileStatus {
		p.record.downSeen = time.Time{}
		if transform.Finished(p.c.gvr, p.upstream) {
			p.record.finished = nil
		}
		return nil
	}
	if left := p.untilStatus(); left > 0 {
		p.after = soonest(p.after, left)
		return nil
	}
	return p.sendFields(ctx, fields, hashOf(both))
}

// sendFields writes the status first: what is interrupted then is done again.
func (p *pass) sendFields(ctx context.Context, fields summarize.FieldsWrite, hash uint64) error {
	p.acting(ctx, "Bringing fields home", "they changed downstream")
	writer, before := p.c.reporter(p.source, p.key.Cluster), p.up.ResourceVersion
	version := before
	subresource := "status"
	if !p.c.statusUpstream {
		subresource = ""
	}
	for _, part := range []struct {
		patch       []byte
		subresource string
	}{{fields.Status, subresource}, {fields.Object, ""}} {
		if part.patch == nil {
			continue
		}
		var err error
		version, err = writer.Status(ctx, p.up, part.patch, part.subresource)
		p.c.metrics.written(directionUp, "status", err)
		if err != nil {
			return p.c.failed("reporting the fields of", p.key, err)
		}
	}
	p.broughtHome(ctx, before, version, hash)
	return nil
}

// broughtHome remembers what was sent, by its hash, and what came of it: the version before and after.
func (p *pass) broughtHome(ctx context.Context, before, after string, hash uint64) {
	first := p.record.lastStatus.IsZero()
	p.record.lastStatus, p.record.backlog = p.now, false
	if after == before {
		p.record.futileStatus = hash
	} else {
		p.record.upWritten, p.wrote = after, true
	}
	p.wroteUp(ctx, first)
}

// restless is for how long the controllers of the cluster usually go on about a copy that was just made. What they say in
// that time is brought home in one write.
const restless = 500 * time.Millisecond

// untilStatus is how long the status is to wait; zero or less for not. All that it may wait for is bounded by the window, so that nothing
// waits without one.
func (p *pass) untilStatus() time.Duration {
	window := p.c.settings.Load().statusWindow
	return max(window-p.now.Sub(p.record.lastStatus), min(window, restless)-p.now.Sub(p.record.made), min(60*window, p.untilCalm()))
}

// unsettled is for how long a status of the start's backlog may wait for its end.
const unsettled = 30 * time.Second

// untilCalm has a status of the start's backlog wait until the cluster's controllers are done with the copy: where much is made at
// once, they come to each copy late, and more than once, and kcp takes a hundred statuses per second.
func (p *pass) untilCalm() time.Duration {
	if !p.record.backlog || p.down == nil {
		return 0
	}
	if result, err := status.Compute(p.downstream); err != nil || result.Status != status.InProgressStatus {
		return 0
	}
	return unsettled - p.now.Sub(p.record.made)
}

func (p *pass) sendStatus(ctx context.Context, home summarize.Write) error {
	subresource := home.Subresource
	if !p.c.statusUpstream {
		subresource = ""
	}
	p.acting(ctx, "Bringing the status home", "it changed downstream")
	writer := p.c.reporter(p.source, p.key.Cluster)
	send := func() (string, error) { return writer.Status(ctx, p.up, home.Patch, subresource) }
	if p.source.IsView() && home.Subresource != "" { // else it goes to an annotation
		send = func() (string, error) { return writer.WholeStatus(ctx, p.up, home.Status, subresource) }
	}
	version, err := send()
	p.c.metrics.written(directionUp, "status", err)
	if err != nil {
		return p.c.failed("reporting the status of", p.key, err)
	}
	p.broughtHome(ctx, p.up.ResourceVersion, version, hashOf(home.Patch))
	return nil
}

func hashOf(patch []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(patch) // never fails
	return h.Sum64()
}

func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// blockedAfter is how long a deletion may take before the user is told what blocks it.
const blockedAfter = 5 * time.Second

// explain finds what the user is to be told. Failures that are not the user's to mend, and conflicts that a retry
// settles, are not told on the object: conditions do not flap.
func (p *pass) explain(err error) {
	if p.problem == nil && err != nil {
		p.problem = problemOf(err)
	}
	if p.problem == nil && p.record.quarantine != nil {
		p.problem = &problem{workloadv1alpha1.ReasonError, err.Error()}
	}
	if p.problem != nil || len(p.decision.Blockers) == 0 || p.up == nil {
		return
	}
	if left := blockedAfter - p.deletingFor(); p.down != nil && p.down.DeletionTimestamp != nil && left > 0 {
		p.after = soonest(p.after, left)
		return
	}
	p.problem = &problem{workloadv1alpha1.ReasonDeleting, p.decision.Why + "; blocked by " + strings.Join(p.decision.Blockers, ", ")}
}

// problemOf gives the words for a failure that a user or operator can mend, nil for one that passes.
func problemOf(err error) *problem {
	var taken *NamespaceTakenError
	if errors.As(err, &taken) {
		return &problem{workloadv1alpha1.ReasonConflict, taken.Error()}
	}
	reasons := map[tmc.Category]string{
		tmc.Validation:           workloadv1alpha1.ReasonInvalid,
		tmc.Aggregation:          workloadv1alpha1.ReasonStatusUnreadable,
		tmc.Immutable:            workloadv1alpha1.ReasonImmutableField,
		tmc.Admission:            workloadv1alpha1.ReasonRejected,
		tmc.Quota:                workloadv1alpha1.ReasonRejected,
		tmc.Permission:           workloadv1alpha1.ReasonForbidden,
		tmc.NamespaceTerminating: workloadv1alpha1.ReasonNamespaceNotReady,
	}
	reason, ok := reasons[tmc.CategoryOf(err)]
	if !ok {
		return nil
	}
	return &problem{reason, err.Error()}
}

// report tells the user, and releases what is to be released. It runs after failures too.
func (p *pass) report(ctx context.Context) error {
	if p.up == nil {
		p.touchNamespace()
		return nil
	}
	if p.decision.Do == decide.Release {
		return p.release(ctx)
	}
	return p.tell(ctx)
}

func (p *pass) release(ctx context.Context) error {
	p.acting(ctx, "Releasing the object", p.decision.Why)
	p.after = soonest(p.after, goneWithin)
	err := p.c.reporter(p.source, p.key.Cluster).Release(ctx, p.up)
	p.c.metrics.written(directionUp, "release", err)
	if err == nil {
		p.record = record{state: p.record.state}
		p.touchNamespace()
	}
	return p.c.failed("releasing", p.key, err)
}

// touchNamespace has the downstream namespace looked at, now that a reason for it may be gone.
func (p *pass) touchNamespace() {
	if p.c.namespaced {
		p.c.namespaces.touch(p.c.downstreamNamespace(p.key))
	}
}

// tell keeps the conditions annotation in step with the problem, and emits an Event at each transition.
func (p *pass) tell(ctx context.Context) error {
	name := workloadv1alpha1.ConditionsAnnotation(p.c.target.key)
	was, told := p.up.Annotations[name]
	if p.problem == nil && (!told || !p.solved()) || p.upStale() {
		return nil
	}
	wanted, changed := conditionsFor(p.conditionsOfPass(), was)
	if !changed {
		return nil
	}
	version, err := p.c.reporter(p.source, p.key.Cluster).Annotate(ctx, p.up, map[string]any{name: wanted})
	p.c.metrics.written(directionUp, "condition", err)
	if err != nil {
		return p.c.failed("reporting the condition of", p.key, err)
	}
	p.record.upWritten, p.wrote = version, true
	p.emit(ctx)
	return nil
}

// solved: the copy was found or made as it should be, so what was told before holds no longer. In a fight that means little, and so
// it does while a claim is tried again.
func (p *pass) solved() bool {
	return p.decision.Do == decide.Sync && !p.write.Fight && !p.retrying && (p.write.Do == decide.Keep || p.wrote)
}

func (p *pass) emit(ctx context.Context) {
	event := tmc.Event{Type: corev1.EventTypeNormal, Reason: "Synced", Message: "synced to " + p.c.target.name}
	if p.problem != nil {
		event.Type, event.Reason, event.Message = corev1.EventTypeWarning, p.problem.reason, p.problem.message
	}
	p.send(ctx, event)
	if event, ok := p.quarantineEvent(); ok {
		p.send(ctx, event)
	}
}

func (p *pass) send(ctx context.Context, event tmc.Event) {
	event.About, event.Kind, event.Component, event.Host, event.Now = p.up, p.c.gvk, workloadv1alpha1.FieldManager, p.c.target.name, p.now
	err := tmc.Emit(ctx, p.source.Cluster(p.key.Cluster), event)
	p.c.metrics.written(directionUp, "event", err)
	if err != nil { // the condition says the same
		klog.FromContext(ctx).V(2).Info("No Event could be written upstream", "object", p.key.String(), "why", err.Error())
	}
}

// longestCondition bounds the message, and with it the annotation.
const longestCondition = 1024

// conditionsFor gives the value of the conditions annotation: JSON, or nil for none. It has not changed if it says the
// same as before, whenever that was.
func conditionsFor(wanted []metav1.Condition, was string) (value any, changed bool) {
	if len(wanted) == 0 {
		return nil, true
	}
	var before []metav1.Condition
	if json.Unmarshal([]byte(was), &before) == nil && slices.EqualFunc(before, wanted, func(a, b metav1.Condition) bool {
		return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
	}) {
		return nil, false
	}
	raw, err := json.Marshal(wanted)
	if err != nil {
		return nil, false // a struct of strings always marshals
	}
	return string(raw), true
}

// noteCorrection counts a drift that is corrected now.
func (p *pass) noteCorrection(ctx context.Context) {
	since := p.now.Sub(p.record.lastCorrection)
	p.record.corrections = decide.RecentCorrections(p.record.corrections, since) + 1
	p.record.lastCorrection, p.record.correctionGap = p.now, since
	p.c.metrics.corrections.Inc()
	if p.write.Fight {
		p.tellFight(ctx)
	}
}

// tellFight names the other writer, for the condition.
func (p *pass) tellFight(ctx context.Context) {
	p.c.metrics.fights.Inc()
	others := "another client"
	if live, err := p.c.writer.Read(ctx, p.down.Namespace, p.down.Name); err == nil {
		if names := otherManagers(live.GetManagedFields()); len(names) > 0 {
			others = strings.Join(names, ", ")
		}
	}
	p.problem = &problem{workloadv1alpha1.ReasonDriftFight, fmt.Sprintf("%s, by %s", p.write.Why, others)}
}

// otherManagers are who else writes more than the status.
func otherManagers(entries []metav1.ManagedFieldsEntry) []string {
	var names []string
	for _, e := range entries {
		if e.Manager != workloadv1alpha1.FieldManager && e.Subresource == "" && !slices.Contains(names, e.Manager) {
			names = append(names, e.Manager)
		}
	}
	return names
}
