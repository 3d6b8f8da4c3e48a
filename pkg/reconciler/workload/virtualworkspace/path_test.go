package virtualworkspace

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const prefix = "/shards/s1/services/syncer/2x4jqf/east/6f1a-UID/clusters/"

func TestPaths(t *testing.T) {
	for _, tc := range []struct {
		what, method, path string
		verb, object       string // group/version/resource, namespace, name and subresource
	}{
		{"all deployments", "GET", prefix + "*/apis/apps/v1/deployments", "list", "apps/v1/deployments///"},
		{"the star as clients encode it", "GET", prefix + "%2A/api/v1/secrets", "list", "/v1/secrets///"},
		{"those of one workspace", "GET", prefix + "abc/api/v1/secrets", "list", "/v1/secrets///"},
		{"those of one namespace", "GET", prefix + "abc/api/v1/namespaces/web/secrets", "list", "/v1/secrets/web//"},
		{"a single one", "GET", prefix + "abc/api/v1/namespaces/web/secrets/x", "get", "/v1/secrets/web/x/"},
		{"a cluster-scoped one", "GET", prefix + "abc/api/v1/persistentvolumes/x", "get", "/v1/persistentvolumes//x/"},
		{"a namespace", "GET", prefix + "abc/api/v1/namespaces/web", "get", "/v1/namespaces//web/"},
		{"an RBAC name has colons", "GET", prefix + "abc/apis/rbac.authorization.k8s.io/v1/namespaces/web/roles/system:x", "get", "rbac.authorization.k8s.io/v1/roles/web/system:x/"},
		{"a status", "PATCH", prefix + "abc/apis/apps/v1/namespaces/web/deployments/x/status", "patch", "apps/v1/deployments/web/x/status"},
		{"the status of a namespace", "PATCH", prefix + "abc/api/v1/namespaces/web/status", "patch", "/v1/namespaces//web/status"},
		{"an Event", "POST", prefix + "abc/api/v1/namespaces/web/events", "create", "/v1/events/web//"},
		{"discovery", "GET", prefix + "*/apis/apps/v1", "discover", "//////"},
		{"discovery of the core group", "GET", prefix + "*/api", "discover", "//////"},
	} {
		r, err := parsePath(tc.method, tc.path)
		if err != nil {
			t.Errorf("%s: %v", tc.what, err)
			continue
		}
		object := strings.Join([]string{r.gvr.Group, r.gvr.Version, r.gvr.Resource, r.namespace, r.name, r.subresource}, "/")
		if tc.verb == verbDiscover {
			object = "//////"
		}
		if r.verb != tc.verb || object != tc.object || r.target != (TargetRef{"2x4jqf", "east", "6f1a-UID"}) || r.up || r.shard != "s1" {
			t.Errorf("%s: %s is taken for %q %q of %+v", tc.what, tc.path, r.verb, object, r)
		}
	}
}

