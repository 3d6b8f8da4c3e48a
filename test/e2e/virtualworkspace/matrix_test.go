package virtualworkspace

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kcp-dev/workload-syncer/test/e2e/hostile"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// stage is the set of workspaces in which the tests of who sees what play.
type stage struct {
	w *world
	// home has the SyncTargets east and west. foreign has one that is called east too, with an account of the same name.
	home, foreign *workspace
	east, west    *target
	foreignEast   *target
	// tenant and stranger have namespaces and objects of the same names: the tenant's are assigned to east, to west, to both
	// and to nobody; the stranger's to the foreign target.
	tenant, stranger *workspace
}

// What nobody but its owner may ever be shown.
const (
	secretOfWest   = "d2VzdC1vbmx5LXNlY3JldA" // "west-only-secret", as a Secret shows it
	noteOfWest     = "west-only-note"
	secretOfNobody = "nobody-may-see-this"
)

var (
	stageOnce sync.Mutex
	theStage  *stage
)

// onStage sets the stage up when the first test needs it. It stays for all tests, which change only objects of their own.
func onStage(t testing.TB) *stage {
	t.Helper()
	w := shared(t)
	stageOnce.Lock()
	defer stageOnce.Unlock()
	if theStage != nil {
		return theStage
	}
	s := &stage{w: w}
	for name, ws := range map[string]**workspace{"home": &s.home, "foreign": &s.foreign, "tenant": &s.tenant, "stranger": &s.stranger} {
		*ws = w.lasting(t, name)
	}
	s.east, s.west, s.foreignEast = s.home.newTarget("east"), s.home.newTarget("west"), s.foreign.newTarget("east")
	s.tenant.create(namespaces, `{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: `+labels(s.east, s.west)+`}}`)
	s.tenant.create(namespaces, `{apiVersion: v1, kind: Namespace, metadata: {name: hidden, labels: `+labels(s.west)+`}}`)
	s.stranger.create(namespaces, `{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: `+labels(s.foreignEast)+`}}`)
	for name, assigned := range map[string]string{"for-east": labels(s.east), "for-west": labels(s.west), "for-both": labels(s.east, s.west), "for-none": "{}"} {
		value := noteOfWest
		if name == "for-east" || name == "for-both" {
			value = "shown"
		}
		s.tenant.add("web", name, assigned, value)
	}
	s.stranger.add("web", "for-east", labels(s.foreignEast), secretOfNobody)
	theStage = s
	return s
}

// lasting makes a workspace that stays until kcp ends.
func (w *world) lasting(t testing.TB, name string) *workspace {
	t.Helper()
	ws := must(w.kcp.CreateWorkspace(context.Background(), env.Root, "stage-"+name))(t)
	w.bind(t, ws)
	return w.see(t, ws)
}

// add makes a Secret, a ConfigMap and a Deployment of that name.
func (x *workspace) add(namespace, name, labels, value string) {
	x.t.Helper()
	metadata := fmt.Sprintf(`{name: %s, namespace: %s, labels: %s, annotations: {note: %s}}`, name, namespace, labels, value)
	secret := value
	if value == noteOfWest {
		secret = "west-only-secret"
	}
	x.create(secrets, `{apiVersion: v1, kind: Secret, metadata: `+metadata+`, stringData: {value: `+secret+`}}`)
	x.create(configMaps, `{apiVersion: v1, kind: ConfigMap, metadata: `+metadata+`, data: {value: `+value+`}}`)
	x.create(deployments, `{apiVersion: apps/v1, kind: Deployment, metadata: `+metadata+`, spec: {replicas: 3, selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: nginx}]}}}}`)
}

// attempts are every verb at every path in the workspaces of the stage.
func (s *stage) attempts() []hostile.Attempt {
	return hostile.Attempts([]string{"for-east", "for-west", "for-none", "missing"}, "*", string(s.tenant.Cluster), string(s.stranger.Cluster), string(s.home.Cluster), "nonexistent")
}

// reads says what the target itself may read: its own objects, and what types there are.
func (s *stage) reads(a hostile.Attempt) bool {
	path, query, _ := strings.Cut(a.Path, "?")
	cluster, below, _ := strings.Cut(path, "/")
	if a.Method != http.MethodGet || strings.HasSuffix(below, "/") || below == "" {
		return false
	}
	switch below {
	case "api", "apis", "version":
		return query == ""
	}
	if cluster != "*" && cluster != string(s.tenant.Cluster) && cluster != string(s.stranger.Cluster) && cluster != string(s.home.Cluster) {
		return false
	}
	if cluster == "*" && strings.Contains(below, "namespaces/") {
		return false
	}
	switch below {
	case "api/v1/secrets", "api/v1/configmaps", "apis/apps/v1/deployments", "api/v1/namespaces",
		"api/v1/namespaces/web/secrets", "api/v1/namespaces/web/configmaps", "apis/apps/v1/namespaces/web/deployments",
		"api/v1/namespaces/hidden/secrets", "api/v1/namespaces/hidden/configmaps", "apis/apps/v1/namespaces/hidden/deployments",
		"apis/rbac.authorization.k8s.io/v1/namespaces/web/roles":
		return true // lists of what is assigned, which may be nothing
	case "api/v1/namespaces/web/secrets/for-east", "api/v1/namespaces/web/configmaps/for-east", "apis/apps/v1/namespaces/web/deployments/for-east",
		"api/v1/namespaces/web":
		return cluster == string(s.tenant.Cluster) && query == ""
	}
	return false
}

