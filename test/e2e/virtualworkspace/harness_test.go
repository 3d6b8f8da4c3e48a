// Package virtualworkspace tests the virtual workspace server on a real kcp: what a target sees and writes is its own, and
// nothing else, whatever it tries.
package virtualworkspace

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// soon is how long anything may take on a busy machine before a test gives up on it.
const soon = 4 * time.Minute

func TestMain(m *testing.M) {
	os.Exit(env.Main(m, env.WithKCP(), env.WithCluster(clusterName)))
}

const clusterName = "east"

var (
	deployments         = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	configMaps          = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets             = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	namespaces          = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	events              = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	clusterRoles        = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
	clusterRoleBindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
	targets             = workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")
)

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// world is what the tests of this package share: a kcp with a provider, and a virtual workspace server.
type world struct {
	env      *env.Env
	kcp      *env.KCP
	provider logicalcluster.Path
	exports  []string // URLs of the export kubernetes
	cert     *env.ServerCertificate
	address  string // https://127.0.0.1:port of the server
	metrics  string
	server   *env.Process
}

var (
	worldLock sync.Mutex
	theWorld  *world
)

func shared(t testing.TB) *world {
	t.Helper()
	e := env.For(t)
	worldLock.Lock()
	defer worldLock.Unlock()
	if theWorld != nil {
		return theWorld
	}
	w := &world{env: e, kcp: e.KCP(), provider: logicalcluster.NewPath("root:compute")}
	must(setup.Apply(context.Background(), w.kcp.AdminConfig(), w.provider, io.Discard))(t)
	w.cert = must(e.NewServerCertificate("virtual-workspace"))(t)
	w.bind(t, must(w.kcp.CreateWorkspace(context.Background(), env.Root, "first"))(t)) // shards are known by what is bound in them
	w.exports = w.exportURLs(t)
	w.startServer(t)
	theWorld = w
	return w
}

func (w *world) bind(t testing.TB, ws env.Workspace) {
	t.Helper()
	exports := []string{workloadv1alpha1.WorkloadExport, workloadv1alpha1.KubernetesExport}
	if err := bind.Bind(context.Background(), w.kcp.AdminConfig(), ws.Path, w.provider, exports, io.Discard); err != nil {
		t.Fatal(err)
	}
}

// exportURLs are where kcp serves the objects of all tenants.
func (w *world) exportURLs(t testing.TB) (urls []string) {
	t.Helper()
	client := must(dynamic.NewForConfig(w.kcp.WorkspaceConfig(w.provider)))(t)
	slices := client.Resource(schema.GroupVersionResource{Group: "apis.kcp.io", Version: "v1alpha1", Resource: "apiexportendpointslices"})
	env.Eventually(t, soon, func() error {
		slice, err := slices.Get(context.Background(), workloadv1alpha1.KubernetesExport, metav1.GetOptions{})
		if err != nil {
			return err
		}
		endpoints, _, _ := unstructured.NestedSlice(slice.Object, "status", "endpoints")
		urls = nil
		for _, endpoint := range endpoints {
			urls = append(urls, endpoint.(map[string]any)["url"].(string))
		}
		if len(urls) == 0 {
			return fmt.Errorf("the APIExport has no virtual workspace yet")
		}
		return nil
	})
	return urls
}

// maxWatches is what the tests' server lets one target have open.
const maxWatches = 25

// upsynced are what the tests' server lets SyncTargets allow: what clusters make, and a type of the tests' own.
var upsynced = []string{"pods", "endpoints", "endpointslices.discovery.k8s.io", "persistentvolumes", gadgetsName}

var serving = regexp.MustCompile(`"Serving" server="([-\w]+)" address="([^"]+)"`)

