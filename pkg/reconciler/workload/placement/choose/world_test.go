package choose

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const provider = "2compute"

// newWorld is a provider with a Location for everything, and a tenant with a Placement and a namespace.
func newWorld(targets ...Target) *Observed {
	return &Observed{
		Now:       now,
		Placement: &schedulingv1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "p1"}, Spec: specOf()},
		Consumer:  Workspace{Cluster: "2team", Path: "root:teams:a"},
		Provider:  Workspace{Cluster: provider, Path: "root:compute"}, OffersToAll: true,
		Locations:  []Location{{Name: "all", InstanceSelector: &metav1.LabelSelector{}}},
		Targets:    targets,
		Namespaces: 1, Occupied: sets.New[string](),
	}
}

func specOf(changes ...func(*schedulingv1alpha1.PlacementSpec)) schedulingv1alpha1.PlacementSpec {
	spec := schedulingv1alpha1.PlacementSpec{
		LocationSelectors: []metav1.LabelSelector{{}}, NamespaceSelector: &metav1.LabelSelector{}, Strategy: schedulingv1alpha1.OneToAny,
	}
	for _, change := range changes {
		change(&spec)
	}
	return spec
}

// target is ready and empty.
func target(name string, changes ...func(*Target)) Target {
	t := Target{
		Key: "k-" + name, Cluster: provider, Path: "root:compute", Name: name, UID: types.UID("uid-" + name),
		Labels: map[string]string{"name": name}, Allocatable: resources("10"),
	}
	for _, change := range changes {
		change(&t)
	}
	return t
}

func resources(cpu string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
}

func label(key, value string) func(*Target) { return func(t *Target) { t.Labels[key] = value } }
func cell(key, value string) func(*Target) {
	return func(t *Target) { t.Cells = map[string]string{key: value} }
}
func offers(cpu string) func(*Target) { return func(t *Target) { t.Allocatable = resources(cpu) } }
func cordoned(t *Target)              { t.Unschedulable = true }
func notReady(t *Target) {
	t.NotReady, t.NotReadySince = "ClusterUnreachable", metav1.NewTime(now.Add(-time.Minute))
}

func silent(t *Target) { t.Silent = true }
func evictAt(at time.Time) func(*Target) {
	return func(t *Target) { t.EvictAfter = metav1.NewTime(at) }
}
func tainted(effect string) func(*Target) { return taintedSince(effect, time.Time{}) }
func needs(cpu string) func(*schedulingv1alpha1.PlacementSpec) {
	return func(s *schedulingv1alpha1.PlacementSpec) { s.Resources.Requests = resources(cpu) }
}

func taintedSince(effect string, since time.Time) func(*Target) {
	return func(t *Target) {
		taint := workloadv1alpha1.Taint{Key: "maintenance", Effect: workloadv1alpha1.TaintEffect(effect)}
		if !since.IsZero() {
			taint.TimeAdded = new(metav1.NewTime(since))
		}
		t.Taints = append(t.Taints, taint)
	}
}

func toleratesFor(seconds int64) func(*schedulingv1alpha1.PlacementSpec) {
	return func(s *schedulingv1alpha1.PlacementSpec) {
		t := schedulingv1alpha1.Toleration{Key: "maintenance", Operator: schedulingv1alpha1.TolerationExists}
		if seconds >= 0 {
			t.Effect, t.TolerationSeconds = "NoExecute", &seconds
		}
		s.Tolerations = append(s.Tolerations, t)
	}
}

func many(strategy schedulingv1alpha1.Strategy, number int32) func(*schedulingv1alpha1.PlacementSpec) {
	return func(s *schedulingv1alpha1.PlacementSpec) {
		if s.Strategy = strategy; number > 0 {
			s.NumberOfTargets = &number
		}
	}
}

func spreadOver(key string, skew int32, when schedulingv1alpha1.UnsatisfiableAction) func(*schedulingv1alpha1.PlacementSpec) {
	return func(s *schedulingv1alpha1.PlacementSpec) {
		s.TopologySpreadConstraints = append(s.TopologySpreadConstraints, schedulingv1alpha1.TopologySpreadConstraint{TopologyKey: key, MaxSkew: skew, WhenUnsatisfiable: when})
	}
}

func requires(key, value string) func(*schedulingv1alpha1.PlacementSpec) {
	return func(s *schedulingv1alpha1.PlacementSpec) {
		if s.Affinity == nil {
			s.Affinity = &schedulingv1alpha1.Affinity{}
		}
		s.Affinity.Required = append(s.Affinity.Required, metav1.LabelSelector{MatchLabels: map[string]string{key: value}})
	}
}

