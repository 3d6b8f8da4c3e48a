package transform

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Left are fields of a copy that the cluster decides about once there is a copy, by their place in the list of paths.
type Left struct {
	paths  [][]string
	values map[int]any
}

// LeaveOut takes fields of spec out of what is desired, so that they are neither compared nor counted as a change, and remembers
// what they were.
func LeaveOut(desired *unstructured.Unstructured, paths [][]string) Left {
	left := Left{paths: paths, values: map[int]any{}}
	if len(paths) == 0 {
		return left
	}
	if spec, ok := desired.Object["spec"].(map[string]any); ok {
		desired.Object["spec"] = runtime.DeepCopyJSON(spec)
	}
	for i, path := range paths {
		if value, found, err := unstructured.NestedFieldNoCopy(desired.Object, path...); found && err == nil {
			left.values[i] = value
			unstructured.RemoveNestedField(desired.Object, path...)
		}
	}
	return left
}

// PutBack gives the fields back for a write: as the copy has them, or, where there is none, as they were. A write that leaves out a
// field which an earlier one had would remove it. desired is not modified.
func (l Left) PutBack(desired, copied *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if len(l.values) == 0 {
		return desired, nil
	}
	desired = desired.DeepCopy()
	for i, value := range l.values {
		if copied != nil {
			has, found, err := unstructured.NestedFieldNoCopy(copied.Object, l.paths[i]...)
			if err != nil || !found {
				continue
			}
			value = has
		}
		if err := unstructured.SetNestedField(desired.Object, runtime.DeepCopyJSONValue(value), l.paths[i]...); err != nil {
			return nil, err
		}
	}
	return desired, nil
}
