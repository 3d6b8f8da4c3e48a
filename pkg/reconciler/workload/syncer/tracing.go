package syncer

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// followedFor is for how long after a write what happens to an object counts as what follows from its last change: the copy's
// controllers go to work, and their status comes home.
const followedFor = 30 * time.Second

// followed is a change whose consequences are under way.
type followed struct {
	// pass is the span of the pass that began to work it off.
	pass trace.SpanContext
	// generation of the upstream object at the time. Another one is another change.
	generation int64
	until      time.Time
}

// noteTrace has the next pass belong to the trace that a change upstream carries. before is nil for an object that was not
// there; what was there at the start is no change.
func (c *ResourceController) noteTrace(before, now *object) {
	carried := now.Annotations[workloadv1alpha1.TraceAnnotation]
	if carried == "" || !c.tracing.Carries() || before != nil && before.Annotations[workloadv1alpha1.TraceAnnotation] == carried {
		return
	}
	if key, ok := upstreamKey(now); ok {
		c.origins.Note(key, carried)
	}
}

// startSpan starts the span of the pass: in the trace of the change that it is about, or of the one that it follows from.
func (p *pass) startSpan(ctx context.Context) (_ context.Context, end func(error)) {
	if !p.c.tracing.Enabled() {
		return ctx, func(error) {}
	}
	up, _ := p.c.lookUpstream(p.key)
	origin := p.origin(up)
	ctx, endSpan := p.c.tracing.Start(origin.Context(ctx), "sync "+p.c.gvr.GroupResource().String(), origin.Links(),
		trace.WithAttributes(attribute.String("object", p.key.String())))
	last := p.record.followed
	continues := last != nil && origin.Change.Equal(last.pass)
	return ctx, func(err error) {
		endSpan(err)
		begins := origin.Change.IsValid() && !continues
		p.record.followed = last.after(p.now, continues, begins || p.wrote || p.claiming, followed{pass: trace.SpanContextFromContext(ctx), generation: generationOf(up)})
	}
}

func generationOf(up *object) int64 {
	if up == nil {
		return 0
	}
	return up.Generation
}

// origin is where the pass comes from. An object that a syncer finds at its start is not traced, unless it has no copy yet.
func (p *pass) origin(up *object) tmc.Origin {
	origin := p.c.origins.Take(p.key)
	if !origin.Change.IsValid() && p.c.tracing.Carries() && up != nil && p.record.state == "" && p.c.lookDownstream(p.key) == nil {
		origin.Change = tmc.ParseTraceparent(up.Annotations[workloadv1alpha1.TraceAnnotation])
	}
	if last := p.record.followed; !origin.Change.IsValid() && last != nil && p.now.Before(last.until) && (up == nil || up.Generation == last.generation) {
		origin.Change = last.pass
	}
	return origin
}

// after is what is followed after a pass: continues tells whether the pass was part of it, and acted whether anything may
// follow from the pass.
func (f *followed) after(now time.Time, continues, acted bool, pass followed) *followed {
	switch {
	case continues && acted:
		return &followed{pass: f.pass, generation: f.generation, until: now.Add(followedFor)}
	case acted:
		pass.until = now.Add(followedFor)
		return &pass
	case f != nil && now.After(f.until):
		return nil
	default:
		return f
	}
}
