package transform

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Finished says whether the object has run to its end. The physical cluster may then clean its copy up (a Job's time to
// live, the collection of terminated pods), and a copy made anew would do the work a second time.
func Finished(gvr schema.GroupVersionResource, object *unstructured.Unstructured) bool {
	status := look(object.Object, "status")
	switch gvr.GroupResource() {
	case jobs:
		return isTrue(status, "Complete") || isTrue(status, "Failed")
	case pods:
		return status["phase"] == "Succeeded" || status["phase"] == "Failed"
	default:
		return false
	}
}

// isTrue looks for a condition.
func isTrue(status map[string]any, condition string) bool {
	conditions, _ := status["conditions"].([]any)
	for _, item := range conditions {
		if c, ok := item.(map[string]any); ok && c["type"] == condition && c["status"] == "True" {
			return true
		}
	}
	return false
}
