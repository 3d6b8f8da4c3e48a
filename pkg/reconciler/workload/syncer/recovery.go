package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// The strategies, as named in metrics and conditions.
const (
	strategyConnectivity     = "connectivity"
	strategyAuthentication   = "authentication"
	strategyVirtualWorkspace = "virtual-workspace"
	strategyConflict         = "conflict"
	strategySync             = "sync"
	strategyGeneric          = "generic"
)

// strategies are what is done about failures. Those of objects are tried again by the work loops, and only followed here.
func (s *Syncer) strategies() []tmc.Strategy {
	all := []tmc.Strategy{
		{
			Name: strategyConnectivity, Component: tmc.LinkComponent, Categories: []tmc.Category{tmc.Unreachable, tmc.Network, tmc.Timeout},
			Priority: 100, Longest: 5 * time.Second,
			Act: func(ctx context.Context, server fmt.Stringer, _ error) error {
				return s.link(server).Breaker().Wait(ctx)
			},
			Verify: func(_ context.Context, server fmt.Stringer) error { return s.link(server).Breaker().Allow() },
			Then:   s.resume,
		},
		{
			Name: strategyVirtualWorkspace, Component: tmc.FeedComponent,
			Priority: 80, Attempts: 10, Cooldown: time.Minute,
			Act: s.reresolve, Verify: s.verifyFeed,
		},
		{
			Name: strategyConflict, Categories: []tmc.Category{tmc.Conflict, tmc.FieldOwnership, tmc.AlreadyExists},
			Priority: 20, After: freshAfter, Attempts: 10,
		},
		{
			Name: strategySync, Categories: []tmc.Category{
				tmc.Validation, tmc.Immutable, tmc.Admission, tmc.Quota, tmc.Permission, tmc.NamespaceTerminating, tmc.NotFound, tmc.Projection, tmc.Aggregation,
			},
			Priority: 10, Attempts: quarantineAfter,
		},
		{
			Name: strategyGeneric, Categories: []tmc.Category{tmc.Internal, tmc.Unavailable, tmc.Timeout, tmc.Gone},
			After: 3, Attempts: 10,
		},
	}
	if s.config.Reread != nil {
		all = append(all, tmc.Strategy{
			Name: strategyAuthentication, Component: tmc.LinkComponent, Categories: []tmc.Category{tmc.Authentication, tmc.Configuration},
			Priority: 90, Attempts: 10, Longest: 30 * time.Second, Cooldown: 30 * time.Second,
			Act: s.renew, Verify: func(ctx context.Context, server fmt.Stringer) error { return s.link(server).Accepted(ctx) },
		})
	}
	return all
}

// link is the way to a server.
func (s *Syncer) link(server fmt.Stringer) *tmc.Link {
	if server.String() == sideKCP {
		return s.kcp
	}
	return s.cluster
}

// renew reads the credentials again, unless they are accepted by now.
func (s *Syncer) renew(ctx context.Context, server fmt.Stringer, _ error) error {
	if s.link(server).Accepted(ctx) == nil {
		return nil
	}
	return s.renewal.Renew(ctx)
}

// resume has everything looked at again after a server was away.
func (s *Syncer) resume(ctx context.Context, server fmt.Stringer) {
	if engine := s.engine.Load(); engine != nil {
		engine.resume(ctx, server.String())
	}
}

var errNoEngine = errors.New("the syncer does not work at the moment")

// reresolve reads live where the virtual workspaces are, in case that the watch of the SyncTarget does not tell, and has the
// types determined anew.
func (s *Syncer) reresolve(ctx context.Context, _ fmt.Stringer, _ error) error {
	engine := s.engine.Load()
	if engine == nil {
		return errNoEngine
	}
	st, err := s.targets.get(ctx)
	if err != nil {
		return err
	}
	engine.seeTarget(st)
	engine.Recheck()
	return nil
}

// verifyFeed waits for what the engine finds.
func (s *Syncer) verifyFeed(ctx context.Context, _ fmt.Stringer) error {
	var last error
	_ = wait.PollUntilContextTimeout(ctx, time.Second, discoveryRetry, true, func(context.Context) (bool, error) {
		last = errNoEngine
		if engine := s.engine.Load(); engine != nil {
			last = engine.discovered()
		}
		return last == nil, nil
	}) // it says no more than last
	return last
}

