package syncer

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"weak"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func TestContentIsHeldOnce(t *testing.T) {
	const upstream = `{"kind":"ConfigMap","metadata":{"name":"a","namespace":"team","resourceVersion":"1"},"data":{"k":"v"}}`
	downstream := strings.Replace(upstream, "team", "kcp-1", 1)
	for _, tc := range []struct {
		name, one, other string
		shared           bool
	}{
		{"an object and its copy", upstream, downstream, true},
		{"a copy that differs", upstream, strings.Replace(downstream, `"v"`, `"w"`, 1), false},
		{"what changes all the time is not compared", withStatus(upstream), withStatus(downstream), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			shared := newContents()
			one, other := decoded(t, tc.one, shared), decoded(t, tc.other, shared)
			if got := one.content == other.content; got != tc.shared {
				t.Errorf("%s and %s: held once is %t, want %t", one.content.json, other.content.json, got, tc.shared)
			}
		})
	}
}

func TestContentIsTheCallersNoMore(t *testing.T) {
	c := newContents()
	raw := []byte(`{"data":{"k":"v"}}`)
	kept := c.keep(raw)
	raw[2] = 'X'
	if again := c.keep([]byte(`{"data":{"k":"v"}}`)); again != kept {
		t.Error("the same is held twice")
	}
}

func TestContentsAreForgottenWithTheirObjects(t *testing.T) {
	c := newContents()
	alive := c.keep([]byte("alive"))
	for i := range 10 * fewContents {
		c.keep([]byte(strconv.Itoa(i)))
		if i%fewContents == 0 {
			runtime.GC()
		}
	}
	if got := len(c.held); got > 3*fewContents {
		t.Errorf("%d are held", got)
	}
	if again := c.keep([]byte("alive")); again != alive {
		t.Error("what an object has was forgotten")
	}
}

// A hash that two contents have finds the later one, and no wrong one.
func TestContentsOfOneHash(t *testing.T) {
	c := newContents()
	first, other := c.keep([]byte("first")), &content{[]byte("other")}
	c.mu.Lock()
	for hash := range c.held {
		c.held[hash] = weak.Make(other)
	}
	c.mu.Unlock()
	if again := c.keep([]byte("first")); string(again.json) != "first" {
		t.Errorf("got %s", again.json)
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(other)
}

func TestAnnotationsStayWhole(t *testing.T) {
	for _, tc := range []struct {
		name, annotations string
		hash, kept        string
	}{
		{"the hash is apart", `{"internal.workload.kcp.io/applied-hash":"h"}`, "h", ""},
		{"others stay beside it", `{"a":"1","internal.workload.kcp.io/applied-hash":"h"}`, "h", "1"},
		{"there may be none", `{"a":"1"}`, "", "1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := decoded(t, `{"metadata":{"name":"n","annotations":`+tc.annotations+`}}`, nil)
			if o.appliedHash != tc.hash || o.Annotations["a"] != tc.kept {
				t.Errorf("hash %q and %v", o.appliedHash, o.Annotations)
			}
			u, err := o.decode(benchmarked)
			if err != nil {
				t.Fatal(err)
			}
			if all := u.GetAnnotations(); all[workloadv1alpha1.AppliedHashAnnotation] != tc.hash || all["a"] != tc.kept {
				t.Errorf("decoded: %v", all)
			}
		})
	}
}

func TestHasStatus(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"metadata":{},"spec":{}}`:                         false,
		`{"metadata":{},"spec":{},"status":{}}`:             false,
		`{"metadata":{},"status":{"loadBalancer":{}}}`:      true,
		`{"metadata":{},"status":{"replicas":1},"spec":{}}`: true,
		`{"metadata":{},"spec":{"status":{"replicas":1}}}`:  false,
	} {
		if got := decoded(t, raw, nil).hasStatus; got != want {
			t.Errorf("%s: %t", raw, got)
		}
	}
}

// The next object may be of another namespace, and have other finalizers.
func TestObjectsThatFollowEachOther(t *testing.T) {
	d := newDecoder(strings.NewReader(`{"metadata":{"namespace":"a","finalizers":["f"]}}{"metadata":{"namespace":"a","finalizers":["f"]}}`+
		`{"metadata":{"namespace":"b","finalizers":["f","g"]}}{"metadata":{"name":"n"}}`), nil)
	for _, want := range []string{"a/f", "a/f", "b/f,g", "/"} {
		o, err := d.object()
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Namespace + "/" + strings.Join(o.Finalizers, ","); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func withStatus(object string) string {
	return strings.TrimSuffix(object, "}") + `,"status":{"phase":"Bound"}}`
}

func decoded(t *testing.T, raw string, shared *contents) *object {
	t.Helper()
	o, err := newDecoder(strings.NewReader(raw), shared).object()
	if err != nil {
		t.Fatal(err)
	}
	return o
}
