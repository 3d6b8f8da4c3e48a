package choose

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// mostLabels and mostValues bound what a Location's status tells of labels.
const (
	mostLabels = 64
	mostValues = 64
)

// LocationStatus says what the status of a Location shall be, given the SyncTargets of its workspace, and when to look again.
func LocationStatus(location *schedulingv1alpha1.Location, targets []Target, now time.Time) (schedulingv1alpha1.LocationStatus, time.Time) {
	status := schedulingv1alpha1.LocationStatus{Conditions: slices.Clone(location.Status.Conditions)}
	selector, err := metav1.LabelSelectorAsSelector(location.Spec.InstanceSelector)
	values := map[string]sets.Set[string]{}
	var again time.Time
	for _, t := range sorted(targets) {
		if err != nil || !selector.Matches(labels.Set(t.Labels)) {
			continue
		}
		status.Instances++
		if t.available(now) {
			status.AvailableInstances++
		}
		if t.EvictAfter.After(now) && (again.IsZero() || t.EvictAfter.Time.Before(again)) {
			again = t.EvictAfter.Time
		}
		gather(values, t)
	}
	status.AvailableSelectorLabels = selectable(values)
	condition := locationReady(&status, err)
	condition.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	condition.ObservedGeneration = location.Generation
	meta.SetStatusCondition(&status.Conditions, condition)
	return status, again
}

func locationReady(status *schedulingv1alpha1.LocationStatus, selectorErr error) metav1.Condition {
	out := metav1.Condition{Type: schedulingv1alpha1.LocationReady, Status: metav1.ConditionFalse}
	switch {
	case selectorErr != nil:
		out.Reason, out.Message = schedulingv1alpha1.ReasonInvalidSelector, fmt.Sprintf("spec.instanceSelector: %v", selectorErr)
	case status.Instances == 0:
		out.Reason, out.Message = schedulingv1alpha1.ReasonNoInstances, "no SyncTarget of this workspace matches spec.instanceSelector"
	case status.AvailableInstances == 0:
		out.Reason, out.Message = schedulingv1alpha1.ReasonNoneAvailable, fmt.Sprintf("none of %d SyncTargets is ready, not cordoned and not to be evicted", status.Instances)
	default:
		out.Status, out.Reason = metav1.ConditionTrue, schedulingv1alpha1.ReasonInstancesAvailable
	}
	return out
}

func gather(values map[string]sets.Set[string], t *Target) {
	for key, value := range t.topology() {
		if ownLabel(key) {
			continue
		}
		if values[key] == nil {
			values[key] = sets.New[string]()
		}
		values[key].Insert(value)
	}
}

// ownLabel is true for labels of kcp's machinery.
func ownLabel(key string) bool {
	domain, _, qualified := strings.Cut(key, "/")
	return qualified && (domain == "kcp.io" || strings.HasSuffix(domain, ".kcp.io"))
}

func selectable(values map[string]sets.Set[string]) []schedulingv1alpha1.AvailableSelectorLabel {
	var out []schedulingv1alpha1.AvailableSelectorLabel
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if len(out) == mostLabels {
			break
		}
		label := schedulingv1alpha1.AvailableSelectorLabel{Key: key}
		for _, value := range sets.List(values[key]) {
			if len(label.Values) == mostValues {
				break
			}
			label.Values = append(label.Values, schedulingv1alpha1.LabelValue(value))
		}
		out = append(out, label)
	}
	return out
}

// DefaultLocation says what is to be done about the default Location of a workspace with these SyncTargets, of which some
// may carry the mark that it was created before: create it, and then mark the SyncTargets named.
//
// A workspace keeps the memory for as long as it has a SyncTarget that carries the mark; each new one gets it.
func DefaultLocation(marks map[string]bool, exists bool) (create bool, mark []string) {
	known := exists
	for name, marked := range marks {
		known = known || marked
		if !marked {
			mark = append(mark, name)
		}
	}
	slices.Sort(mark)
	return !known && len(marks) > 0, mark
}
