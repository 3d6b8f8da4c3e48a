// Package synctarget keeps what the manager says about itself on each SyncTarget: the label with the target's key.
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
}

// Controller is the reconciler.
type Controller struct {
	targets *fleet.Cache[*workloadv1alpha1.SyncTarget]
	writer  *fleet.Writer
	loop    *fleet.Loop[fleet.Key]
}

// New sends no request.
func New(deps Deps) (*Controller, error) {
	c := &Controller{writer: deps.Fleet.Writer(name, workloadv1alpha1.WorkloadExport)}
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

func (c *Controller) process(ctx context.Context, key fleet.Key) (time.Duration, error) {
	st, ok := c.targets.Get(key)
	if !ok || st.DeletionTimestamp != nil {
		return 0, nil
	}
	patch := wanted(st, key)
	if patch == nil {
		return 0, nil
	}
	_, err := c.writer.Patch(ctx, fleet.SyncTargetResource, key, patch)
	return 0, err
}

// wanted is the merge patch that makes the SyncTarget right; nil if it is.
func wanted(st *workloadv1alpha1.SyncTarget, key fleet.Key) map[string]any {
	label := workloadv1alpha1.SyncTargetKey(string(key.Cluster), key.Name)
	if st.Labels[workloadv1alpha1.SyncTargetKeyLabel] == label {
		return nil
	}
	return map[string]any{"metadata": map[string]any{"labels": map[string]any{workloadv1alpha1.SyncTargetKeyLabel: label}}}
}
