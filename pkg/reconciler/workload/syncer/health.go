package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const (
	// linkFreshness is how long a server counts as reachable without being heard of.
	linkFreshness = 30 * time.Second
	// lockDeadline is how long the engine may take to say how its types are doing, which is a matter of locks and memory.
	// More is a deadlock, on the busiest machine.
	lockDeadline = 5 * time.Second
)

// registerChecks tells the probes what to ask. Each type that is synced adds a check of its own while it is.
//
// Live is only what a restart would mend: a pass that hangs, workers that take nothing, an engine that is locked up. Ready is
// whether this replica does its duty, or could: a standby is ready when it reaches both servers.
func (s *Syncer) registerChecks() {
	s.health = tmc.NewHealth(tmc.WithHealthClock(s.clock))
	tmc.NewHealthMetrics(s.registry, s.health)
	for _, check := range []tmc.Check{
		{Name: "workers", Kind: tmc.Liveness, Deadline: lockDeadline, Run: s.checkWorkers},
		{Name: "engine", Kind: tmc.Liveness, Deadline: lockDeadline, Run: s.checkEngine},
		s.kcp.Connection().Check("kcp", linkFreshness, s.kcp.Probe),
		s.cluster.Connection().Check("cluster", linkFreshness, s.cluster.Probe),
		{Name: "synctarget", Run: s.checkPhase},
		{Name: "types", Deadline: lockDeadline, Run: s.whenLeading(s.checkTypes)},
		s.file.Check(),
		{Name: "heartbeat", Run: s.whenLeading(s.heartbeat.Check)},
		{Name: "recovery", Run: s.recovery.Check},
	} {
		s.health.Register(check)
	}
}

// whenLeading is for checks that a standby passes.
func (s *Syncer) whenLeading(check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !s.leading.Load() {
			return nil
		}
		return check(ctx)
	}
}

func (s *Syncer) checkPhase(context.Context) error {
	switch phase := s.phase.Load(); phase {
	case phaseStandby, phaseWorking:
		return nil
	default:
		return fmt.Errorf("%s", phase)
	}
}

// checkWorkers fails while a worker is stuck, or none takes what is ready.
func (s *Syncer) checkWorkers(ctx context.Context) error {
	errs := []error{s.progress.Check(ctx)}
	if engine := s.engine.Load(); engine != nil {
		for _, c := range engine.controllers() {
			for _, loop := range c.loops() {
				errs = append(errs, loop.Stalled(s.clock.Now()))
			}
		}
	}
	return errors.Join(errs...)
}

// checkEngine asks the engine how its types are doing, for which it needs every lock that the work needs too, and fails if it
// takes for ever over determining them.
func (s *Syncer) checkEngine(ctx context.Context) error {
	engine := s.engine.Load()
	if engine == nil {
		return nil
	}
	engine.statuses()
	return engine.looking.Check(ctx)
}

// checkTypes fails until it is known which types there are.
func (s *Syncer) checkTypes(context.Context) error {
	if engine := s.engine.Load(); engine != nil {
		return engine.discovered()
	}
	return errors.New("the engine does not run")
}

// check is the type's own: it fails until all objects were listed. A type that cannot be is degraded by itself, and does not
// make the others unready.
func (c *ResourceController) check(context.Context) error {
	switch status := c.status(); status.State {
	case workloadv1alpha1.ResourcePending:
		return errors.New(status.Message)
	case workloadv1alpha1.ResourceDegraded:
		return tmc.Degraded(errors.New(status.Message))
	default:
		return nil
	}
}

// ownConditions are the components that a condition of the SyncTarget tells of already, or that could not be told if they failed.
var ownConditions = []string{"kcp", "cluster", "heartbeat", "synctarget", "types", "configuration"}

// components are how the others are doing.
func (s *Syncer) components() (tmc.Level, string) {
	return tmc.Overall(slices.DeleteFunc(s.health.Known(context.Background()), func(r tmc.Result) bool {
		return slices.Contains(ownConditions, r.Name) || strings.HasPrefix(r.Name, typeCheck)
	}))
}

// typeCheck is how the names of the types' checks begin.
const typeCheck = "type/"
