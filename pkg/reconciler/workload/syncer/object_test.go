package syncer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func parse(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(raw, &u.Object); err != nil { // numbers as a client has them
		t.Fatal(err)
	}
	return u
}

func TestCompact(t *testing.T) {
	in := parse(t, `
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  namespace: b
  resourceVersion: "7"
  uid: u
  generation: 3
  creationTimestamp: "2026-01-01T00:00:00Z"
  deletionTimestamp: "2026-01-02T00:00:00Z"
  finalizers: [f]
  labels: {l: v}
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    keep: me
  ownerReferences: [{apiVersion: v1, kind: K, name: owner, uid: o, controller: true}]
  managedFields:
  - {manager: workload-syncer, operation: Apply, fieldsV1: {"f:data": {}}}
  - {manager: kube-controller-manager, operation: Update, subresource: scale}
data: {k: v}
count: 9007199254740993
ratio: 0.5
"quoted\"name": [null, true, {}, []]
`)
	before := in.DeepCopy()
	o, err := compact(in)
	if err != nil {
		t.Fatal(err)
	}
	if !o.applied || !o.autoscaled {
		t.Errorf("managed fields tell of apply and autoscaling: applied %t, autoscaled %t", o.applied, o.autoscaled)
	}
	if diff := cmp.Diff(before, in); diff != "" {
		t.Errorf("the input was changed: -want +got:\n%s", diff)
	}
	u, err := o.decode(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"})
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  namespace: b
  resourceVersion: "7"
  uid: u
  generation: 3
  deletionTimestamp: "2026-01-02T00:00:00Z"
  finalizers: [f]
  labels: {l: v}
  annotations: {keep: me}
  ownerReferences: [{apiVersion: v1, kind: K, name: owner, uid: o, controller: true}]
data: {k: v}
count: 9007199254740993
ratio: 0.5
"quoted\"name": [null, true, {}, []]
`)
	if diff := cmp.Diff(want.Object, u.Object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOurs(t *testing.T) {
	yes := true
	for _, tc := range []struct {
		name string
		in   object
		want bool
	}{
		{"a copy carries the hash", object{appliedHash: "h"}, true},
		{"a label alone may have been copied by a controller", object{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{workloadv1alpha1.DownstreamClusterLabel: "k"}}}, false},
		{"what a controller made is not ours", object{appliedHash: "h", ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Controller: &yes}}}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.in.ours(); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
