package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

const (
	placementKind = "scheduling.kcp.io/v1alpha1 Placement"
	locationKind  = "scheduling.kcp.io/v1alpha1 Location"
)

// stage is a workspace with SyncTargets whose syncers are played by the test, and a tenant. What placement decides depends
// on what syncers report and on nothing that they do.
type stage struct {
	*testing.T
	targets, team *harness.Workspace
}

func newStage(t *testing.T, p *harness.Provider) *stage {
	t.Helper()
	s := &stage{T: t, targets: p.NewTargetWorkspace(t), team: p.NewTenant(t)}
	s.targets.Create(`{apiVersion: scheduling.kcp.io/v1alpha1, kind: Location, metadata: {name: all, labels: {all: "yes"}}, spec: {instanceSelector: {}, consumers: ["root"]}}`)
	return s
}

// target makes a SyncTarget that is ready, and keeps its heartbeat going.
func (s *stage) target(name, metadata, spec, cpu string) *harness.Target {
	s.Helper()
	tg := s.targets.NewTarget(name, east, metadata, spec)
	s.report(name, "True", cpu)
	stop := make(chan struct{})
	s.Cleanup(func() { close(stop) })
	beats := s.targets.Of(harness.SyncTargetKind, "")
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Second):
			}
			beat := fmt.Sprintf(`{"status":{"lastSyncerHeartbeatTime":%q}}`, time.Now().UTC().Format(time.RFC3339))
			_, _ = beats.Patch(s.Context(), name, types.MergePatchType, []byte(beat), metav1.PatchOptions{}, "status")
		}
	}()
	return tg
}

// report writes what a syncer says of its target.
func (s *stage) report(name, ready, cpu string) {
	s.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	var conditions []string
	for conditionType, status := range map[string]string{
		workloadv1alpha1.ConditionHeartbeatHealthy: "True", workloadv1alpha1.ConditionSyncerReady: ready, workloadv1alpha1.ConditionAPIsReady: "True",
		workloadv1alpha1.ConditionReady: ready,
	} {
		reason := "Fine"
		if status != "True" {
			reason = workloadv1alpha1.ReasonClusterUnreachable
		}
		conditions = append(conditions, fmt.Sprintf(`{type: %s, status: %q, reason: %s, message: "", lastTransitionTime: %q}`, conditionType, status, reason, now))
	}
	s.targets.Merge(harness.SyncTargetKind, "", name, fmt.Sprintf(`{status: {feed: assigned, lastSyncerHeartbeatTime: %q, allocatable: {cpu: %q, memory: 64Gi}, conditions: [%s]}}`,
		now, cpu, strings.Join(conditions, ", ")), "status")
}

// place makes a Placement of the namespace web.
func (s *stage) place(name, spec string) {
	s.Helper()
	s.team.Create(fmt.Sprintf(`{apiVersion: scheduling.kcp.io/v1alpha1, kind: Placement, metadata: {name: %s, labels: {name: %s}}, spec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: web}}, locationWorkspace: %q%s}}`,
		name, name, s.targets.Path, spec))
}

// placement is the Placement once check is content with it.
func (s *stage) placement(name string, check func(*schedulingv1alpha1.Placement) error) *schedulingv1alpha1.Placement {
	s.Helper()
	var placement *schedulingv1alpha1.Placement
	s.team.Eventually(placementKind, "", name, func(u *unstructured.Unstructured) error {
		placement = &schedulingv1alpha1.Placement{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, placement); err != nil {
			return err
		}
		if err := check(placement); err != nil {
			return fmt.Errorf("%w: %s", err, statusOf(u))
		}
		return nil
	})
	return placement
}