func prefers(weight int32, key, value string) func(*schedulingv1alpha1.PlacementSpec) {
	return func(s *schedulingv1alpha1.PlacementSpec) {
		if s.Affinity == nil {
			s.Affinity = &schedulingv1alpha1.Affinity{}
		}
		s.Affinity.Preferred = append(s.Affinity.Preferred, schedulingv1alpha1.PreferredTarget{Weight: weight, Selector: metav1.LabelSelector{MatchLabels: map[string]string{key: value}}})
	}
}

func (o *Observed) asks(changes ...func(*schedulingv1alpha1.PlacementSpec)) *Observed {
	for _, change := range changes {
		change(&o.Placement.Spec)
	}
	return o
}

// on has the Placement on targets already.
func (o *Observed) on(names ...string) *Observed {
	for _, name := range names {
		o.Placement.Status.SelectedTargets = append(o.Placement.Status.SelectedTargets, schedulingv1alpha1.SelectedTarget{
			Key: "k-" + name, Cluster: provider, Path: "root:compute", Name: name, UID: types.UID("uid-" + name), Location: "all",
			Phase: schedulingv1alpha1.TargetSelected, Reason: schedulingv1alpha1.TargetChosen, Since: metav1.NewTime(now.Add(-time.Hour)),
		})
		o.Occupied.Insert("k-" + name)
	}
	return o
}

// unseen has the Placement on a target that cannot be seen any more.
func (o *Observed) unseen(name string) *Observed {
	o.on(name)
	entry := &o.Placement.Status.SelectedTargets[len(o.Placement.Status.SelectedTargets)-1]
	o.Targets = append(o.Targets, Unseen(entry, now.Add(-time.Hour)))
	return o
}

// leaving has the Placement leave a target already.
func (o *Observed) leaving(name string, reason schedulingv1alpha1.TargetReason, ago time.Duration) *Observed {
	o.on(name)
	entry := &o.Placement.Status.SelectedTargets[len(o.Placement.Status.SelectedTargets)-1]
	entry.Phase, entry.Reason, entry.Since = schedulingv1alpha1.TargetLeaving, reason, metav1.NewTime(now.Add(-ago))
	return o
}

func (o *Observed) with(change func(*Observed)) *Observed {
	change(o)
	return o
}

// told is a decision in the words of the tables: the selected targets by name, the leaving ones with their reasons.
type told struct{ selected, leaving, scheduled, ready string }

func tell(d Decision) told {
	var selected, leaving []string
	for _, entry := range d.Status.SelectedTargets {
		if entry.Phase == schedulingv1alpha1.TargetSelected {
			selected = append(selected, entry.Name)
		} else {
			leaving = append(leaving, entry.Name+": "+string(entry.Reason))
		}
	}
	slices.Sort(selected)
	slices.Sort(leaving)
	reason := func(conditionType string) string {
		if c := meta.FindStatusCondition(d.Status.Conditions, conditionType); c != nil {
			return c.Reason
		}
		return ""
	}
	return told{strings.Join(selected, " "), strings.Join(leaving, ", "), reason(schedulingv1alpha1.PlacementScheduled), reason(schedulingv1alpha1.PlacementReady)}
}

// decide decides, and checks what holds for every decision.
func decide(t testing.TB, o Observed) Decision {
	t.Helper()
	before := o.Placement.DeepCopy()
	d := Decide(o)
	if !equality.Semantic.DeepEqual(before, o.Placement) {
		t.Error("the Placement was changed")
	}
	if again := Decide(shuffled(o)); !sameDecision(d, again) {
		t.Errorf("another order of the same gives another decision:\n%+v\n%+v", d, again)
	}
	return d
}

func sameDecision(a, b Decision) bool {
	return equality.Semantic.DeepEqual(a.Status, b.Status) && equality.Semantic.DeepEqual(a.Moves, b.Moves) && a.Again.Equal(b.Again)
}

// settled is what the next pass observes after a decision took effect.
func settled(o Observed, d Decision) Observed {
	o.Placement = o.Placement.DeepCopy()
	o.Placement.Status = *d.Status.DeepCopy()
	return o
}

func shuffled(o Observed) Observed {
	o.Targets, o.Locations, o.Others = slices.Clone(o.Targets), slices.Clone(o.Locations), slices.Clone(o.Others)
	slices.Reverse(o.Targets)
	slices.Reverse(o.Locations)
	slices.Reverse(o.Others)
	o.Placement = o.Placement.DeepCopy()
	slices.Reverse(o.Placement.Status.SelectedTargets)
	o.Requested = maps.Clone(o.Requested)
	return o
}
