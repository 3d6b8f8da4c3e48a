package virtualworkspace

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// fakeShard is a kcp shard that answers what a test has it answer, by path.
func fakeShard(t *testing.T, answers map[string]string) string {
	t.Helper()
	answers["/api"] = `{"kind":"APIVersions","versions":["v1"]}`
	answers["/apis"] = `{"kind":"APIGroupList","groups":[]}`
	answers["/api/v1"] = `{"kind":"APIResourceList","groupVersion":"v1","resources":[
	  {"name":"secrets","namespaced":true,"kind":"Secret","verbs":["get","list","watch","patch","create"]},
	  {"name":"pods","namespaced":true,"kind":"Pod","verbs":["get","list","watch","patch","create"]},
	  {"name":"nodes","namespaced":false,"kind":"Node","verbs":["get"]}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, below, _ := strings.Cut(r.URL.Path, "/clusters/")
		_, below, _ = strings.Cut(below, "/")
		path := "/" + below
		if r.URL.Query().Get("watch") == "true" {
			path += "?watch"
		}
		answer, ok := answers[path]
		if !ok {
			answer = `403 {"kind":"Status","status":"Failure","code":403,"reason":"Forbidden","message":"secret reasons"}`
		}
		w.Header().Set("Content-Type", "application/json")
		var code int
		if n, _ := fmt.Sscanf(answer, "%d ", &code); n == 1 {
			w.WriteHeader(code)
			answer = answer[4:]
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/services/apiexport/2x4jqf/kubernetes"
}

func secretOf(name, label string) string {
	return `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"` + name + `","namespace":"web","resourceVersion":"5","annotations":{"kcp.io/cluster":"abc"},"labels":{"` + label + `":"Sync"}},"data":{"a":"b"}}`
}

// serveViews serves the targets of the shards to the account that may sync them.
func serveViews(t *testing.T, shards ...string) (*Server, string) {
	t.Helper()
	u, err := newUpstream(&rest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(Config{MaxWatches: 5, MaxRequests: 5, Upsynced: workloadv1alpha1.ClusterMadeResources()}, Deps{
		ExportURLs: func(string) []string { return shards }, Metrics: NewMetrics(prometheus.NewRegistry()), Clock: clock.RealClock{},
	}, u, supporting{&fakeReviews{user: account("2x4jqf"), allowed: true, uid: "u"}})
	t.Cleanup(s.stop)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

// supporting is a SyncTarget that supports the APIExport.
type supporting struct{ *fakeReviews }

func (s supporting) syncTarget(ctx context.Context, target TargetRef) (*workloadv1alpha1.SyncTarget, error) {
	st, err := s.fakeReviews.syncTarget(ctx, target)
	if st != nil {
		st.Spec.SupportedAPIExports = []workloadv1alpha1.APIExportReference{{Export: "kubernetes"}}
	}
	return st, err
}

func ask(t *testing.T, address string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer t")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// Each shard has a view of its own; there is none of a shard that is not known.
func TestShards(t *testing.T) {
	own := workloadv1alpha1.StateLabel(target.key())
	one := fakeShard(t, map[string]string{"/api/v1/secrets": `{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[` + secretOf("one", own) + `]}`})
	two := fakeShard(t, map[string]string{"/api/v1/secrets": `{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[` + secretOf("two", own) + `]}`})
	_, address := serveViews(t, one, two)
	urls := workloadv1alpha1.VirtualWorkspacesOf(address, []string{one, two, "https://elsewhere"}, "2x4jqf", "east", "u")
	for i, want := range []string{`"name":"one"`, `"name":"two"`} {
		if code, body := ask(t, urls[i].SyncerURL+"/clusters/*/api/v1/secrets"); code != 200 || !strings.Contains(body, want) || strings.Count(body, `"name"`) != 1 {
			t.Errorf("shard %d answers %d %s", i, code, body)
		}
	}
	if code, body := ask(t, urls[2].SyncerURL+"/clusters/*/api/v1/secrets"); code != 404 {
		t.Errorf("a shard that is not known answers %d %s", code, body)
	}
	if code, body := ask(t, urls[0].SyncerURL+"/clusters/*/api/v1"); code != 200 || strings.Contains(body, "pods") || strings.Contains(body, "nodes") {
		t.Errorf("discovery answers %d %s", code, body)
	}
}

// Whatever kcp answers, the target gets what is its own, and a failure never looks like an object that is gone.
func TestWhatKcpAnswers(t *testing.T) {
	own := workloadv1alpha1.StateLabel(target.key())
	list := `{"kind":"SecretList","metadata":{"resourceVersion":"7","selfLink":"x"},"extra":{"a":1},"items":[` + secretOf("own", own) + `,` + secretOf("other", workloadv1alpha1.StateLabel("other")) + `]}`
	for _, tc := range []struct {
		what, path, answer string
		code               int
		has, hasNot        string
	}{
		{"a selector that kcp ignored", "*/api/v1/secrets", list, 200, `"own"`, `"other"`},
		{"what a list has besides", "*/api/v1/secrets", list, 200, `"own"`, `"extra"`},
		{"no items", "*/api/v1/secrets", `{"kind":"SecretList","items":null}`, 200, `"items":[]`, ""},
		{"half a list", "*/api/v1/secrets", list[:len(list)-20], 500, "", ""},
		{"half a long list", "*/api/v1/secrets", strings.Replace(list[:len(list)-20], `"a":"b"`, `"a":"`+strings.Repeat("x", 300<<10)+`"`, 1), 0, "", ""},
		{"a list that is none", "*/api/v1/secrets", `[1,2]`, 500, "", ""},
		{"the manager may not", "*/api/v1/secrets", `403 {"kind":"Status","code":403,"reason":"Forbidden","message":"secret reasons"}`, 503, "", "secret reasons"},
		{"a server error", "*/api/v1/secrets", `500 {"kind":"Status","code":500,"message":"secret reasons"}`, 503, "", "secret reasons"},
		{"no status at all", "*/api/v1/secrets", `502 <html>`, 503, "", "html"},
		{"an old version", "*/api/v1/secrets", `410 {"kind":"Status","code":410,"reason":"Expired","message":"too old"}`, 410, "Expired", ""},
		{"an object that does not exist", "abc/api/v1/namespaces/web/secrets/x", `404 {"kind":"Status","code":404,"reason":"NotFound","message":"secrets \"x\" not found","details":{"name":"x","kind":"secrets"}}`, 404, `"details"`, ""},
		{"one that is another's", "abc/api/v1/namespaces/web/secrets/x", secretOf("x", "other"), 404, `"details"`, `"data"`},
		{"a path that does not exist", "abc/api/v1/namespaces/web/secrets/x", `404 404 page not found`, 404, "", `"details"`},
		{"a workspace that does not", "abc/api/v1/namespaces/web/secrets/x", `403 {"kind":"Status","code":403,"reason":"Forbidden","message":"secret reasons"}`, 403, "", "secret reasons"},
		{"an own one", "abc/api/v1/namespaces/web/secrets/x", secretOf("x", own), 200, `"data"`, ""},
		{"another cluster's watch events", "*/api/v1/secrets?watch=true", `{"type":"ADDED","object":` + secretOf("own", own) + `}` + "\n" +
			`{"type":"MODIFIED","object":` + secretOf("other", "other") + `}{"type":"DELETED","object":` + secretOf("gone", own) + `}
			 {"type":"BOOKMARK","object":{"kind":"Secret","apiVersion":"v1","metadata":{"name":"leak","resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true","kubernetes.io/initial-events-list-blueprint":"eyJpdGVtcyI6W3t9XX0=","x":"y"}}}}
			 {"type":"NEW","object":{"secret":"reasons"}}
			 {"type":"ERROR","object":{"kind":"Status","code":500,"message":"secret reasons"}}`, 200, `"gone"`, "other"},
	} {
		path, _, watch := strings.Cut(tc.path, "?")
		_, below, _ := strings.Cut(path, "/")
		answers := map[string]string{"/" + below: tc.answer}
		if watch {
			answers = map[string]string{"/" + below + "?watch": tc.answer}
		}
		shard := fakeShard(t, answers)
		s, address := serveViews(t, shard)
		url := workloadv1alpha1.VirtualWorkspacesOf(address, []string{shard}, "2x4jqf", "east", "u")[0].SyncerURL + "/clusters/"
		code, body := ask(t, url+tc.path)
		if code != tc.code || !strings.Contains(body, tc.has) || tc.hasNot != "" && strings.Contains(body, tc.hasNot) {
			t.Errorf("%s: answered %d %s", tc.what, code, body)
		}
		if watch {
			if strings.Contains(body, "leak") || strings.Contains(body, "blueprint") || strings.Contains(body, "secret reasons") || strings.Count(body, `"data"`) != 1 || strings.Count(body, "\n") != 4 {
				t.Errorf("%s: %s", tc.what, body)
			}
			var hidden dto.Metric
			if err := s.metrics.hidden.Write(&hidden); err != nil || hidden.GetCounter().GetValue() != 1 {
				t.Errorf("%s: hidden objects are counted as %v", tc.what, hidden.GetCounter())
			}
		}
	}
}
