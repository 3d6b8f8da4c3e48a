package syncer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/summarize"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/transform"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// pass is one look at one object, from what the caches hold to what was written. Its steps fill it from top to bottom.
type pass struct {
	c   *ResourceController
	key Key
	now time.Time
	// record is what is remembered of the object; the pass changes its own copy.
	record record

	// Filled by gather. settled: the caches hold what the last pass left, and nothing is to be done.
	settled bool
	// quarantined: the object is left alone until it changes.
	quarantined bool
	source      *feed.Source
	up, down    *object
	upstream    *unstructured.Unstructured
	// downstream is the copy, decoded when a step looks into it; see copied. It is not changed.
	downstream *unstructured.Unstructured
	observed   decide.Observed

	// Filled by decide.
	decision decide.Decision

	// Filled by transform, when the decision is to sync.
	desired *unstructured.Unstructured
	hash    string
	// rules say what the target reports; explicit: the object has rules of its own. left are fields that are the cluster's then.
	rules    summarize.Rules
	explicit bool
	left     transform.Left
	write    decide.WriteDecision

	// claimFailure is why the claim has failed since the last pass, unless it is wanted no more.
	claimFailure error

	// Filled by apply: wrote something, on either side; made the copy; waits for the claim, which may mend what failed before.
	wrote, made        bool
	claiming, retrying bool

	// Filled by any step: what the user is to be told, and when to look again although nothing changes.
	problem *problem
	after   time.Duration
}

// problem is why an object cannot be synced as it should, in the words of the condition.
type problem struct{ reason, message string }

// step is a named part of a pass. The name is the metric label, the span and the log value.
type step struct {
	name string
	run  func(*pass, context.Context) error
}

// steps in their order. After a failure only report follows: it tells the user.
var steps = []step{
	{"gather", (*pass).gather},
	{"decide", (*pass).decide},
	{"transform", (*pass).transform},
	{"apply", (*pass).apply},
	{"summarize", (*pass).summarize},
}

var reportStep = step{"report", (*pass).report}

// run takes the steps and gives the first error, after the user was told of it.
func (p *pass) run(ctx context.Context) error {
	ctx, end := p.startSpan(ctx)
	err := tmc.NoPanic(ctx, p.key, func() error { return p.takeSteps(ctx) })
	if p.quarantined {
		end(nil)
		return tmc.ErrQuarantined
	}
	if !p.settled {
		p.judge(err)
		p.explain(err)
		if reportErr := p.take(ctx, reportStep); reportErr != nil {
			p.record.quarantine = nil // not before it is told
			err = cmp.Or(err, reportErr)
		}
		p.noteClean(err)
	}
	end(err)
	return err
}

func (p *pass) takeSteps(ctx context.Context) error {
	for _, s := range steps {
		if err := p.take(ctx, s); err != nil || p.settled || p.quarantined {
			return err
		}
	}
	return nil
}

func (p *pass) take(ctx context.Context, s step) error {
	start := time.Now()
	ctx, end := p.c.tracing.Start(ctx, s.name)
	err := s.run(p, ctx)
	end(err)
	p.c.metrics.step(ctx, s.name, time.Since(start))
	return err
}

// freshAfter is after how many conflicts in a row the caches are no longer trusted.
const freshAfter = 3

// refresh reads the object past the cache when write after write met another version than the cache has, so that what is
// decided next is decided about what there is.
func (p *pass) refresh(ctx context.Context) error {
	if p.up == nil || p.record.conflicts < freshAfter || !p.c.recovery.Enabled() {
		return nil
	}
	live, err := p.c.reporter(p.source, p.key.Cluster).Read(ctx, p.key.Namespace, p.key.Name)
	if err != nil {
		return p.c.failed("reading afresh", p.key, err)
	}
	klog.FromContext(ctx).V(2).Info("Reading an object afresh", "object", p.key.String(), "conflicts", p.record.conflicts)
	p.up, err = compact(live)
	return err
}

// noteConflict counts writes in a row that met another version than they were made for.
func (p *pass) noteConflict(err error) {
	switch {
	case tmc.CategoryOf(err) == tmc.Conflict:
		p.record.conflicts++
	case err != nil || !p.retrying:
		p.record.conflicts = 0
	}
}

// unseenPatience is how long the cache may take to show a copy that was created; after that it counts as gone.
const unseenPatience = 10 * time.Second

