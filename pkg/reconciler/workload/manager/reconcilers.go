package manager

import (
	"fmt"
	"time"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/apiexport"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/heartbeat"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/synctarget"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// reconcilers are what the manager does, each a duty of its own.
func (m *Manager) reconcilers(f *fleet.Fleet) ([]tmc.Part, error) {
	var parts []tmc.Part
	for _, r := range []struct {
		name string
		make func() (fleet.Reconciler, error)
	}{
		{"synctarget", func() (fleet.Reconciler, error) {
			return synctarget.New(synctarget.Deps{Fleet: f, Workers: m.config.Workers, VirtualWorkspaceURL: m.config.VirtualWorkspaceURL})
		}},
		{"heartbeat", func() (fleet.Reconciler, error) {
			c, err := heartbeat.New(heartbeat.Deps{
				Fleet: f, Workers: m.config.Workers, Settings: func() heartbeat.Settings { return m.live.Load().Heartbeat }, TaintRate: func() float64 { return m.live.Load().TaintRate }, Metrics: m.heartbeats,
			})
			if err != nil {
				return nil, err
			}
			m.lookAgain.Store(new(c.LookAgain))
			return c, nil
		}},
		{"apiexport", func() (fleet.Reconciler, error) {
			return apiexport.New(apiexport.Deps{Fleet: f, Provider: m.config.Provider, UnusedSchemaGrace: m.config.UnusedSchemaGrace})
		}},
		{"assignment", func() (fleet.Reconciler, error) {
			return assignment.New(assignment.Deps{
				Fleet: f, Provider: m.config.Provider, Upsynced: m.config.Upsynced, Workers: m.config.Assignment.Workers, MoveTimeout: func() time.Duration { return m.live.Load().Assignment.MoveTimeout },
				Metrics: m.assignment, Webhook: m.webhook,
			})
		}},
		{"placement", func() (fleet.Reconciler, error) {
			c, err := placement.New(placement.Deps{Fleet: f, Metrics: m.placements, Provider: m.config.Provider, Workers: m.config.Workers})
			m.placing.Store(c)
			return c, err
		}},
	} {
		made, err := r.make()
		if err != nil {
			return nil, fmt.Errorf("setting up the %s reconciler: %w", r.name, err)
		}
		parts = append(parts, tmc.Part{Name: r.name, Run: made.Run})
	}
	return parts, nil
}
