// Package v1alpha1 is the API in which physical clusters tell kcp what they serve, and kcp what of that it offers to tenants:
// APIResourceImport and NegotiatedAPIResource.
//
// +kubebuilder:object:generate=true
// +groupName=apiresource.kcp.io
package v1alpha1
