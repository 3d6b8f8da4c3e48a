package placement

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"
	corev1alpha1 "github.com/kcp-dev/sdk/apis/core/v1alpha1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement/choose"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// processLocation keeps the status of a Location, and under an empty name the default Location of the workspace.
func (c *Controller) processLocation(ctx context.Context, key fleet.Key) (time.Duration, error) {
	if key.Name == "" {
		return 0, c.keepDefaultLocation(ctx, key.Cluster)
	}
	location, ok := c.locations.Get(key)
	if !ok || location.DeletionTimestamp != nil {
		return 0, nil
	}
	var targets []choose.Target
	for _, st := range c.targets.In(key.Cluster) {
		targets = append(targets, c.target(st))
	}
	now := c.clock.Now()
	status, again := choose.LocationStatus(location, targets, now)
	if !equality.Semantic.DeepEqual(location.Status, status) {
		patch, err := statusPatch(&status, location.ResourceVersion)
		if err != nil {
			return 0, err
		}
		if _, err := c.scheduling.Patch(ctx, fleet.LocationResource, key, patch, "status"); err != nil {
			return 0, err
		}
	}
	if again.IsZero() {
		return 0, nil
	}
	return max(again.Sub(now), time.Millisecond), nil
}

// keepDefaultLocation creates the default Location once, and has the SyncTargets remember that.
func (c *Controller) keepDefaultLocation(ctx context.Context, cluster logicalcluster.Name) error {
	if _, bound := c.schedulers.Get(fleet.Key{Cluster: cluster, Name: corev1alpha1.LogicalClusterName}); !bound {
		return nil // the workspace has no Locations
	}
	marks := map[string]bool{}
	for _, st := range c.targets.In(cluster) {
		if st.DeletionTimestamp == nil {
			marks[st.Name] = st.Annotations[schedulingv1alpha1.DefaultLocationAnnotation] != ""
		}
	}
	key := fleet.Key{Cluster: cluster, Name: schedulingv1alpha1.DefaultLocationName}
	_, exists := c.locations.Get(key)
	create, mark := choose.DefaultLocation(marks, exists)
	if create {
		if err := c.createDefaultLocation(ctx, cluster); err != nil {
			return err
		}
	}
	for _, name := range mark {
		_, err := c.workload.Patch(ctx, fleet.SyncTargetResource, fleet.Key{Cluster: cluster, Name: name}, map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{schedulingv1alpha1.DefaultLocationAnnotation: "created"}},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (c *Controller) createDefaultLocation(ctx context.Context, cluster logicalcluster.Name) error {
	made, err := c.scheduling.Create(ctx, fleet.LocationResource, cluster, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": schedulingv1alpha1.SchemeGroupVersion.String(), "kind": locationKind.Kind,
		"metadata": map[string]any{"name": schedulingv1alpha1.DefaultLocationName},
		"spec": map[string]any{
			"description":      "All SyncTargets of this workspace. Created once; change it, or delete it for good.",
			"instanceSelector": map[string]any{},
		},
	}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	klog.FromContext(ctx).V(2).Info("Created the default Location", "cluster", cluster)
	c.emit(ctx, tmc.Event{About: made, Kind: locationKind, Type: corev1.EventTypeNormal, Reason: "DefaultLocationCreated", Message: "this workspace has SyncTargets and had no Location; delete this one if it is not wanted, and it will not be created again"})
	return nil
}
