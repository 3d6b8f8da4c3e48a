package transform

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestFinished(t *testing.T) {
	condition := func(kind, status string) map[string]any {
		return map[string]any{"conditions": []any{map[string]any{"type": "Suspended", "status": "False"}, map[string]any{"type": kind, "status": status}}}
	}
	for _, tc := range []struct {
		name     string
		resource schema.GroupResource
		status   any
		want     bool
	}{
		{"a Job without a status", jobs, nil, false},
		{"a Job that runs", jobs, map[string]any{"active": int64(1)}, false},
		{"a Job that is complete", jobs, condition("Complete", "True"), true},
		{"a Job that has failed", jobs, condition("Failed", "True"), true},
		{"a Job that is about to fail", jobs, condition("FailureTarget", "True"), false},
		{"a Job that is not complete", jobs, condition("Complete", "False"), false},
		{"a pod that runs", pods, map[string]any{"phase": "Running"}, false},
		{"a pod that has succeeded", pods, map[string]any{"phase": "Succeeded"}, true},
		{"a pod that has failed", pods, map[string]any{"phase": "Failed"}, true},
		{"nothing else ends by itself", deployments, condition("Complete", "True"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			object := &unstructured.Unstructured{Object: map[string]any{"status": tc.status}}
			if got := Finished(tc.resource.WithVersion("v1"), object); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}
