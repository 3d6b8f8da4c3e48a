package summarize

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func rulesOf(t *testing.T, text string) Rules {
	t.Helper()
	rules, _, err := workloadv1alpha1.SummarizingRules(map[string]string{workloadv1alpha1.SummarizingAnnotation: text})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// named reads YAML in which VIEW stands for the name of the target's syncer's view.
func named(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "VIEW", workloadv1alpha1.SyncerViewAnnotation("key"))), &o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

func TestFields(t *testing.T) {
	const both = `[{"fieldPath":"status","promoteToUpstream":true},{"fieldPath":"spec.clusterIP","promoteToUpstream":true}]`
	const kept = `[{"fieldPath":"status"}]`
	const service = `{spec: {clusterIP: 10.0.0.5, type: ClusterIP}, status: {loadBalancer: {ingress: [{ip: 1.1.1.1}]}}}`
	for _, tc := range []struct {
		what, rules, upstream, downstream string
		several                           bool
		object, status                    string
	}{
		{
			"of a single target, what is reported becomes the object's own", both, `{spec: {type: ClusterIP}}`, service, false,
			`{metadata: {annotations: {VIEW: '{"spec.clusterIP":"##promoted##","status":"##promoted##"}'}}, spec: {clusterIP: 10.0.0.5}}`,
			`{status: {loadBalancer: {ingress: [{ip: 1.1.1.1}]}}}`,
		},
		{
			"and is written once", both,
			`{metadata: {annotations: {VIEW: '{"status":"##promoted##", "spec.clusterIP":"##promoted##"}'}}, spec: {clusterIP: 10.0.0.5}, status: {loadBalancer: {ingress: [{ip: 1.1.1.1}]}}}`,
			service, false, ``, ``,
		},
		{
			"of several targets it is held for each", both,
			`{metadata: {annotations: {VIEW: '{"status":"##promoted##", "spec.clusterIP":"##promoted##"}'}}, spec: {clusterIP: 10.0.0.5}, status: {loadBalancer: {ingress: [{ip: 1.1.1.1}]}}}`,
			service, true,
			`{metadata: {annotations: {VIEW: '{"spec.clusterIP":"10.0.0.5","status":{"loadBalancer":{"ingress":[{"ip":"1.1.1.1"}]}}}'}}}`, ``,
		},
		{
			"what is not to be promoted is held, also of a single target", kept, `{status: {phase: Coordinated}}`, `{status: {phase: Up}}`, false,
			`{metadata: {annotations: {VIEW: '{"status":{"phase":"Up"}}'}}}`, ``,
		},
		{"and is written once", kept, `{metadata: {annotations: {VIEW: '{"status": {"phase": "Up"}}'}}}`, `{status: {phase: Up}}`, false, ``, ``},
		{"a part of the status", `[{"fieldPath":"status.phase","promoteToUpstream":true}]`, `{status: {other: kept}}`, `{status: {phase: Up, secret: x}}`, false, `{metadata: {annotations: {VIEW: '{"status.phase":"##promoted##"}'}}}`, `{status: {phase: Up}}`},
		{"what the copy does not have is not reported", both, `{}`, `{spec: {type: ClusterIP}}`, false, ``, ``},
		{"what it has no more is reported no more", kept, `{metadata: {annotations: {VIEW: '{"status":{"phase":"Up"}}'}}}`, `{spec: {}}`, false, `{metadata: {annotations: {VIEW: '{}'}}}`, ``},
		{"a view that cannot be read is written anew", kept, `{metadata: {annotations: {VIEW: 'nonsense'}}}`, `{status: {phase: Up}}`, false, `{metadata: {annotations: {VIEW: '{"status":{"phase":"Up"}}'}}}`, ``},
	} {
		t.Run(tc.what, func(t *testing.T) {
			upstream, downstream := named(t, tc.upstream), named(t, tc.downstream)
			in := Input{
				Upstream: &unstructured.Unstructured{Object: upstream}, Downstream: &unstructured.Unstructured{Object: downstream},
				GVR: schema.GroupVersionResource{Version: "v1", Resource: "services"}, Key: "key", SpecSynced: true, SeveralTargets: tc.several,
			}
			got, err := rulesOf(t, tc.rules).Fields(in, !tc.several)
			if err != nil {
				t.Fatal(err)
			}
			for want, raw := range map[string][]byte{tc.object: got.Object, tc.status: got.Status} {
				if (want == "") != (raw == nil) {
					t.Fatalf("got %s, want %s", raw, want)
				}
				if diff := cmp.Diff(named(t, want), named(t, string(raw))); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
			for text, object := range map[string]map[string]any{tc.upstream: upstream, tc.downstream: downstream} {
				if diff := cmp.Diff(named(t, text), object); diff != "" {
					t.Errorf("the input was modified: %s", diff)
				}
			}
		})
	}
}

// A view shows what was reported and takes what is: who holds it where is none of the syncer's business.
func TestFieldsInView(t *testing.T) {
	rules := rulesOf(t, `[{"fieldPath":"status","promoteToUpstream":true}]`)
	in := Input{
		Upstream: &unstructured.Unstructured{Object: map[string]any{}}, Downstream: &unstructured.Unstructured{Object: named(t, `{status: {phase: Up}}`)}, Key: "key",
	}
	got, err := rules.FieldsInView(in)
	if diff := cmp.Diff(named(t, `{metadata: {annotations: {VIEW: '{"status":{"phase":"Up"}}'}}}`), named(t, string(got.Object))); diff != "" || err != nil || got.Status != nil {
		t.Errorf("%v %s, -want +got:\n%s", err, got.Status, diff)
	}
	in.Upstream.Object = named(t, `{metadata: {annotations: {VIEW: '{"status":{"phase":"Up"}}'}}}`)
	if got, err := rules.FieldsInView(in); err != nil || got.Object != nil {
		t.Errorf("it is reported again: %s %v", got.Object, err)
	}
}

func TestKeepAndShow(t *testing.T) {
	rules := rulesOf(t, `[{"fieldPath":"status","promoteToUpstream":true},{"fieldPath":"spec.x"}]`)
	if _, _, err := rules.Keep(map[string]any{}, "key", map[string]any{"spec.y": 1}, true); err == nil {
		t.Error("a field that no rule names was taken")
	}
	if _, _, err := rules.Keep(map[string]any{}, "key", map[string]any{"spec.x": strings.Repeat("x", maxAnnotation)}, true); err == nil {
		t.Error("a value that fills the object was taken")
	}
	for _, tc := range []struct {
		what, object string
		alone        bool
		reported     string
		shown        string
	}{
		{"what is promoted is the object's", `{metadata: {annotations: {VIEW: '{"status":"##promoted##"}'}}, spec: {x: 1}, status: {phase: Up}}`, true, `{status: {phase: Up}}`, `{spec: {x: 1}, status: {phase: Up}}`},
		{"with another target, it is not this one's", `{metadata: {annotations: {VIEW: '{"status":"##promoted##"}'}}, spec: {x: 1}, status: {phase: Up}}`, false, `{}`, `{spec: {x: 1}}`},
		{"what is held overrides the object's", `{metadata: {annotations: {VIEW: '{"spec.x":7,"status":{"phase":"Up"}}'}}, spec: {x: 1}, status: {phase: Merged}}`, false, `{spec.x: 7, status: {phase: Up}}`, `{spec: {x: 7}, status: {phase: Up}}`},
		{"alone again, it is to be reported anew", `{metadata: {annotations: {VIEW: '{"spec.x":7,"status":{"phase":"Up"}}'}}, spec: {x: 1}, status: {phase: Merged}}`, true, `{spec.x: 7}`, `{spec: {x: 7}, status: {phase: Merged}}`},
	} {
		t.Run(tc.what, func(t *testing.T) {
			object := named(t, tc.object)
			view := (&unstructured.Unstructured{Object: object}).GetAnnotations()[workloadv1alpha1.SyncerViewAnnotation("key")]
			reported := rules.Reported(object, view, tc.alone)
			if !equal(any(reported), named(t, tc.reported)) {
				t.Errorf("reported is %v", reported)
			}
			if err := rules.Show(object, reported, tc.alone); err != nil {
				t.Fatal(err)
			}
			delete(object, "metadata")
			if !equal(any(object), named(t, tc.shown)) {
				t.Errorf("shown is %v", object)
			}
		})
	}
}
