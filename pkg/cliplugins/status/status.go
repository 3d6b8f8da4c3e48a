// Package status tells how the SyncTargets of a workspace fare.
package status

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// List reads the SyncTargets of a workspace.
func List(ctx context.Context, kcp *rest.Config, path logicalcluster.Path) (*workloadv1alpha1.SyncTargetList, error) {
	if err := workspace.Probe(ctx, kcp, path); err != nil {
		return nil, err
	}
	scoped, err := workspace.Config(kcp, path)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(scoped)
	if err != nil {
		return nil, err
	}
	content, err := client.Resource(workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")).List(ctx, metav1.ListOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("workspace %s does not serve SyncTargets: bind them with `kubectl workload bind`, or choose another workspace with --workspace: %w", path, err)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("this user may not list the SyncTargets of workspace %s: ask its owner for the verb \"list\" on synctargets.workload.kcp.io: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("listing the SyncTargets of workspace %s: %w", path, err)
	}
	list := &workloadv1alpha1.SyncTargetList{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content.UnstructuredContent(), list); err != nil {
		return nil, fmt.Errorf("reading the SyncTargets of workspace %s: %w", path, err)
	}
	return list, nil
}