// isOn checks which targets are selected, and that none is being left.
func isOn(names ...string) func(*schedulingv1alpha1.Placement) error {
	return func(p *schedulingv1alpha1.Placement) error {
		var on []string
		for _, entry := range p.Status.SelectedTargets {
			if entry.Phase != schedulingv1alpha1.TargetSelected {
				return fmt.Errorf("%s is leaving %s", p.Name, entry.Name)
			}
			on = append(on, entry.Name)
		}
		slices.Sort(on)
		if !slices.Equal(on, names) {
			return fmt.Errorf("%s is on %v, want %v", p.Name, on, names)
		}
		return nil
	}
}

// says checks a condition's reason, and what its message contains.
func says(conditionType, reason string, words ...string) func(*schedulingv1alpha1.Placement) error {
	return func(p *schedulingv1alpha1.Placement) error {
		for _, condition := range p.Status.Conditions {
			if condition.Type != conditionType {
				continue
			}
			if condition.Reason != reason {
				return fmt.Errorf("%s of %s is %s: %s, want %s", conditionType, p.Name, condition.Reason, condition.Message, reason)
			}
			for _, word := range words {
				if !strings.Contains(condition.Message, word) {
					return fmt.Errorf("%s of %s says %q, want %q", conditionType, p.Name, condition.Message, word)
				}
			}
			return nil
		}
		return fmt.Errorf("%s has no condition %s", p.Name, conditionType)
	}
}

func both(checks ...func(*schedulingv1alpha1.Placement) error) func(*schedulingv1alpha1.Placement) error {
	return func(p *schedulingv1alpha1.Placement) error {
		var errs []error
		for _, check := range checks {
			errs = append(errs, check(p))
		}
		return errors.Join(errs...)
	}
}

// told waits for an Event about the Placement.
func (s *stage) told(placement, reason, words string) {
	s.Helper()
	harness.Eventually(s.T, func() error {
		events, err := s.team.Typed.CoreV1().Events(metav1.NamespaceDefault).List(s.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + placement})
		if err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.Reason == reason && strings.Contains(event.Message, words) {
				return nil
			}
		}
		return fmt.Errorf("of %d Events about %s none is %s with %q", len(events.Items), placement, reason, words)
	})
}

func statusOf(u *unstructured.Unstructured) string {
	raw, err := (&unstructured.Unstructured{Object: map[string]any{"kind": "x", "status": u.Object["status"]}}).MarshalJSON()
	return fmt.Sprint(string(raw), err)
}

// A Placement from its first day to its last: where it may go, where it goes and stays, and how it leaves.
func TestPlacementLifecycle(t *testing.T) {
	t.Parallel()
	s := newStage(t, harness.Shared(t))
	s.target("one", "", "", "8")

	// Whose Locations they are decides who may use them.
	s.targets.Merge(locationKind, "", "all", `{spec: {consumers: ["root:nobody"]}}`)
	s.targets.Eventually(locationKind, "", "all", harness.All(harness.Has(1, "status", "instances"), harness.Has(1, "status", "availableInstances")))
	s.place("web", `, locationSelectors: [{matchLabels: {all: "yes"}}]`)
	s.placement("web", says("Scheduled", "LocationForbidden"))
	s.told("web", "LocationForbidden", "not open to workspace root:team-")
	s.targets.Merge(locationKind, "", "all", fmt.Sprintf(`{spec: {consumers: [%q]}}`, s.team.Path))
	chosen := s.placement("web", both(isOn("one"), says("Ready", "Placed")))
	entry := chosen.Status.SelectedTargets[0]
	if entry.Location != "all" || entry.Path != s.targets.Path.String() || entry.Score != 100 || chosen.Status.Phase != schedulingv1alpha1.PlacementBound || !slices.Contains(chosen.Finalizers, schedulingv1alpha1.PlacementFinalizer) {
		t.Errorf("got %+v", chosen)
	}
	s.told("web", "TargetSelected", "SyncTarget one of "+s.targets.Path.String()+" was selected through Location all with score 100 (Resources 100)")

	// A cordon keeps new work away, and what runs in place.
	s.targets.Merge(harness.SyncTargetKind, "", "one", `{spec: {unschedulable: true}}`)
	s.targets.Eventually(locationKind, "", "all", harness.Has(0, "status", "availableInstances"))
	s.place("late", "")
	s.placement("late", says("Scheduled", "TargetsCordoned", "one"))
	s.target("two", "", "", "8")
	s.placement("late", isOn("two"))
	if now := s.placement("web", isOn("one")); now.ResourceVersion != chosen.ResourceVersion {
		t.Errorf("a cordon and a new target have changed the Placement: %+v", now)
	}

	// Without namespaces it is there and not used.
	s.team.Merge(placementKind, "", "late", `{spec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}}`)
	s.placement("late", both(isOn("two"), says("Ready", "NoNamespaces")))
	s.team.Create(`{apiVersion: v1, kind: Namespace, metadata: {name: shop}}`)
	s.placement("late", says("Ready", "Placed"))

	// A SyncTarget that is deleted is left for another.
	s.targets.Delete(harness.SyncTargetKind, "", "one")
	s.placement("web", isOn("two"))
	s.told("web", "TargetLeaving", "TargetDeleted")
	s.told("web", "TargetLeft", "SyncTarget one")

	// A Location that goes has no targets; what runs waits for the tenant, in phase Leaving.
	s.team.Delete(placementKind, "", "web")
	s.team.EventuallyGone(placementKind, "", "web")
}

