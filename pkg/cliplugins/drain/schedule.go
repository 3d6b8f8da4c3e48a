// Package drain takes SyncTargets out of service and back: cordon, uncordon and drain.
package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/apply"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// Targets are the SyncTargets of a workspace.
type Targets struct {
	kcp    *rest.Config
	path   logicalcluster.Path
	client dynamic.ResourceInterface
	// DryRun changes nothing.
	DryRun bool
}

// NewTargets reaches the SyncTargets of the workspace at path.
func NewTargets(kcp *rest.Config, path logicalcluster.Path) (*Targets, error) {
	client, err := workspace.Client(kcp, path)
	if err != nil {
		return nil, err
	}
	return &Targets{kcp: kcp, path: path, client: client.Resource(workspace.SyncTargets)}, nil
}

// Cordon keeps new workloads away from the target; what runs there stays.
func (t *Targets) Cordon(ctx context.Context, name string, out io.Writer) error {
	target, err := t.get(ctx, name)
	if err != nil {
		return err
	}
	if target.Spec.Unschedulable {
		return t.tell(out, name, "already cordoned")
	}
	if _, err := t.patch(ctx, name, map[string]any{"unschedulable": true}); err != nil {
		return err
	}
	return t.tell(out, name, "cordoned")
}

// Uncordon opens the target to new workloads again, and calls off its eviction.
func (t *Targets) Uncordon(ctx context.Context, name string, out io.Writer) error {
	target, err := t.get(ctx, name)
	if err != nil {
		return err
	}
	if !target.Spec.Unschedulable && target.Spec.EvictAfter == nil {
		return t.tell(out, name, "already open")
	}
	if _, err := t.patch(ctx, name, map[string]any{"unschedulable": nil, "evictAfter": nil}); err != nil {
		return err
	}
	return t.tell(out, name, "open again")
}

// evict cordons the target and has everything leave it as of now, unless that is so already.
func (t *Targets) evict(ctx context.Context, target *workloadv1alpha1.SyncTarget, now time.Time) (*workloadv1alpha1.SyncTarget, error) {
	spec := map[string]any{}
	if !target.Spec.Unschedulable {
		spec["unschedulable"] = true
	}
	if at := target.Spec.EvictAfter; at == nil || at.After(now) {
		spec["evictAfter"] = now.UTC().Format(time.RFC3339)
	}
	if len(spec) == 0 {
		return target, nil
	}
	return t.patch(ctx, target.Name, spec)
}

func (t *Targets) get(ctx context.Context, name string) (*workloadv1alpha1.SyncTarget, error) {
	target, err := workspace.Get[workloadv1alpha1.SyncTarget](ctx, t.client, name)
	if err != nil {
		return nil, t.explain(name, err)
	}
	return target, nil
}

func (t *Targets) patch(ctx context.Context, name string, spec map[string]any) (*workloadv1alpha1.SyncTarget, error) {
	body, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return nil, err
	}
	options := metav1.PatchOptions{FieldManager: apply.FieldManager}
	if t.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	object, err := t.client.Patch(ctx, name, types.MergePatchType, body, options)
	if err != nil {
		return nil, t.explain(name, err)
	}
	return workspace.As[workloadv1alpha1.SyncTarget](object)
}

func (t *Targets) explain(name string, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no SyncTarget %s in workspace %s: see kubectl workload status, or choose another workspace with --workspace: %w", name, t.path, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("this user may not do that to SyncTarget %s of workspace %s: ask its owner for get, watch and patch on synctargets.%s: %w", name, t.path, workloadv1alpha1.GroupName, err)
	}
	return workspace.Explain(err, t.kcp.Host, t.path)
}

func (t *Targets) tell(out io.Writer, name, what string) error {
	if t.DryRun {
		what += " (dry run)"
	}
	_, err := fmt.Fprintf(out, "SyncTarget %s %s\n", name, what)
	return err
}
