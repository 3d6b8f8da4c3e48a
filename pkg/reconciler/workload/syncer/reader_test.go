package syncer

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

func TestEvents(t *testing.T) {
	type seen struct{ kind, version, content string }
	for _, tc := range []struct {
		name, stream string
		want         []seen
		end          error
	}{
		{
			name: "one after the other, until the server ends the watch",
			stream: `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"1"},"data":{"k":"v"}}}
{"type":"MODIFIED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"2"},"data":{"k": "w"}}}
{"type":"DELETED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"3"}}}
`,
			want: []seen{{"ADDED", "1", `{"data":{"k":"v"}}`}, {"MODIFIED", "2", `{"data":{"k": "w"}}`}, {"DELETED", "3", `{}`}},
			end:  io.EOF,
		},
		{
			name:   "a bookmark is an object with a version",
			stream: `{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"9","creationTimestamp":null,"annotations":{"k8s.io/initial-events-end":"true"}}}}`,
			want:   []seen{{"BOOKMARK", "9", `{}`}},
			end:    io.EOF,
		},
		{
			name:   "the connection breaks within an event",
			stream: `{"type":"ADDED","object":{"kind":"ConfigMap","metadata":{"name":"a"`,
			end:    io.ErrUnexpectedEOF,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &eventDecoder{decoder: newDecoder(strings.NewReader(tc.stream), nil)}
			for _, want := range tc.want {
				kind, about, err := d.Decode()
				if err != nil {
					t.Fatal(err)
				}
				o := about.(*object)
				if got := (seen{string(kind), o.ResourceVersion, string(o.content.json)}); got != want {
					t.Errorf("got %v, want %v", got, want)
				}
			}
			if _, _, err := d.Decode(); err != tc.end { //nolint:errorlint // that is how client-go compares it
				t.Errorf("ends with %v, want %v", err, tc.end)
			}
		})
	}
}

func TestErrorEventHoldsAStatus(t *testing.T) {
	d := newDecoder(strings.NewReader(`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}}`), nil)
	kind, about, err := d.event()
	if err != nil {
		t.Fatal(err)
	}
	status, ok := about.(*metav1.Status)
	if kind != watch.Error || !ok || status.Reason != metav1.StatusReasonExpired || status.Code != 410 || status.Message != "too old" {
		t.Errorf("got %s, %#v", kind, about)
	}
}

func TestEventsThatAreNone(t *testing.T) {
	for name, stream := range map[string]string{
		"no event":           `{"kind":"ConfigMap","metadata":{}}`,
		"about nothing":      `{"type":"ADDED"}`,
		"not an object":      `[]`,
		"object not one":     `{"type":"ADDED","object":"text"}`,
		"metadata not one":   `{"type":"ADDED","object":{"metadata":1}}`,
		"no JSON":            `{"type":"ADDED","object":{"data":{"k":}}}`,
		"object comes first": `{"object":{"metadata":{}},"type":"ADDED"}`,
	} {
		if _, _, err := newDecoder(strings.NewReader(stream), nil).event(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestList(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       []string
	}{
		{"with items, whose kind only the list tells", `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"5","continue":"c"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"},"data":{}}]}`, []string{"a", "b"}},
		{"empty", `{"metadata":{"resourceVersion":"5","continue":"c"},"items":[]}`, nil},
		{"empty, in other words", `{"items":null,"metadata":{"resourceVersion":"5","continue":"c"}}`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list, err := newDecoder(strings.NewReader(tc.body), nil).list()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, o := range list.Items {
				names = append(names, o.Name)
			}
			if diff := cmp.Diff(tc.want, names); diff != "" || list.ResourceVersion != "5" || list.Continue != "c" {
				t.Errorf("version %s, continue %s, -want +got:\n%s", list.ResourceVersion, list.Continue, diff)
			}
		})
	}
	if _, err := newDecoder(strings.NewReader(`{"items":[{"metadata":{"name":"a"}},`), nil).list(); err == nil {
		t.Error("half a list is taken for a whole one")
	}
}

// recorded are objects as real servers returned them.
func recorded(t testing.TB) map[string]*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob("transform/testdata/*/upstream.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	objects := map[string]*unstructured.Unstructured{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects[filepath.Base(filepath.Dir(file))] = parse(t, string(raw))
	}
	return objects
}

