package explain

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"sigs.k8s.io/yaml"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const east, west = "keyOfEast", "keyOfWest"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func minutesAgo(minutes int) metav1.Time {
	return metav1.NewTime(noon.Add(-time.Duration(minutes) * time.Minute))
}

// read reads a value from YAML.
func read[T any](t *testing.T, format string, args ...any) *T {
	t.Helper()
	value := new(T)
	raw, err := yaml.YAMLToJSON(fmt.Appendf(nil, format, args...))
	if err != nil {
		t.Fatal(err)
	}
	if err := utiljson.Unmarshal(raw, value); err != nil {
		t.Fatal(err)
	}
	return value
}

// running is what there is when all is well: a Deployment that runs on east.
func running(t *testing.T) Facts {
	t.Helper()
	return Facts{
		Workspace: "root:team-a", Now: noon, Resource: schema.GroupResource{Group: "apps", Resource: "deployments"}, PlacementsServed: true,
		Object: &unstructured.Unstructured{Object: *read[map[string]any](t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, generation: 3, labels: {%q: Sync}, finalizers: [%q]}
spec: {replicas: 2}
status: {observedGeneration: 3, replicas: 2, readyReplicas: 2, conditions: [{type: Available, status: "True"}]}`,
			workloadv1alpha1.StateLabel(east), workloadv1alpha1.SyncerFinalizer(east))},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"tier": "web"}}},
		Bindings: *read[[]apisv1alpha2.APIBinding](t, `
- metadata: {name: kubernetes}
  spec:
    reference: {export: {path: root:compute, name: kubernetes}}
    permissionClaims:
    - {resource: configmaps, verbs: [get, list, watch, patch], state: Accepted, selector: {matchAll: true}}
    - {resource: secrets, verbs: [get, list, watch, patch], state: Rejected, selector: {matchAll: true}}
    - {resource: events, verbs: [create], state: Accepted, selector: {matchAll: true}}
  status: {boundResources: [{group: apps, resource: deployments, schema: {name: x, UID: x, identityHash: x}}]}`),
		Placements: *read[[]schedulingv1alpha1.Placement](t, `
- metadata: {name: default, generation: 1}
  spec: {namespaceSelector: {}, locationSelectors: [{matchLabels: {region: eu}}, {}], strategy: OneToAny}
  status:
    phase: Bound
    targetNames: east
    selectedTargets:
    - {key: %[1]s, cluster: abc, name: east, uid: u, location: eu, phase: Selected, reason: Chosen, message: best of 2, since: "2026-03-01T11:00:00Z", score: 160,
       scores: [{name: Affinity, score: 100}, {name: Resources, score: 60}]}
    conditions:
    - {type: Scheduled, status: "True", reason: TargetsSelected, observedGeneration: 1, lastTransitionTime: "2026-03-01T11:00:00Z"}
    - {type: Ready, status: "True", reason: Placed, observedGeneration: 1, lastTransitionTime: "2026-03-01T11:00:00Z"}`, east),
		Targets: map[string]*workloadv1alpha1.SyncTarget{east: read[workloadv1alpha1.SyncTarget](t, `
metadata: {name: east}
spec: {supportedAPIExports: [{path: root:compute, export: kubernetes}]}
status:
  lastSyncerHeartbeatTime: "2026-03-01T11:59:50Z"
  conditions: [{type: Ready, status: "True", reason: Syncing}]
  syncedResources: [{group: apps, resource: deployments, state: Accepted}]`)},
	}
}

// annotate and label change the object; an empty value removes.
func (f Facts) annotate(name, value string) {
	annotations := f.Object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[name] = value
	f.Object.SetAnnotations(annotations)
}

func (f Facts) label(name, value string) {
	labels := f.Object.GetLabels()
	labels[name] = value
	f.Object.SetLabels(labels)
}

func (f Facts) unassigned() {
	f.Object.SetLabels(map[string]string{})
	f.Object.SetFinalizers(nil)
	delete(f.Object.Object, "status")
}

// configMap makes the object one of a claimed type.
func (f *Facts) configMap() {
	f.unassigned()
	delete(f.Object.Object, "spec")
	f.Object.SetKind("ConfigMap")
	f.Object.SetAPIVersion("v1")
	f.Resource = schema.GroupResource{Resource: "configmaps"}
}

func scheduledFalse(f *Facts, reason, message string) {
	status := &f.Placements[0].Status
	status.TargetNames, status.SelectedTargets = "", nil
	status.Conditions = []metav1.Condition{{Type: schedulingv1alpha1.PlacementScheduled, Status: metav1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: minutesAgo(3)}}
}

// TestObject compares the answers with testdata/<name>.txt: together they are what the command says in which situation.
func TestObject(t *testing.T) {
	for name, change := range map[string]func(*Facts){
		"running": func(*Facts) {},
		"type-not-bound": func(f *Facts) {
			f.unassigned()
			f.Bindings = nil
		},
		"claim-rejected": func(f *Facts) {
			f.configMap()
			f.Resource.Resource = "secrets"
		},
		"no-placement-api": func(f *Facts) { f.unassigned(); f.Placements, f.PlacementsServed = nil, false },
		"no-placement":     func(f *Facts) { f.unassigned(); f.Placements = nil },
		"namespace-not-selected": func(f *Facts) {
			f.unassigned()
			f.Placements[0].Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "db"}}
		},
		"no-manager":   func(f *Facts) { f.unassigned(); f.Placements[0].Status = schedulingv1alpha1.PlacementStatus{} },
		"nothing-fits": func(f *Facts) { f.unassigned(); scheduledFalse(f, "TargetsCordoned", "1 is cordoned") },
		"not-yet":      func(f *Facts) { f.unassigned() },
		"target-unready": func(f *Facts) {
			f.Targets[east].Status.Conditions[0] = metav1.Condition{Type: "Ready", Status: "Unknown", Reason: "HeartbeatExpired", Message: "silent since 11:50"}
		},
		"target-unseen": func(f *Facts) { f.Targets = nil },
		"type-degraded": func(f *Facts) {
			f.Targets[east].Status.SyncedResources[0].State, f.Targets[east].Status.SyncedResources[0].Message = "Degraded", "forbidden"
		},
		"copy-refused": func(f *Facts) {
			f.annotate(workloadv1alpha1.ConditionsAnnotation(east), `[{"type":"Synced","status":"False","reason":"Conflict","message":"taken by a stranger","lastTransitionTime":"2026-03-01T11:58:00Z"}]`)
			f.Events = []corev1.Event{{Type: "Warning", Reason: "Conflict", Message: "taken by a stranger", LastTimestamp: minutesAgo(2)}, {Type: "Normal", Reason: "Fine"}}
		},
		"quarantined": func(f *Facts) {
			f.annotate(workloadv1alpha1.ConditionsAnnotation(east), `[{"type":"Synced","status":"False","reason":"Invalid","message":"spec.replicas: must be positive","lastTransitionTime":"2026-03-01T11:58:00Z"},`+
				`{"type":"Quarantined","status":"True","reason":"Validation","message":"it failed 5 times in a row","lastTransitionTime":"2026-03-01T11:59:00Z"}]`)
		},
		"status-behind": func(f *Facts) { f.Object.SetGeneration(4) },
		"deleting": func(f *Facts) {
			at := minutesAgo(4)
			f.Object.SetDeletionTimestamp(&at)
			f.annotate(workloadv1alpha1.ConditionsAnnotation(east), `[{"type":"Synced","status":"False","reason":"Deleting","message":"blocked by finalizer x","lastTransitionTime":"2026-03-01T11:57:00Z"}]`)
		},
		"moving": func(f *Facts) {
			f.Placements[0].Status.SelectedTargets[0].Phase, f.Placements[0].Status.SelectedTargets[0].Reason = "Leaving", "Evicted"
			f.Placements[0].Status.SelectedTargets[0].Message = "it is drained"
			f.Placements[0].Status.SelectedTargets = append(f.Placements[0].Status.SelectedTargets, schedulingv1alpha1.SelectedTarget{
				Key: west, Name: "west", Phase: "Selected", Reason: "Chosen", Since: minutesAgo(1),
			})
			f.Placements[0].Status.TargetNames = "west"
			f.label(workloadv1alpha1.StateLabel(west), "Sync")
			f.Object.SetFinalizers(append(f.Object.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(west)))
			f.annotate(workloadv1alpha1.StatusAnnotation(east), `{"replicas":2,"readyReplicas":2}`)
		},
		"leaving": func(f *Facts) {
			scheduledFalse(f, "NoTargetFits", "1 is evicted")
			f.annotate(workloadv1alpha1.DeletionAnnotation(east), "2026-03-01T11:59:00Z")
		},
		"failed-over": func(f *Facts) {
			f.Placements[0].Status.SelectedTargets[0].Phase, f.Placements[0].Status.SelectedTargets[0].Reason = "Leaving", "NotReady"
			f.Placements[0].Status.SelectedTargets = append(f.Placements[0].Status.SelectedTargets, schedulingv1alpha1.SelectedTarget{
				Key: west, Name: "west", Phase: "Selected", Reason: "Chosen", Since: minutesAgo(1),
			})
			f.Placements[0].Status.TargetNames = "west"
			f.Targets[east].Status.Conditions[0] = metav1.Condition{Type: "Ready", Status: "Unknown", Reason: "HeartbeatExpired", Message: "silent since 11:50"}
			f.label(workloadv1alpha1.StateLabel(west), "Sync")
			f.Object.SetFinalizers(append(f.Object.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(west)))
			f.annotate(workloadv1alpha1.DeletionAnnotation(east), "2026-03-01T11:59:00Z")
		},
		"not-needed": func(f *Facts) { f.configMap() },
		"opted-in":   func(f *Facts) { f.configMap(); f.label(workloadv1alpha1.AssignLabel, "true") },
		"opted-out":  func(f *Facts) { f.unassigned(); f.label(workloadv1alpha1.AssignLabel, "false") },
		"workspace-feed": func(f *Facts) {
			f.Placements, f.PlacementsServed, f.Feeders = nil, false, []string{east}
			f.Object.SetLabels(nil)
		},
		"cluster-scoped": func(f *Facts) { f.unassigned(); f.Object.SetNamespace(""); f.Namespace = nil },
		"waits-for-coord": func(f *Facts) {
			f.label(workloadv1alpha1.StateLabel(east), "")
			f.Object.SetFinalizers(nil)
			delete(f.Object.Object, "status")
		},
		"namespace": func(f *Facts) {
			f.Object.SetKind("Namespace")
			f.Object.SetNamespace("")
			f.Object.SetName("shop")
			f.Object.SetFinalizers(nil)
			f.Resource = schema.GroupResource{Resource: "namespaces"}
			f.Bindings[0].Spec.PermissionClaims[0].Resource = "namespaces"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := running(t)
			change(&f)
			var out bytes.Buffer
			if err := Print(&out, Object(f), ""); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", out.Bytes())
		})
	}
}

func TestPlacement(t *testing.T) {
	for name, change := range map[string]func(*PlacementFacts){
		"placement": func(*PlacementFacts) {},
		"placement-unscheduled": func(f *PlacementFacts) {
			g := Facts{Placements: []schedulingv1alpha1.Placement{*f.Placement}}
			scheduledFalse(&g, "NoTargetFits", "1 is cordoned, 1 is not ready")
			f.Placement = &g.Placements[0]
		},
		"placement-moves": func(f *PlacementFacts) {
			f.Namespaces = nil
			at := metav1.NewTime(noon.Add(time.Hour))
			n := int32(2)
			f.Placement.Spec.Strategy, f.Placement.Spec.NumberOfTargets, f.Placement.Spec.LocationWorkspace = "Spread", &n, "root:infra"
			f.Placement.Status.SelectedTargets[0].Phase, f.Placement.Status.SelectedTargets[0].LeavesAt = "Leaving", &at
			f.Placement.Status.Conditions[1] = metav1.Condition{Type: "Ready", Status: "False", Reason: "TargetDisturbed", Message: "east is not ready"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			facts := running(t)
			f := PlacementFacts{Workspace: "root:team-a", Now: noon, Placement: &facts.Placements[0], Namespaces: []corev1.Namespace{*facts.Namespace}}
			change(&f)
			var out bytes.Buffer
			if err := Print(&out, Placement(f), ""); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", out.Bytes())
		})
	}
}

func TestDataFormats(t *testing.T) {
	f := running(t)
	f.Targets = nil
	for _, format := range []string{"json", "yaml"} {
		var out bytes.Buffer
		if err := Print(&out, Object(f), format); err != nil {
			t.Fatal(err)
		}
		golden(t, "running."+format, out.Bytes())
	}
	for value, valid := range map[string]bool{"": true, "json": true, "yaml": true, "wide": false} {
		if err := CheckFormat(value); (err == nil) != valid {
			t.Errorf("%q: got %v", value, err)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
