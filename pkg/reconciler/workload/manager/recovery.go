package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// strategies are what is done about failures. Those of objects are tried again by the work loops, and only followed here.
func (m *Manager) strategies() []tmc.Strategy {
	all := []tmc.Strategy{
		{
			Name: "connectivity", Component: tmc.LinkComponent, Categories: []tmc.Category{tmc.Unreachable, tmc.Network, tmc.Timeout},
			Priority: 100, Longest: 5 * time.Second,
			Act:    func(ctx context.Context, _ fmt.Stringer, _ error) error { return m.kcp.Breaker().Wait(ctx) },
			Verify: func(context.Context, fmt.Stringer) error { return m.kcp.Breaker().Allow() },
			Then:   m.resume,
		},
		{
			Name: "virtual-workspace", Component: tmc.FeedComponent,
			Priority: 80, After: 3, Attempts: 10, Cooldown: time.Minute,
			Act: m.reresolve, Verify: func(ctx context.Context, _ fmt.Stringer) error { return m.checkEndpoints(ctx) },
		},
		{
			Name: "migration", Component: fleet.MoveComponent, Categories: []tmc.Category{tmc.MigrationTimeout, tmc.MigrationFailure},
			Priority: 60, Attempts: 5, Cooldown: time.Minute,
			Act: m.rollBack, Verify: m.verifyRollBack,
		},
		{
			Name: "placement", Component: fleet.PlacementComponent,
			Priority: 50, First: 5 * time.Second, Longest: 5 * time.Minute, Attempts: 10, Cooldown: 30 * time.Minute,
			Act: m.reschedule,
		},
		{
			Name: "conflict", Categories: []tmc.Category{tmc.Conflict, tmc.FieldOwnership, tmc.AlreadyExists},
			Priority: 20, After: 3, Attempts: 10,
		},
		{
			Name: "sync", Categories: []tmc.Category{
				tmc.Validation, tmc.Immutable, tmc.Admission, tmc.Quota, tmc.Permission, tmc.NamespaceTerminating, tmc.NotFound, tmc.Aggregation,
			},
			Priority: 10, Attempts: 5,
		},
		{
			Name: "generic", Categories: []tmc.Category{tmc.Internal, tmc.Unavailable, tmc.Timeout, tmc.Gone},
			After: 3, Attempts: 10,
		},
	}
	if m.config.Reread != nil {
		all = append(all, tmc.Strategy{
			Name: "authentication", Component: tmc.LinkComponent, Categories: []tmc.Category{tmc.Authentication, tmc.Configuration},
			Priority: 90, Attempts: 10, Longest: 30 * time.Second, Cooldown: 30 * time.Second,
			Act: m.renew, Verify: func(ctx context.Context, _ fmt.Stringer) error { return m.kcp.Accepted(ctx) },
		})
	}
	return all
}

// renew reads the credentials again, unless they are accepted by now.
func (m *Manager) renew(ctx context.Context, _ fmt.Stringer, _ error) error {
	if m.kcp.Accepted(ctx) == nil {
		return nil
	}
	return m.renewal.Renew(ctx)
}

// resumeGrace is how long watches have to come back by themselves once kcp answers.
const resumeGrace = 5 * time.Second

// resume lists everything anew if not all is watched again soon after kcp was away.
func (m *Manager) resume(ctx context.Context, _ fmt.Stringer) {
	select {
	case <-ctx.Done():
		return
	case <-m.clock.After(resumeGrace):
	}
	if f := m.fleet.Load(); f != nil && f.Lost() {
		klog.FromContext(ctx).Info("Listing everything anew after kcp was away")
		select {
		case m.relist <- struct{}{}:
		default: // it is about to be
		}
	}
}

var errNotLeading = errors.New("this replica does not lead")

// reresolve reads live where the virtual workspaces are.
func (m *Manager) reresolve(ctx context.Context, _ fmt.Stringer, _ error) error {
	if endpoints := m.endpoints.Load(); endpoints != nil {
		return endpoints.Reread(ctx)
	}
	return errNotLeading
}

func (m *Manager) reschedule(_ context.Context, subject fmt.Stringer, _ error) error {
	key, ok := subject.(fleet.Key)
	return m.onPlacements(func(c *placement.Controller) error {
		if ok {
			c.Reschedule(key)
		}
		return nil
	})
}

// rollBack has the work of a failed move stay where it was.
func (m *Manager) rollBack(_ context.Context, subject fmt.Stringer, failure error) error {
	move, ok := subject.(fleet.Move)
	return m.onPlacements(func(c *placement.Controller) error {
		if ok {
			c.RollBack(move, failure)
		}
		return nil
	})
}

func (m *Manager) verifyRollBack(ctx context.Context, subject fmt.Stringer) error {
	move, ok := subject.(fleet.Move)
	return m.onPlacements(func(c *placement.Controller) error {
		if !ok {
			return nil
		}
		return c.RolledBack(ctx, move)
	})
}

func (m *Manager) onPlacements(do func(*placement.Controller) error) error {
	if c := m.placing.Load(); c != nil {
		return do(c)
	}
	return errNotLeading
}

// feedSubject is what fails of the way to the virtual workspaces.
type feedSubject struct{}

// String is for people.
func (feedSubject) String() string { return "APIExportEndpointSlices" }