// gather reads both sides from the caches, and makes the only copies.
func (p *pass) gather(ctx context.Context) error {
	c := p.c
	p.up, p.source = c.lookUpstream(p.key)
	p.down = c.lookDownstream(p.key)
	if p.quarantined = p.held(); p.quarantined {
		return nil
	}
	if err := p.refresh(ctx); err != nil {
		return err
	}
	if p.settled = p.untouched() || p.asMade(); p.settled {
		p.settle()
		return nil
	}
	if p.down != nil {
		p.record.created, p.record.finished = time.Time{}, nil
	}
	if p.up == nil && p.down == nil && p.record.unselected {
		if err := p.readUnselected(ctx); err != nil {
			return err
		}
	}
	if p.up != nil {
		var err error
		if p.upstream, err = p.up.decode(p.c.gvk); err != nil {
			return err
		}
	}
	p.observe()
	return nil
}

// untouched: both sides are as a pass has left them that found nothing to do.
func (p *pass) untouched() bool {
	return p.up != nil && p.down != nil && p.up.ResourceVersion == p.record.cleanUp && p.down.ResourceVersion == p.record.cleanDown
}

// asMade: both sides are as the pass has left them that made the copy, and there is no status that could come home. Most objects
// are looked at a second time for their copy's first event, and this is all that has to be seen of them then.
func (p *pass) asMade() bool {
	return p.up != nil && p.down != nil && p.record.madeFrom != "" &&
		p.up.ResourceVersion == p.record.madeFrom && p.down.ResourceVersion == p.record.downWritten &&
		!p.up.hasStatus && !p.down.hasStatus && p.up.DeletionTimestamp == nil && p.down.DeletionTimestamp == nil
}

// settle remembers the versions at which nothing is left to do.
func (p *pass) settle() {
	p.record.cleanUp, p.record.cleanDown, p.record.madeFrom = p.up.ResourceVersion, p.down.ResourceVersion, ""
	p.record.backlog = p.record.backlog && p.c.statusUpstream && !p.down.hasStatus // else there is no status to come
	p.record.created, p.record.finished, p.record.orphanSince = time.Time{}, nil, time.Time{}
	p.noteLag()
}

// readUnselected reads the object live, because it is no longer in what the feed shows, to take the claim off it.
func (p *pass) readUnselected(ctx context.Context) error {
	live, source, err := p.c.readUpstream(ctx, p.key)
	if err != nil {
		return err
	}
	if live == nil {
		p.record.unselected = false
		return nil
	}
	p.up, err = compact(live)
	p.source = source
	return err
}

func (p *pass) observe() {
	c, o := p.c, decide.Observed{
		UpstreamSynced:   p.c.upstreamSynced(),
		DownstreamSynced: p.c.downstreamSynced(),
		CopyUnseen:       p.unseen(),
		Now:              p.now,
		OrphanGrace:      p.c.settings.Load().orphanGrace,
	}
	if p.up != nil {
		p.record.orphanSince = time.Time{}
		o.Upstream = p.observeUpstream()
		o.Skip, _ = transform.Skip(c.gvr, p.upstream)
	}
	if p.down != nil {
		o.Downstream = &decide.Downstream{Deleting: p.down.DeletionTimestamp != nil, Finalizers: p.down.Finalizers}
		if p.up == nil && o.UpstreamSynced {
			o.OrphanSince = p.record.orphanSince
			p.record.orphanSince = earliest(p.record.orphanSince, p.now)
		}
	}
	p.observed = o
}

func (p *pass) observeUpstream() *decide.Upstream {
	key, o := p.c.target.key, p.up
	selected, known := p.c.selection.selects(o)
	if !known {
		selected = p.down != nil // until its namespace is seen, an object stays as it is
	}
	return &decide.Upstream{
		Deleting:       o.DeletionTimestamp != nil,
		Selected:       selected,
		Leaving:        o.Annotations[workloadv1alpha1.DeletionAnnotation(key)] != "",
		Claimed:        p.claimed(),
		SoftFinalizers: splitNames(o.Annotations[workloadv1alpha1.SoftFinalizersAnnotation(key)]),
		Orphan:         o.Annotations[workloadv1alpha1.RemovalPolicyAnnotation] == string(workloadv1alpha1.RemovalOrphan),
	}
}

