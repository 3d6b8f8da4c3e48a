package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// condition is what the tenant's syncer tells on an upstream object; nil while all is well.
func (tn *tenant) condition(u *unstructured.Unstructured) *metav1.Condition {
	var conditions []metav1.Condition
	raw := u.GetAnnotations()[workloadv1alpha1.ConditionsAnnotation(tn.key)]
	if raw == "" || json.Unmarshal([]byte(raw), &conditions) != nil || len(conditions) == 0 {
		return nil
	}
	return &conditions[0]
}

// says checks that the syncer tells that reason on the object, in a message with those words.
func (tn *tenant) says(reason string, words ...string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		c := tn.condition(u)
		if c == nil {
			return fmt.Errorf("%s %s has no condition, want %s", u.GetKind(), u.GetName(), reason)
		}
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return fmt.Errorf("condition %s says %q, want it to tell %q", c.Reason, c.Message, word)
			}
		}
		if c.Type != workloadv1alpha1.ConditionSynced || c.Status != metav1.ConditionFalse || c.Reason != reason {
			return fmt.Errorf("condition %s=%s is told for %s (%s), want %s", c.Type, c.Status, c.Reason, c.Message, reason)
		}
		return nil
	}
}

// saysNothing checks that the syncer tells no condition on the object.
func (tn *tenant) saysNothing(u *unstructured.Unstructured) error {
	if c := tn.condition(u); c != nil {
		return fmt.Errorf("%s %s has the condition %s: %s", u.GetKind(), u.GetName(), c.Reason, c.Message)
	}
	return nil
}

// awaitEvent waits for an Event of that reason about the object of that name, in the tenant's workspace.
func (tn *tenant) awaitEvent(namespace, name, reason string) {
	tn.t.Helper()
	eventually(tn.t, func() error {
		events, err := tn.up.Typed.CoreV1().Events(namespace).List(tn.t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Name == name && e.Reason == reason && e.Source.Component == workloadv1alpha1.FieldManager {
				return nil
			}
		}
		return fmt.Errorf("none of %d Events is about %s and says %s", len(events.Items), name, reason)
	})
}

// prepareNamespace has the downstream namespace of web made, and kept, by a ConfigMap in it. It gives its name.
func (tn *tenant) prepareNamespace() string {
	tn.t.Helper()
	tn.up.Create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: first, namespace: web}}`)
	tn.copyOf("ConfigMap", "first", nil)
	return tn.downNamespace("web")
}

// configMap is one with a single entry, and annotations if any are given.
func configMap(namespace, name, key, value string, annotations ...string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: %s, annotations: {%s}}, data: {%s: %s}}`,
		name, namespace, strings.Join(annotations, ", "), key, value)
}

