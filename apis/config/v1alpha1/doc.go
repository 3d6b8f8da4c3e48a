// Package v1alpha1 is the format of the configuration files of workload-syncer and workload-manager. No API server serves
// it: a file has one document, and every setting in it has a flag of the same meaning.
//
// The comments of the fields are their reference: docs/reference/configuration.md is generated from them.
//
// +kubebuilder:object:generate=true
// +groupName=config.workload.kcp.io
package v1alpha1