// The default Location is created with the first SyncTarget, and not again once a user has deleted it.
func TestDefaultLocationIsCreatedOnce(t *testing.T) {
	t.Parallel()
	targets := harness.Shared(t).NewTargetWorkspace(t)
	marked := harness.Has("created", "metadata", "annotations", schedulingv1alpha1.DefaultLocationAnnotation)
	one := targets.NewTarget("one", east, "labels: {disk: ssd}", "cells: {region: eu}")
	targets.Eventually(locationKind, "", "default", harness.All(
		harness.Has(1, "status", "instances"), harness.Has(0, "status", "availableInstances"),
		harness.Has("[map[key:disk values:[ssd]] map[key:region values:[eu]]]", "status", "availableSelectorLabels"),
	))
	one.Await(marked)
	targets.Delete(locationKind, "", "default")
	targets.NewTarget("two", east, "", "").Await(marked)
	harness.Remains(t, 2*time.Second, func() error {
		if _, err := targets.Get(locationKind, "", "default"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the default Location: %w", err)
		}
		return nil
	})
}

// What asks for leaving a target is tolerated for as long as the Placement says, which the status tells beforehand.
func TestPlacementMoves(t *testing.T) {
	t.Parallel()
	s := newStage(t, harness.Shared(t))
	s.target("one", "labels: {first: \"yes\"}", "", "8")
	s.target("two", "", "", "8")
	prefersOne := `, affinity: {preferred: [{weight: 1, selector: {matchLabels: {first: "yes"}}}]}`
	for _, name := range []string{"strict", "patient", "tolerant"} {
		tolerations := map[string]string{
			"strict":   "",
			"patient":  `, tolerations: [{key: maintenance, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]`,
			"tolerant": `, tolerations: [{key: maintenance, operator: Exists}]`,
		}[name]
		s.place(name, prefersOne+tolerations)
		s.placement(name, isOn("one"))
	}
	s.targets.Merge(harness.SyncTargetKind, "", "one", `{spec: {taints: [{key: maintenance, effect: NoExecute}]}}`)
	s.placement("strict", isOn("two"))
	s.told("strict", "TargetLeaving", "Tainted: the SyncTarget has the taint maintenance:NoExecute, which the Placement does not tolerate")
	waits := s.placement("patient", both(isOn("one"), says("Ready", "TargetDisturbed", "one: the SyncTarget has the taint maintenance:NoExecute; the work leaves at")))
	if entry := waits.Status.SelectedTargets[0]; entry.LeavesAt == nil || entry.LeavesAt.Sub(entry.Tolerated[0].Since.Time) != 5*time.Second {
		t.Errorf("got %+v", entry)
	}
	s.placement("patient", isOn("two"))
	s.told("patient", "TargetLeaving", "for longer than the 5 seconds that the Placement tolerates")
	s.placement("tolerant", both(isOn("one"), says("Ready", "Placed")))

	// evictAfter asks nobody.
	s.targets.Merge(harness.SyncTargetKind, "", "one", fmt.Sprintf(`{spec: {evictAfter: %q}}`, time.Now().Add(2*time.Second).UTC().Format(time.RFC3339)))
	s.placement("tolerant", isOn("two"))
	s.told("tolerant", "TargetLeaving", "Evicted")

	// A target whose syncer says that the cluster is gone is left in time.
	s.targets.Merge(harness.SyncTargetKind, "", "one", `{spec: {evictAfter: null, taints: null}}`)
	s.place("quick", prefersOne+`, tolerations: [{key: workload.kcp.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 2}]`)
	s.placement("quick", isOn("one"))
	s.report("one", "False", "8")
	s.placement("quick", isOn("two"))
	s.told("quick", "TargetLeaving", "NotReady: the SyncTarget is not ready: ClusterUnreachable, for longer than the 2 seconds")

	// What the tenant no longer wants is left too.
	s.report("one", "True", "8")
	s.team.Merge(placementKind, "", "quick", `{spec: {affinity: {required: [{matchLabels: {first: "yes"}}]}}}`)
	s.placement("quick", isOn("one"))
	s.told("quick", "TargetLeaving", "AffinityMismatch")
}

