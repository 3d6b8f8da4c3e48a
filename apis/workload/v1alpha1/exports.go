package v1alpha1

// The APIExports of the provider workspace.
const (
	// WorkloadExport serves SyncTargets. Its name is that of the API group.
	WorkloadExport = "workload.kcp.io"
	// SchedulingExport serves Locations and Placements. Its name is that of the API group.
	SchedulingExport = "scheduling.kcp.io"
	// KubernetesExport serves the Kubernetes resources that tenants use and syncers sync. Its name is the default in
	// SyncTarget.spec.supportedAPIExports.
	KubernetesExport = "kubernetes"
)
