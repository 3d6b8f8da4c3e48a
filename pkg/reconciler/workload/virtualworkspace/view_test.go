package virtualworkspace

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var me = owner{key: "mine", state: workloadv1alpha1.StateSync}

// named replaces the names of the protocol, so that tables can be read.
var named = strings.NewReplacer(
	"STATE-", workloadv1alpha1.StateLabel(""), "LEAVE-", workloadv1alpha1.DeletionAnnotation(""),
	"SOFT-", workloadv1alpha1.SoftFinalizersAnnotation(""), "CLAIM-", workloadv1alpha1.SyncerFinalizer(""),
	"DIFF-", workloadv1alpha1.SpecDiffAnnotation(""), "STATUS-", workloadv1alpha1.StatusAnnotation(""),
	"CONDITIONS-", workloadv1alpha1.ConditionsAnnotation(""), "POLICY", workloadv1alpha1.RemovalPolicyAnnotation, "TRACE", workloadv1alpha1.TraceAnnotation,
	"VIEW-", workloadv1alpha1.SyncerViewAnnotation(""), "RULES", workloadv1alpha1.SummarizingAnnotation,
)

func fromYAML(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(named.Replace(text)))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func decoded(t testing.TB, raw []byte) (value any) {
	t.Helper()
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return value
}

