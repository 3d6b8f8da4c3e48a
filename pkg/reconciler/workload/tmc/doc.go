// Package tmc is the infrastructure under the programs of this module: running parts, sorting errors, health,
// metrics, tracing and recovery from a lost API server. It knows Kubernetes API servers, and nothing of what is done
// with them.
//
// Nothing here is global: registries, clocks and tracer providers are passed in, so two users in one process do not
// meet.
package tmc