// manager is a user with the roles in the provider that the manager is documented to need, and nothing else.
func (w *world) manager(t testing.TB) *rest.Config {
	t.Helper()
	config := must(w.kcp.User(context.Background(), w.provider, nil))(t)
	provider := must(dynamic.NewForConfig(w.kcp.WorkspaceConfig(w.provider)))(t)
	for _, role := range []string{"content", "manager"} {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(fmt.Appendf(nil, `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: manager-%s},
		  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "workload.kcp.io:%s"}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %s}]}`, role, role, env.KCPUser), &u.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := provider.Resource(clusterRoleBindings).Create(context.Background(), u, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	config.Host = w.kcp.AdminConfig().Host
	return config
}

// startServer starts the real binary, with nothing but the virtual workspace server.
func (w *world) startServer(t testing.TB, flags ...string) {
	t.Helper()
	binary := must(w.env.Build(context.Background(), "./cmd/workload-manager"))(t)
	clientCA := must(w.cert.CAFile())(t)
	w.server = must(w.env.Start(context.Background(), env.Command{
		Name: "virtual-workspace", Path: binary,
		Args: append([]string{
			"virtual-workspace", "--kcp-kubeconfig=" + must(w.env.Kubeconfig(w.manager(t)))(t), "--provider-workspace=" + w.provider.String(),
			"--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0", "--virtual-workspace-port=0",
			"--virtual-workspace-cert-file=" + w.cert.CertFile, "--virtual-workspace-key-file=" + w.cert.KeyFile,
			"--virtual-workspace-client-ca-file=" + clientCA, "-v=4",
			"--virtual-workspace-max-watches=" + strconv.Itoa(maxWatches), "--upsync-resources=" + strings.Join(upsynced, ","),
		}, flags...),
	}))(t)
	env.Eventually(t, soon, func() error {
		for _, match := range serving.FindAllStringSubmatch(w.server.Output(), -1) {
			switch match[1] {
			case "virtual-workspace":
				w.address = "https://" + match[2]
			case "metrics":
				w.metrics = "http://" + match[2] + "/metrics"
			}
		}
		if w.address == "" || w.metrics == "" || !strings.Contains(w.server.Output(), "Found the virtual workspaces") {
			return fmt.Errorf("the server does not serve yet:\n%s", w.server.Tail(20))
		}
		return nil
	})
}

// workspace is one of kcp, seen with all rights.
type workspace struct {
	env.Workspace
	t      testing.TB
	w      *world
	client dynamic.Interface
}

func (w *world) newWorkspace(t testing.TB, prefix string) *workspace {
	t.Helper()
	ws := must(w.kcp.CreateWorkspace(context.Background(), env.Root, prefix+"-"+rand.String(8)))(t)
	w.bind(t, ws)
	x := w.see(t, ws)
	t.Cleanup(x.remove)
	return x
}

func (w *world) see(t testing.TB, ws env.Workspace) *workspace {
	t.Helper()
	return &workspace{Workspace: ws, t: t, w: w, client: must(dynamic.NewForConfig(w.kcp.WorkspaceConfig(ws.Path)))(t)}
}

var listAll = metav1.ListOptions{}

// remove does not wait: kcp takes its time, and nothing depends on it.
func (x *workspace) remove() {
	root := must(dynamic.NewForConfig(x.w.kcp.WorkspaceConfig(env.Root)))(x.t)
	err := root.Resource(schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: "workspaces"}).
		Delete(context.Background(), x.Path.Base(), metav1.DeleteOptions{})
	if err != nil {
		x.t.Errorf("removing workspace %s: %v", x.Path, err)
	}
}

func (x *workspace) of(gvr schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return x.client.Resource(gvr)
	}
	return x.client.Resource(gvr).Namespace(namespace)
}

// create makes an object of YAML.
func (x *workspace) create(gvr schema.GroupVersionResource, text string) *unstructured.Unstructured {
	x.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		x.t.Fatalf("%v in %s", err, text)
	}
	var created *unstructured.Unstructured
	env.Eventually(x.t, soon, func() (err error) { // a type that was just bound may be on its way
		created, err = x.of(gvr, u.GetNamespace()).Create(context.Background(), u, metav1.CreateOptions{FieldManager: "e2e"})
		return err
	})
	return created
}

func (x *workspace) get(gvr schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	x.t.Helper()
	return must(x.of(gvr, namespace).Get(context.Background(), name, metav1.GetOptions{}))(x.t)
}

// merge sends a JSON merge patch, written as YAML.
func (x *workspace) merge(gvr schema.GroupVersionResource, namespace, name, patch string, subresources ...string) *unstructured.Unstructured {
	x.t.Helper()
	body := must(yaml.YAMLToJSON([]byte(patch)))(x.t)
	return must(x.of(gvr, namespace).Patch(context.Background(), name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "e2e"}, subresources...))(x.t)
}

// target is a SyncTarget, with the ServiceAccount that may sync it.
type target struct {
	ws  *workspace
	st  *workloadv1alpha1.SyncTarget
	key string
	// config has the account's token, at the workspace.
	config *rest.Config
}

func (x *workspace) newTarget(name string) *target {
	x.t.Helper()
	u := x.create(targets, fmt.Sprintf(`{apiVersion: workload.kcp.io/v1alpha1, kind: SyncTarget, metadata: {name: %s}}`, name))
	st := &workloadv1alpha1.SyncTarget{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, st); err != nil {
		x.t.Fatal(err)
	}
	t := &target{ws: x, st: st, key: workloadv1alpha1.SyncTargetKey(string(x.Cluster), name)}
	t.config = x.account("syncer-"+name, syncRule(name))
	return t
}

