// Package status tells how the SyncTargets, Locations and Placements of a workspace fare.
package status

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// Status is what there is in a workspace. A provider has SyncTargets and Locations, a tenant Placements.
type Status struct {
	SyncTargets []workloadv1alpha1.SyncTarget
	Locations   []schedulingv1alpha1.Location
	Placements  []schedulingv1alpha1.Placement
}

// Empty is true if there is nothing to show.
func (s *Status) Empty() bool { return len(s.SyncTargets)+len(s.Locations)+len(s.Placements) == 0 }

// Read reads what the workspace has. Types that it does not serve are left out; that it serves none of them is an error.
func Read(ctx context.Context, kcp *rest.Config, path logicalcluster.Path) (*Status, error) {
	if err := workspace.Probe(ctx, kcp, path); err != nil {
		return nil, err
	}
	client, err := workspace.Client(kcp, path)
	if err != nil {
		return nil, err
	}
	s := &Status{}
	var errs [3]error
	s.SyncTargets, errs[0] = list[workloadv1alpha1.SyncTarget](ctx, client, path, workspace.SyncTargets)
	s.Locations, errs[1] = list[schedulingv1alpha1.Location](ctx, client, path, workspace.Locations)
	s.Placements, errs[2] = list[schedulingv1alpha1.Placement](ctx, client, path, workspace.Placements)
	missing := 0
	for _, err := range errs {
		if apierrors.IsNotFound(err) {
			missing++
		} else if err != nil {
			return nil, err
		}
	}
	if missing == len(errs) {
		return nil, errs[0]
	}
	return s, nil
}

// List reads the SyncTargets of a workspace.
func List(ctx context.Context, kcp *rest.Config, path logicalcluster.Path) ([]workloadv1alpha1.SyncTarget, error) {
	s, err := Read(ctx, kcp, path)
	if err != nil {
		return nil, err
	}
	return s.SyncTargets, nil
}

func list[T any](ctx context.Context, client dynamic.Interface, path logicalcluster.Path, resource schema.GroupVersionResource) ([]T, error) {
	items, err := workspace.List[T](ctx, client.Resource(resource), metav1.ListOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("workspace %s serves neither SyncTargets nor Placements: bind what it needs with `kubectl workload bind`, or choose another workspace with --workspace: %w", path, err)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("this user may not list the %s of workspace %s: ask its owner for the verb \"list\" on %s: %w", resource.Resource, path, resource.GroupResource(), err)
	case err != nil:
		return nil, fmt.Errorf("listing the %s of workspace %s: %w", resource.Resource, path, err)
	}
	return items, nil
}