// claimed reports whether the object carries our finalizer, or will as soon as the cache shows our last write.
func (p *pass) claimed() bool {
	return slices.Contains(p.up.Finalizers, workloadv1alpha1.SyncerFinalizer(p.c.target.key)) || p.upStale() && p.record.claimed
}

// upStale: the cache is behind our own last write upstream.
func (p *pass) upStale() bool { return older(p.up.ResourceVersion, p.record.upWritten) }

func (p *pass) unseen() bool {
	return p.down == nil && !p.record.created.IsZero() && p.now.Sub(p.record.created) < unseenPatience
}

func splitNames(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// decide asks for the verdict.
func (p *pass) decide(ctx context.Context) error {
	p.decision = decide.Next(p.observed)
	p.after = p.decision.After
	klog.FromContext(ctx).V(4).Info("Decided", "object", p.key.String(), "do", p.decision.Do, "why", p.decision.Why)
	return nil
}

// transform computes what the copy should be, and how to get there with the fewest requests.
func (p *pass) transform(ctx context.Context) error {
	if p.decision.Do != decide.Sync {
		return nil
	}
	if !p.c.servedDownstream {
		p.noteUnserved()
		return nil
	}
	desired, err := transform.Desired(transform.Input{
		Upstream:           p.upstream,
		GVR:                p.c.gvr,
		Key:                p.c.target.key,
		Namespace:          p.c.downstreamNamespace(p.key),
		Locator:            p.c.target.locate(p.key.Cluster, p.key.Namespace),
		AutoscaledReplicas: p.autoscaled(ctx),
		Upsynced:           p.c.upsynced(),
	})
	if err != nil {
		p.problem = &problem{workloadv1alpha1.ReasonInvalidAnnotation, err.Error()}
		return tmc.As(tmc.Projection, p.c.failed("translating", p.key, err))
	}
	p.readRules()
	p.left = transform.LeaveOut(desired, p.rules.SpecPaths())
	p.desired, p.hash = desired, transform.SetAppliedHash(desired)
	p.write, err = p.planWrite()
	if p.write.After > 0 {
		p.after = p.write.After
	}
	return err
}

// autoscaled reports whether an autoscaler of the cluster owns the replicas of the copy.
func (p *pass) autoscaled(ctx context.Context) bool {
	if p.down == nil || !p.down.autoscaled {
		return false
	}
	if _, asked, _ := unstructured.NestedFieldNoCopy(p.upstream.Object, "spec", "replicas"); !asked {
		return true // the user leaves them to anybody
	}
	return p.c.autoscalers.scale(ctx, p.down.Namespace, p.c.gvk, p.down.Name)
}

// readRules finds out what the target is to report. Rules that cannot be read are the user's to mend, and hold nothing up.
func (p *pass) readRules() {
	rules, explicit, err := workloadv1alpha1.SummarizingRules(p.up.Annotations)
	p.rules, p.explicit = rules, explicit
	if err != nil {
		p.problem = &problem{workloadv1alpha1.ReasonInvalidAnnotation, err.Error()}
	}
}

// unservedPatience is for how long a type may be missing downstream before users are told: a server that has just
// started knows its custom resources a little later.
const unservedPatience = 30 * time.Second

func (p *pass) noteUnserved() {
	p.write = decide.WriteDecision{Do: decide.Postpone, Why: "the physical cluster does not serve the type"}
	if left := unservedPatience - p.now.Sub(p.c.since); left > 0 {
		p.after = left
		return
	}
	p.problem = &problem{workloadv1alpha1.ReasonNotServed, fmt.Sprintf("the physical cluster does not serve %s in a version that kcp serves too", p.c.gvr.GroupResource())}
}

func (p *pass) planWrite() (decide.WriteDecision, error) {
	facts := decide.Copy{
		Exists: p.down != nil, Unseen: p.unseen(), DesiredHash: p.hash, Now: p.now,
		Corrections: p.record.corrections, LastCorrection: p.record.lastCorrection, CorrectionGap: p.record.correctionGap,
	}
	if p.down == nil {
		facts.Finished = p.finished()
		return decide.Write(facts), nil
	}
	facts.Stale = older(p.down.ResourceVersion, p.record.downWritten)
	facts.AppliedHash = p.down.appliedHash
	facts.AsRemembered = p.record.hash == p.hash && p.record.downWritten == p.down.ResourceVersion
	if !facts.Stale && !facts.AsRemembered && facts.AppliedHash == facts.DesiredHash {
		copied, err := p.copied()
		if err != nil {
			return decide.WriteDecision{}, err
		}
		facts.DriftedField, _ = transform.Drifted(p.desired, copied)
	}
	return decide.Write(facts), nil
}

// copied is what the copy is like, which not every pass has to know.
func (p *pass) copied() (_ *unstructured.Unstructured, err error) {
	if p.downstream == nil {
		p.downstream, err = cmp.Or(p.down, p.record.finished).decode(p.c.gvk)
	}
	return p.downstream, err
}

// finished: the work is done, and a copy that is not there was cleaned up by somebody else.
func (p *pass) finished() bool {
	return !p.record.remaking && (p.record.finished != nil || transform.Finished(p.c.gvr, p.upstream))
}

// gone: there is nothing left to remember.
func (p *pass) gone() bool {
	return !p.settled && !p.quarantined && p.decision.Do == decide.Nothing
}

// state is how the object is doing after the pass.
func (p *pass) state(err error) State {
	switch {
	case p.quarantined || p.record.quarantine != nil:
		return StateQuarantined
	case p.settled:
		return StateSynced
	case err != nil || p.problem != nil || p.retrying:
		return StateFailed
	case p.clean() || p.decision.Do == decide.Nothing:
		return StateSynced
	default:
		return StatePending
	}
}

// clean: both sides are as they should be and nothing is awaited.
func (p *pass) clean() bool {
	return p.decision.Do == decide.Sync && p.write.Do == decide.Keep && !p.wrote && p.problem == nil &&
		p.observed.Upstream.Claimed && !p.upStale() && p.after == 0
}

// noteClean remembers the versions at which nothing was left to do. After a failure something is: a status that did not come home
// leaves both sides as they were.
func (p *pass) noteClean(err error) {
	p.record.cleanUp, p.record.cleanDown, p.record.madeFrom = "", "", ""
	if err == nil && p.clean() && p.down != nil {
		p.settle()
	}
	if err == nil && p.made && p.plain() {
		p.record.madeFrom = p.up.ResourceVersion
	}
}

// plain: the object is claimed, has nothing to be told of, and its target reports nothing but a status.
func (p *pass) plain() bool {
	_, told := p.up.Annotations[workloadv1alpha1.ConditionsAnnotation(p.c.target.key)]
	return p.observed.Upstream.Claimed && p.problem == nil && p.after == 0 && !told && !p.explicit
}

// wroteDown tells how long a live change took to get to the cluster, and where that time went.
func (p *pass) wroteDown(ctx context.Context) {
	if p.record.upSeen.IsZero() {
		return
	}
	now := p.c.clock.Now()
	p.c.metrics.lag(ctx, directionDown, now.Sub(p.record.upSeen))
	p.c.metrics.hop(ctx, hopQueue, p.now.Sub(p.record.upSeen))
	p.c.metrics.hop(ctx, hopWrite, now.Sub(p.now))
	p.record.upSeen = time.Time{}
}

// wroteUp does so for a status on its way home. First: it is the copy's first.
func (p *pass) wroteUp(ctx context.Context, first bool) {
	if p.record.downSeen.IsZero() {
		return
	}
	now := p.c.clock.Now()
	p.c.metrics.lag(ctx, directionUp, now.Sub(p.record.downSeen))
	if took := p.record.downSeen.Sub(p.record.made); first && !p.record.made.IsZero() && took > 0 {
		p.c.metrics.hop(ctx, hopCluster, took)
	}
	p.c.metrics.hop(ctx, hopCollect, p.now.Sub(p.record.downSeen))
	p.c.metrics.hop(ctx, hopReport, now.Sub(p.now))
	p.record.downSeen = time.Time{}
}

// noteLag forgets the marks of changes that turned out to need no write.
func (p *pass) noteLag() { p.record.upSeen, p.record.downSeen = time.Time{}, time.Time{} }

func (p *pass) deletingFor() time.Duration {
	if p.down == nil || p.down.DeletionTimestamp == nil {
		return 0
	}
	return p.now.Sub(p.down.DeletionTimestamp.Time)
}