// Every verb at every path: who is not the target's syncer is refused, whatever they ask; the syncer reads what is
// assigned to its target, and a write with anything else in it than the protocol has is refused. Nobody's object changes.
func TestA47Matrix(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	before := s.versions()
	for _, view := range []string{"syncer", "upsyncer"} {
		for _, role := range []struct {
			name, token string
			headers     []string
			own         bool
			codes       []int
		}{
			{name: "the target's syncer", token: s.east.config.BearerToken, own: true},
			{name: "another target of the same workspace", token: s.west.config.BearerToken, codes: []int{403}},
			{name: "an account of the same name in another workspace", token: s.foreignEast.config.BearerToken, codes: []int{403}},
			{name: "an account without rights", token: s.home.account("nobody").BearerToken, codes: []int{403}},
			{name: "anonymous", codes: []int{401}},
			{name: "a forged token", token: forged(s.east.config.BearerToken), codes: []int{401}},
			{name: "a target that names another user", token: s.west.config.BearerToken, headers: []string{"Impersonate-User", "system:serviceaccount:default:syncer-east"}, codes: []int{403}},
		} {
			t.Run(view+"/"+role.name, func(t *testing.T) {
				t.Parallel()
				c, base := s.w.client(t, role.token), s.east.url(view)
				var group errgroup.Group
				group.SetLimit(8)
				for _, a := range s.attempts() {
					group.Go(func() error {
						r := c.do(a.Method, base+a.Path, a.ContentType, a.Body, role.headers...)
						for range 20 { // on a busy machine kcp says now and then that it cannot answer
							if r.code != http.StatusServiceUnavailable && r.code != http.StatusTooManyRequests {
								break
							}
							r = c.do(a.Method, base+a.Path, a.ContentType, a.Body, role.headers...)
						}
						switch {
						case role.own && view == "syncer":
							s.judgeOwn(t, a, r)
						case role.own:
							s.judgeLeaks(t, a, r)
							if a.Method != http.MethodGet && r.code < 400 {
								t.Errorf("%s is answered %d", a, r.code)
							}
						case !slices.Contains(role.codes, r.code) && r.code != http.StatusForbidden: // a path that is none is refused to all who bring a token
							t.Errorf("%s is answered %d %s", a, r.code, r.body)
						}
						return nil
					})
				}
				_ = group.Wait()
			})
		}
	}
	t.Cleanup(func() {
		for object, version := range s.versions() {
			if before[object] != version {
				t.Errorf("%s was changed", object)
			}
		}
	})
}

func forged(token string) string {
	at := strings.LastIndex(token, ".") + 5
	other := "A"
	if token[at] == 'A' {
		other = "B"
	}
	return token[:at] + other + token[at+1:]
}

func (s *stage) judgeOwn(t *testing.T, a hostile.Attempt, r reply) {
	s.judgeLeaks(t, a, r)
	readable := s.reads(a)
	path, _, _ := strings.Cut(a.Path, "?")
	cluster, _, _ := strings.Cut(path, "/")
	switch {
	case readable && cluster == string(s.home.Cluster) && (r.code == http.StatusOK || r.code == http.StatusForbidden): // bound, with nothing for the target
	case readable && r.code != http.StatusOK:
		t.Errorf("%s is answered %d %s", a, r.code, r.body)
	case !readable && (r.code < 400 || r.code >= 500 && r.code != 501):
		t.Errorf("%s is answered %d %s", a, r.code, r.body)
	}
}

// judgeLeaks looks for what belongs to others, wherever it may stand.
func (s *stage) judgeLeaks(t *testing.T, a hostile.Attempt, r reply) {
	for _, secret := range []string{secretOfWest, noteOfWest, secretOfNobody, s.west.key, s.foreignEast.key, "managedFields", `"hidden"`} {
		if strings.Contains(r.body, secret) && (secret != `"hidden"` || !strings.Contains(a.Path, "/hidden")) {
			t.Errorf("%s shows %q:\n%s", a, secret, r.body)
		}
	}
}

// versions are those of all objects on the stage.
func (s *stage) versions() map[string]string {
	versions := map[string]string{}
	for _, ws := range []*workspace{s.tenant, s.stranger} {
		for _, gvr := range []schema.GroupVersionResource{secrets, configMaps, deployments, namespaces} {
			list := must(ws.client.Resource(gvr).List(context.Background(), listAll))(ws.t)
			for _, u := range list.Items {
				if strings.HasPrefix(u.GetName(), "for-") {
					versions[ws.Path.String()+" "+gvr.Resource+" "+u.GetNamespace()+"/"+u.GetName()] = u.GetResourceVersion()
				}
			}
		}
	}
	return versions
}

// shownAs decodes an object that was answered.
func (r reply) shownAs() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: r.object()}
}

// until is a deadline for what takes the server a while by design.
const until = 90 * time.Second
