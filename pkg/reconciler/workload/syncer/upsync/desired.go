package upsync

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	jsonpatch "github.com/evanphx/json-patch/v5"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// ComesUp reports whether an object of the cluster with these labels comes up, as one of that resource: it carries the target's
// state label with the value Upsync. What has that label from a copy that it is derived from comes up only if the copy names
// its resource.
func ComesUp(labels map[string]string, resource schema.GroupResource, key string) bool {
	if labels[workloadv1alpha1.StateLabel(key)] != string(workloadv1alpha1.StateUpsync) {
		return false
	}
	derived, this := workloadv1alpha1.DerivedLabels(labels, resource)
	return this || !derived
}

// Input is all that an upsynced object depends on.
type Input struct {
	// Downstream is the cluster's object. It is never modified.
	Downstream *unstructured.Unstructured
	// Key is the SyncTarget's key.
	Key string
	// Locator says where in which workspace it comes up, and DownstreamNamespace is the name of that namespace in the cluster.
	Locator             workloadv1alpha1.NamespaceLocator
	DownstreamNamespace string
}

// lastApplied is where kubectl keeps the whole object once more.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Desired is what shall be upstream: the object without what means something in its own cluster only (its owners, its
// finalizers, the marks of copies), in the tenant's namespace, with the target's label and claim, and with the version that it
// was made of. Below metadata it may share with the input what it did not change.
func Desired(in Input) *unstructured.Unstructured {
	desired := &unstructured.Unstructured{Object: make(map[string]any, len(in.Downstream.Object))}
	for name, value := range in.Downstream.Object {
		if name != "metadata" {
			desired.Object[name] = relocated(value, in.DownstreamNamespace, in.Locator.Namespace)
		}
	}
	desired.SetName(in.Downstream.GetName())
	if in.Downstream.GetNamespace() != "" {
		desired.SetNamespace(in.Locator.Namespace)
	}
	labels := withoutProtocol(in.Downstream.GetLabels())
	labels[workloadv1alpha1.StateLabel(in.Key)] = string(workloadv1alpha1.StateUpsync)
	desired.SetLabels(labels)
	annotations := withoutProtocol(in.Downstream.GetAnnotations())
	delete(annotations, lastApplied)
	annotations[workloadv1alpha1.UpsyncedVersionAnnotation] = in.Downstream.GetResourceVersion()
	desired.SetAnnotations(annotations)
	desired.SetFinalizers([]string{workloadv1alpha1.SyncerFinalizer(in.Key)})
	return desired
}

// withoutProtocol leaves out what is of kcp and ours.
func withoutProtocol(names map[string]string) map[string]string {
	kept := make(map[string]string, len(names)+1)
	for name, value := range names {
		if !workloadv1alpha1.IsUpstreamOnly(name) && name != workloadv1alpha1.RemovalPolicyAnnotation {
			kept[name] = value
		}
	}
	return kept
}

// relocated has references to the cluster's namespace name the tenant's. What identifies the object that is referred to is left
// out: upstream it has another UID, or is not there. A namespace of ours has a name that nothing else has.
func relocated(value any, from, to string) any {
	switch value := value.(type) {
	case map[string]any:
		moved := make(map[string]any, len(value))
		for name, field := range value {
			moved[name] = relocated(field, from, to)
		}
		if from != "" && value["namespace"] == from {
			moved["namespace"] = to
			delete(moved, "uid")
			delete(moved, "resourceVersion")
		}
		return moved
	case []any:
		moved := make([]any, len(value))
		for i, item := range value {
			moved[i] = relocated(item, from, to)
		}
		return moved
	default:
		return value
	}
}

// Changes are the merge patches that turn what is upstream into what is desired. Status is nil where the type has no status
// subresource upstream, or the status is as it should be; it is to be written first, because Object holds the version, which
// says that all of it is there. Object is never nil.
type Changes struct{ Object, Status []byte }

