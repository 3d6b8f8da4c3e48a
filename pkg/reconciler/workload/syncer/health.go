package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const (
	// stuckAfter is how long one pass may take before the process counts as stuck: far longer than every time-out that
	// a pass can run into.
	stuckAfter = 5 * time.Minute
	// linkFreshness is how long a server counts as reachable without being heard of.
	linkFreshness = 30 * time.Second
)

// registerChecks tells the probes what to ask.
//
// Live is only what a restart would mend: a pass that hangs. Ready is whether this replica does its duty, or could: a
// standby is ready when it reaches both servers.
func (s *Syncer) registerChecks() {
	s.health = tmc.NewHealth()
	s.health.Register(tmc.Check{Name: "workers", Kind: tmc.Liveness, Run: s.progress.Check})
	s.health.Register(s.kcp.Connection().Check("kcp", linkFreshness, s.kcp.Probe))
	s.health.Register(s.cluster.Connection().Check("cluster", linkFreshness, s.cluster.Probe))
	s.health.Register(tmc.Check{Name: "synctarget", Run: s.checkPhase})
	s.health.Register(tmc.Check{Name: "types", Run: s.whenLeading(s.checkTypes)})
	s.health.Register(tmc.Check{Name: "heartbeat", Run: s.whenLeading(s.heartbeat.Check)})
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

// checkTypes fails until all types were listed. A type that cannot be, is degraded by itself: it has a condition, and
// does not make the others unready.
func (s *Syncer) checkTypes(context.Context) error {
	engine := s.engine.Load()
	if engine == nil {
		return errors.New("the engine does not run")
	}
	if err := engine.discovered(); err != nil {
		return err
	}
	var pending []string
	for _, t := range engine.statuses() {
		if t.State == workloadv1alpha1.ResourcePending {
			pending = append(pending, t.Resource.String())
		}
	}
	if len(pending) > 0 {
		return fmt.Errorf("not listed completely yet: %s", strings.Join(pending, ", "))
	}
	return nil
}