func TestPathsThatAreRefused(t *testing.T) {
	for _, tc := range []struct {
		what, method, path string
		code               int
	}{
		{"an encoded slash", "GET", prefix + "abc/api/v1/namespaces/web%2Fother/secrets", 403},
		{"an encoded slash in a name", "GET", prefix + "abc/api/v1/namespaces/web/secrets/x%2Fstatus", 403},
		{"encoded dots", "GET", prefix + "abc/%2e%2e/api/v1/secrets", 403},
		{"two dots", "GET", prefix + "abc/../xyz/api/v1/secrets", 403},
		{"one dot", "GET", prefix + "abc/./api/v1/secrets", 403},
		{"two slashes", "GET", prefix + "abc//api/v1/secrets", 403},
		{"a slash at the end", "GET", prefix + "abc/api/v1/secrets/", 403},
		{"another /clusters", "GET", prefix + "abc/clusters/xyz/api/v1/secrets", 404},
		{"a path of a workspace", "GET", prefix + "root:team/api/v1/secrets", 403},
		{"no cluster", "GET", strings.TrimSuffix(prefix, "clusters/"), 403},
		{"nothing", "GET", "/", 403},
		{"kcp itself", "GET", "/clusters/root/api/v1/secrets", 404},
		{"an APIExport", "GET", "/services/apiexport/root/kubernetes/clusters/*/api/v1/secrets", 404},
		{"another view", "GET", strings.Replace(prefix, "syncer", "admin", 1) + "*/api/v1/secrets", 404},
		{"a wildcard get", "GET", prefix + "*/api/v1/namespaces/web/secrets/x", 403},
		{"a wildcard patch", "PATCH", prefix + "*/apis/apps/v1/namespaces/web/deployments/x/status", 403},
		{"a wildcard create", "POST", prefix + "*/api/v1/namespaces/web/events", 403},
		{"a star as a namespace", "GET", prefix + "abc/api/v1/namespaces/*/secrets", 403},
		{"a star as a resource", "GET", prefix + "abc/api/v1/*", 403},
		{"a collection", "DELETE", prefix + "abc/api/v1/namespaces/web/secrets", 403},
		{"below a subresource", "GET", prefix + "abc/api/v1/namespaces/web/pods/x/proxy/metrics", 403},
		{"HEAD", "HEAD", prefix + "abc/api/v1/secrets", 403},
		{"a method of one's own", "SUDO", prefix + "abc/api/v1/secrets", 403},
		{"a POST to discovery", "POST", prefix + "abc/apis", 403},
		{"a null byte", "GET", prefix + "abc/api/v1/secrets%00", 403},
		{"a second line", "GET", prefix + "abc/api/v1/secrets%0d%0aX: y", 403},
		{"namespaces in a namespace", "GET", prefix + "abc/api/v1/namespaces/a/namespaces/b", 403},
		{"a query in the path", "GET", prefix + "abc/api/v1/secrets%3Fwatch=true", 403},
	} {
		r, err := parsePath(tc.method, tc.path)
		var refused *refusal
		if !errors.As(err, &refused) || int(refused.status.Code) != tc.code {
			t.Errorf("%s: %s %s gives %v (%+v), want %d", tc.what, tc.method, tc.path, err, r, tc.code)
		}
	}
}

// What the parser lets pass means upstream just what it was taken for, and stays in the cluster that it names.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		prefix + "*/apis/apps/v1/deployments", prefix + "%2a/api/v1/secrets", prefix + "abc/api/v1/namespaces/web/secrets/x",
		prefix + "abc/../xyz/api/v1", prefix + "abc/api/v1/namespaces/a%2fb/secrets", prefix + "abc/api/v1/namespaces/web/status",
	} {
		f.Add("GET", path)
		f.Add("PATCH", path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		r, err := parsePath(method, path)
		if err != nil {
			statusOf(err)
			return
		}
		if r.verb == verbDiscover {
			return
		}
		sent := r.upstreamPath()
		if strings.Contains(sent, "%") || strings.Contains(sent, "//") || strings.Contains(sent, "..") && strings.Contains(sent, "/../") || strings.ContainsAny(sent, "?#*\\ \r\n\x00") {
			t.Fatalf("%q is sent on as %q", path, sent)
		}
		parsed, err := url.Parse("https://kcp/clusters/" + string(r.cluster) + sent)
		if err != nil || parsed.EscapedPath() != strings.Replace("/clusters/"+string(r.cluster)+sent, "*", "%2A", 1) && parsed.EscapedPath() != "/clusters/"+string(r.cluster)+sent || parsed.RawQuery != "" {
			t.Fatalf("%q is sent on as %q, which is read as %q (%v)", path, sent, parsed, err)
		}
		again, err := parsePath(method, strings.Join(strings.SplitN(path, "/", 11)[:10], "/")+sent)
		if err != nil || again.gvr != r.gvr || again.name != r.name || again.namespace != r.namespace || again.subresource != r.subresource {
			t.Fatalf("%q is sent on as %q, which means %+v (%v)", path, sent, again, err)
		}
		if r.wildcard() && r.verb != verbList {
			t.Fatalf("%s %q: %s in all clusters", method, path, r.verb)
		}
	})
}

