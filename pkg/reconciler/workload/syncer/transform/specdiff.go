package transform

import (
	"encoding/json"
	"errors"
	"fmt"

	jsonpatch "github.com/evanphx/json-patch/v5"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// maxPatchGrowth bounds by how many bytes the copy operations of one patch may make a spec grow: each can double it.
const maxPatchGrowth = 1 << 20

func hasSpecDiff(d *draft) bool { return d.specDiff() != "" }

func (d *draft) specDiff() string {
	annotations := look(d.Upstream.Object, "metadata", "annotations")
	diff, _ := annotations[workloadv1alpha1.SpecDiffAnnotation(d.Key)].(string)
	return diff
}

// applySpecDiff changes the spec as the annotation for this target says. Paths of the patch start at the spec.
func applySpecDiff(d *draft) error {
	annotation := workloadv1alpha1.SpecDiffAnnotation(d.Key)
	spec := look(d.object, "spec")
	if spec == nil {
		return fmt.Errorf("annotation %s: the object has no spec to patch", annotation)
	}
	patched, err := PatchSpec(spec, d.specDiff())
	if err != nil {
		return fmt.Errorf("annotation %s: %w", annotation, err)
	}
	d.object["spec"] = patched
	return nil
}

// PatchSpec gives the spec as the JSON Patch in a spec-diff annotation makes it. It does not modify the spec.
func PatchSpec(spec map[string]any, diff string) (map[string]any, error) {
	patch, err := jsonpatch.DecodePatch([]byte(diff))
	if err != nil {
		return nil, fmt.Errorf("not a JSON Patch: %w", err)
	}
	before, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encoding spec: %w", err)
	}
	after, err := patch.ApplyWithOptions(before, &jsonpatch.ApplyOptions{AccumulatedCopySizeLimit: maxPatchGrowth})
	if err != nil {
		return nil, fmt.Errorf("patching spec: %w", err)
	}
	var patched map[string]any
	if err := utiljson.Unmarshal(after, &patched); err != nil || patched == nil {
		return nil, errors.New("the patched spec is not an object")
	}
	return patched, nil
}
