package transform

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// derivable are the resources that the cluster's controllers derive from a kind and give its labels: those of a Service, or of
// the template of a pod. Labels are all that is needed, so nobody else's object is written to.
func derivable(resource schema.GroupResource) []schema.GroupResource {
	switch {
	case resource == services:
		return []schema.GroupResource{endpoints, endpointSlices}
	case resource != pods && podSpecPaths[resource] != nil:
		return []schema.GroupResource{pods}
	}
	return nil
}

// derived are the resources that the user wants to come up from this object, that are derived from its kind, and that the
// target may bring up.
func (d *draft) derived() []schema.GroupResource {
	var wanted []schema.GroupResource
	possible := derivable(d.resource)
	for name := range strings.SplitSeq(d.Upstream.GetAnnotations()[workloadv1alpha1.UpsyncDerivedResourcesAnnotation], ",") {
		gr := schema.ParseGroupResource(strings.TrimSpace(name))
		valid := len(validation.IsQualifiedName(workloadv1alpha1.DerivedLabel(gr))) == 0
		if valid && slices.Contains(possible, gr) && slices.Contains(d.Upsynced, gr) {
			wanted = append(wanted, gr)
		}
	}
	return wanted
}

func hasDerived(d *draft) bool { return len(d.derived()) > 0 }

// bringUpDerived labels what the derived objects have their labels from.
func bringUpDerived(d *draft) error {
	labels := d.labels
	if path := podSpecPath(d.resource); len(path) > 0 {
		template := own(d.object, path[:len(path)-1]...)
		if template == nil {
			return nil // the server tells what is missing
		}
		metadata, _ := template["metadata"].(map[string]any)
		metadata = clone(metadata)
		template["metadata"] = metadata
		before, _ := metadata["labels"].(map[string]any)
		labels = clone(before)
		metadata["labels"] = labels
	}
	labels[workloadv1alpha1.StateLabel(d.Key)] = string(workloadv1alpha1.StateUpsync)
	for _, gr := range d.derived() {
		labels[workloadv1alpha1.DerivedLabel(gr)] = ""
	}
	return nil
}
