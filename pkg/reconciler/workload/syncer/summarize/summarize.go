// Package summarize says what of a copy's status goes home to the upstream object.
//
// It is pure: the same input gives the same output, and nothing but the input is looked at. It decides neither when a
// status is written nor how.
package summarize

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Input is all that an upstream status depends on.
type Input struct {
	// Upstream is the object in the workspace, Downstream its copy. Neither is modified.
	Upstream, Downstream *unstructured.Unstructured
	// GVR is their resource.
	GVR schema.GroupVersionResource
	// Key is the SyncTarget's key.
	Key string
	// SpecSynced: the copy holds the spec that the upstream object has now.
	SpecSynced bool
	// SeveralTargets: the status goes to this target's annotation, and somebody else makes one of all targets'.
	SeveralTargets bool
}

// Write is what to write upstream.
type Write struct {
	// Status is all that the status shall be, nil when the copy has none to report. It is read-only.
	Status map[string]any
	// Patch is a JSON merge patch that makes it so, nil when it is so already but for empty objects, which are not worth a
	// write. It changes nothing else and carries no resourceVersion, so no other writer makes it fail.
	Patch []byte
	// Subresource is what to patch: "status", or "" for the object itself, where annotations are. Who knows that the kind
	// has no status subresource upstream patches the object.
	Subresource string
	// Shortened names the fields that did not fit and were cut.
	Shortened []string
}

// Status compares what the upstream object shows with what its copy reports.
//
// An upstream API server that stores less than it is sent (a schema without a field that the physical cluster has) makes
// the difference last for ever: the caller must not repeat a patch that was accepted and changed nothing.
func Status(in Input) (Write, error) {
	if in.Upstream == nil || in.Downstream == nil || isUpstreamServers(in.GVR.GroupResource()) {
		return Write{}, nil
	}
	reported, err := statusOf(in.Downstream, "downstream")
	if err != nil || reported == nil {
		return Write{}, err
	}
	shown, err := in.shown()
	if err != nil {
		return Write{}, err
	}
	status := in.summary(reported, shown)
	status, shortened, err := bounded(status, in.limit())
	if err != nil {
		return Write{}, err
	}
	patch, err := in.patch(shown, status)
	return Write{Status: status, Patch: patch, Subresource: in.subresource(), Shortened: shortened}, err
}

// isUpstreamServers: the upstream API server runs the controller that writes the status of that resource.
func isUpstreamServers(resource schema.GroupResource) bool {
	switch resource.String() {
	case "namespaces", "resourcequotas", "customresourcedefinitions.apiextensions.k8s.io",
		"apiservices.apiregistration.k8s.io":
		return true
	}
	return false
}

// summary is the whole status for upstream, before it is cut to size.
func (in Input) summary(reported, shown map[string]any) map[string]any {
	status := withoutNulls(reported)
	dropChurn(in.GVR.GroupResource(), status, in.Upstream.GetNamespace())
	in.generations().translate(status, shown)
	return status
}

// shown is what the upstream object shows of this target now.
func (in Input) shown() (map[string]any, error) {
	if !in.SeveralTargets {
		return statusOf(in.Upstream, "upstream")
	}
	return decoded(in.Upstream.GetAnnotations()[workloadv1alpha1.StatusAnnotation(in.Key)]), nil
}

// decoded is the status in an annotation, nil when the text is not ours: it is replaced.
func decoded(text string) map[string]any {
	var status map[string]any
	if err := utiljson.Unmarshal([]byte(text), &status); err != nil {
		return nil
	}
	return status
}

func statusOf(object *unstructured.Unstructured, side string) (map[string]any, error) {
	value := object.Object["status"]
	if value == nil {
		return nil, nil
	}
	status, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s status: must be an object, is %T", side, value)
	}
	return status, nil
}

func (in Input) subresource() string {
	if in.SeveralTargets {
		return ""
	}
	return "status"
}

// patch turns what is shown into the status.
func (in Input) patch(shown, status map[string]any) ([]byte, error) {
	difference := mergePatch(shown, status)
	if isHollow(difference, shown) {
		return nil, nil
	}
	if !in.SeveralTargets {
		return json.Marshal(map[string]any{"status": difference})
	}
	text, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	annotations := map[string]any{workloadv1alpha1.StatusAnnotation(in.Key): string(text)}
	return json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
}
