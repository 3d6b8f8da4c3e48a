package summarize_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/summarize"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// key is of the target that the fixtures are assigned to.
var key = workloadv1alpha1.SyncTargetKey("2gh3kmzl1vmmfs0i", "edge-1")

func of(group, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
}

// fixtures are copies with the status that real controllers gave them, and upstream objects as kcp has them.
var fixtures = []struct {
	dir     string // below testdata, and what it shows
	gvr     schema.GroupVersionResource
	behind  bool // the copy does not hold the current spec
	several bool
}{
	{dir: "a-change-that-the-controller-has-not-seen-yet", gvr: of("apps", "deployments")},
	{dir: "a-change-that-the-copy-does-not-hold-yet", gvr: of("apps", "deployments"), behind: true},
	{dir: "a-cronjob-with-jobs-of-the-workspace", gvr: of("batch", "cronjobs")},
	{dir: "a-disruption-budget-without-pods-by-name", gvr: of("policy", "poddisruptionbudgets")},
	{dir: "a-job-without-its-ledger-of-pods", gvr: of("batch", "jobs")},
	{dir: "a-kind-without-status", gvr: of("", "configmaps")},
	{dir: "a-rollout-changes-what-differs", gvr: of("apps", "deployments")},
	{dir: "a-service-without-an-address", gvr: of("", "services")},
	{dir: "a-status-that-is-shown-already", gvr: of("apps", "deployments")},
	{dir: "custom-resource", gvr: of("example.com", "widgets")},
	{dir: "daemonset", gvr: of("apps", "daemonsets")},
	{dir: "horizontalpodautoscaler", gvr: of("autoscaling", "horizontalpodautoscalers")},
	{dir: "ingress", gvr: of("networking.k8s.io", "ingresses")},
	{dir: "one-of-several-targets", gvr: of("apps", "deployments"), several: true},
	{dir: "persistentvolumeclaim", gvr: of("", "persistentvolumeclaims")},
	{dir: "statefulset", gvr: of("apps", "statefulsets")},
	{dir: "the-address-of-a-service", gvr: of("", "services")},
	{dir: "the-first-status-of-a-deployment", gvr: of("apps", "deployments")},
}

func TestStatus(t *testing.T) {
	for _, fixture := range fixtures {
		t.Run(fixture.dir, func(t *testing.T) {
			in := summarize.Input{
				Upstream: read(t, fixture.dir, "upstream.yaml"), Downstream: read(t, fixture.dir, "downstream.yaml"),
				GVR: fixture.gvr, Key: key, SpecSynced: !fixture.behind, SeveralTargets: fixture.several,
			}
			upstream, downstream := in.Upstream.DeepCopy(), in.Downstream.DeepCopy()
			write := mustStatus(t, in)
			mustEqual(t, "upstream", upstream.Object, in.Upstream.Object)
			mustEqual(t, "downstream", downstream.Object, in.Downstream.Object)

			golden(t, write.Patch, fixture.dir, "patch.yaml")
			in.Upstream = patched(t, in.Upstream, write.Patch)
			if again := mustStatus(t, in); again.Patch != nil {
				t.Errorf("once written, there is still to write: %s", again.Patch)
			}
			if !fixture.several && write.Patch != nil {
				mustEqual(t, "the status", write.Status, statusOf(in.Upstream))
			}
		})
	}
}