// What a Placement asks for is given, or it says what to change.
func TestPlacementConstraints(t *testing.T) {
	t.Parallel()
	s := newStage(t, harness.Shared(t))
	s.target("x1", "labels: {disk: ssd}", "cells: {zone: a}", "8")
	s.target("x2", "labels: {disk: ssd}", "cells: {zone: a}", "8")
	s.target("y1", "", "cells: {zone: b}", "4")

	spread := `, strategy: Spread, topologySpreadConstraints: [{topologyKey: zone}]`
	s.place("spread", spread+`, numberOfTargets: 3`)
	s.placement("spread", isOn("x1", "x2", "y1")) // 2 and 1: skew 1
	s.place("two", spread+`, numberOfTargets: 2`)
	two := s.placement("two", both(says("Scheduled", "TargetsSelected", "2 targets"), within("y1")))
	s.place("four", spread+`, numberOfTargets: 4`)
	s.placement("four", both(isOn("x1", "x2", "y1"), says("Scheduled", "TooFewTargets", "3 targets are selected, and 4 wanted")))

	s.place("affine", `, strategy: OneToMany, affinity: {required: [{matchLabels: {disk: ssd}}]}`)
	s.placement("affine", isOn("x1", "x2"))
	s.place("none", `, affinity: {required: [{matchLabels: {disk: tape}}]}`)
	s.placement("none", says("Scheduled", "AffinityUnmatched", "3 not matched by the required affinity (x1, x2, y1)"))
	s.place("apart", `, strategy: OneToMany, antiAffinity: {required: [{placementSelector: {matchLabels: {name: affine}}, topologyKey: zone}]}`)
	s.placement("apart", isOn("y1"))

	s.place("large", `, affinity: {required: [{matchLabels: {disk: ssd}}]}, resources: {requests: {cpu: "5"}}`)
	large := s.placement("large", says("Scheduled", "TargetsSelected"))
	s.place("larger", `, affinity: {required: [{matchLabels: {disk: ssd}}]}, resources: {requests: {cpu: "5"}}`)
	larger := s.placement("larger", says("Scheduled", "TargetsSelected"))
	if large.Status.TargetNames == larger.Status.TargetNames {
		t.Errorf("both are on %s, which has no room for two", large.Status.TargetNames)
	}
	s.place("largest", `, affinity: {required: [{matchLabels: {disk: ssd}}]}, resources: {requests: {cpu: "5"}}`)
	s.placement("largest", says("Scheduled", "InsufficientResources", "2 with less than 5 cpu left, of 8 (x1, x2)"))
	s.told("largest", "InsufficientResources", "less than 5 cpu left")
	s.team.Delete(placementKind, "", "large") // makes room
	s.placement("largest", isOn(large.Status.TargetNames))

	// More targets move nobody.
	s.target("z1", "", "cells: {zone: c}", "64")
	s.placement("four", isOn("x1", "x2", "y1", "z1"))
	if now := s.placement("two", within("y1")); now.ResourceVersion != two.ResourceVersion {
		t.Errorf("a new target has changed the Placement: %+v", now)
	}
}

