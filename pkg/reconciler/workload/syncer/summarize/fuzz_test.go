package summarize_test

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/summarize"
)

func FuzzStatus(f *testing.F) {
	for i, fixture := range fixtures {
		upstream, downstream := seed(f, fixture.dir, "upstream.yaml"), seed(f, fixture.dir, "downstream.yaml")
		f.Add(upstream, downstream, uint8(i), !fixture.behind, fixture.several)
		f.Add(downstream, upstream, uint8(i), fixture.behind, !fixture.several)
	}
	f.Fuzz(func(t *testing.T, up, down []byte, kind uint8, synced, several bool) {
		in := summarize.Input{
			Upstream: decode(t, up), Downstream: decode(t, down), GVR: fixtures[int(kind)%len(fixtures)].gvr, Key: key,
			SpecSynced: synced, SeveralTargets: several,
		}
		upstream, downstream := in.Upstream.DeepCopy(), in.Downstream.DeepCopy()
		write, err := summarize.Status(in)
		mustEqual(t, "upstream", upstream.Object, in.Upstream.Object)
		mustEqual(t, "downstream", downstream.Object, in.Downstream.Object)
		if err != nil {
			return
		}
		if len(write.Patch) > 10*(64<<10) {
			t.Errorf("a patch of %d bytes", len(write.Patch))
		}
		if _, ok := in.Upstream.Object["metadata"].(map[string]any); several && !ok {
			return // nowhere to annotate
		}
		in.Upstream = patched(t, in.Upstream, write.Patch)
		if !several && write.Patch != nil {
			mustEqual(t, "the status", write.Status, withoutNulls(statusOf(in.Upstream)))
		}
		if again := mustStatus(t, in); again.Patch != nil {
			t.Errorf("once written, there is still to write: %s", again.Patch)
		}
	})
}

// withoutNulls drops the fields that are null, which a merge patch leaves as they are.
func withoutNulls(m map[string]any) map[string]any {
	for name, value := range m {
		if value == nil {
			delete(m, name)
		} else if field, ok := value.(map[string]any); ok {
			withoutNulls(field)
		}
	}
	return m
}

func decode(t *testing.T, text []byte) *unstructured.Unstructured {
	object := map[string]any{}
	if utiljson.Unmarshal(text, &object) != nil || object == nil {
		t.Skip()
	}
	return &unstructured.Unstructured{Object: object}
}

func seed(f *testing.F, path ...string) []byte {
	f.Helper()
	text, err := json.Marshal(read(f, path...).Object)
	if err != nil {
		f.Fatal(err)
	}
	return text
}

func BenchmarkStatus(b *testing.B) {
	for _, dir := range []string{"a-status-that-is-shown-already", "the-first-status-of-a-deployment"} {
		b.Run(dir, func(b *testing.B) {
			in := summarize.Input{
				Upstream: read(b, dir, "upstream.yaml"), Downstream: read(b, dir, "downstream.yaml"), GVR: of("apps", "deployments"),
				Key: key, SpecSynced: true,
			}
			b.ReportAllocs()
			for b.Loop() {
				mustStatus(b, in)
			}
		})
	}
}
