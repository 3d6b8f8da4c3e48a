package summarize

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Rules are the summarizing rules of an object.
type Rules []workloadv1alpha1.SummarizingRule

// FieldsWrite is what to write upstream for an object with summarizing rules of its own: JSON merge patches of the object itself
// and of its status, nil for none.
type FieldsWrite struct{ Object, Status []byte }

// Fields compares what the upstream object says that this target reports with what its copy has. The object is as kcp has it, and
// it is on no other target if alone.
func (r Rules) Fields(in Input, alone bool) (FieldsWrite, error) {
	values, err := r.values(in, r.Reported(in.Upstream.Object, in.view(), alone))
	if err != nil || values == nil {
		return FieldsWrite{}, err
	}
	own, status, err := r.Keep(in.Upstream.Object, in.Key, values, alone)
	if err != nil {
		return FieldsWrite{}, err
	}
	return encoded(own, status)
}

// FieldsInView is Fields for an object as the target's view shows it, and takes what is written: just what is reported. The view
// knows whether there are other targets.
func (r Rules) FieldsInView(in Input) (FieldsWrite, error) {
	shown, err := workloadv1alpha1.ReadSyncerView(in.view())
	if err != nil {
		shown = nil // it is written anew
	}
	values, err := r.values(in, shown)
	if err != nil || values == nil || equal(any(shown), values) || len(shown)+len(values) == 0 {
		return FieldsWrite{}, err
	}
	text, err := json.Marshal(values)
	if err != nil {
		return FieldsWrite{}, fmt.Errorf("encoding: %w", err)
	}
	return encoded(annotationPatch(in.Key, string(text)), nil)
}

func (in Input) view() string {
	return in.Upstream.GetAnnotations()[workloadv1alpha1.SyncerViewAnnotation(in.Key)]
}

func annotationPatch(key, text string) map[string]any {
	return map[string]any{"metadata": map[string]any{"annotations": map[string]any{workloadv1alpha1.SyncerViewAnnotation(key): text}}}
}

func encoded(own, status map[string]any) (w FieldsWrite, err error) {
	if len(own) > 0 {
		if w.Object, err = json.Marshal(own); err != nil {
			return w, err
		}
	}
	if len(status) > 0 {
		w.Status, err = json.Marshal(status)
	}
	return w, err
}

// values are the fields of the rules as the copy has them, by path; nil while the copy says nothing. The status is shortened to fit.
func (r Rules) values(in Input, shown map[string]any) (map[string]any, error) {
	if in.Downstream == nil || isUpstreamServers(in.GVR.GroupResource()) {
		return nil, nil
	}
	reported, err := statusOf(in.Downstream, "downstream")
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	for _, rule := range r {
		if value, found := lookUp(in.Downstream.Object, rule.Path()); found && !rule.IsStatus() {
			values[rule.FieldPath] = valueWithoutNulls(value)
		}
	}
	size, err := sizeOf(values)
	if err != nil {
		return nil, err
	}
	if size > maxAnnotation/2 { // unlike a status, a part of a spec would say something else
		return nil, fmt.Errorf("annotation %s: the fields of spec have more than %d bytes", workloadv1alpha1.SummarizingAnnotation, maxAnnotation/2)
	}
	if len(reported) == 0 {
		return values, nil
	}
	before, _ := shown["status"].(map[string]any)
	status, _, err := bounded(in.summary(reported, before), maxAnnotation-size)
	if err != nil {
		return nil, err
	}
	for _, rule := range r {
		if value, found := lookUp(map[string]any{"status": status}, rule.Path()); found && rule.IsStatus() {
			values[rule.FieldPath] = value
		}
	}
	return values, nil
}

// lookUp reads a field, for reading only.
func lookUp(object map[string]any, path []string) (value any, found bool) {
	value, found, err := unstructured.NestedFieldNoCopy(object, path...)
	return value, found && err == nil && value != nil
}

// Reported are the fields that a syncer's view holds as they are to be held: promoted to the object if the target is alone, and the
// rule says so, and in the view otherwise. A field that is held the other way counts as not reported, so that it is reported anew.
func (r Rules) Reported(object map[string]any, view string, alone bool) map[string]any {
	held, err := workloadv1alpha1.ReadSyncerView(view)
	if err != nil {
		return nil
	}
	reported := map[string]any{}
	for _, rule := range r {
		value, ok := held[rule.FieldPath]
		if isPromoted := value == workloadv1alpha1.PromotedField; !ok || isPromoted != (rule.PromoteToUpstream && alone) {
			continue
		} else if isPromoted {
			if value, ok = lookUp(object, rule.Path()); !ok {
				continue
			}
		}
		reported[rule.FieldPath] = value
	}
	return reported
}

// Keep says how reported values are held: own and status are the merge patches of the object and of its status that make it so;
// empty for nothing to do. Values that no rule allows are an error.
func (r Rules) Keep(object map[string]any, key string, values map[string]any, alone bool) (own, status map[string]any, err error) {
	view, left := map[string]any{}, len(values)
	own, status = map[string]any{}, map[string]any{}
	for _, rule := range r {
		value, ok := values[rule.FieldPath]
		if !ok {
			continue
		}
		left--
		if !rule.PromoteToUpstream || !alone {
			view[rule.FieldPath] = value
			continue
		}
		view[rule.FieldPath] = workloadv1alpha1.PromotedField
		into := own
		if rule.IsStatus() {
			into = status
		}
		if err := promote(object, rule.Path(), value, into); err != nil {
			return nil, nil, err
		}
	}
	if left > 0 {
		return nil, nil, fmt.Errorf("fields are reported that the annotation %s does not name", workloadv1alpha1.SummarizingAnnotation)
	}
	text, err := json.Marshal(view)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding: %w", err)
	}
	if len(text) > maxAnnotation {
		return nil, nil, fmt.Errorf("the fields that are reported have more than %d bytes", maxAnnotation)
	}
	annotations := (&unstructured.Unstructured{Object: object}).GetAnnotations()
	held, err := workloadv1alpha1.ReadSyncerView(annotations[workloadv1alpha1.SyncerViewAnnotation(key)])
	if err != nil || !equal(any(held), view) && len(held)+len(view) > 0 {
		own["metadata"] = annotationPatch(key, string(text))["metadata"]
	}
	return own, status, nil
}

// promote adds to a merge patch what makes the object have the value.
func promote(object map[string]any, path []string, value any, patch map[string]any) error {
	before, _ := lookUp(object, path)
	difference, differs := change(before, value)
	if !differs {
		return nil
	}
	return unstructured.SetNestedField(patch, runtime.DeepCopyJSONValue(difference), path...)
}

// Show gives the object the fields as this target reported them. Of the status it shows no more than that: unless it is promoted,
// the object's own is made of all targets'. The object must be the caller's own.
func (r Rules) Show(object map[string]any, reported map[string]any, alone bool) error {
	for _, rule := range r {
		value, ok := reported[rule.FieldPath]
		switch {
		case ok:
			if err := unstructured.SetNestedField(object, runtime.DeepCopyJSONValue(value), rule.Path()...); err != nil {
				return err
			}
		case rule.IsStatus() && (!rule.PromoteToUpstream || !alone):
			unstructured.RemoveNestedField(object, rule.Path()...)
		}
	}
	return nil
}

// SpecPaths are the fields of spec that are the targets' to report.
func (r Rules) SpecPaths() [][]string {
	var paths [][]string
	for _, rule := range r {
		if !rule.IsStatus() {
			paths = append(paths, rule.Path())
		}
	}
	return paths
}
