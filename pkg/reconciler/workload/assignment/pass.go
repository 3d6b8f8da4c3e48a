package assignment

import (
	"context"
	"slices"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/references"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/coordination"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// pass is one look at one object. Its steps fill it from top to bottom.
type pass struct {
	c      *Controller
	item   item
	now    time.Time
	typ    *typeCache
	record record

	// Filled by gather. known: where the namespace's objects are to be is known.
	o      *object
	placed placedNamespace
	known  bool
	seen   decide.Observed

	// Filled by decide.
	decision decide.Decision

	// Filled by any step: when to look again although nothing changes.
	after time.Duration
}

// processObject brings one object to where it is to be.
func (c *Controller) processObject(ctx context.Context, i item) (time.Duration, error) {
	t, ok := c.types.of(i.resource)
	if !ok {
		return 0, nil
	}
	o, ok := t.Get(i.Key)
	if !ok {
		c.remember(i, record{})
		return 0, nil
	}
	p := &pass{c: c, item: i, now: c.clock.Now(), typ: t, o: o, record: c.remembered(i)}
	if older(o.ResourceVersion, p.record.wrote) {
		return time.Second, nil // the cache is behind our own write; it will tell
	}
	p.record.wrote = ""
	err := p.run(ctx)
	c.remember(i, p.record)
	return p.after, err
}

func (p *pass) run(ctx context.Context) error {
	if err := p.take(ctx, "gather", p.gather); err != nil {
		return err
	}
	if err := p.take(ctx, "decide", p.decide); err != nil {
		return err
	}
	if p.decision.Writes() {
		return p.take(ctx, "apply", p.apply)
	}
	p.record.tellAt = time.Time{}
	return p.take(ctx, "put together", p.putTogether)
}

// take takes a step. Its name is that of the span.
func (p *pass) take(ctx context.Context, step string, run func(context.Context) error) error {
	ctx, end := p.c.deps.Fleet.Tracing().Start(ctx, step)
	err := run(ctx)
	end(err)
	return err
}

func (p *pass) decide(context.Context) error {
	p.decision = decide.Next(p.seen)
	p.lookAgain(p.decision.After)
	return nil
}

// older reports whether a resourceVersion is from before another one of the same object. Unknown versions are not.
func older(version, than string) bool {
	if version == "" || than == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}

func (p *pass) lookAgain(after time.Duration) {
	if after > 0 && (p.after == 0 || after < p.after) {
		p.after = after
	}
}

// gather reads the caches.
func (p *pass) gather(ctx context.Context) error {
	p.placed, p.known = p.c.placedIn(namespaceOf(p.o))
	p.seen = p.c.observe(p.item.resource, p.o, p.placed, p.now)
	p.seen.MayLeave = p.mayLeave
	if p.seen.Object.Stray() {
		if p.record.straySince.IsZero() {
			p.record.straySince = p.now
		}
	} else {
		p.record.straySince = time.Time{}
	}
	p.seen.StraySince = p.record.straySince
	for _, key := range append(p.o.keys(), p.seen.Wanted...) {
		if _, have := p.seen.Targets[key]; have {
			continue
		}
		facts, known, again, err := p.c.targets.facts(ctx, key, p.placed.plan.Leaving[key].Gone, p.item.resource)
		if err != nil {
			return err
		}
		p.lookAgain(again)
		if known {
			facts.ByHand = p.known && !p.placed.ever[key]
			p.seen.Targets[key] = facts
		}
	}
	return nil
}

// observe is what a decision depends on, targets aside.
func (c *Controller) observe(resource schema.GroupResource, o *object, placed placedNamespace, now time.Time) decide.Observed {
	seen := decide.Observed{Object: o.facts(resource), Now: now, Targets: map[string]decide.Target{}, After: placed.plan.After}
	seen.Belongs, seen.Why = c.belongs(resource, o)
	seen.Object.Made = c.types.made.Has(resource)
	// An object goes to all targets at once, when its namespace is there: shares of replicas are right from the start.
	ready := !slices.ContainsFunc(placed.plan.Wanted, func(key string) bool { return !slices.Contains(placed.labelled, key) })
	for _, key := range placed.plan.Wanted {
		if ready || o.on(key) {
			seen.Wanted = append(seen.Wanted, key)
		}
	}
	return seen
}

// mayLeave is what the namespace's pass found, and for what others need, that these have left.
func (p *pass) mayLeave(key string) decide.Verdict {
	switch {
	case !p.known:
		return decide.Verdict{Why: "where its namespace is to be is not known"}
	case p.o.Labels[workloadv1alpha1.AssignLabel] == assignNever:
		return decide.Verdict{Yes: true, Why: "its label " + workloadv1alpha1.AssignLabel + " says so"}
	case slices.Contains(p.placed.plan.Wanted, key):
		return p.mayLeaveNeedless(key)
	}
	verdict, ok := p.placed.may[key]
	if !ok {
		return decide.Verdict{Why: "its namespace has not been looked at yet", After: time.Second}
	}
	if user := p.c.userOn(p.item.resource, p.o, key); verdict.Yes && user != "" {
		return decide.Verdict{Why: user + " still needs it there"}
	}
	return verdict
}

// needlessPoll is how often it is looked whether what nobody names any more can go.
const needlessPoll = 5 * time.Second

// mayLeaveNeedless lets what no workload names any more go when the workloads have settled: during a rollout, pods of the
// old template still run.
func (p *pass) mayLeaveNeedless(key string) decide.Verdict {
	if !p.c.types.synced() {
		return decide.Verdict{Why: "not everything in the workspaces has been seen yet", After: time.Second}
	}
	if p.record.needlessSince.IsZero() {
		p.record.needlessSince = p.now
	}
	for _, w := range p.c.workloadsIn(namespaceOf(p.o), key) {
		rolling := slices.Contains(w.On, key) && !slices.Contains(w.Ready, key) && !w.Finished
		if left := p.c.deps.MoveTimeout() - p.now.Sub(p.record.needlessSince); rolling && left > 0 {
			return decide.Verdict{Why: "nobody names it any more, but " + w.Name + " may still run with it", After: min(left, needlessPoll)}
		}
	}
	return decide.Verdict{Yes: true, Why: "nobody names it any more"}
}

// The values of the label by which users decide themselves.
const (
	assignAlways = "true"
	assignNever  = "false"
)

// belongs says whether an object goes where its namespace goes, and why.
func (c *Controller) belongs(resource schema.GroupResource, o *object) (belongs bool, why string) {
	switch choice := o.Labels[workloadv1alpha1.AssignLabel]; {
	case c.types.made.Has(resource):
		return false, "clusters make it"
	case everyCluster(resource, o) != "":
		return false, everyCluster(resource, o)
	case choice == assignNever:
		return false, "its label says so"
	case choice == assignAlways:
		return true, "its label says so"
	case c.types.isCompute(resource):
		return true, "it is of a compute type"
	}
	if user := c.userOn(resource, o, ""); user != "" {
		return true, user + " needs it"
	}
	return false, "nobody needs it"
}

// everyCluster says why an object is one that every cluster, or workspace, makes for itself; empty for all others.
func everyCluster(resource schema.GroupResource, o *object) string {
	switch {
	case resource == references.ConfigMaps && (o.Name == "kube-root-ca.crt" || o.Name == "openshift-service-ca.crt"):
		return "every cluster publishes its own CA in it"
	case resource == references.ServiceAccounts && o.Name == "default":
		return "every namespace has its own"
	case o.token:
		return "the token in it is valid at its own API server only"
	case resource.Group == "" && (resource.Resource == "services" || resource.Resource == "endpoints") && o.Namespace == "default" && o.Name == "kubernetes":
		return "it is the way to the workspace's own API server"
	}
	return ""
}

// userOn is an object that names this one, belongs itself and, unless key is empty, is on that target; empty if there is none.
func (c *Controller) userOn(resource schema.GroupResource, o *object, key string) string {
	need := needOf(namespaceOf(o), references.Reference{GroupResource: resource, Name: o.Name})
	for _, t := range c.types.all() {
		for _, user := range t.By(byNeed, need) {
			if key != "" && !user.on(key) {
				continue
			}
			if key == "" {
				if belongs, _ := c.belongs(t.gvr.GroupResource(), user); !belongs {
					continue
				}
			}
			return t.gvr.Resource + "/" + user.Name
		}
	}
	return ""
}

// apply sends what was decided, all in one patch.
func (p *pass) apply(ctx context.Context) error {
	if p.decision.OnlyTells() && !p.mayTell() {
		return nil
	}
	for _, act := range p.decision.Acts {
		klog.FromContext(ctx).V(2).Info("Assigning an object", "object", p.item.String(), "target", act.Key, "do", act.Do, "why", act.Why)
		p.c.metrics.acted(string(act.Do))
	}
	if p.decision.Remove {
		return p.remove(ctx)
	}
	p.c.carryTrace(ctx, &p.decision, p.o)
	patched, err := p.c.writer.Patch(ctx, p.typ.gvr, p.item.Key, p.decision.Patch(string(p.o.UID), p.o.ResourceVersion))
	switch {
	case tmc.IsObjectNotFound(err, p.item.resource.Resource, p.item.Name):
		return nil // it was deleted a moment ago
	case err != nil:
		return err
	}
	if len(p.o.keys()) == 0 && p.decision.Assigns() {
		from := p.o.CreationTimestamp.Time
		if p.placed.placedAt.After(from) {
			from = p.placed.placedAt
		}
		p.c.metrics.assigned(ctx, p.c.clock.Since(from))
	}
	p.record = record{wrote: patched.GetResourceVersion(), lastStatus: p.record.lastStatus, straySince: p.record.straySince}
	return nil
}

// goneWithin is how long the cache may take to show that something is gone. If it does not go, no event tells so.
const goneWithin = 10 * time.Second

// remove takes the claim of a target off what it brought up, and deletes it.
func (p *pass) remove(ctx context.Context) error {
	var err error
	if p.decision.Patches() {
		_, err = p.c.writer.Patch(ctx, p.typ.gvr, p.item.Key, p.decision.Patch(string(p.o.UID), p.o.ResourceVersion))
	}
	if err == nil && !p.seen.Object.Deleting {
		p.lookAgain(goneWithin)
		err = p.c.writer.Delete(ctx, p.typ.gvr, p.item.Key, p.o.UID)
	}
	if tmc.IsObjectNotFound(err, p.item.resource.Resource, p.item.Name) {
		return nil
	}
	return err
}

// carryTrace has the object carry the trace of what is decided to the syncer, if traces are carried.
func (c *Controller) carryTrace(ctx context.Context, decision *decide.Decision, o *object) {
	if tracing := c.deps.Fleet.Tracing(); tracing.Carries() {
		decision.Carry(tracing.Traceparent(ctx), o.Annotations[workloadv1alpha1.TraceAnnotation])
	}
}

// mayTell reports whether it is the object's turn to be told that its target is silent.
func (p *pass) mayTell() bool {
	if p.record.tellAt.IsZero() {
		p.record.tellAt = p.now.Add(p.c.telling.ReserveN(p.now, 1).DelayFrom(p.now))
	}
	left := p.record.tellAt.Sub(p.now)
	if left > 0 {
		p.c.loop.AddAfter(p.item, priorityTell, left)
	}
	return left <= 0
}

// statusWindow is how long changes of what targets report are collected before they are put together.
const statusWindow = 2 * time.Second

// putTogether makes one status of what several targets report.
func (p *pass) putTogether(ctx context.Context) error {
	if len(p.decision.Staying) < 2 || p.decision.Moving || p.seen.Object.Deleting {
		return nil
	}
	if rules, _, _ := workloadv1alpha1.SummarizingRules(p.o.Annotations); !workloadv1alpha1.PromotesStatus(rules) {
		return nil // its user, or a coordinator, makes something of what the targets report
	}
	reported := make([]map[string]any, len(p.decision.Staying))
	for i, key := range p.decision.Staying {
		if reported[i] = reportedBy(key, p.o.Annotations); len(reported[i]) == 0 {
			reported[i] = nil
		}
	}
	patch, err := statusPatch(p.o.status, coordination.Merge(p.item.resource, reported))
	if err != nil || patch == nil || string(toJSON(patch)) == p.record.futile {
		return tmc.As(tmc.Aggregation, err)
	}
	if left := statusWindow - p.now.Sub(p.record.lastStatus); left > 0 {
		p.lookAgain(left)
		return nil
	}
	return p.sendStatus(ctx, patch)
}

// statusPatch is a JSON merge patch that turns one status into the other; nil if there is nothing to do. A target that says
// nothing takes nothing away.
func statusPatch(from, to map[string]any) (map[string]any, error) {
	if len(to) == 0 {
		return nil, nil
	}
	if from == nil {
		from = map[string]any{}
	}
	difference, err := jsonpatch.CreateMergePatch(toJSON(from), toJSON(to))
	if err != nil {
		return nil, err
	}
	var changes map[string]any
	if err := utiljson.Unmarshal(difference, &changes); err != nil || len(changes) == 0 {
		return nil, err
	}
	return map[string]any{"status": changes}, nil
}

func (p *pass) sendStatus(ctx context.Context, patch map[string]any) error {
	var subresources []string
	if p.typ.status {
		subresources = []string{"status"}
	}
	klog.FromContext(ctx).V(2).Info("Putting a status together", "object", p.item.String(), "targets", p.decision.Staying)
	p.c.metrics.acted("Status")
	patched, err := p.c.writer.Patch(ctx, p.typ.gvr, p.item.Key, patch, subresources...)
	switch {
	case tmc.IsObjectNotFound(err, p.item.resource.Resource, p.item.Name):
		return nil
	case err != nil:
		return err
	}
	p.record.lastStatus = p.now
	if patched.GetResourceVersion() == p.o.ResourceVersion {
		p.record.futile = string(toJSON(patch)) // kcp's schema does not have the field
	} else {
		p.record.wrote = patched.GetResourceVersion()
	}
	return nil
}
