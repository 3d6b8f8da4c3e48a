package summarize

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// dropChurn drops what changes often downstream and means nothing upstream: names and UIDs of pods there, and versions of
// objects.
func dropChurn(resource schema.GroupResource, status map[string]any, namespace string) {
	switch resource.String() {
	case "jobs.batch":
		delete(status, "uncountedTerminatedPods") // the job controller's ledger of pod UIDs
	case "poddisruptionbudgets.policy":
		delete(status, "disruptedPods") // pods by name, for some seconds each
	case "cronjobs.batch":
		localizeJobs(status, namespace)
	}
}

// localizeJobs keeps the names of the jobs that run, whose number is what users look at, and drops what identifies them
// in the physical cluster only.
func localizeJobs(status map[string]any, namespace string) {
	active, _ := status["active"].([]any)
	for _, job := range active {
		if reference, ok := job.(map[string]any); ok {
			delete(reference, "uid")
			delete(reference, "resourceVersion")
			reference["namespace"] = namespace
		}
	}
}