// What comes out of the cache is what the server sent, for whatever steps read.
func TestCachedObjectsAreWhatServersSend(t *testing.T) {
	for name, in := range recorded(t) {
		t.Run(name, func(t *testing.T) {
			o, err := compact(in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := o.decode(in.GroupVersionKind())
			if err != nil {
				t.Fatal(err)
			}
			want := in.DeepCopy()
			for _, unread := range []string{"managedFields", "creationTimestamp", "generateName", "selfLink", "deletionGracePeriodSeconds"} {
				unstructured.RemoveNestedField(want.Object, "metadata", unread)
			}
			unstructured.RemoveNestedField(want.Object, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
			if len(want.GetAnnotations()) == 0 {
				want.SetAnnotations(nil)
			}
			if diff := cmp.Diff(want.Object, got.Object); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

var benchmarked = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}

// event is one as a server sends it, about a recorded object.
func event(b *testing.B) string {
	b.Helper()
	raw, err := recorded(b)["deployment-read-from-a-server-that-runs-it"].MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	return `{"type":"MODIFIED","object":` + strings.TrimSpace(string(raw)) + "}\n"
}

// BenchmarkEvent is what an event costs from the bytes of a watch to the object in the cache.
func BenchmarkEvent(b *testing.B) {
	stream := event(b)
	d := newDecoder(repeat(stream), nil)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.event(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode is what a pass pays for an object that it has to look into.
func BenchmarkDecode(b *testing.B) {
	_, about, err := newDecoder(strings.NewReader(event(b)), nil).event()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := about.(*object).decode(benchmarked); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHeld is what an object in the cache holds on to.
func BenchmarkHeld(b *testing.B) {
	const objects = 5000
	d := newDecoder(repeat(event(b)), nil)
	for b.Loop() {
		held := make([]any, 0, objects)
		before := heap()
		for range objects {
			_, about, err := d.event()
			if err != nil {
				b.Fatal(err)
			}
			held = append(held, about)
		}
		b.ReportMetric(float64(heap()-before)/objects, "B/object")
		runtime.KeepAlive(held)
	}
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// repeat reads the same text for ever.
func repeat(text string) io.Reader { return &repeated{text: text} }

type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(into []byte) (int, error) {
	n := copy(into, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// Maps that say the same are one; those that do not are not, and long ones are not remembered.
func TestLabelsAreShared(t *testing.T) {
	named := func(name, labels string) string {
		return `{"metadata":{"name":"` + name + `","labels":` + labels + `}}`
	}
	long := `{"a":"` + strings.Repeat("x", longestShared) + `"}`
	items := []string{named("a", `{"app":"x"}`), named("b", `{"app":"x"}`), named("c", `{"app":"y"}`), named("d", long), named("e", `null`)}
	d := newDecoder(strings.NewReader(`{"items":[`+strings.Join(items, ",")+`]}`), nil)
	list, err := d.list()
	if err != nil {
		t.Fatal(err)
	}
	o := list.Items
	if !same(o[0].Labels, o[1].Labels) || same(o[1].Labels, o[2].Labels) || o[2].Labels["app"] != "y" || len(o[3].Labels["a"]) != longestShared || o[4].Labels != nil {
		t.Errorf("labels are %v", []any{o[0].Labels, o[1].Labels, o[2].Labels, o[4].Labels})
	}
	if _, remembered := d.shared[long]; remembered {
		t.Error("a long one is remembered")
	}
	for i := range 2 * mostShared {
		if _, err := d.strings(jsontext.Value(`{"n":"` + strconv.Itoa(i) + `"}`)); err != nil || len(d.shared) > mostShared {
			t.Fatalf("%d are remembered, %v", len(d.shared), err)
		}
	}
}

func same(a, b map[string]string) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
