package syncer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// claimsAtOnce is how many claims of a type are under way at the same time. kcp takes no more of them in a second when there are more,
// but tells later of what happens.
const claimsAtOnce = 16

// claims has objects claimed that passes want claimed. It has workers of its own: kcp takes claims much more slowly than a cluster takes
// copies, and no copy waits for a claim, neither its own nor another's.
//
// A pass notes a wish and goes on. What came of it is noted too, and the next pass takes it: a success as what was written last, a
// failure as its own, so that back-off, conditions and quarantine are those of the object. All of it can be lost; the next start wishes anew.
type claims struct {
	loop *tmc.Loop[Key]

	mu     sync.Mutex
	wishes map[Key]*wish
}

// wish is that an object be claimed: from when a pass first wants it until a pass finds it claimed, or wants it no more.
type wish struct {
	// seen is the object as the last pass saw it that wanted this.
	seen *object
	// from is the span of the pass that wanted it first.
	from     trace.SpanContext
	priority tmc.Priority
	// asked: it is to be sent, or sent and yet to be answered.
	asked, sent bool
	// again: it has failed before.
	again bool
	// version that the object has since it was claimed, or why it is not. No pass has taken either yet.
	version string
	err     error
}

func newClaims(options tmc.LoopOptions[Key]) *claims {
	return &claims{loop: tmc.NewLoop(options), wishes: map[Key]*wish{}}
}

// want has the object claimed, soon. It says whether that has failed before, so that nobody knows yet whether it is mended.
func (c *claims) want(key Key, seen *object, from trace.SpanContext, priority tmc.Priority) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.wishes[key]
	if !ok {
		w = &wish{from: from, priority: priority}
		c.wishes[key] = w
	}
	w.seen, w.priority = seen, max(w.priority, priority)
	w.asked = w.asked || w.version == "" && w.err == nil // else the next pass is to take what came of it
	if w.asked && !w.sent {
		c.loop.Add(key, w.priority)
	}
	return w.again
}

// failed: the object was to be claimed in vain, and has not been claimed since.
func (c *claims) failed(key Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.wishes[key]
	return ok && w.again
}

// forget takes back the wish. A claim that is under way may still land.
func (c *claims) forget(key Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
}

func (c *claims) remove(key Key) {
	delete(c.wishes, key)
	if len(c.wishes) == 0 {
		c.wishes = map[Key]*wish{} // one that had many keeps their places
	}
}

// take gives what came of the wish since the last time: the version that the claim made, or the error. Neither if nothing did.
func (c *claims) take(key Key) (version string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.wishes[key]
	if !ok {
		return "", nil
	}
	version, err = w.version, w.err
	w.err, w.again = nil, w.again || err != nil
	if version != "" {
		c.remove(key)
	}
	return version, err
}

// next is the wish that is to be sent, and what it is.
func (c *claims) next(key Key) (of *wish, now wish, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.wishes[key]
	if !ok || !w.asked {
		return nil, wish{}, false
	}
	return w, *w, true
}

// sending notes that a wish is being sent, unless it was taken back.
func (c *claims) sending(key Key, of *wish) (wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of.sent = true
	return c.wishes[key] == of
}

// answered notes what came of a wish. Nobody wants to know if it was taken back, even if there is another one by now.
func (c *claims) answered(key Key, of *wish, version string, err error) (wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wishes[key] != of {
		return false
	}
	of.asked, of.sent, of.version, of.err = false, false, version, err
	return true
}

// drop removes a wish that there is nothing to be done for.
func (c *claims) drop(key Key, of *wish) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wishes[key] == of {
		c.remove(key)
	}
}

// untilShown is how often it is looked whether the cache shows what we wrote ourselves; a look costs no request.
const untilShown = time.Second

// claim claims one object, as it is now, if that is still wanted. Where it is not, a pass is due, as something has happened to the object.
func (c *ResourceController) claim(ctx context.Context, key Key) (again time.Duration, err error) {
	of, w, ok := c.claims.next(key)
	if !ok {
		return 0, nil
	}
	cached, source := c.lookUpstream(key)
	up := w.newest(cached)
	if up == nil || !c.claimable(up) {
		c.claims.drop(key, of)
		return 0, nil
	}
	if older(up.ResourceVersion, c.records.lastWritten(key)) {
		return untilShown, nil // a claim of this version would be refused
	}
	if !c.claims.sending(key, of) {
		return 0, nil
	}
	ctx, end := c.tracing.Start(tmc.Origin{Change: w.from}.Context(ctx), "claim "+c.gvr.GroupResource().String(), trace.WithAttributes(attribute.String("object", key.String())))
	klog.FromContext(ctx).V(2).Info("Claiming the object", "object", key.String(), "why", "a copy is made")
	version, err := c.reporter(source, key.Cluster).Claim(ctx, up)
	c.metrics.written(directionUp, "claim", err)
	end(err)
	c.noteClaim(ctx, key, of, version, err)
	return 0, nil
}

// noteClaim leaves to passes what came of a claim. One that landed shows in the cache, which brings the pass.
func (c *ResourceController) noteClaim(ctx context.Context, key Key, of *wish, version string, err error) {
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // shutting down
	case err == nil:
		c.forbidden.Store(nil)
		c.claims.answered(key, of, version, nil)
	case c.claims.answered(key, of, "", c.failed("claiming", key, err)):
		c.loop.Add(key, tmc.PriorityLive)
	}
}

// newest is the object as the cache has it, unless the pass has read a later version past the cache; nil if it is gone, or is another.
func (w *wish) newest(cached *object) *object {
	switch {
	case cached == nil:
		return nil
	case older(cached.ResourceVersion, w.seen.ResourceVersion):
		return w.seen
	case cached.UID != w.seen.UID:
		return nil
	default:
		return cached
	}
}

// claimable: the object is this target's, as far as is known, is to stay, and is not claimed.
func (c *ResourceController) claimable(o *object) bool {
	key := c.target.key
	selected, known := c.selection.selects(o)
	return o.DeletionTimestamp == nil && (selected || !known) && o.Annotations[workloadv1alpha1.DeletionAnnotation(key)] == "" &&
		!slices.Contains(o.Finalizers, workloadv1alpha1.SyncerFinalizer(key))
}

// takeClaim has the pass know what has come of the claim since the last one.
func (p *pass) takeClaim() {
	version, err := p.c.claims.take(p.key)
	if err != nil {
		p.claimFailure = err
		p.record.cleanUp, p.record.cleanDown, p.record.madeFrom = "", "", ""
	}
	if version == "" {
		return
	}
	p.record.claimed = true
	if !older(version, p.record.upWritten) {
		p.record.upWritten = version
	}
}

// claim has the object claimed if it is not, and does not wait for it. What failed is the pass's failure, and is tried again by the next.
func (p *pass) claim(ctx context.Context) {
	if p.observed.Upstream.Claimed {
		p.claimFailure = nil
		p.c.claims.forget(p.key)
		return
	}
	if p.write.Do == decide.Postpone || p.claimFailure != nil {
		p.retrying = p.c.claims.failed(p.key)
		return
	}
	priority := tmc.PriorityLive
	if p.record.upSeen.IsZero() {
		priority = tmc.PriorityBacklog
	}
	p.claiming, p.retrying = true, p.c.claims.want(p.key, p.up, trace.SpanContextFromContext(ctx), priority)
}
