package report

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// A trace leaves with what is written anyway, and never by a request of its own.
func TestATraceLeavesWithWhatIsWritten(t *testing.T) {
	gvr := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	for _, tc := range []struct {
		what          string
		carries, take bool
		write         func(*Writer, metav1.Object) error
		want          bool
	}{
		{"with the claim", true, true, func(w *Writer, seen metav1.Object) error { _, err := w.Claim(t.Context(), seen); return err }, true},
		{"with a condition", true, true, func(w *Writer, seen metav1.Object) error {
			_, err := w.Annotate(t.Context(), seen, map[string]any{"a": "b"})
			return err
		}, true},
		{"with the release", true, true, func(w *Writer, seen metav1.Object) error { return w.Release(t.Context(), seen) }, true},
		{"with a status that is written with the object", true, true, func(w *Writer, seen metav1.Object) error {
			_, err := w.Status(t.Context(), seen, []byte(`{"metadata":{"annotations":{"a":"b"}}}`), "")
			return err
		}, true},
		{"not with one that has a path of its own, where metadata is not written", true, true, func(w *Writer, seen metav1.Object) error {
			_, err := w.Status(t.Context(), seen, []byte(`{"status":{"a":1}}`), "status")
			return err
		}, false},
		{"not when there is none", false, true, func(w *Writer, seen metav1.Object) error { _, err := w.Claim(t.Context(), seen); return err }, false},
		{"not when nobody uses them", true, false, func(w *Writer, seen metav1.Object) error { _, err := w.Claim(t.Context(), seen); return err }, false},
	} {
		t.Run(tc.what, func(t *testing.T) {
			seen := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "a", "namespace": "web"}}}
			if tc.carries {
				seen.SetAnnotations(map[string]string{workloadv1alpha1.TraceAnnotation: "t"})
			}
			client := fake.NewSimpleDynamicClient(runtime.NewScheme(), seen.DeepCopy())
			if err := tc.write(&Writer{Client: client.Resource(gvr), Key: "k", TakesTraces: tc.take}, seen); err != nil {
				t.Fatal(err)
			}
			if sent := len(client.Actions()); sent != 1 {
				t.Fatalf("%d requests", sent)
			}
			patch, ok := client.Actions()[0].(clienttesting.PatchAction)
			if !ok {
				t.Fatalf("got %v", client.Actions())
			}
			var body struct {
				Metadata struct{ Annotations map[string]*string }
			}
			if err := json.Unmarshal(patch.GetPatch(), &body); err != nil {
				t.Fatal(err)
			}
			if value, taken := body.Metadata.Annotations[workloadv1alpha1.TraceAnnotation]; taken != tc.want || value != nil {
				t.Errorf("got %s", patch.GetPatch())
			}
		})
	}
}