// unchanged checks that nobody wrote the object since.
func (s *side) unchanged(since *unstructured.Unstructured) func() error {
	return func() error {
		now, err := s.Client(since).Get(s.T.Context(), since.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if now.GetResourceVersion() != since.GetResourceVersion() || now.GetUID() != since.GetUID() {
			return fmt.Errorf("%s %s was written: version %s is now %s", since.GetKind(), since.GetName(), since.GetResourceVersion(), now.GetResourceVersion())
		}
		return nil
	}
}

// isOurs checks that the object carries the mark of the tenant's target.
func (tn *tenant) isOurs(u *unstructured.Unstructured) error {
	return has(tn.key, "metadata", "labels", workloadv1alpha1.DownstreamClusterLabel)(u)
}

// Somebody else's object that has the name of the copy is not touched: not when the tenant creates, changes or deletes
// the object of that name. The tenant is told by condition and Event. Once the name is free, the copy is made.
func TestA10StrangersObjectIsLeftAlone(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	namespace := tn.prepareNamespace()
	stranger := tn.down.Create(configMap(namespace, "taken", "owner", "stranger"))

	tn.up.Create(configMap("web", "taken", "owner", "tenant"))
	tn.up.Eventually("ConfigMap", "web", "taken", tn.says(workloadv1alpha1.ReasonConflict, "did not create"))
	tn.awaitEvent("web", "taken", workloadv1alpha1.ReasonConflict)
	tn.up.Merge("ConfigMap", "web", "taken", `data: {more: data}`)
	remains(t, time.Second, tn.down.unchanged(stranger))
	tn.up.Delete("ConfigMap", "web", "taken")
	tn.up.EventuallyGone("ConfigMap", "web", "taken")
	remains(t, time.Second, tn.down.unchanged(stranger))

	tn.up.Create(configMap("web", "taken", "owner", "tenant"))
	tn.up.Eventually("ConfigMap", "web", "taken", tn.says(workloadv1alpha1.ReasonConflict))
	tn.down.Delete("ConfigMap", namespace, "taken")
	tn.copyOf("ConfigMap", "taken", all(has("tenant", "data", "owner"), tn.isOurs))
	tn.up.Eventually("ConfigMap", "web", "taken", tn.saysNothing)
}

// IfNoDiff takes over what holds all that the tenant asks for, and names the field that differs otherwise. Force takes
// over what differs too, and leaves alone what the tenant does not set. A policy that does not exist is told.
func TestA10ConflictPolicyOfTheObject(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	namespace := tn.prepareNamespace()
	policy := func(name string) string { return workloadv1alpha1.ConflictPolicyAnnotation + ": " + name }
	for _, name := range []string{"same", "different", "forced", "odd"} {
		tn.down.Create(fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: %s}, data: {mode: fast, theirs: kept}}`, name, namespace))
	}
	tn.up.Create(
		configMap("web", "same", "mode", "fast", policy("IfNoDiff")),
		configMap("web", "different", "mode", "slow", policy("IfNoDiff")),
		configMap("web", "forced", "mode", "slow", policy("Force")),
		configMap("web", "odd", "mode", "slow", policy("Sometimes")),
	)

	tn.copyOf("ConfigMap", "same", all(tn.isOurs, has("fast", "data", "mode"), has("kept", "data", "theirs")))
	tn.copyOf("ConfigMap", "forced", all(tn.isOurs, has("slow", "data", "mode"), has("kept", "data", "theirs")))
	tn.up.Eventually("ConfigMap", "web", "different", tn.says(workloadv1alpha1.ReasonConflict, "data.mode differs"))
	tn.up.Eventually("ConfigMap", "web", "odd", tn.says(workloadv1alpha1.ReasonInvalidAnnotation, "Sometimes", "IfNoDiff"))
	for _, name := range []string{"different", "odd"} {
		stranger := tn.down.MustGet("ConfigMap", namespace, name)
		if tn.isOurs(stranger) == nil || has("fast", "data", "mode")(stranger) != nil {
			t.Errorf("the stranger's ConfigMap was touched: %v", stranger.Object)
		}
	}
	for _, name := range []string{"same", "forced"} { // what was taken over is ours from then on
		tn.up.Eventually("ConfigMap", "web", name, tn.saysNothing)
		tn.up.Merge("ConfigMap", "web", name, `data: {mode: new}`)
		tn.copyOf("ConfigMap", name, has("new", "data", "mode"))
	}
}

// The flag says what happens to objects without the annotation, and the annotation goes first.
func TestA10ConflictPolicyFlag(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer("--conflict-policy=Force")
	namespace := tn.prepareNamespace()
	tn.down.Create(configMap(namespace, "by-flag", "owner", "stranger"), configMap(namespace, "by-annotation", "owner", "stranger"))
	tn.up.Create(
		configMap("web", "by-flag", "owner", "tenant"),
		configMap("web", "by-annotation", "owner", "tenant", workloadv1alpha1.ConflictPolicyAnnotation+": Fail"),
	)
	tn.copyOf("ConfigMap", "by-flag", all(tn.isOurs, has("tenant", "data", "owner")))
	tn.up.Eventually("ConfigMap", "web", "by-annotation", tn.says(workloadv1alpha1.ReasonConflict))
	tn.copyOf("ConfigMap", "by-annotation", has("stranger", "data", "owner"))
}

// A cluster-scoped object has the same name downstream, so what other workspaces and the cluster's own users made counts
// as a stranger's.
func TestA10StrangersClusterScopedObjectIsLeftAlone(t *testing.T) {
	t.Parallel()
	tn, other := newTenant(t), newTenant(t)
	gadgets := newCustomType("Gadget", "Cluster", "v1")
	tn.down.define(gadgets)
	tn.up.define(gadgets)
	other.up.define(gadgets)
	tn.startSyncer()

	stranger := tn.down.Create(gadgets.object("", "taken", "size: 1"))
	tn.up.Create(gadgets.object("", "taken", "size: 2"), gadgets.object("", "free", "size: 2"))
	tn.up.Eventually(gadgets.kind(), "", "taken", tn.says(workloadv1alpha1.ReasonConflict, "did not create"))
	tn.awaitEvent(metav1.NamespaceDefault, "taken", workloadv1alpha1.ReasonConflict)
	free := tn.down.Eventually(gadgets.kind(), "", "free", all(tn.isOurs, has(2, "spec", "size")))

	other.startSyncer()
	other.up.Create(gadgets.object("", "free", "size: 3"))
	other.up.Eventually(gadgets.kind(), "", "free", other.says(workloadv1alpha1.ReasonConflict, "did not create"))
	tn.up.Delete(gadgets.kind(), "", "taken")
	tn.up.EventuallyGone(gadgets.kind(), "", "taken")
	remains(t, time.Second, tn.down.unchanged(stranger))
	remains(t, time.Second, tn.down.unchanged(free))

	tn.up.Delete(gadgets.kind(), "", "free")
	tn.up.EventuallyGone(gadgets.kind(), "", "free")
	other.down.Eventually(gadgets.kind(), "", "free", all(other.isOurs, has(3, "spec", "size")))
}

// While an autoscaler in the physical cluster scales the copy, its replicas are its own: they are kept whatever is
// written upstream, and nothing is written on account of them.
func TestA11AutoscaledReplicasAreKept(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer("--resync-period=1s")
	tn.up.Create(deployment("web", "scaled", 1), `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaled, namespace: web}
spec: {minReplicas: 3, maxReplicas: 6, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: scaled}}
`)
	const kind = "apps/v1 Deployment"
	tn.copyOf(kind, "scaled", has(3, "spec", "replicas")) // the autoscaler keeps its minimum without metrics
	tn.up.Eventually(kind, "web", "scaled", all(has(3, "status", "availableReplicas"), has(1, "spec", "replicas"), has(1, "status", "observedGeneration")))
	tn.up.Eventually("autoscaling/v2 HorizontalPodAutoscaler", "web", "scaled", has(3, "status", "desiredReplicas"))

	// What an autoscaler with metrics would do.
	tn.scale("scaled", 5)
	tn.up.Eventually(kind, "web", "scaled", has(5, "status", "availableReplicas"))
	tn.settled(s)
	before := s.Writes("cluster")
	remains(t, 4*time.Second, func() error {
		if now := s.Writes("cluster"); now != before {
			return fmt.Errorf("%v writes to the physical cluster have become %v", before, now)
		}
		return has(5, "spec", "replicas")(tn.down.MustGet(kind, tn.downNamespace("web"), "scaled"))
	})

	tn.up.Merge(kind, "web", "scaled", `{spec: {replicas: 2, template: {metadata: {annotations: {revision: second}}}}}`)
	tn.copyOf(kind, "scaled", has("second", "spec", "template", "metadata", "annotations", "revision"))
	tn.up.Eventually(kind, "web", "scaled", all(has(2, "status", "observedGeneration"), has(5, "status", "availableReplicas")))
	tn.copyOf(kind, "scaled", has(5, "spec", "replicas"))

	// Without the autoscaler the replicas are the user's again, although its mark is still on the copy.
	tn.up.Delete("autoscaling/v2 HorizontalPodAutoscaler", "web", "scaled")
	tn.copyOf(kind, "scaled", has(2, "spec", "replicas"))
	tn.up.Merge(kind, "web", "scaled", `{spec: {replicas: 4}}`)
	tn.copyOf(kind, "scaled", has(4, "spec", "replicas"))
	tn.up.Eventually(kind, "web", "scaled", has(4, "status", "availableReplicas"))
}

// scale does what the HorizontalPodAutoscaler controller does to the copy of a Deployment.
func (tn *tenant) scale(name string, replicas int) {
	tn.t.Helper()
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	options := metav1.PatchOptions{FieldManager: "kube-controller-manager"}
	must(tn.down.Of("apps/v1 Deployment", tn.downNamespace("web")).Patch(tn.t.Context(), name, types.MergePatchType, []byte(patch), options, "scale"))(tn.t)
}

// settled waits until the syncer has nothing left to do.
func (tn *tenant) settled(s *syncer) {
	tn.t.Helper()
	eventually(tn.t, func() error {
		families := s.Scrape()
		for _, state := range []string{"pending", "failed"} {
			if n := sum(families, "workload_syncer_objects", "state="+state); n != 0 {
				return fmt.Errorf("%v objects are %s", n, state)
			}
		}
		return nil
	})
}

// Another writer that keeps changing the same field is corrected with growing pauses, counted, and named to the user,
// who is told once and not at every round. When it gives up, the copy is as it should be and the condition goes.
func TestA12FightIsSlowedDownAndNamed(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	tn.up.Create(configMap("web", "contested", "mode", "ours"))
	tn.copyOf("ConfigMap", "contested", has("ours", "data", "mode"))
	giveUp := tn.fight("contested", `{"data":{"mode":"theirs"}}`)

	fighting := tn.says(workloadv1alpha1.ReasonDriftFight, "data.mode", "another-operator")
	told := tn.up.Eventually("ConfigMap", "web", "contested", fighting)
	tn.awaitEvent("web", "contested", workloadv1alpha1.ReasonDriftFight)
	families := s.Scrape()
	before := sum(families, "workload_syncer_drift_corrections_total", "resource=configmaps")
	if fights := sum(families, "workload_syncer_drift_fights_total", "resource=configmaps"); fights == 0 {
		t.Error("the fight is not counted")
	}
	remains(t, 5*time.Second, func() error {
		now, err := tn.up.Get("ConfigMap", "web", "contested")
		if err != nil {
			return err
		}
		if now.GetResourceVersion() != told.GetResourceVersion() {
			return fmt.Errorf("the object was written again during the fight: it said %v, says %v", tn.condition(told), tn.condition(now))
		}
		return fighting(now)
	})
	if n := sum(s.Scrape(), "workload_syncer_drift_corrections_total", "resource=configmaps") - before; n > 4 {
		t.Errorf("%v corrections in 5 s of a fight are no back-off", n)
	}

	giveUp()
	tn.copyOf("ConfigMap", "contested", has("ours", "data", "mode"))
	tn.up.Eventually("ConfigMap", "web", "contested", tn.saysNothing)
}

// fight patches the copy of a ConfigMap, every time that it was corrected, until giveUp is called.
func (tn *tenant) fight(name, patch string) (giveUp func()) {
	tn.t.Helper()
	client := tn.down.Of("ConfigMap", tn.downNamespace("web"))
	return repeat(tn.t, func() error {
		_, err := client.Patch(tn.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "another-operator"})
		return err
	})
}

// What somebody changes in the physical cluster is corrected: a field that the tenant set, our mark, the copy's
// existence, its namespace. Fields that the tenant did not set are whoever set them's.
func TestA13DriftIsCorrected(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	namespace := tn.downNamespace("web")
	asWanted := all(has("ours", "data", "mode"), has("web", "metadata", "labels", "app"), tn.isOurs)
	tn.up.Create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: web, labels: {app: web}}, data: {mode: ours}}`)
	first := tn.copyOf("ConfigMap", "settings", asWanted)

	tn.down.Merge("ConfigMap", namespace, "settings", `{metadata: {labels: {app: theirs, team: theirs}}, data: {mode: theirs, extra: theirs}}`)
	kept := all(has("theirs", "data", "extra"), has("theirs", "metadata", "labels", "team"), has(first.GetUID(), "metadata", "uid"))
	tn.copyOf("ConfigMap", "settings", all(asWanted, kept))
	tn.down.Merge("ConfigMap", namespace, "settings", `data: {mode: null}`)
	tn.copyOf("ConfigMap", "settings", all(asWanted, kept))
	tn.down.Merge("ConfigMap", namespace, "settings", fmt.Sprintf(`metadata: {labels: {%s: null}}`, workloadv1alpha1.DownstreamClusterLabel))
	tn.copyOf("ConfigMap", "settings", all(asWanted, kept))
	tn.up.Merge("ConfigMap", "web", "settings", `data: {later: change}`)
	tn.copyOf("ConfigMap", "settings", all(asWanted, kept, has("change", "data", "later")))

	tn.down.Delete("ConfigMap", namespace, "settings")
	second := tn.copyOf("ConfigMap", "settings", all(asWanted, isNot(first)))
	tn.down.Delete("Namespace", "", namespace)
	tn.copyOf("ConfigMap", "settings", all(asWanted, isNot(first), isNot(second)))
	tn.up.Eventually("ConfigMap", "web", "settings", tn.saysNothing)

	// A port in the place of ours: beside ours the server does not accept it, as two need names.
	tn.up.Create(`{apiVersion: v1, kind: Service, metadata: {name: web, namespace: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}`)
	service := tn.copyOf("Service", "web", nil)
	tn.down.Merge("Service", namespace, "web", `spec: {ports: [{port: 81}]}`)
	tn.copyOf("Service", "web", all(hasPorts(80), has(service.GetUID(), "metadata", "uid")))
	tn.up.Eventually("Service", "web", "web", tn.saysNothing)
}

