package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"

	"github.com/prometheus/client_golang/prometheus"
)

// slice is an APIExportEndpointSlice as kcp returns it.
func slice(export string, urls ...string) any {
	var endpoints []any
	for _, url := range urls {
		endpoints = append(endpoints, map[string]any{"url": url})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIExportEndpointSlice", "metadata": map[string]any{"name": export},
		"spec": map[string]any{"export": map[string]any{"name": export}}, "status": map[string]any{"endpoints": endpoints},
	}}
}

func TestURLs(t *testing.T) {
	for name, tc := range map[string]struct {
		slices []any
		want   URLs
	}{
		"one per shard, in order":                 {[]any{slice("a", "https://two/services/apiexport/c/a", "https://one/services/apiexport/c/a/")}, URLs{"a": {"https://one/services/apiexport/c/a", "https://two/services/apiexport/c/a"}}},
		"several slices of an export are merged":  {[]any{slice("a", "https://one"), slice("a", "https://two", "https://one")}, URLs{"a": {"https://one", "https://two"}}},
		"an export that nobody binds has none":    {[]any{slice("a")}, URLs{}},
		"other exports of the workspace are none": {[]any{slice("other", "https://one"), slice("b", "https://b")}, URLs{"b": {"https://b"}}},
	} {
		if got := urlsIn(tc.slices, []string{"a", "b"}); !got.Equal(tc.want) {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
	if (URLs{"a": {"x"}}).Equal(URLs{"b": {"x"}}) || (URLs{"a": {"x"}}).Equal(URLs{"a": {"x", "y"}}) {
		t.Error("different URLs are equal")
	}
}

// Who concludes from what is nowhere must have asked everywhere.
func TestComplete(t *testing.T) {
	part := func(export string, urls ...string) any {
		u, _ := slice(export, urls...).(*unstructured.Unstructured)
		u.Object["spec"].(map[string]any)["partition"] = "here"
		return u
	}
	for name, tc := range map[string]struct {
		slices []any
		asked  []string
		want   tmc.Category
	}{
		"all shards were asked":                            {[]any{slice("a", "https://one", "https://two"), part("a", "https://one")}, []string{"https://one", "https://two"}, ""},
		"there is none, as nobody is bound":                {[]any{slice("a")}, nil, ""},
		"another shard has come":                           {[]any{slice("a", "https://one", "https://two")}, []string{"https://one"}, tmc.Unavailable},
		"the first shard has come":                         {[]any{slice("a", "https://one")}, nil, tmc.Unavailable},
		"one that was asked is not served any more":        {[]any{slice("a")}, []string{"https://one"}, tmc.Unavailable},
		"only a part of the shards is served":              {[]any{part("a", "https://one")}, []string{"https://one"}, tmc.Configuration},
		"the slice was deleted, or is another export's":    {[]any{slice("b", "https://one")}, nil, tmc.Configuration},
		"what an administrator made for all shards counts": {[]any{part("a", "https://one"), slice("a", "https://two")}, []string{"https://one", "https://two"}, ""},
	} {
		if got := tmc.CategoryOf(complete(tc.slices, "a", tc.asked)); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

// That no shard has any is no answer while not all are asked; that one has some always is.
func TestAny(t *testing.T) {
	items := "[]"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"WidgetList","apiVersion":"example.com/v1","items":%s}`, items)
	}))
	defer server.Close()
	var incomplete error
	f, err := New(Deps{
		Config: &rest.Config{Host: server.URL}, URLs: URLs{"a": {server.URL}}, Metrics: NewMetrics(prometheus.NewRegistry()), Clock: clock.RealClock{},
		Complete: func(_ context.Context, export string, asked []string) error {
			if export != "a" || !slices.Equal(asked, []string{server.URL}) {
				t.Errorf("got %s %v", export, asked)
			}
			return incomplete
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	widgets := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	expect := func(any, fails bool) {
		t.Helper()
		if got, err := f.Any(t.Context(), "a", widgets); got != any || (err != nil) != fails {
			t.Errorf("any: %t, %v", got, err)
		}
		if _, err := f.List(t.Context(), "a", widgets); (err != nil) != (incomplete != nil) {
			t.Errorf("list: %v", err)
		}
	}
	expect(false, false)
	incomplete = errors.New("there are more shards")
	expect(false, true)
	items = `[{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"web"}}]`
	expect(true, false)
}

// newFleet is one that sends no request.
func newFleet(t *testing.T, urls URLs) *Fleet {
	t.Helper()
	f, err := New(Deps{Config: &rest.Config{Host: "https://kcp.example"}, URLs: urls, Metrics: NewMetrics(prometheus.NewRegistry()), Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPaths(t *testing.T) {
	f := newFleet(t, nil)
	var heard []logicalcluster.Name
	f.OnPath(func(cluster logicalcluster.Name) { heard = append(heard, cluster) })
	lc := func(path string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "cluster", Annotations: map[string]string{logicalcluster.AnnotationKey: "2x4jqf", "kcp.io/path": path}}}
	}
	see := func(now, before *metav1.PartialObjectMetadata, deleted bool) {
		f.paths.see(Change[*metav1.PartialObjectMetadata]{Object: now, Before: before, Deleted: deleted})
	}
	known := func(step, path string) {
		t.Helper()
		if got, ok := f.PathOf("2x4jqf"); got.String() != path || ok != (path != "") {
			t.Errorf("%s: the path is %q, want %q", step, got, path)
		}
		for _, asked := range []string{"root:a", "root:b"} {
			if _, ok := f.ClusterOf(logicalcluster.NewPath(asked)); ok != (asked == path) {
				t.Errorf("%s: %s is known: %t", step, asked, ok)
			}
		}
		if _, ok := f.ClusterOf(logicalcluster.NewPath("2x4jqf")); ok != (path != "") {
			t.Errorf("%s: the logical cluster is known by its name: %t", step, ok)
		}
	}
	known("nothing is seen", "")
	see(lc("root:a"), nil, false)
	see(lc("root:a"), nil, false) // by another export
	known("two exports show it", "root:a")
	see(lc("root:b"), lc("root:a"), false)
	known("it moves", "root:b")
	see(lc("root:b"), nil, true)
	known("one export shows it no more", "root:b")
	see(lc("root:b"), nil, true)
	known("nor the other", "")
	if want := []logicalcluster.Name{"2x4jqf", "2x4jqf", "2x4jqf"}; !slices.Equal(heard, want) {
		t.Errorf("listeners heard %v", heard)
	}
}

func TestCachesAreSharedAndTyped(t *testing.T) {
	f := newFleet(t, URLs{workloadv1alpha1.WorkloadExport: {"https://one/services/apiexport/c/workload.kcp.io", "https://two/services/apiexport/c/workload.kcp.io"}})
	one, err := SyncTargets(f)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := SyncTargets(f); err != nil || one != two {
		t.Errorf("the second who asks gets another cache: %v", err)
	}
	if _, err := Watch(f, workloadv1alpha1.WorkloadExport, SyncTargetResource, Metadata); err == nil {
		t.Error("one resource is cached as two types")
	}
	if one.Synced() || one.check(t.Context()) == nil {
		t.Error("what was never listed counts as seen")
	}
	if placements, err := Placements(f); err != nil || !placements.Synced() {
		t.Errorf("an export that nobody binds is waited for: %v", err)
	}
}

func TestWritesGoToTheShardOfTheCluster(t *testing.T) {
	const export = workloadv1alpha1.WorkloadExport
	f := newFleet(t, URLs{export: {"https://one/services/apiexport/c/w", "https://two/services/apiexport/c/w"}, "single": {"https://one/services/apiexport/c/s"}})
	f.locate("far", "https://two")
	if s, err := f.sourceFor(export, "far"); err != nil || s.shard != "https://two" {
		t.Errorf("got %v, %v", s, err)
	}
	if _, err := f.sourceFor(export, "unknown"); tmc.CategoryOf(err) != tmc.Unavailable {
		t.Errorf("an unknown cluster gives %v", err)
	}
	if s, err := f.sourceFor("single", "unknown"); err != nil || s.shard != "https://one" {
		t.Errorf("where there is one shard only: %v, %v", s, err)
	}
}

func TestCachedObjectsKeepWhatIsRead(t *testing.T) {
	raw := func() *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"mode": "fast"},
			"metadata": map[string]any{
				"name": "settings", "namespace": "web", "managedFields": []any{map[string]any{"manager": "kubectl"}},
				"annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": "{}", logicalcluster.AnnotationKey: "2x4jqf"},
			},
		}}
	}
	cached, err := transform(Compacted)(raw())
	if err != nil {
		t.Fatal(err)
	}
	compact, ok := cached.(*Compact)
	if !ok || KeyOf(compact) != (Key{"2x4jqf", "web", "settings"}) || compact.GroupVersionKind().Kind != "ConfigMap" {
		t.Fatalf("got %+v", cached)
	}
	if again, err := transform(Compacted)(cached); err != nil || again != cached {
		t.Errorf("done again it is %v, %v", again, err)
	}
	decoded, err := compact.Decode()
	if err != nil {
		t.Fatal(err)
	}
	want := raw()
	want.SetManagedFields(nil)
	want.SetAnnotations(map[string]string{logicalcluster.AnnotationKey: "2x4jqf"})
	if diff := cmp.Diff(want.Object, decoded.Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
