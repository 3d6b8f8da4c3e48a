package choose

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// dice make a world from numbers: those of a generator, or those of a fuzzer.
type dice func(n int) int

func (d dice) once(in int) bool { return d(in) == 0 }

func (d dice) pick(from ...string) string { return from[d(len(from))] }

func (d dice) target(i int) Target {
	t := target(fmt.Sprintf("t%02d", i), label("disk", d.pick("ssd", "hdd")), offers(d.pick("2", "8", "16")))
	if !d.once(6) {
		t.Cells = map[string]string{"zone": d.pick("x", "y", "z")}
	}
	if d.once(5) {
		t.NotReady, t.NotReadySince = "HeartbeatExpired", metav1.NewTime(now.Add(-time.Duration(d(600))*time.Second))
		t.Silent = d.once(2)
	}
	t.Unschedulable = d.once(5)
	if d.once(8) {
		t.EvictAfter = metav1.NewTime(now.Add(time.Duration(d(7200)-3600) * time.Second))
	}
	if d.once(4) {
		taint := workloadv1alpha1.Taint{Key: d.pick("a", "b"), Effect: workloadv1alpha1.TaintEffect(d.pick("NoSchedule", "PreferNoSchedule", "NoExecute"))}
		if d.once(2) {
			taint.TimeAdded = new(metav1.NewTime(now.Add(-time.Duration(d(120)) * time.Second)))
		}
		t.Taints = append(t.Taints, taint)
	}
	return t
}

func (d dice) spec() schedulingv1alpha1.PlacementSpec {
	spec := specOf()
	spec.Strategy = schedulingv1alpha1.Strategy(d.pick("OneToAny", "OneToMany", "Spread"))
	if spec.Strategy != schedulingv1alpha1.OneToAny {
		if !d.once(4) {
			spec.NumberOfTargets = new(int32(1 + d(6)))
		}
		if d.once(2) {
			spreadOver(d.pick("zone", "disk", schedulingv1alpha1.LocationTopologyKey), int32(1+d(2)), schedulingv1alpha1.UnsatisfiableAction(d.pick("DoNotSchedule", "ScheduleAnyway")))(&spec)
		}
	}
	if d.once(3) {
		requires("disk", d.pick("ssd", "hdd"))(&spec)
	}
	if d.once(3) {
		prefers(int32(1+d(100)), "zone", d.pick("x", "y"))(&spec)
	}
	if d.once(3) {
		needs(d.pick("1", "4", "10"))(&spec)
	}
	if d.once(3) {
		t := schedulingv1alpha1.Toleration{Key: d.pick("a", "b", schedulingv1alpha1.NotReadyTaint), Operator: schedulingv1alpha1.TolerationExists}
		if d.once(2) {
			t.Effect, t.TolerationSeconds = "NoExecute", new(int64(d(600)))
		}
		spec.Tolerations = append(spec.Tolerations, t)
	}
	return spec
}

// world is a Placement that has been decided about before, in the same world or another.
func (d dice) world() Observed {
	o := newWorld()
	for i := range d(12) {
		o.Targets = append(o.Targets, d.target(i))
	}
	o.Locations = []Location{
		{Name: "ssd", InstanceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "ssd"}}},
		{Name: "all", InstanceSelector: &metav1.LabelSelector{}},
	}[d(2):]
	o.Placement.Spec = d.spec()
	o.Placement.UID = types.UID(strconv.Itoa(d(100)))
	o.Requested = map[string]corev1.ResourceList{}
	for i := range o.Targets {
		switch d(4) {
		case 0:
			o.Requested[o.Targets[i].Key] = resources(d.pick("1", "7"))
		case 1:
			o.on(o.Targets[i].Name)
		case 2:
			o.leaving(o.Targets[i].Name, "NotNeeded", time.Duration(d(5))*time.Second)
			if d.once(2) {
				o.Occupied.Delete(o.Targets[i].Key)
			}
		}
	}
	return *o
}

// selectedKeys are the keys of the selected targets.
func selectedKeys(status schedulingv1alpha1.PlacementStatus) sets.Set[string] {
	keys := sets.New[string]()
	for _, entry := range status.SelectedTargets {
		if entry.Phase == schedulingv1alpha1.TargetSelected {
			keys.Insert(entry.Key)
		}
	}
	return keys
}