// hasPorts checks the ports of a Service.
func hasPorts(want ...int64) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
		var got []int64
		for _, p := range ports {
			number, _, _ := unstructured.NestedInt64(p.(map[string]any), "port")
			got = append(got, number)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("Service %s has ports %v, want %v", u.GetName(), got, want)
		}
		return nil
	}
}

// isNot checks that the object is another one of that name.
func isNot(before *unstructured.Unstructured) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		if u.GetUID() == before.GetUID() {
			return fmt.Errorf("%s %s is the same as before", u.GetKind(), u.GetName())
		}
		return nil
	}
}

// The status goes up and never down: not what stands in the upstream object when the copy is made, nor when the status of
// the copy changes. Such a change is no drift.
func TestA15StatusIsNeverWrittenDown(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	plain := newCustomType("Plain", "Namespaced", "v1")
	tn.down.define(plain)
	tn.up.define(plain)
	s := tn.startSyncer()
	tn.up.Create(plain.object("web", "thing", "size: 1") + "\nstatus: {phase: FromAbove}")
	tn.copyOf(plain.kind(), "thing", all(has(1, "spec", "size"), has(nil, "status")))
	tn.settled(s)
	before := s.Writes("cluster")

	tn.down.Merge(plain.kind(), tn.downNamespace("web"), "thing", `status: {phase: FromBelow}`)
	tn.up.Eventually(plain.kind(), "web", "thing", has("FromBelow", "status", "phase"))
	tn.up.Merge(plain.kind(), "web", "thing", `status: {phase: FromAbove}`)
	tn.up.Eventually(plain.kind(), "web", "thing", has("FromBelow", "status", "phase"))
	tn.copyOf(plain.kind(), "thing", has("FromBelow", "status", "phase"))
	if n := s.Writes("cluster") - before; n != 0 {
		t.Errorf("changes of the status led to %v writes downstream", n)
	}
	tn.up.Merge(plain.kind(), "web", "thing", `spec: {size: 2}`)
	tn.copyOf(plain.kind(), "thing", all(has(2, "spec", "size"), has("FromBelow", "status", "phase")))
}

