// Package v1alpha1 is the API of the workload syncer: the SyncTarget, its conditions, and in names.go every label,
// annotation, finalizer and field manager that crosses a link.
//
// +kubebuilder:object:generate=true
// +groupName=workload.kcp.io
package v1alpha1
