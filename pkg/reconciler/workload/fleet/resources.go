package fleet

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Where the resources are served that several reconcilers use.
var (
	SyncTargetResource = workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")
	PlacementResource  = schedulingv1alpha1.SchemeGroupVersion.WithResource("placements")
	LocationResource   = schedulingv1alpha1.SchemeGroupVersion.WithResource("locations")
	NamespaceResource  = corev1.SchemeGroupVersion.WithResource("namespaces")
)

// SyncTargets gives the cache of all SyncTargets.
func SyncTargets(f *Fleet) (*Cache[*workloadv1alpha1.SyncTarget], error) {
	return Watch(f, workloadv1alpha1.WorkloadExport, SyncTargetResource, Typed[workloadv1alpha1.SyncTarget])
}

// Placements gives the cache of all Placements.
func Placements(f *Fleet) (*Cache[*schedulingv1alpha1.Placement], error) {
	return Watch(f, workloadv1alpha1.SchedulingExport, PlacementResource, Typed[schedulingv1alpha1.Placement])
}

// Namespaces gives the cache of the tenants' namespaces.
func Namespaces(f *Fleet) (*Cache[*metav1.PartialObjectMetadata], error) {
	return Watch(f, workloadv1alpha1.KubernetesExport, NamespaceResource, Metadata)
}

// Locations gives the cache of all Locations.
func Locations(f *Fleet) (*Cache[*schedulingv1alpha1.Location], error) {
	return Watch(f, workloadv1alpha1.SchedulingExport, LocationResource, Typed[schedulingv1alpha1.Location])
}

// LogicalClusters gives the cache of the logical clusters of workspaces that are bound to an export and accept its claim on
// them.
func LogicalClusters(f *Fleet, export string) (*Cache[*metav1.PartialObjectMetadata], error) {
	return Watch(f, export, logicalClusters, Metadata)
}
