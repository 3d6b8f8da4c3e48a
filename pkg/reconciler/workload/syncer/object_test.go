package syncer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
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
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    keep: me
  managedFields:
  - {manager: workload-syncer, operation: Apply}
  - {manager: kube-controller-manager, operation: Update, subresource: scale}
data: {k: v}
`)
	got, err := compact(in)
	if err != nil {
		t.Fatal(err)
	}
	o := got.(*object)
	if !o.applied || !o.autoscaled {
		t.Errorf("managed fields tell of apply and autoscaling: applied %t, autoscaled %t", o.applied, o.autoscaled)
	}
	again, err := compact(o)
	if err != nil || again != any(o) {
		t.Errorf("compacting twice gives another object: %v, %v", again, err)
	}
	u, err := o.decode()
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: b, resourceVersion: "7", uid: u, annotations: {keep: me}}
data: {k: v}
`)
	if diff := cmp.Diff(want.Object, u.Object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOurs(t *testing.T) {
	yes := true
	marked := map[string]string{workloadv1alpha1.AppliedHashAnnotation: "h"}
	for _, tc := range []struct {
		name string
		in   metav1.ObjectMeta
		want bool
	}{
		{"a copy carries the hash", metav1.ObjectMeta{Annotations: marked}, true},
		{"a label alone may have been copied by a controller", metav1.ObjectMeta{Labels: map[string]string{workloadv1alpha1.DownstreamClusterLabel: "k"}}, false},
		{"what a controller made is not ours", metav1.ObjectMeta{Annotations: marked, OwnerReferences: []metav1.OwnerReference{{Controller: &yes}}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (&object{ObjectMeta: tc.in}).ours(); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