func (x *workspace) account(name string, rules ...rbacv1.PolicyRule) *rest.Config {
	x.t.Helper()
	return must(x.w.kcp.ServiceAccount(context.Background(), x.Path, env.ServiceAccount{Namespace: "default", Name: name, Rules: rules}))(x.t)
}

func syncRule(name string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, ResourceNames: []string{name}, Verbs: []string{"sync"}}
}

// url is that of a view of the target, up to /clusters/.
func (t *target) url(view string) string {
	vw := workloadv1alpha1.VirtualWorkspacesOf(t.ws.w.address, t.ws.w.exports, string(t.ws.Cluster), t.st.Name, t.st.UID)[0]
	if view == workloadv1alpha1.UpsyncerView {
		return vw.UpsyncerURL + "/clusters/"
	}
	return vw.SyncerURL + "/clusters/"
}

// labels are those of an object that is assigned to these targets.
func labels(assigned ...*target) string {
	var all []string
	for _, t := range assigned {
		all = append(all, workloadv1alpha1.StateLabel(t.key)+": Sync")
	}
	return "{" + strings.Join(all, ", ") + "}"
}

// reply is what the server answered.
type reply struct {
	code int
	body string
}

func (r reply) object() map[string]any {
	var object map[string]any
	_ = json.Unmarshal([]byte(r.body), &object) // an answer that is none is nil
	return object
}

// client sends raw requests with a token; empty for none.
type client struct {
	t     testing.TB
	token string
	http  *http.Client
}

func (w *world) client(t testing.TB, token string) *client {
	t.Helper()
	config := &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: w.cert.CA}}
	tlsConfig := must(rest.TLSConfigFor(config))(t)
	return &client{t: t, token: token, http: &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true}}}
}

// oldClient speaks HTTP/1.1.
func (w *world) oldClient(t testing.TB, token string) *client {
	t.Helper()
	c := w.client(t, token)
	c.http.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	return c
}

func (t *target) client(tb testing.TB) *client { return t.ws.w.client(tb, t.config.BearerToken) }

// do sends a request whose URL is taken as it stands.
func (c *client) do(method, address, contentType, body string, headers ...string) reply {
	c.t.Helper()
	response := c.open(context.Background(), method, address, contentType, body, headers...)
	defer response.Body.Close()
	raw := must(io.ReadAll(response.Body))(c.t)
	return reply{response.StatusCode, string(raw)}
}

func (c *client) open(ctx context.Context, method, address, contentType, body string, headers ...string) *http.Response {
	c.t.Helper()
	request := must(http.NewRequestWithContext(ctx, method, address, bytes.NewReader([]byte(body))))(c.t)
	if path, _, _ := strings.Cut(strings.TrimPrefix(address, "https://"), "?"); strings.Contains(path, "/") {
		request.URL.Opaque = "//" + path // so that nothing is cleaned on the way
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return must(c.http.Do(request))(c.t)
}

func (c *client) get(address string) reply {
	c.t.Helper()
	return c.do(http.MethodGet, address, "", "")
}

const mergePatch = string(types.MergePatchType)

func (c *client) patch(address, yamlBody string) reply {
	c.t.Helper()
	return c.do(http.MethodPatch, address, mergePatch, string(must(yaml.YAMLToJSON([]byte(yamlBody)))(c.t)))
}

// names are those of a list.
func (r reply) names() (names []string) {
	items, _ := r.object()["items"].([]any)
	for _, item := range items {
		u := unstructured.Unstructured{Object: item.(map[string]any)}
		names = append(names, logicalcluster.From(&u).String()+"/"+u.GetName())
	}
	return names
}

// trusting has the config trust the virtual workspace server beside kcp.
func (w *world) trusting(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.CAData = append(append([]byte{}, w.kcp.AdminConfig().CAData...), w.cert.CA...)
	return config
}

// metric reads a metric of the server; 0 if there is none.
func (w *world) metric(t testing.TB, name string) (value float64) {
	t.Helper()
	request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, w.metrics, http.NoBody))(t)
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw := must(io.ReadAll(response.Body))(t)
	for line := range strings.SplitSeq(string(raw), "\n") {
		if text, found := strings.CutPrefix(line, name+" "); found {
			if _, err := fmt.Sscan(text, &value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return value
}
