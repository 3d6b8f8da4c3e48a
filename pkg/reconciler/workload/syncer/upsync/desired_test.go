package upsync

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// object reads YAML in which STATE, CLAIM, PODS and ENDPOINTS stand for the names on the wire.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	text = strings.NewReplacer(
		"STATE", workloadv1alpha1.StateLabel("key"), "CLAIM", workloadv1alpha1.SyncerFinalizer("key"),
		"PODS", workloadv1alpha1.DerivedLabel(schema.GroupResource{Resource: "pods"}),
		"ENDPOINTS", workloadv1alpha1.DerivedLabel(schema.GroupResource{Resource: "endpoints"}),
	).Replace(text)
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return u
}

func TestComesUp(t *testing.T) {
	for _, tc := range []struct {
		what, labels string
		want         bool
	}{
		{"what carries the target's label comes up", `{STATE: Upsync}`, true},
		{"what carries no label does not", `{app: web}`, false},
		{"nor what is synced down", `{STATE: Sync}`, false},
		{"what is derived and named comes up", `{STATE: Upsync, PODS: ""}`, true},
		{"what is derived and not named does not", `{STATE: Upsync, ENDPOINTS: ""}`, false},
		{"of several that are named, each comes up", `{STATE: Upsync, ENDPOINTS: "", PODS: ""}`, true},
	} {
		t.Run(tc.what, func(t *testing.T) {
			labels := object(t, `{metadata: {labels: `+tc.labels+`}}`).GetLabels()
			if got := ComesUp(labels, schema.GroupResource{Resource: "pods"}, "key"); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestDesired(t *testing.T) {
	for _, tc := range []struct{ what, downstream, want string }{
		{
			"a pod comes up into the tenant's namespace, without what only its own cluster knows",
			`{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: kcp-x, uid: u, resourceVersion: "7", generation: 3, creationTimestamp: t, labels: {app: web, STATE: Upsync, PODS: "", internal.workload.kcp.io/cluster: key},
			  annotations: {note: hello, kubectl.kubernetes.io/last-applied-configuration: x, internal.workload.kcp.io/applied-hash: h}, ownerReferences: [{kind: ReplicaSet}], finalizers: [f], managedFields: []},
			  spec: {nodeName: node}, status: {phase: Running}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: web, labels: {app: web, STATE: Upsync}, annotations: {note: hello, workload.kcp.io/rv: "7"}, finalizers: [CLAIM]}, spec: {nodeName: node}, status: {phase: Running}}`,
		},
		{
			"what Endpoints refer to is where the tenant sees it, and has no UID of the cluster",
			`{apiVersion: v1, kind: Endpoints, metadata: {name: a, namespace: kcp-x, resourceVersion: "7"}, subsets: [{addresses: [{ip: 1.1.1.1, targetRef: {kind: Pod, namespace: kcp-x, name: p, uid: u, resourceVersion: "3"}}]}]}`,
			`{apiVersion: v1, kind: Endpoints, metadata: {name: a, namespace: web, labels: {STATE: Upsync}, annotations: {workload.kcp.io/rv: "7"}, finalizers: [CLAIM]}, subsets: [{addresses: [{ip: 1.1.1.1, targetRef: {kind: Pod, namespace: web, name: p}}]}]}`,
		},
		{
			"a volume has no namespace, but its claim has",
			`{apiVersion: v1, kind: PersistentVolume, metadata: {name: a, resourceVersion: "7", annotations: {kcp.io/namespace-locator: x}}, spec: {claimRef: {namespace: kcp-x, name: c, uid: u}}}`,
			`{apiVersion: v1, kind: PersistentVolume, metadata: {name: a, labels: {STATE: Upsync}, annotations: {workload.kcp.io/rv: "7"}, finalizers: [CLAIM]}, spec: {claimRef: {namespace: web, name: c}}}`,
		},
		{
			"other namespaces are left alone",
			`{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: kcp-x, resourceVersion: "7"}, spec: {x: {namespace: other, uid: u}}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: web, labels: {STATE: Upsync}, annotations: {workload.kcp.io/rv: "7"}, finalizers: [CLAIM]}, spec: {x: {namespace: other, uid: u}}}`,
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			downstream := object(t, tc.downstream)
			got := Desired(Input{Downstream: downstream, Key: "key", Locator: workloadv1alpha1.NamespaceLocator{Namespace: "web"}, DownstreamNamespace: "kcp-x"})
			if diff := cmp.Diff(object(t, tc.want).Object, got.Object); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(object(t, tc.downstream).Object, downstream.Object); diff != "" {
				t.Errorf("the input was modified: %s", diff)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	const before = `{apiVersion: v1, kind: Pod, metadata: {name: a, uid: u, resourceVersion: "5", labels: {app: web, old: x, STATE: Upsync, internal.kcp.io/mark: m}, annotations: {workload.kcp.io/rv: "7", kcp.io/cluster: c}, finalizers: [theirs, CLAIM]}, spec: {a: 1, b: 2}, status: {phase: Pending}}`
	for _, tc := range []struct {
		what, upstream, desired string
		statusSubresource       bool
		object, status          string
	}{
		{
			"what changed, and the version; what is of kcp stays", before,
			`{metadata: {labels: {app: web, STATE: Upsync}, annotations: {workload.kcp.io/rv: "8"}, finalizers: [CLAIM]}, spec: {a: 1}, status: {phase: Running}}`, false,
			`{metadata: {uid: u, labels: {old: null}, annotations: {workload.kcp.io/rv: "8"}}, spec: {b: null}, status: {phase: Running}}`, ``,
		},
		{
			"a status of its own is another write", before,
			`{metadata: {labels: {app: web, old: x, STATE: Upsync}, annotations: {workload.kcp.io/rv: "8"}, finalizers: [CLAIM]}, spec: {a: 1, b: 2}, status: {phase: Running}}`, true,
			`{metadata: {uid: u, labels: {}, annotations: {workload.kcp.io/rv: "8"}}}`, `{status: {phase: Running}}`,
		},
		{
			"a claim is put beside what others hold it by, for that version alone", strings.Replace(before, ", CLAIM", "", 1),
			`{metadata: {labels: {app: web, old: x, STATE: Upsync}, annotations: {workload.kcp.io/rv: "7"}, finalizers: [CLAIM]}, spec: {a: 1, b: 2}, status: {phase: Pending}}`, true,
			`{metadata: {uid: u, resourceVersion: "5", labels: {}, annotations: {}, finalizers: [theirs, CLAIM]}}`, ``,
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			upstream, desired := object(t, tc.upstream), object(t, tc.desired)
			got, err := ChangesOf(upstream, desired, tc.statusSubresource)
			if err != nil {
				t.Fatal(err)
			}
			for want, raw := range map[string][]byte{tc.object: got.Object, tc.status: got.Status} {
				if (want == "") != (raw == nil) {
					t.Fatalf("got %s, want %s", raw, want)
				}
				if want == "" {
					continue
				}
				if diff := cmp.Diff(object(t, want).Object, object(t, string(raw)).Object); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
			for text, u := range map[string]*unstructured.Unstructured{tc.upstream: upstream, tc.desired: desired} {
				if diff := cmp.Diff(object(t, text).Object, u.Object); diff != "" {
					t.Errorf("the input was modified: %s", diff)
				}
			}
		})
	}
}

func TestContradiction(t *testing.T) {
	for _, tc := range []struct{ what, upstream, desired, want string }{
		{"the same", `{spec: {a: 1, b: [x]}}`, `{spec: {a: 1.0, b: [x]}}`, ""},
		{"another value", `{spec: {a: 2, b: 3}}`, `{spec: {a: 1, b: 1}}`, "spec.a"},
		{"what kcp leaves out says nothing", `{spec: {}}`, `{spec: {a: 1}}`, ""},
		{"nor does what it adds", `{spec: {a: 1, b: 2}}`, `{spec: {a: 1}}`, ""},
		{"a list with another length", `{spec: {a: [x, y]}}`, `{spec: {a: [x]}}`, "spec.a"},
		{"an item of a list", `{spec: {a: [{b: 1}]}}`, `{spec: {a: [{b: 2}]}}`, "spec.a[].b"},
		{"another kind of value", `{spec: {a: x}}`, `{spec: {a: {b: 2}}}`, "spec.a"},
		{"a label that is gone", `{metadata: {labels: {}}}`, `{metadata: {labels: {app: web}}}`, "metadata.labels"},
		{"a status", `{status: {phase: Failed}}`, `{status: {phase: Running}}`, "status.phase"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if got := Contradiction(object(t, tc.upstream), object(t, tc.desired)); got != tc.want {
				t.Errorf("got %q", got)
			}
		})
	}
}
