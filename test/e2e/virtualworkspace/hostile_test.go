package virtualworkspace

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/hostile"
)

// A hostile syncer has the right credentials, and objects of its own. Whatever else it sends is refused with the reason,
// and leaves no trace.
func TestA47HostileSyncer(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	s.tenant.add("web", "prey", labels(s.east, s.west), "shown")
	c, own := s.east.client(t), s.east.url("syncer")+string(s.tenant.Cluster)
	object := own + "/apis/apps/v1/namespaces/web/deployments/prey"
	before := s.tenant.get(deployments, "web", "prey")

	for _, p := range hostile.Patches(s.east.key, s.west.key) {
		if r := c.patch(object+p.Path, p.Patch); r.code != p.Code || !strings.Contains(r.body, p.Says) {
			t.Errorf("%s: answered %d %s", p.What, r.code, r.body)
		}
	}
	const jsonPatch = "application/json-patch+json"
	for what, patch := range hostile.JSONPatches(s.west.key) {
		if r := c.do(http.MethodPatch, object+"/status", jsonPatch, patch); r.code != 403 {
			t.Errorf("a JSON Patch of %s is answered %d %s", what, r.code, r.body)
		}
	}
	for what, r := range map[string]reply{
		"a wildcard write":     c.patch(strings.Replace(object, string(s.tenant.Cluster), "*", 1)+"/status", `{status: {replicas: 1}}`),
		"a forced write":       c.patch(object+"/status?force=true", `{status: {replicas: 1}}`),
		"an impersonated one":  c.do("PATCH", object+"/status", mergePatch, `{"status":{}}`, "Impersonate-User", "admin"),
		"a compressed body":    c.do("PATCH", object+"/status", mergePatch, `{"status":{}}`, "Content-Encoding", "gzip"),
		"a websocket":          c.do("GET", own+"/api/v1/secrets?watch=true", "", "", "Upgrade", "websocket", "Connection", "Upgrade"),
		"a whole collection":   c.do("DELETE", own+"/api/v1/namespaces/web/secrets", "", ""),
		"all of a type":        c.do("DELETE", s.east.url("syncer")+"*/api/v1/secrets", "", ""),
		"a new object":         c.do("POST", own+"/api/v1/namespaces/web/secrets", "application/json", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`),
		"another's group":      c.do("GET", own+"/api/v1/secrets", "", "", "Impersonate-Group", "system:masters"),
		"another's UID":        c.do("GET", own+"/api/v1/secrets", "", "", "Impersonate-Uid", "x"),
		"a proxy's word":       c.do("GET", own+"/api/v1/secrets", "", "", "X-Remote-User", "admin"),
		"an encoded slash":     c.get(own + "/api/v1/namespaces/web%2Fsecrets%2Ffor-west"),
		"dots":                 c.get(own + "/../" + string(s.stranger.Cluster) + "/api/v1/secrets"),
		"encoded dots":         c.get(own + "/%2e%2e/" + string(s.stranger.Cluster) + "/api/v1/secrets"),
		"two slashes":          c.get(own + "//api/v1/secrets"),
		"two clusters":         c.get(own + "/clusters/" + string(s.stranger.Cluster) + "/api/v1/secrets"),
		"a path of workspaces": c.get(s.east.url("syncer") + "root:stage-tenant/api/v1/secrets"),
	} {
		if r.code != 403 && r.code != 404 {
			t.Errorf("%s is answered %d %s", what, r.code, r.body)
		}
	}
	s.selectors(t, c)
	s.forgedEvents(t, c, own)
	if after := s.tenant.get(deployments, "web", "prey"); after.GetResourceVersion() != before.GetResourceVersion() {
		t.Errorf("the object was changed to %v", after.Object)
	}
}

// selectors add to the target's own, whatever they say.
func (s *stage) selectors(t *testing.T, c *client) {
	t.Helper()
	all := s.east.url("syncer") + "*/api/v1/secrets?"
	state := workloadv1alpha1.StateLabel(s.east.key)
	for _, selector := range []string{"!" + state, state + "!=Sync", state + " notin (Sync)", state + "=Upsync"} {
		if r := c.get(all + "labelSelector=" + url.QueryEscape(selector)); r.code != 200 || len(r.names()) > 0 {
			t.Errorf("%s is answered %d %v", selector, r.code, r.names())
		}
	}
	for _, query := range []string{
		"labelSelector=" + url.QueryEscape(workloadv1alpha1.StateLabel(s.west.key)), "labelSelector=a&labelSelector=b", "labelSelector=" + url.QueryEscape("a,,b()"),
		"fieldSelector=type%3DOpaque", "resourceVersion=x", "identity=x", "as=admin", "watch=true;x=y", "limit=-1", "watch=2",
	} {
		if r := c.get(all + query); r.code != 403 {
			t.Errorf("%s is answered %d %s", query, r.code, r.body)
		}
	}
	if r := c.get(all + "fieldSelector=metadata.name%3Dfor-west"); r.code != 200 || len(r.names()) > 0 {
		t.Errorf("a fieldSelector shows %d %v", r.code, r.names())
	}
	// A list goes on from where it ended; where another one ended, there is no more to see.
	first := c.get(all + "limit=1")
	next, _ := first.shownAs().Object["metadata"].(map[string]any)["continue"].(string)
	if first.code != 200 || len(first.names()) != 1 || next == "" {
		t.Fatalf("the first page is %d %s", first.code, first.body)
	}
	if r := c.get(all + "limit=500&continue=" + url.QueryEscape(next)); r.code != 200 || strings.Contains(r.body, secretOfWest) || strings.Contains(r.body, noteOfWest) {
		t.Errorf("the second page is %d %s", r.code, r.body)
	}
	for _, version := range []string{"0", "1", "999999999999"} {
		r := c.get(all + "resourceVersionMatch=NotOlderThan&resourceVersion=" + version)
		s.judgeLeaks(t, hostile.Attempt{Path: "a list at " + version}, r)
	}
	s.watches(t, c)
}

// watches: whatever version a watch begins at, it tells of the target's own objects, and its bookmarks of none.
func (s *stage) watches(t *testing.T, c *client) {
	t.Helper()
	bookmarks := 0
	for _, path := range []string{"/api/v1/secrets", "/api/v1/namespaces", "/apis/apps/v1/deployments"} {
		for _, query := range []string{
			"resourceVersion=0", "resourceVersion=1", "resourceVersion=999999999999", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
			"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0",
		} {
			a := hostile.Attempt{Path: path + "?" + query}
			r := c.get(s.east.url("syncer") + "*" + path + "?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&" + query)
			s.judgeLeaks(t, a, r)
			for line := range strings.SplitSeq(strings.TrimSpace(r.body), "\n") {
				event := reply{body: line}.object()
				if event["type"] != "BOOKMARK" {
					continue
				}
				bookmarks++
				about, _ := event["object"].(map[string]any)
				metadata, _ := about["metadata"].(map[string]any)
				delete(metadata, "resourceVersion")
				delete(metadata, "annotations") // what ends the initial events; judged above
				if len(metadata) > 0 || about["spec"] != nil || about["data"] != nil {
					t.Errorf("%s: a bookmark tells %s", a.Path, line)
				}
			}
		}
	}
	if bookmarks == 0 {
		t.Error("no watch had a bookmark")
	}
}

// forgedEvents: a target speaks of its own objects, in its own name.
func (s *stage) forgedEvents(t *testing.T, c *client, own string) {
	t.Helper()
	prey, west := s.tenant.get(deployments, "web", "prey"), s.tenant.get(deployments, "web", "for-west")
	event := func(name, uid, more string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Event","metadata":{"name":"evil","namespace":"web","labels":{"a":"b"}},
		  "involvedObject":{"apiVersion":"apps/v1","kind":"Deployment","namespace":"web","name":%q,"uid":%q},"reason":"Synced","message":"m","type":"Normal"%s}`, name, uid, more)
	}
	for what, body := range map[string]string{
		"another's object":        event("for-west", string(west.GetUID()), ""),
		"an object that is none":  event("missing", "x", ""),
		"another UID":             event("prey", string(west.GetUID()), ""),
		"a reason that is a text": strings.Replace(event("prey", string(prey.GetUID()), ""), "Synced", "Dear user, your password", 1),
		"a type of its own":       strings.Replace(event("prey", string(prey.GetUID()), ""), "Normal", "Urgent", 1),
		"another kind":            strings.Replace(event("prey", string(prey.GetUID()), ""), "Deployment", "SyncTarget", 1),
	} {
		if r := c.do("POST", own+"/api/v1/namespaces/web/events", "application/json", body); r.code != 403 {
			t.Errorf("an Event about %s is answered %d %s", what, r.code, r.body)
		}
	}
	if r := c.do("POST", own+"/api/v1/namespaces/hidden/events", "application/json", event("prey", string(prey.GetUID()), "")); r.code != 403 {
		t.Errorf("an Event in another namespace is answered %d %s", r.code, r.body)
	}
	r := c.do("POST", own+"/api/v1/namespaces/web/events", "application/json", event("prey", string(prey.GetUID()), `,"source":{"component":"kubelet","host":"x"},"reportingComponent":"kubelet","count":99`))
	if r.code != http.StatusCreated {
		t.Fatalf("an Event is answered %d %s", r.code, r.body)
	}
	list := must(s.tenant.of(events, "web").List(t.Context(), listAll))(t)
	for _, e := range list.Items {
		about, _, _ := nested(e.Object, "involvedObject", "name")
		source, _, _ := nested(e.Object, "source", "component")
		host, _, _ := nested(e.Object, "source", "host")
		if about != "prey" || source != workloadv1alpha1.FieldManager || host != "east" || e.GetName() == "evil" || e.GetLabels()["a"] != "" {
			t.Errorf("there is an Event %v", e.Object)
		}
	}
	if len(list.Items) == 0 {
		t.Error("there is no Event")
	}
}