func TestViews(t *testing.T) {
	for _, tc := range []struct {
		what, object, view string
		owner              owner
		extent             extent
	}{
		{
			what:   "an object is shown as it is",
			object: `{apiVersion: v1, kind: Secret, metadata: {name: x, namespace: web, uid: u, resourceVersion: "7", labels: {STATE-mine: Sync, app: web}}, data: {a: Yg==}, type: Opaque}`,
			view:   `{apiVersion: v1, kind: Secret, metadata: {name: x, namespace: web, uid: u, resourceVersion: "7", labels: {STATE-mine: Sync, app: web}}, data: {a: Yg==}, type: Opaque}`,
		},
		{
			what: "without anything that belongs to other targets, or to kcp",
			object: `{kind: Deployment, metadata: {name: x, generateName: x-, ownerReferences: [{name: o}], managedFields: [{manager: other}],
			  finalizers: [CLAIM-mine, CLAIM-other, tenant.example.com/x],
			  labels: {STATE-mine: Sync, STATE-other: Sync, claimed.internal.apis.kcp.io/x: y, app: web},
			  annotations: {kcp.io/cluster: abc, kcp.io/path: "root:x", STATUS-other: "{}", LEAVE-other: "2030-01-01T00:00:00Z", SOFT-other: a, DIFF-other: "[]",
			    CONDITIONS-other: "[]", CONDITIONS-mine: "[]", POLICY: Orphan, TRACE: t, kubectl.kubernetes.io/last-applied-configuration: "{}", note: n}}}`,
			view: `{kind: Deployment, metadata: {name: x, finalizers: [CLAIM-mine], labels: {STATE-mine: Sync, app: web},
			  annotations: {kcp.io/cluster: abc, CONDITIONS-mine: "[]", POLICY: Orphan, TRACE: t, note: n}}}`,
		},
		{
			what:   "the spec is the one for this target",
			object: `{metadata: {labels: {STATE-mine: Sync}, annotations: {DIFF-mine: '[{"op":"replace","path":"/replicas","value":2}]'}}, spec: {replicas: 5, paused: true}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {}}, spec: {replicas: 2, paused: true}}`,
		},
		{
			what:   "a spec-diff that is none is shown, so that the syncer tells the user",
			object: `{metadata: {labels: {STATE-mine: Sync}, annotations: {DIFF-mine: 'nonsense'}}, spec: {replicas: 5}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {DIFF-mine: 'nonsense'}}, spec: {replicas: 5}}`,
		},
		{
			what:   "an object that is to leave is shown as being deleted, and as claimed",
			object: `{metadata: {labels: {STATE-mine: Sync}, annotations: {LEAVE-mine: "2030-01-01T02:00:00+02:00"}}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {}, deletionTimestamp: "2030-01-01T00:00:00Z", finalizers: [CLAIM-mine]}}`,
		},
		{
			what:   "unless somebody still needs the copy",
			object: `{metadata: {labels: {STATE-mine: Sync}, annotations: {LEAVE-mine: "2030-01-01T00:00:00Z", SOFT-mine: drain}, finalizers: [CLAIM-mine]}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {SOFT-mine: drain}, finalizers: [CLAIM-mine]}}`,
		},
		{
			what:   "one that is deleted indeed keeps its time",
			object: `{metadata: {deletionTimestamp: "2029-01-01T00:00:00Z", labels: {STATE-mine: Sync}, annotations: {LEAVE-mine: "2030-01-01T00:00:00Z"}}}`,
			view:   `{metadata: {deletionTimestamp: "2029-01-01T00:00:00Z", labels: {STATE-mine: Sync}, annotations: {}, finalizers: [CLAIM-mine]}}`,
		},
		{
			what:   "a time that is none is that of the creation",
			object: `{metadata: {creationTimestamp: "2020-01-01T00:00:00Z", labels: {STATE-mine: Sync}, annotations: {LEAVE-mine: soon}}}`,
			view:   `{metadata: {creationTimestamp: "2020-01-01T00:00:00Z", deletionTimestamp: "2020-01-01T00:00:00Z", labels: {STATE-mine: Sync}, annotations: {}, finalizers: [CLAIM-mine]}}`,
		},
		{
			what:   "on several targets the status is what this target said",
			object: `{metadata: {labels: {STATE-mine: Sync, STATE-other: Sync}, annotations: {STATUS-mine: '{"a":1}'}}, status: {a: 2}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {}}, status: {a: 1}}`,
		},
		{
			what:   "which may be nothing",
			object: `{metadata: {labels: {STATE-mine: Sync, STATE-other: ""}}, status: {a: 2}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}}}`,
		},
		{
			what:   "by an object's own rules, what this target said is shown as it said it, wherever it is held",
			object: `{metadata: {labels: {STATE-mine: Sync}, annotations: {RULES: '[{"fieldPath":"status","promoteToUpstream":true},{"fieldPath":"spec.x"}]', VIEW-mine: '{"status":"##promoted##","spec.x":7}'}}, spec: {x: 1}, status: {a: 1}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {RULES: '[{"fieldPath":"status","promoteToUpstream":true},{"fieldPath":"spec.x"}]', VIEW-mine: '{"spec.x":7,"status":{"a":1}}'}}, spec: {x: 7}, status: {a: 1}}`,
		},
		{
			what:   "and nothing of what the others said, or what was made of it",
			object: `{metadata: {labels: {STATE-mine: Sync, STATE-other: Sync}, annotations: {RULES: '[{"fieldPath":"status","promoteToUpstream":true}]', VIEW-mine: '{"status":"##promoted##"}', VIEW-other: '{"status":{"a":3}}'}}, spec: {x: 1}, status: {a: 4}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {RULES: '[{"fieldPath":"status","promoteToUpstream":true}]'}}, spec: {x: 1}}`,
		},
		{
			what:   "rules that are none are those of all objects",
			object: `{metadata: {labels: {STATE-mine: Sync}, annotations: {RULES: nonsense}}, status: {a: 1}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {RULES: nonsense}}, status: {a: 1}}`,
		},
		{
			what:   "a target that the object leaves does not count",
			object: `{metadata: {labels: {STATE-mine: Sync, STATE-other: Sync}, annotations: {LEAVE-other: "2030-01-01T00:00:00Z"}}, status: {a: 2}}`,
			view:   `{metadata: {labels: {STATE-mine: Sync}, annotations: {}}, status: {a: 2}}`,
		},
		{
			what:   "an outline has no content",
			object: `{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: {STATE-mine: Sync}}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}`,
			view:   `{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: {STATE-mine: Sync}}}`,
			extent: outline,
		},
		{
			what:   "an upsynced object shows where it came from",
			owner:  owner{key: "mine", state: workloadv1alpha1.StateUpsync},
			object: `{metadata: {labels: {STATE-mine: Upsync}, annotations: {workload.kcp.io/rv: "5"}}, status: {a: 2}}`,
			view:   `{metadata: {labels: {STATE-mine: Upsync}, annotations: {workload.kcp.io/rv: "5"}}, status: {a: 2}}`,
		},
	} {
		if tc.owner.key == "" {
			tc.owner = me
		}
		raw := fromYAML(t, tc.object)
		before := string(raw)
		found, err := tc.owner.take(raw)
		if err != nil || !found.facts.assigned {
			t.Errorf("%s: %v, %+v", tc.what, err, found)
			continue
		}
		var out bytes.Buffer
		if err := found.write(&out, tc.owner, tc.extent); err != nil {
			t.Errorf("%s: %v", tc.what, err)
			continue
		}
		if diff := cmp.Diff(decoded(t, fromYAML(t, tc.view)), decoded(t, out.Bytes())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
		if string(raw) != before {
			t.Errorf("%s: the object was changed", tc.what)
		}
	}
}

func TestAssigned(t *testing.T) {
	for _, tc := range []struct {
		what, metadata string
		assigned, mine bool
	}{
		{"to another target", `{labels: {STATE-other: Sync}}`, false, false},
		{"to nobody", `{}`, false, false},
		{"pending", `{labels: {STATE-mine: ""}}`, false, false},
		{"upsynced", `{labels: {STATE-mine: Upsync}}`, false, false},
		{"synced", `{labels: {STATE-mine: Sync}}`, true, true},
		{"no longer, but claimed", `{finalizers: [CLAIM-mine]}`, false, true},
		{"claimed by another", `{finalizers: [CLAIM-other]}`, false, false},
	} {
		found, err := me.take(fromYAML(t, `{metadata: `+tc.metadata+`}`))
		if err != nil || found.facts.assigned != tc.assigned || found.facts.mine() != tc.mine {
			t.Errorf("%s: %+v, %v", tc.what, found, err)
		}
	}
}

// What the scanner cuts is what the standard library reads, whatever the text.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":1,"b":[{"c":"}"}],"d\"":"\\"}`, ` { "a" : null } `, `{"a":{"a":"\\\""}}`, `null`, `{"a":1,}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := members(text)
		if !json.Valid(text) || !utf8.Valid(text) {
			return // it does not come from kcp; it must not panic, and that is all
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil {
			if err == nil {
				t.Fatalf("%q is no object", text)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		got := map[string]json.RawMessage{}
		for _, m := range all {
			got[m.name] = m.value
		}
		for name, value := range want {
			if !bytes.Equal(bytes.TrimSpace(got[name]), bytes.TrimSpace(value)) {
				t.Fatalf("%q: %q is %q, want %q", text, name, got[name], value)
			}
		}
	})
}

// No object, however odd, makes the view panic or show another target's marks.
func FuzzView(f *testing.F) {
	f.Add([]byte(`{"metadata":{"labels":{"state.workload.kcp.io/mine":"Sync","state.workload.kcp.io/other":"Sync"},"annotations":{"experimental.status.workload.kcp.io/other":"{}"}}}`))
	f.Add([]byte(`{"metadata":{"finalizers":["workload.kcp.io/syncer-other"]},"metadata":{"labels":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := me.take(raw)
		if err != nil || !json.Valid(raw) {
			return
		}
		var out bytes.Buffer
		if err := found.write(&out, me, outline); err != nil {
			return
		}
		if !json.Valid(out.Bytes()) {
			t.Fatalf("%q is shown as %q", raw, out.Bytes())
		}
		var shown struct {
			Metadata struct {
				Labels, Annotations map[string]json.RawMessage
				Finalizers          []string
			}
		}
		if json.Unmarshal(out.Bytes(), &shown) != nil {
			return
		}
		for _, names := range []map[string]json.RawMessage{shown.Metadata.Labels, shown.Metadata.Annotations} {
			for name := range names {
				if strings.HasSuffix(strings.SplitN(name, "/", 2)[0], "workload.kcp.io") && strings.HasSuffix(name, "/other") {
					t.Fatalf("%q shows %q", raw, name)
				}
			}
		}
	})
}
