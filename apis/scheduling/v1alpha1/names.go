package v1alpha1

// This file spells the names of placement that cross a link, who writes them and where.

const (
	// PlacementFinalizer is written by the manager on a Placement that has chosen targets: a deleted Placement stays until
	// its work has left them.
	PlacementFinalizer = "scheduling.kcp.io/placement"

	// DefaultLocationName is the name of the Location that the manager creates once in a workspace that has SyncTargets.
	DefaultLocationName = "default"

	// DefaultLocationAnnotation is written by the manager on the SyncTargets of a workspace that it has given the default
	// Location: it is not created again, so a user can delete it for good. Its value is "created".
	DefaultLocationAnnotation = "scheduling.kcp.io/default-location"

	// LocationTopologyKey is, in topologyKey, the name of the Location through which a target was chosen, where other keys
	// are labels or cells of the SyncTarget.
	LocationTopologyKey = "scheduling.kcp.io/location"

	// TargetTopologyKey is, in topologyKey, the target itself: each is a domain of its own.
	TargetTopologyKey = "scheduling.kcp.io/target"

	// NotReadyTaint is the key of the taint NoExecute that a SyncTarget has in effect while it is not ready: it is not written
	// anywhere, but can be tolerated. A Placement that says nothing about it tolerates for DefaultNotReadySeconds that the
	// syncer says so, and without limit that nothing is heard of the syncer: that is what
	// workload.kcp.io/unreachable is for, which the manager adds to such SyncTargets after a while.
	NotReadyTaint = "workload.kcp.io/not-ready"

	// DefaultNotReadySeconds is how long a Placement stays on a target whose syncer says that it is not ready, unless its
	// tolerations say something else.
	DefaultNotReadySeconds = 300
)
