package transform_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/transform"
)

func FuzzDesired(f *testing.F) {
	for i, fixture := range fixtures {
		f.Add(seed(f, fixture.dir, "upstream.yaml"), uint8(i), fixture.autoscaled, "")
		f.Add(seed(f, fixture.dir, "upstream.yaml"), uint8(i), !fixture.autoscaled, `[{"op":"add","path":"/status","value":{}}]`)
	}
	f.Fuzz(func(t *testing.T, text []byte, kind uint8, autoscaled bool, specDiff string) {
		upstream := decode(t, text)
		annotate(upstream, specDiff)
		before := upstream.DeepCopy()
		in := input(upstream, fixtures[int(kind)%len(fixtures)].gvr)
		in.AutoscaledReplicas = autoscaled

		desired, err := transform.Desired(in)
		mustEqual(t, "the input", before, upstream)
		if err != nil {
			return
		}
		mustBeOurs(t, desired, in)
		mustHoldOnlyWhatIsOurs(t, desired)
		mustEqual(t, "the copy, made a second time", desired, mustDesired(t, in))
		if field, drifted := transform.Drifted(desired, desired.DeepCopy()); drifted {
			t.Errorf("the copy drifted from itself in %s", field)
		}
		// A cluster-scoped binding does not show whether it is a copy, and its subjects would be relocated once more.
		if in.Namespace != "" {
			in.Upstream = desired.DeepCopy()
			mustEqual(t, "the copy of the copy", desired, mustDesired(t, in))
		}
		hash := transform.SetAppliedHash(desired)
		if again := transform.SetAppliedHash(desired.DeepCopy()); again != hash {
			t.Errorf("hashes %s and %s of one object", hash, again)
		}
		mustEqual(t, "the input, after hashing", before, upstream)
	})
}

func mustBeOurs(t *testing.T, desired *unstructured.Unstructured, in transform.Input) {
	t.Helper()
	if got := desired.GetLabels()[workloadv1alpha1.DownstreamClusterLabel]; got != key {
		t.Errorf("the mark is %q", got)
	}
	if desired.GetNamespace() != in.Namespace || desired.GetName() != in.Upstream.GetName() {
		t.Errorf("the copy is %s/%s", desired.GetNamespace(), desired.GetName())
	}
	locator, ok, err := workloadv1alpha1.ParseNamespaceLocator(desired.GetAnnotations())
	if err != nil || ok != (in.Namespace == "") || ok && locator != in.Locator {
		t.Errorf("the locator is %v, %t, %v", locator, ok, err)
	}
}

func mustHoldOnlyWhatIsOurs(t *testing.T, desired *unstructured.Unstructured) {
	t.Helper()
	if _, found := desired.Object["status"]; found {
		t.Error("the copy has a status")
	}
	for name := range desired.Object["metadata"].(map[string]any) {
		switch name {
		case "name", "namespace", "labels", "annotations":
		default:
			t.Errorf("the copy has metadata.%s", name)
		}
	}
	marks := map[string]bool{workloadv1alpha1.DownstreamClusterLabel: true, workloadv1alpha1.NamespaceLocatorAnnotation: true}
	for _, names := range []map[string]string{desired.GetLabels(), desired.GetAnnotations()} {
		for name := range names {
			if workloadv1alpha1.IsUpstreamOnly(name) && !marks[name] {
				t.Errorf("the copy has %s", name)
			}
		}
	}
}

// FuzzDrifted puts something into a copy that nobody asked for, which is no drift, and then changes the values that we
// own one by one, which is.
func FuzzDrifted(f *testing.F) {
	for _, fixture := range fixtures {
		f.Add(seed(f, fixture.dir, "downstream.yaml"), []byte(`{"spec":{"x-extra":[{"name":"a"}]},"status":{"a":1}}`))
		f.Add(seed(f, fixture.dir, "downstream.yaml"), []byte(`{"metadata":{"labels":{"extra":""},"uid":"a"}}`))
	}
	f.Fuzz(func(t *testing.T, text, more []byte) {
		desired, extra := decode(t, text), decode(t, more)
		observed := desired.DeepCopy()
		add(observed.Object, extra.Object)
		if field, drifted := transform.Drifted(desired, observed); drifted {
			t.Fatalf("what somebody added counts as drift, in %s", field)
		}
		forOwnedLeaves(observed.Object, desired.Object, func() {
			if _, drifted := transform.Drifted(desired, observed); !drifted {
				t.Errorf("a changed value is no drift in\n%s", mustJSON(t, observed.Object))
			}
		})
	})
}

// add puts into the object what it has not got.
func add(object, extra map[string]any) {
	for name, value := range extra {
		if have, found := object[name]; !found {
			object[name] = value
		} else if m, ok := have.(map[string]any); ok {
			if more, ok := value.(map[string]any); ok {
				add(m, more)
			}
		}
	}
}

// forOwnedLeaves changes, and then removes, each value in observed that desired asks for and that is compared.
func forOwnedLeaves(observed, desired map[string]any, check func()) {
	for name, value := range desired {
		switch name {
		case "apiVersion", "kind", "status":
		case "metadata":
			want, _ := value.(map[string]any)
			have, _ := observed[name].(map[string]any)
			for _, name := range []string{"labels", "annotations"} {
				forLeaves(have, name, want[name], check)
			}
		default:
			forLeaves(observed, name, value, check)
		}
	}
}

func forLeaves(holder map[string]any, name string, want any, check func()) {
	switch want := want.(type) {
	case map[string]any:
		have, _ := holder[name].(map[string]any)
		for name, value := range want {
			forLeaves(have, name, value, check)
		}
	case string, bool, int64, float64:
		if reflect.ValueOf(want).IsZero() {
			return // an empty value may be defaulted by the server
		}
		before := holder[name]
		holder[name] = "changed by somebody"
		check()
		delete(holder, name)
		check()
		holder[name] = before
	}
}

func decode(t *testing.T, text []byte) *unstructured.Unstructured {
	object := map[string]any{}
	if utiljson.Unmarshal(text, &object) != nil || object == nil {
		t.Skip()
	}
	return &unstructured.Unstructured{Object: object}
}

func annotate(object *unstructured.Unstructured, specDiff string) {
	metadata, _ := object.Object["metadata"].(map[string]any)
	if annotations, ok := metadata["annotations"].(map[string]any); ok && specDiff != "" {
		annotations[workloadv1alpha1.SpecDiffAnnotation(key)] = specDiff
	}
}

func seed(f *testing.F, path ...string) []byte {
	f.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, path...)...))
	if err != nil {
		f.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		f.Fatal(err)
	}
	return asJSON
}

func mustJSON(t testing.TB, value any) string {
	t.Helper()
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func BenchmarkDesired(b *testing.B) {
	in := input(read(b, "deployment", "upstream.yaml"), apps("deployments"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := transform.Desired(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppliedHash(b *testing.B) {
	desired := read(b, "deployment", "downstream.yaml")
	b.ReportAllocs()
	for b.Loop() {
		transform.SetAppliedHash(desired)
	}
}

func BenchmarkDrifted(b *testing.B) {
	desired, observed := read(b, "deployment", "downstream.yaml"), read(b, "deployment", "observed.yaml")
	b.ReportAllocs()
	for b.Loop() {
		if _, drifted := transform.Drifted(desired, observed); drifted {
			b.Fatal("want none")
		}
	}
}