func TestQueries(t *testing.T) {
	o := owner{key: "k1", state: "Sync"}
	own := o.stateLabel() + "=Sync"
	for _, tc := range []struct{ what, query, selector string }{
		{"nothing is asked", "", own},
		{"the target's own label is no narrowing", "labelSelector=" + url.QueryEscape(own), own + "," + own},
		{"selectors are added", "labelSelector=app%3Dweb", own + ",app=web"},
		{"nothing takes away the target's own", "labelSelector=" + url.QueryEscape("!"+o.stateLabel()), own + ",!" + o.stateLabel()},
		{"a name", "fieldSelector=metadata.name%3Dx&watch=1", own},
		{"what informers send", "allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeoutSeconds=400&watch=true", own},
	} {
		q, err := parseQuery(verbList, tc.query, o)
		if err != nil || q.pass.Get("labelSelector") != tc.selector {
			t.Errorf("%s: %q gives %v, %v", tc.what, tc.query, q.pass, err)
		}
	}
	for what, query := range map[string]string{
		"another target's label":        "labelSelector=" + url.QueryEscape("state.workload.kcp.io/k2"),
		"a label of kcp":                "labelSelector=internal.apis.kcp.io%2Fx",
		"a selector that is none":       "labelSelector=a%3D%3D%3Db",
		"two selectors":                 "labelSelector=a&labelSelector=b",
		"a field of the spec":           "fieldSelector=spec.nodeName%3Dx",
		"a parameter that nobody knows": "identity=x",
		"a parameter of another verb":   "dryRun=All",
		"a version that is none":        "resourceVersion=abc",
		"a version below all":           "resourceVersion=-1",
		"a watch that is none":          "watch=maybe",
		"a semicolon":                   "watch=true;labelSelector=x",
		"an encoding that is none":      "watch=%zz",
		"a match that is none":          "resourceVersionMatch=Any",
		"an order to be impersonated":   "as=admin",
	} {
		if q, err := parseQuery(verbList, query, o); err == nil {
			t.Errorf("%s: %q is let through as %v", what, query, q.pass)
		}
	}
	if q, err := parseQuery(verbPatch, "fieldManager=kcp&fieldValidation=Strict", o); err != nil || len(q.pass) > 0 {
		t.Errorf("who writes is passed on: %v, %v", q.pass, err)
	}
	if _, err := parseQuery(verbPatch, "force=true", o); err == nil {
		t.Error("a patch may be forced")
	}
}

// Whatever is asked, the target's own selector is among the requirements, of which all must hold.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{"labelSelector=a%3Db", "labelSelector=a,,b&watch=1", "fieldSelector=metadata.name!%3Dx", "limit=5&continue=abc"} {
		f.Add(query)
	}
	o := owner{key: "k1", state: "Sync"}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(verbList, raw, o)
		if err != nil {
			return
		}
		if !strings.HasPrefix(q.pass.Get("labelSelector")+",", o.stateLabel()+"=Sync,") || len(q.pass["labelSelector"]) != 1 {
			t.Fatalf("%q becomes %v", raw, q.pass)
		}
		for name := range q.pass {
			if !parameters[verbList][name] {
				t.Fatalf("%q passes %q on", raw, name)
			}
		}
	})
}

func TestHeaders(t *testing.T) {
	for what, tc := range map[string]struct {
		name, value string
		code        int
	}{
		"json":                 {"Accept", "application/json", 0},
		"anything":             {"Accept", "*/*", 0},
		"a table if possible":  {"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", 0},
		"a table only":         {"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io", 406},
		"protobuf only":        {"Accept", "application/vnd.kubernetes.protobuf", 406},
		"to be somebody else":  {"Impersonate-User", "admin", 403},
		"a group of one's own": {"Impersonate-Group", "system:masters", 403},
		"an extra":             {"Impersonate-Extra-Scopes", "x", 403},
		"a proxied user":       {"X-Remote-User", "admin", 403},
		"another protocol":     {"Upgrade", "websocket", 403},
	} {
		err := checkHeaders(http.Header{http.CanonicalHeaderKey(tc.name): {tc.value}})
		var refused *refusal
		if errors.As(err, &refused) != (tc.code != 0) || refused != nil && int(refused.status.Code) != tc.code {
			t.Errorf("%s: %v", what, err)
		}
	}
}