// While others update the upstream object without a pause, it is claimed, copied, followed and let go, its status comes
// home, and no condition ever tells of the conflicts on the way.
func TestA16ConflictsAreRetriedAndNotShown(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	const kind = "apps/v1 Deployment"
	told := []func() []string{tn.watchConditions(kind), tn.watchConditions("ConfigMap")}
	tn.up.Create(deployment("web", "busy", 1))
	giveUp := tn.keepUpdating(kind, "busy")
	tn.up.Eventually(kind, "web", "busy", all(tn.claimed, has(1, "status", "availableReplicas")))
	tn.up.Merge(kind, "web", "busy", `spec: {replicas: 3}`)
	tn.up.Eventually(kind, "web", "busy", has(3, "status", "availableReplicas"))
	giveUp()
	last := field(tn.up.MustGet(kind, "web", "busy"), "metadata", "annotations", "example.com/count")
	tn.copyOf(kind, "busy", has(last, "metadata", "annotations", "example.com/count"))

	busy := []func(){tn.keepUpdating("ConfigMap", "brief"), tn.keepUpdating("ConfigMap", "brief"), tn.keepUpdating("ConfigMap", "brief")}
	defer func() {
		for _, giveUp := range busy {
			giveUp()
		}
	}()
	conflicts := func() float64 { return sum(s.Scrape(), "workload_syncer_retries_total", "category=Conflict") }
	for round := 0; round < 3 || conflicts() == 0; round++ {
		if round == 30 {
			t.Fatal("no conflict has happened")
		}
		tn.up.Create(configMap("web", "brief", "round", fmt.Sprintf("%q", strconv.Itoa(round))))
		tn.up.Eventually("ConfigMap", "web", "brief", tn.claimed)
		tn.copyOf("ConfigMap", "brief", has(round, "data", "round"))
		tn.up.Delete("ConfigMap", "web", "brief")
		tn.up.EventuallyGone("ConfigMap", "web", "brief")
	}
	for _, conditions := range told {
		if conditions := conditions(); len(conditions) > 0 {
			t.Errorf("told on the objects meanwhile: %q", conditions)
		}
	}
}

