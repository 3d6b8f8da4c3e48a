// Package synctarget gives each SyncTarget what its syncer and the other reconcilers find it by: the label with the target's
// key, and the URLs of its virtual workspaces, one for each kcp shard on which somebody's workloads may be. And it writes the
// Events that the syncer may not write, about what it recovers from.
package synctarget

import (
	"context"
	"time"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
)

const name = "synctarget"

// Deps are what the reconciler needs.
type Deps struct {
	Fleet   *fleet.Fleet
	Workers int
	// VirtualWorkspaceURL is where syncers reach the virtual workspace server. If empty, the URLs are left alone.
	VirtualWorkspaceURL string
}

// Controller is the reconciler.
type Controller struct {
	deps    Deps
	targets *fleet.Cache[*workloadv1alpha1.SyncTarget]
	writer  *fleet.Writer
	loop    *fleet.Loop[fleet.Key]

	recoveries recoveries
}

// New sends no request.
func New(deps Deps) (*Controller, error) {
	c := &Controller{deps: deps, writer: deps.Fleet.Writer(name, workloadv1alpha1.WorkloadExport)}
	c.loop = fleet.NewLoop(deps.Fleet, name, deps.Workers, c.process)
	var err error
	if c.targets, err = fleet.SyncTargets(deps.Fleet); err != nil {
		return nil, err
	}
	return c, c.targets.OnChange(func(change fleet.Change[*workloadv1alpha1.SyncTarget]) {
		c.loop.Add(fleet.KeyOf(change.Object), change.Priority)
	})
}

// Run works until ctx is done.
func (c *Controller) Run(ctx context.Context) error {
	c.loop.Run(ctx)
	return nil
}

// process makes a SyncTarget right, by one request for each of the label and the status that is wrong.
func (c *Controller) process(ctx context.Context, key fleet.Key) (time.Duration, error) {
	st, ok := c.targets.Get(key)
	if !ok || st.DeletionTimestamp != nil {
		c.recoveries.see(key, nil)
		return 0, nil
	}
	c.tellRecovery(ctx, key, st)
	metadata, status := wanted(st, c.deps.VirtualWorkspaceURL, c.deps.Fleet.URLs()[workloadv1alpha1.KubernetesExport])
	if metadata != nil {
		if _, err := c.writer.Patch(ctx, fleet.SyncTargetResource, key, map[string]any{"metadata": metadata}); err != nil {
			return 0, err
		}
	}
	if status != nil {
		if _, err := c.writer.Patch(ctx, fleet.SyncTargetResource, key, map[string]any{"status": status}, "status"); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
