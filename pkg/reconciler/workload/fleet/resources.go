package fleet

import (
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// SyncTargetResource is where SyncTargets are served.
var SyncTargetResource = workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")

// SyncTargets gives the cache of all SyncTargets.
func SyncTargets(f *Fleet) (*Cache[*workloadv1alpha1.SyncTarget], error) {
	return Watch(f, workloadv1alpha1.WorkloadExport, SyncTargetResource, Typed[workloadv1alpha1.SyncTarget])
}