// keepUpdating writes an annotation of an upstream object over and over, until giveUp is called.
func (tn *tenant) keepUpdating(kind, name string) (giveUp func()) {
	tn.t.Helper()
	client := tn.up.Of(kind, "web")
	return repeat(tn.t, func() error {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"example.com/count":%q}}}`, rand.String(8))
		_, err := client.Patch(tn.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "busy"})
		return err
	})
}

// watchConditions collects every conditions annotation that an object of that kind ever has.
func (tn *tenant) watchConditions(kind string) (told func() []string) {
	tn.t.Helper()
	w := must(tn.up.Of(kind, "web").Watch(tn.t.Context(), metav1.ListOptions{}))(tn.t)
	var conditions []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range w.ResultChan() {
			if u, ok := event.Object.(*unstructured.Unstructured); ok && tn.condition(u) != nil {
				conditions = append(conditions, u.GetName()+": "+tn.condition(u).Reason+": "+tn.condition(u).Message)
			}
		}
	}()
	return func() []string {
		w.Stop()
		<-done
		return conditions
	}
}

// Two workspaces that have the same namespaces and names run apart in the same physical cluster, and what happens to one
// does not concern the other. Names that are as long as they may be fit.
func TestA45SameNamesInTwoWorkspaces(t *testing.T) {
	t.Parallel()
	one, two := newTenant(t), newTenant(t)
	long := strings.Repeat("n", 63-8) + rand.String(8)
	for i, tn := range []*tenant{one, two} {
		tn.startSyncer()
		tn.up.Create(deployment("web", "hello", i+1), fmt.Sprintf(`{apiVersion: v1, kind: Namespace, metadata: {name: %s}}`, long),
			configMap(long, strings.Repeat("c", 253), "of", fmt.Sprint("tenant-", i)))
	}
	const kind = "apps/v1 Deployment"
	for i, tn := range []*tenant{one, two} {
		tn.up.Eventually(kind, "web", "hello", has(i+1, "status", "availableReplicas"))
		tn.copyOf(kind, "hello", all(has(i+1, "spec", "replicas"), tn.isOurs))
		tn.down.Eventually("ConfigMap", tn.downNamespace(long), strings.Repeat("c", 253), has(fmt.Sprint("tenant-", i), "data", "of"))
	}
	if one.downNamespace("web") == two.downNamespace("web") {
		t.Fatal("both workspaces share a downstream namespace")
	}
	second := two.copyOf("ConfigMap", "kube-root-ca.crt", nil)
	one.up.Delete(kind, "web", "hello")
	one.up.EventuallyGone(kind, "web", "hello")
	one.down.EventuallyGone("Namespace", "", one.downNamespace("web"))
	remains(t, time.Second, two.down.unchanged(second))
	two.copyOf(kind, "hello", all(has(2, "spec", "replicas"), has(2, "status", "availableReplicas")))
}