// within checks that one target is among the selected.
func within(name string) func(*schedulingv1alpha1.Placement) error {
	return func(p *schedulingv1alpha1.Placement) error {
		if !strings.Contains(p.Status.TargetNames, name) {
			return fmt.Errorf("%s is on %s, and not on %s", p.Name, p.Status.TargetNames, name)
		}
		return nil
	}
}

// A manager that starts where everything is in place writes nothing, and heartbeats wake nobody.
func TestPlacementIsIdle(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	s := newStage(t, p)
	s.target("one", "", "", "8")
	s.target("two", "", "", "8")
	s.targets.NewTarget("three", east, "", "") // never connected
	first := p.StartManager(t)
	const many = 20
	for i := range many {
		s.place(fmt.Sprintf("p%d", i), `, resources: {requests: {cpu: 100m}}`)
	}
	versions := map[string]string{}
	for i := range many {
		placed := s.placement(fmt.Sprintf("p%d", i), says("Ready", "Placed"))
		versions[placed.Name] = placed.ResourceVersion
	}
	s.targets.Eventually(locationKind, "", "all", harness.All(harness.Has(3, "status", "instances"), harness.Has(2, "status", "availableInstances")))
	harness.Eventually(t, func() error { // it counts what kcp has answered, which others may see before
		if moves := harness.Sum(first.Scrape(), "workload_manager_placement_moves_total", "act=TargetSelected", "reason=Chosen"); moves != many {
			return fmt.Errorf("%v moves, want %d", moves, many)
		}
		return nil
	})
	first.Terminate()

	second := p.StartManager(t)
	worked := func() float64 {
		return harness.Sum(second.Scrape(), "workqueue_work_duration_seconds", "name=placement")
	}
	harness.Eventually(t, func() error {
		if n := worked(); n < many {
			return fmt.Errorf("%v passes", n)
		}
		return nil
	})
	before := worked()
	beat := func(u *unstructured.Unstructured) string {
		return fmt.Sprint(harness.Field(u, "status", "lastSyncerHeartbeatTime"))
	}
	seen := beat(s.targets.MustGet(harness.SyncTargetKind, "", "one"))
	s.targets.Eventually(harness.SyncTargetKind, "", "one", func(u *unstructured.Unstructured) error {
		if beat(u) == seen {
			return errors.New("no heartbeat yet")
		}
		return nil
	})
	harness.Remains(t, 2*time.Second, func() error {
		if n := worked(); n != before {
			return fmt.Errorf("%v passes, %v before the heartbeat", n, before)
		}
		return nil
	})
	for _, reconciler := range []string{"placement", "location"} {
		if n := harness.Sum(second.Scrape(), "workload_manager_writes_total", "reconciler="+reconciler); n != 0 {
			t.Errorf("%v writes by %s after a restart", n, reconciler)
		}
	}
	for name, version := range versions {
		if now := s.team.MustGet(placementKind, "", name).GetResourceVersion(); now != version {
			t.Errorf("%s was written: %s, then %s", name, version, now)
		}
	}
}