func TestObservedGeneration(t *testing.T) {
	for _, test := range []struct {
		name               string
		upstream, shown    int64 // the upstream object's generation, and the one that its status shows as observed
		downstream, counts int64 // the same of the copy
		behind             bool
		want               int64
	}{
		{"all is observed", 7, 6, 3, 3, false, 7},
		{"the copy's spec is old", 7, 6, 3, 3, true, 6},
		{"the controller has yet to look", 7, 6, 3, 2, false, 6},
		{"the controller has yet to look for the first time", 1, 0, 1, 0, false, 0},
		{"what was observed is no longer current", 8, 7, 3, 3, true, 7},
		{"what is observed is never claimed too early", 7, 9, 3, 2, false, 6},
		{"a copy made anew starts to count at one", 7, 7, 1, 1, false, 7},
		{"generations are never negative", 0, 0, 1, 0, false, 0},
		{"a kind that does not count upstream", 0, 0, 1, 1, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			upstream, downstream := counting(test.upstream, test.shown), counting(test.downstream, test.counts)
			in := summarize.Input{Upstream: upstream, Downstream: downstream, GVR: of("example.com", "widgets"), Key: key, SpecSynced: !test.behind}
			mustEqual(t, "the status", statusOf(counting(0, test.want)), mustStatus(t, in).Status)
		})
	}
}

// counting is an object that shows an observed generation everywhere.
func counting(generation, observed int64) *unstructured.Unstructured {
	condition := map[string]any{"type": "Ready", "observedGeneration": observed}
	return &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "a", "generation": generation},
		"status": map[string]any{
			"observedGeneration": observed,
			"conditions":         []any{condition},
			"parents":            []any{map[string]any{"conditions": []any{condition}}},
		},
	}}
}

func TestGenerationsOfOthersStay(t *testing.T) {
	status := `{"targets":[{"observedGeneration":12}],"observedGeneration":"text"}`
	in := withStatus(t, status, nil)
	mustEqual(t, "the status", statusOf(in.Downstream), mustStatus(t, in).Status)
}