// check holds one decision against what every decision must be. decide has compared it with that about the same in another
// order.
func check(t testing.TB, o Observed) {
	t.Helper()
	d := decide(t, o)
	before, after := selectedKeys(o.Placement.Status), selectedKeys(d.Status)
	p := newPass(o)

	if wanted, all := p.wanted(); !all && after.Len() > wanted {
		t.Errorf("%d targets are selected, and %d wanted", after.Len(), wanted)
	}
	keys := sets.New[string]()
	for _, entry := range d.Status.SelectedTargets {
		if keys.Has(entry.Key) {
			t.Errorf("%s is there twice", entry.Key)
		}
		keys.Insert(entry.Key)
	}
	for key := range after.Difference(before) {
		checkNew(t, p, key)
	}
	checkReasons(t, o, d)
	checkSpread(t, p, o, before, after)

	next := settled(o, d)
	if again := decide(t, next); !equality.Semantic.DeepEqual(again.Status, d.Status) || len(again.Moves) > 0 {
		t.Errorf("the decision is not kept:\n%+v\n%+v", d.Status, again.Status)
	}
	// More targets, whatever they are like, move nothing.
	more := next
	more.Targets = append(slices.Clone(more.Targets), target("new", label("disk", "ssd"), offers("1000")))
	if lost := after.Difference(selectedKeys(decide(t, more).Status)); lost.Len() > 0 {
		t.Errorf("a new target moves work away from %v", lost)
	}
}

// checkNew holds a newly selected target against every hard constraint.
func checkNew(t testing.TB, p *pass, key string) {
	t.Helper()
	target := p.byKey[key]
	for _, f := range filters() {
		if why := f.rejects(p, target, p.offer.locationsOf[key][0]); why != "" {
			t.Errorf("%s is selected though it is %s", key, why)
		}
	}
	if target.NotReady != "" || target.Unschedulable || len(p.offer.locationsOf[key]) == 0 {
		t.Errorf("%s is selected: %+v", key, target)
	}
}

// checkReasons asks for a Move, with a reason, for every change.
func checkReasons(t testing.TB, o Observed, d Decision) {
	t.Helper()
	moved := map[string]Act{}
	for _, move := range d.Moves {
		moved[move.Target.Key] = move.Act
		if move.Target.Reason == "" {
			t.Errorf("a move without a reason: %+v", move)
		}
	}
	phases := func(status schedulingv1alpha1.PlacementStatus) map[string]schedulingv1alpha1.TargetPhase {
		out := map[string]schedulingv1alpha1.TargetPhase{}
		for _, entry := range status.SelectedTargets {
			out[entry.Key] = entry.Phase
		}
		return out
	}
	before, after := phases(o.Placement.Status), phases(d.Status)
	for _, key := range sets.KeySet(before).Union(sets.KeySet(after)).UnsortedList() {
		if (before[key] != after[key]) != (moved[key] != "") {
			t.Errorf("%s goes from %q to %q, which is told as %q", key, before[key], after[key], moved[key])
		}
	}
	if len(d.Moves) > 0 && !d.Again.IsZero() && d.Again.Before(o.Now) {
		t.Errorf("to look again at %s, before now", d.Again)
	}
}

// checkSpread: of what is placed on nothing, no domain exceeds the emptiest by more than maxSkew.
func checkSpread(t testing.TB, p *pass, o Observed, before, after sets.Set[string]) {
	t.Helper()
	if before.Len() > 0 || len(o.Placement.Spec.TopologySpreadConstraints) == 0 {
		return
	}
	constraint := o.Placement.Spec.TopologySpreadConstraints[0]
	if constraint.WhenUnsatisfiable != schedulingv1alpha1.DoNotSchedule {
		return
	}
	count := p.countDomains()[0].of
	for key := range after {
		domain, ok := p.byKey[key].domain(constraint.TopologyKey, p.offer.locationsOf[key][0])
		if !ok {
			t.Errorf("%s is in no domain of %s", key, constraint.TopologyKey)
		}
		count[domain]++
	}
	for domain, n := range count {
		if n-fewest(count) > int(constraint.MaxSkew) {
			t.Errorf("domain %s has %d, the emptiest %d", domain, n, fewest(count))
		}
	}
}

func TestProperties(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		if o := dice(r.IntN).world(); !t.Run("", func(t *testing.T) { check(t, o) }) {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzDecide(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, numbers []byte) {
		i := 0
		check(t, dice(func(n int) int {
			i++
			if len(numbers) == 0 || i > 4*len(numbers) {
				return 0
			}
			return int(numbers[i%len(numbers)]) % n
		}).world())
	})
}

// TestPlacementsSpread: many Placements that ask for nothing are spread over equal targets, and of one target that goes only
// its own move.
func TestPlacementsSpread(t *testing.T) {
	targets := []Target{target("a"), target("b"), target("c"), target("d")}
	chosen := func(targets []Target) (of []string) {
		for i := range 400 {
			o := newWorld(targets...)
			o.Placement.UID = types.UID(fmt.Sprintf("placement-%d", i))
			of = append(of, tell(Decide(*o)).selected)
		}
		return of
	}
	all, without := chosen(targets), chosen(targets[1:])
	count := map[string]int{}
	for i := range all {
		count[all[i]]++
		if all[i] != "a" && all[i] != without[i] {
			t.Errorf("Placement %d goes from %s to %s because a is gone", i, all[i], without[i])
		}
	}
	for name, n := range count {
		if n < 70 || n > 130 {
			t.Errorf("%s has %d of 400 Placements", name, n)
		}
	}
}
