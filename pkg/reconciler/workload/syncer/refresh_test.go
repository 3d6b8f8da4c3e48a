package syncer

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// After some conflicts in a row it is decided about the object as the server has it, which the cache did not show.
func TestRefresh(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, "a", errors.New("it changed"))
	const fresh = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","uid":"1","resourceVersion":"9"},"data":{"key":"fresh"}}`
	const gone = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"configmaps \"a\" not found","reason":"NotFound","details":{"name":"a","kind":"configmaps"},"code":404}`
	for name, test := range map[string]struct {
		outcomes []error // of the passes before
		disabled bool
		orphan   bool
		code     int
		answer   string

		reads    int
		version  string
		category tmc.Category
	}{
		"the cache is trusted after a few":             {outcomes: []error{conflict, conflict}, version: "7"},
		"after three in a row the server is asked":     {outcomes: []error{conflict, conflict, conflict}, code: 200, answer: fresh, reads: 1, version: "9"},
		"and again until one write succeeds":           {outcomes: []error{conflict, conflict, conflict, conflict}, code: 200, answer: fresh, reads: 1, version: "9"},
		"a success between them begins anew":           {outcomes: []error{conflict, conflict, nil, conflict}, version: "7"},
		"so does another failure":                      {outcomes: []error{conflict, conflict, conflict, errors.New("another")}, version: "7"},
		"a server that fails is no reason to decide":   {outcomes: []error{conflict, conflict, conflict}, code: 503, answer: "{}", reads: 1, version: "7", category: tmc.Unavailable},
		"nor one that has it no more, before we heard": {outcomes: []error{conflict, conflict, conflict}, code: 404, answer: gone, reads: 1, version: "7", category: tmc.NotFound},
		"without recovery the cache catches up":        {outcomes: []error{conflict, conflict, conflict}, disabled: true, version: "7"},
		"an orphan is not asked for":                   {outcomes: []error{conflict, conflict, conflict}, orphan: true},
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				reads++
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.code)
				fmt.Fprint(w, test.answer)
			}))
			defer server.Close()
			p := newPoison(t, 0, !test.disabled)
			from, err := feed.NewWorkspace(&rest.Config{Host: server.URL}, "team", "here")
			if err != nil {
				t.Fatal(err)
			}
			p.source, p.key.Cluster = from.Sources()[0], "team"
			p.c.gvr = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
			if test.orphan {
				p.up = nil
			}
			for _, outcome := range test.outcomes {
				p.noteConflict(outcome)
			}
			if got := tmc.CategoryOf(p.refresh(t.Context())); got != test.category {
				t.Errorf("it ends in %q, want %q", got, test.category)
			}
			version := ""
			if p.up != nil {
				version = p.up.ResourceVersion
			}
			if reads != test.reads || version != test.version {
				t.Errorf("%d reads, and it is decided about version %q; want %d and %q", reads, version, test.reads, test.version)
			}
		})
	}
}