func TestMergePatch(t *testing.T) {
	for _, test := range []struct{ name, shown, reported, patch string }{
		{"equal", `{"a":1}`, `{"a":1}`, ``},
		{"a whole float equals an integer", `{"a":1}`, `{"a":1.0}`, ``},
		{"the same in a list", `{"a":[{"b":1.0}]}`, `{"a":[{"b":1}]}`, ``},
		{"an empty status and none", ``, `{}`, ``},
		{"a new field", `{"a":1}`, `{"a":1,"b":2}`, `{"b":2}`},
		{"a field that went", `{"a":1,"b":2}`, `{"a":1}`, `{"b":null}`},
		{"all went", `{"a":1,"b":{"c":1}}`, `{}`, `{"a":null,"b":null}`},
		{"a field within", `{"a":{"b":1,"c":2}}`, `{"a":{"b":1,"c":3}}`, `{"a":{"c":3}}`},
		{"a list is replaced", `{"a":[1,2]}`, `{"a":[1]}`, `{"a":[1]}`},
		{"a map becomes a list", `{"a":{"b":1}}`, `{"a":[1]}`, `{"a":[1]}`},
		{"a list becomes a map", `{"a":[1]}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		{"a number becomes a text", `{"a":1}`, `{"a":"1"}`, `{"a":"1"}`},
		{"an empty object is not worth a write", ``, `{"loadBalancer":{},"a":{"b":{}}}`, ``},
		{"nor is its end", `{"loadBalancer":{}}`, `{}`, ``},
		{"but it goes along", `{"a":{}}`, `{"b":{},"c":1}`, `{"a":null,"b":{},"c":1}`},
		{"an object that was a number is not empty", `{"a":1}`, `{"a":{}}`, `{"a":{}}`},
		{"nor is one that was not", `{"a":{"b":1}}`, `{"a":{}}`, `{"a":{"b":null}}`},
		{"an empty list is worth one", ``, `{"a":[]}`, `{"a":[]}`},
		{"a null is nothing", `{"a":null}`, `{"b":null}`, ``},
		{"a null within a list is nothing", ``, `{"a":[{"b":null},null]}`, `{"a":[{}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var shown *string
			if test.shown != "" {
				shown = &test.shown
			}
			want := ""
			if test.patch != "" {
				want = `{"status":` + test.patch + `}`
			}
			if got := string(mustStatus(t, withStatus(t, test.reported, shown)).Patch); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestWhatIsNotReported(t *testing.T) {
	shown := `{"replicas":3}`
	for name, change := range map[string]func(*summarize.Input){
		"there is no copy":                            func(in *summarize.Input) { in.Downstream = nil },
		"there is no upstream object":                 func(in *summarize.Input) { in.Upstream = nil },
		"the copy has no status":                      func(in *summarize.Input) { delete(in.Downstream.Object, "status") },
		"kcp has a controller for quotas itself":      func(in *summarize.Input) { in.GVR = of("", "resourcequotas") },
		"kcp has a controller for definitions itself": func(in *summarize.Input) { in.GVR = of("apiextensions.k8s.io", "customresourcedefinitions") },
	} {
		t.Run(name, func(t *testing.T) {
			in := withStatus(t, `{"replicas":1}`, &shown)
			change(&in)
			if write := mustStatus(t, in); write.Status != nil || write.Patch != nil {
				t.Errorf("got %+v", write)
			}
		})
	}
}

func TestStatusRefuses(t *testing.T) {
	for side, change := range map[string]func(*summarize.Input){
		"downstream": func(in *summarize.Input) { in.Downstream.Object["status"] = "Running" },
		"upstream":   func(in *summarize.Input) { in.Upstream.Object["status"] = []any{} },
	} {
		in := withStatus(t, `{}`, nil)
		change(&in)
		if _, err := summarize.Status(in); err == nil || !strings.Contains(err.Error(), side) {
			t.Errorf("got %v, want an error that names %s", err, side)
		}
	}
}

func TestSeveralTargets(t *testing.T) {
	annotation := workloadv1alpha1.StatusAnnotation(key)
	for name, test := range map[string]struct {
		annotation string
		writes     bool
	}{
		"a first status is written":        {"", true},
		"a status that is there is not":    {`{"replicas": 3}`, false},
		"another is written":               {`{"replicas": 2}`, true},
		"what is no status is overwritten": {`[nonsense`, true},
		"neither is what is no object":     {`[1]`, true},
		"an empty object is not a status":  {`{}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			shown := `{"replicas":99}` // somebody else's sum of all targets
			in := withStatus(t, `{"replicas":3}`, &shown)
			in.SeveralTargets = true
			if test.annotation != "" {
				in.Upstream.SetAnnotations(map[string]string{annotation: test.annotation})
			}
			write := mustStatus(t, in)
			if (write.Patch != nil) != test.writes || write.Subresource != "" {
				t.Fatalf("got %s for %q", write.Patch, write.Subresource)
			}
			if want := fmt.Sprintf(`{"metadata":{"annotations":{%q:"{\"replicas\":3}"}}}`, annotation); test.writes && string(write.Patch) != want {
				t.Errorf("got %s, want %s", write.Patch, want)
			}
		})
	}
}

func TestLargeStatus(t *testing.T) {
	condition := `{"type":"Ready","status":"False","message":"` + strings.Repeat("é", 40_000) + `"}`
	items := strings.TrimSuffix(strings.Repeat(`{"name":"a pod with a name"},`, 5000), ",")
	var fields []string
	for i := range 4000 {
		fields = append(fields, fmt.Sprintf(`"field-%d":"some text"`, i))
	}
	for name, test := range map[string]struct {
		status    string
		shortened []string
		cut       bool
	}{
		"a text is cut and says so":          {`{"replicas":3,"conditions":[` + condition + `]}`, []string{"conditions"}, true},
		"a list loses its end":               {`{"replicas":3,"pods":[` + items + `]}`, []string{"pods"}, false},
		"a map of many goes, the rest stays": {`{"replicas":3,"conditions":[` + condition + `],"all":{` + strings.Join(fields, ",") + `}}`, []string{"all", "conditions"}, true},
	} {
		for _, several := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/several targets: %t", name, several), func(t *testing.T) {
				in := withStatus(t, test.status, nil)
				in.SeveralTargets = several
				before := in.Downstream.DeepCopy()
				write := mustStatus(t, in)
				if diff := cmp.Diff(test.shortened, write.Shortened); diff != "" {
					t.Errorf("shortened differs (-want +got):\n%s", diff)
				}
				if len(write.Patch) > 65<<10 || write.Status["replicas"] != int64(3) {
					t.Errorf("%d bytes with replicas: %v", len(write.Patch), write.Status["replicas"])
				}
				if test.cut != strings.Contains(string(write.Patch), "cut by workload-syncer") {
					t.Errorf("marked as cut: want %t", test.cut)
				}
				mustEqual(t, "downstream", before.Object, in.Downstream.Object)
				in.Upstream = patched(t, in.Upstream, write.Patch)
				if again := mustStatus(t, in); again.Patch != nil || !slices.Equal(again.Shortened, test.shortened) {
					t.Errorf("once written, there is still to write: %s", again.Patch)
				}
			})
		}
	}
}

// withStatus is a copy that reports a status to an object that shows one, or none.
func withStatus(t *testing.T, reported string, shown *string) summarize.Input {
	t.Helper()
	upstream := map[string]any{"metadata": map[string]any{"name": "a"}}
	if shown != nil {
		upstream["status"] = decoded(t, *shown)
	}
	return summarize.Input{
		Upstream:   &unstructured.Unstructured{Object: upstream},
		Downstream: &unstructured.Unstructured{Object: map[string]any{"status": decoded(t, reported)}},
		GVR:        of("example.com", "widgets"), Key: key, SpecSynced: true,
	}
}

func decoded(t testing.TB, text string) map[string]any {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON([]byte(`{"apiVersion":"v1","kind":"A","status":` + text + `}`)); err != nil {
		t.Fatal(err)
	}
	return statusOf(object)
}

func statusOf(object *unstructured.Unstructured) map[string]any {
	status, _ := object.Object["status"].(map[string]any)
	return status
}

// patched is what a server makes of the object and the merge patch.
func patched(t testing.TB, object *unstructured.Unstructured, patch []byte) *unstructured.Unstructured {
	t.Helper()
	object = object.DeepCopy()
	if patch != nil {
		change := &unstructured.Unstructured{}
		if err := json.Unmarshal(patch, &change.Object); err != nil {
			t.Fatal(err)
		}
		change.Object["apiVersion"], change.Object["kind"] = "v1", "A"
		text, err := json.Marshal(change.Object)
		if err != nil {
			t.Fatal(err)
		}
		if err := change.UnmarshalJSON(text); err != nil { // once more, as a client decodes numbers
			t.Fatal(err)
		}
		delete(change.Object, "apiVersion")
		delete(change.Object, "kind")
		object.Object = merged(object.Object, change.Object).(map[string]any)
	}
	return object
}

// merged is RFC 7386, written down as in its section 2.
func merged(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	result, ok := target.(map[string]any)
	if !ok {
		result = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(result, name)
		} else {
			result[name] = merged(result[name], value)
		}
	}
	return result
}

func mustStatus(t testing.TB, in summarize.Input) summarize.Write {
	t.Helper()
	write, err := summarize.Status(in)
	if err != nil {
		t.Fatal(err)
	}
	return write
}

func mustEqual(t testing.TB, what string, want, got map[string]any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

func read(t testing.TB, path ...string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := object.UnmarshalJSON(asJSON); err != nil {
		t.Fatal(err)
	}
	return object
}

// golden compares the patch with the file, which is empty when there is nothing to write.
func golden(t *testing.T, patch []byte, path ...string) {
	t.Helper()
	file := filepath.Join(append([]string{"testdata"}, path...)...)
	got, err := yaml.JSONToYAML(patch)
	if err != nil {
		t.Fatal(err)
	}
	if patch == nil {
		got = nil
	}
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the patch differs (-want +got):\n%s", diff)
	}
}