// ChangesOf computes the changes. What others have put on the object, under names of kcp or as finalizers, stays.
func ChangesOf(upstream, desired *unstructured.Unstructured, statusSubresource bool) (Changes, error) {
	before, after := content(upstream), content(desired)
	var c Changes
	if statusSubresource {
		status, err := patchOf(map[string]any{"status": before["status"]}, map[string]any{"status": after["status"]})
		if err != nil {
			return c, err
		}
		if string(status) != "{}" && after["status"] != nil {
			c.Status = status
		}
		delete(before, "status")
		delete(after, "status")
	}
	raw, err := patchOf(before, after)
	if err != nil {
		return c, err
	}
	var patch map[string]any
	if err := json.Unmarshal(raw, &patch); err != nil || patch == nil {
		return c, errors.Join(errors.New("the changes are no object"), err)
	}
	metadata := map[string]any{
		"uid":         string(upstream.GetUID()),
		"labels":      namesPatch(upstream.GetLabels(), desired.GetLabels()),
		"annotations": namesPatch(upstream.GetAnnotations(), desired.GetAnnotations()),
	}
	for _, finalizer := range desired.GetFinalizers() {
		if !slices.Contains(upstream.GetFinalizers(), finalizer) {
			metadata["finalizers"] = append(slices.Clone(upstream.GetFinalizers()), finalizer)
			metadata["resourceVersion"] = upstream.GetResourceVersion() // the list replaces what is there
		}
	}
	patch["metadata"] = metadata
	c.Object, err = json.Marshal(patch)
	return c, err
}

func content(u *unstructured.Unstructured) map[string]any {
	c := maps.Clone(u.Object)
	for _, name := range []string{"metadata", "apiVersion", "kind"} {
		delete(c, name)
	}
	return c
}

func patchOf(before, after map[string]any) ([]byte, error) {
	from, err := json.Marshal(before)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	to, err := json.Marshal(after)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return jsonpatch.CreateMergePatch(from, to)
}

// namesPatch makes labels or annotations those that are desired; names of kcp that are not desired are others'.
func namesPatch(before, after map[string]string) map[string]any {
	patch := map[string]any{}
	for name := range before {
		if _, kept := after[name]; !kept && !workloadv1alpha1.IsUpstreamOnly(name) && name != workloadv1alpha1.RemovalPolicyAnnotation {
			patch[name] = nil
		}
	}
	for name, value := range after {
		if was, ok := before[name]; !ok || was != value {
			patch[name] = value
		}
	}
	return patch
}

// Contradiction is the path of the first field in which the object upstream says something else than it should, in the order of
// names; empty if there is none. A field that is not there upstream is none: kcp may not have it in its schema, and leaves out
// what it does not know.
func Contradiction(upstream, desired *unstructured.Unstructured) string {
	for name, value := range desired.GetLabels() {
		if upstream.GetLabels()[name] != value {
			return "metadata.labels"
		}
	}
	return strings.TrimPrefix(contradiction(content(upstream), content(desired), ""), ".")
}

func contradiction(have, want any, path string) string {
	switch want := want.(type) {
	case map[string]any:
		found, ok := have.(map[string]any)
		if !ok {
			return path
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if _, there := found[name]; !there {
				continue
			}
			if at := contradiction(found[name], want[name], path+"."+name); at != "" {
				return at
			}
		}
		return ""
	case []any:
		found, ok := have.([]any)
		if !ok || len(found) != len(want) {
			return path
		}
		for i := range want {
			if at := contradiction(found[i], want[i], path+"[]"); at != "" {
				return at
			}
		}
		return ""
	default:
		if have == want || sameNumber(have, want) {
			return ""
		}
		return path
	}
}

// sameNumber: a number is the same as an integer and as a float; which one a decoder makes depends on its route.
func sameNumber(a, b any) bool {
	x, ok := number(a)
	y, alsoOK := number(b)
	return ok && alsoOK && x == y
}

func number(value any) (float64, bool) {
	switch value := value.(type) {
	case int64:
		return float64(value), true
	case float64:
		return value, true
	}
	return 0, false
}
