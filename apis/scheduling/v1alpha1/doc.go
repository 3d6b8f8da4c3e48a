// Package v1alpha1 is the API of placement: the Location, which groups SyncTargets for tenants to choose from, the Placement,
// by which tenants choose, their conditions, and in names.go the names that cross a link.
//
// +kubebuilder:object:generate=true
// +groupName=scheduling.kcp.io
package v1alpha1
