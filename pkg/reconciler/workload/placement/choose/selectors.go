package choose

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// selectors are those of a Placement's spec, understood.
type selectors struct {
	locations []labels.Selector
	// required is nil if every target will do.
	required         []labels.Selector
	preferred        []weighted
	avoided          []avoided
	preferablyAvoids []avoided
}

type weighted struct {
	weight   int32
	selector labels.Selector
}

type avoided struct {
	weight      int32
	selector    labels.Selector
	topologyKey string
}

// NamespaceSelector is the one of a Placement: without one, nothing is selected.
func NamespaceSelector(spec *schedulingv1alpha1.PlacementSpec) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(spec.NamespaceSelector)
	if err != nil {
		return labels.Nothing(), fmt.Errorf("spec.namespaceSelector: %w", err)
	}
	return selector, nil
}

// understand reads all selectors of a spec, and reports all mistakes in them.
func understand(spec *schedulingv1alpha1.PlacementSpec) (selectors, error) {
	var out selectors
	r := &reader{}
	if _, err := NamespaceSelector(spec); err != nil {
		r.problems = append(r.problems, err)
	}
	for i := range spec.LocationSelectors {
		out.locations = append(out.locations, r.read(&spec.LocationSelectors[i], "spec.locationSelectors[%d]", i))
	}
	if affinity := spec.Affinity; affinity != nil {
		for i := range affinity.Required {
			out.required = append(out.required, r.read(&affinity.Required[i], "spec.affinity.required[%d]", i))
		}
		for i := range affinity.Preferred {
			p := &affinity.Preferred[i]
			out.preferred = append(out.preferred, weighted{p.Weight, r.read(&p.Selector, "spec.affinity.preferred[%d].selector", i)})
		}
	}
	if anti := spec.AntiAffinity; anti != nil {
		for i := range anti.Required {
			a := &anti.Required[i]
			out.avoided = append(out.avoided, avoided{0, r.read(&a.PlacementSelector, "spec.antiAffinity.required[%d].placementSelector", i), a.TopologyKey})
		}
		for i := range anti.Preferred {
			a := &anti.Preferred[i]
			out.preferablyAvoids = append(out.preferablyAvoids, avoided{a.Weight, r.read(&a.PlacementSelector, "spec.antiAffinity.preferred[%d].placementSelector", i), a.TopologyKey})
		}
	}
	return out, errors.Join(r.problems...)
}

type reader struct{ problems []error }

func (r *reader) read(selector *metav1.LabelSelector, field string, index int) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		r.problems = append(r.problems, fmt.Errorf(field+": %w", index, err))
		return labels.Nothing()
	}
	return out
}

func matchesAny(selectors []labels.Selector, set labels.Set) bool {
	for _, selector := range selectors {
		if selector.Matches(set) {
			return true
		}
	}
	return false
}