// feedSubject is what fails of the feed.
type feedSubject struct{}

// String is for people.
func (feedSubject) String() string { return "types" }

// resumeGrace is how long watches have to come back by themselves once their server answers. Those that wait longer (they
// pause for up to half a minute) are set up anew.
const resumeGrace = 3 * time.Second

// resume lists anew what is not watched again soon, and has every object looked at, orphans included: that costs no request
// where nothing has changed.
func (e *Engine) resume(ctx context.Context, side string) {
	var stale []*ResourceController
	_ = wait.PollUntilContextTimeout(ctx, resumeGrace/6, resumeGrace, true, func(context.Context) (bool, error) {
		stale = slices.DeleteFunc(e.controllers(), func(c *ResourceController) bool { return !c.watchLost(side) })
		return len(stale) == 0, nil
	}) // what is stale by then is
	klog.FromContext(ctx).Info("Resuming after a server was away", "server", side, "listedAnew", len(stale))
	for _, c := range stale {
		e.listAnew(c.resourceType)
	}
	for _, c := range e.controllers() {
		c.enqueueAll()
	}
	e.Recheck()
}

// watchLost reports whether the type is not watched at the side because the server did not answer.
func (c *ResourceController) watchLost(side string) bool {
	err := c.watchErrors.current(side)
	return err != nil && slices.Contains([]tmc.Category{tmc.Unreachable, tmc.Network, tmc.Timeout}, tmc.CategoryOf(err))
}

// listAnew has a type started anew at the next look at the types.
func (e *Engine) listAnew(rt resourceType) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.again == nil {
		e.again = map[resourceType]bool{}
	}
	e.again[rt] = true
}

// takeAgain are the types that are to be started anew.
func (e *Engine) takeAgain() map[resourceType]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	again := e.again
	e.again = nil
	return again
}

// noteFight tells the recovery of a fight over the copy, and of its end.
func (p *pass) noteFight() {
	component := p.c.gvr.GroupResource().String()
	switch {
	case p.write.Fight:
		p.record.fighting = true
		why := tmc.As(tmc.FieldOwnership, p.c.failed("correcting the copy of", p.key, errors.New(p.write.Why)))
		p.c.recovery.Failed(tmc.Incident{Component: component, Subject: tmc.SubjectOf(p.key), Err: why})
	case p.record.fighting && p.clean():
		p.record.fighting = false
		p.c.recovery.Mended(component, tmc.SubjectOf(p.key))
	}
}

// recovered tells what is being recovered from. What concerns single objects is on them, and makes it not untrue.
func recovered(f facts) metav1.Condition {
	c := metav1.Condition{Type: workloadv1alpha1.ConditionRecovered, Status: metav1.ConditionTrue}
	acting, exhausted, objects := sortRecoveries(f.recovery)
	switch {
	case !f.recovers:
		c.Status, c.Reason = metav1.ConditionUnknown, workloadv1alpha1.ReasonRecoveryDisabled
		c.Message = "the syncer runs with --enable-tmc-recovery=false: what fails is tried again, and that is all"
	case len(exhausted) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, workloadv1alpha1.ReasonRecoveryExhausted, strings.Join(append(exhausted, acting...), "; ")
	case len(acting) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, workloadv1alpha1.ReasonRecovering, strings.Join(acting, "; ")
	case objects > 0:
		c.Reason, c.Message = workloadv1alpha1.ReasonObjectsGivenUp, fmt.Sprintf("%d objects failed too often and have a condition that says why", objects)
	default:
		c.Reason, c.Message = workloadv1alpha1.ReasonNothingToRecover, "nothing has to be recovered from"
	}
	c.Message = truncate(c.Message, 4096)
	return c
}

// sortRecoveries puts those that act into words, and counts the objects that were given up.
func sortRecoveries(all []tmc.RecoveryReport) (acting, exhausted []string, objects int) {
	for _, r := range all {
		said := fmt.Sprintf("%s of %s %s: %s (%s)", r.Strategy, r.Component, r.Name, r.Category, r.Hint)
		switch {
		case r.Acts && r.State == tmc.RecoveryExhausted:
			exhausted = append(exhausted, said)
		case r.Acts:
			acting = append(acting, said)
		case r.State == tmc.RecoveryExhausted:
			objects++
		}
	}
	return acting, exhausted, objects
}
