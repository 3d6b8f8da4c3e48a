package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kcp-dev/logicalcluster/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// soon is how long anything may take on a busy machine before a test gives up on it.
const soon = 60 * time.Second

// TestMain starts the servers that all tests share, when the first test asks for them.
func TestMain(m *testing.M) {
	os.Exit(env.Main(m, env.WithKCP(), env.WithCluster(clusterName)))
}

const clusterName = "east"

// side is one API server, or one workspace of kcp, as a test sees it: with all rights, past the syncer's own links.
type side struct {
	t       *testing.T
	config  *rest.Config
	typed   kubernetes.Interface
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func newSide(t *testing.T, config *rest.Config) *side {
	t.Helper()
	s := &side{t: t, config: config}
	s.typed = must(kubernetes.NewForConfig(config))(t)
	s.dynamic = must(dynamic.NewForConfig(config))(t)
	disco := must(discovery.NewDiscoveryClientForConfig(config))(t)
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))
	return s
}

// must is for set-up: an error ends the test.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// parse reads one object from YAML.
func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return u
}

// of gives the client for objects of that kind, e.g. "apps/v1 Deployment".
func (s *side) of(kind, namespace string) dynamic.ResourceInterface {
	s.t.Helper()
	apiVersion, name, found := strings.Cut(kind, " ")
	if !found {
		apiVersion, name = "v1", kind
	}
	gvk := schema.FromAPIVersionAndKind(apiVersion, name)
	var mapping *meta.RESTMapping
	env.Eventually(s.t, soon, func() (err error) { // a type may be on its way
		if mapping, err = s.mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err != nil {
			s.mapper.Reset()
		}
		return err
	})
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return s.dynamic.Resource(mapping.Resource)
	}
	return s.dynamic.Resource(mapping.Resource).Namespace(namespace)
}

func (s *side) client(u *unstructured.Unstructured) dynamic.ResourceInterface {
	return s.of(u.GetAPIVersion()+" "+u.GetKind(), u.GetNamespace())
}

// create makes the objects of a YAML stream, and gives the last one as the server returned it.
func (s *side) create(documents ...string) *unstructured.Unstructured {
	s.t.Helper()
	var created *unstructured.Unstructured
	for _, document := range documents {
		u := parse(s.t, document)
		created = must(s.client(u).Create(s.t.Context(), u, metav1.CreateOptions{FieldManager: "e2e"}))(s.t)
	}
	return created
}

// get reads an object live.
func (s *side) get(kind, namespace, name string) (*unstructured.Unstructured, error) {
	return s.of(kind, namespace).Get(s.t.Context(), name, metav1.GetOptions{})
}

// mustGet reads an object that has to exist.
func (s *side) mustGet(kind, namespace, name string) *unstructured.Unstructured {
	s.t.Helper()
	return must(s.get(kind, namespace, name))(s.t)
}

// merge sends a JSON merge patch, written as YAML.
func (s *side) merge(kind, namespace, name, patch string, subresources ...string) *unstructured.Unstructured {
	s.t.Helper()
	body := must(yaml.YAMLToJSON([]byte(patch)))(s.t)
	return must(s.of(kind, namespace).Patch(s.t.Context(), name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "e2e"}, subresources...))(s.t)
}

func (s *side) delete(kind, namespace, name string) {
	s.t.Helper()
	if err := s.of(kind, namespace).Delete(s.t.Context(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		s.t.Fatal(err)
	}
}

// eventually waits until the object exists and check is content with it, and gives it.
func (s *side) eventually(kind, namespace, name string, check func(*unstructured.Unstructured) error) *unstructured.Unstructured {
	s.t.Helper()
	var seen *unstructured.Unstructured
	env.Eventually(s.t, soon, func() (err error) {
		if seen, err = s.get(kind, namespace, name); err != nil || check == nil {
			return err
		}
		return check(seen)
	})
	return seen
}

// eventuallyGone waits until the object does not exist.
func (s *side) eventuallyGone(kind, namespace, name string) {
	s.t.Helper()
	env.Eventually(s.t, soon, func() error {
		u, err := s.get(kind, namespace, name)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		default:
			return fmt.Errorf("%s %s/%s exists, deletionTimestamp %v, finalizers %v", kind, namespace, name, u.GetDeletionTimestamp(), u.GetFinalizers())
		}
	})
}

// remains checks for a while that something goes on holding. It is how a test shows that nothing happens; the time is
// that of the check, not of a machine.
func remains(t *testing.T, during time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(during); time.Now().Before(deadline); {
		if err := check(); err != nil {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// field reads a field for a message or comparison; nil if it is not there.
func field(u *unstructured.Unstructured, path ...string) any {
	value, _, _ := unstructured.NestedFieldNoCopy(u.Object, path...)
	return value
}

// has checks that a field has a value.
func has(want any, path ...string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		if got := field(u, path...); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s %s: %s is %v, want %v", u.GetKind(), u.GetName(), strings.Join(path, "."), got, want)
		}
		return nil
	}
}

// all checks several things.
func all(checks ...func(*unstructured.Unstructured) error) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		for _, check := range checks {
			if err := check(u); err != nil {
				return err
			}
		}
		return nil
	}
}

// fleet is what the tests of this package share: one kcp with a provider workspace, one physical cluster, one binary.
type fleet struct {
	env      *env.Env
	kcp      *env.KCP
	provider logicalcluster.Path
	binary   string
}

var (
	fleetOnce sync.Mutex
	theFleet  *fleet
)

// shared sets the fleet up when the first test needs it.
func shared(t *testing.T) *fleet {
	t.Helper()
	e := env.For(t)
	fleetOnce.Lock()
	defer fleetOnce.Unlock()
	if theFleet != nil {
		return theFleet
	}
	f := &fleet{env: e, kcp: e.KCP(), provider: logicalcluster.NewPath("root:compute")}
	f.binary = must(e.Build(context.Background(), "./cmd/workload-syncer"))(t)
	f.initProvider(t)
	theFleet = f
	return f
}

// tenant is a team's workspace with a SyncTarget of its own, and the physical cluster seen from there.
type tenant struct {
	t       *testing.T
	fleet   *fleet
	ws      env.Workspace
	up      *side
	down    *side
	target  *workloadv1alpha1.SyncTarget
	key     string
	cluster *env.Cluster
}

// newTenant makes a workspace that is bound to compute, with a SyncTarget called "target" and a namespace called "web".
// It is removed with the test, after its syncers have stopped.
func newTenant(t *testing.T) *tenant {
	t.Helper()
	f := shared(t)
	tn := &tenant{t: t, fleet: f, cluster: f.env.Cluster(clusterName)}
	tn.ws = must(f.kcp.CreateWorkspace(t.Context(), env.Root, "team-"+rand.String(8)))(t)
	t.Cleanup(tn.removeWorkspace)
	f.bind(t, tn.ws.Path)
	tn.up = newSide(t, f.kcp.WorkspaceConfig(tn.ws.Path))
	tn.down = newSide(t, tn.cluster.AdminConfig())
	tn.target = tn.createTarget("target")
	tn.key = workloadv1alpha1.SyncTargetKey(string(tn.ws.Cluster), tn.target.Name)
	t.Cleanup(tn.removeCopies)
	tn.up.create(`{apiVersion: v1, kind: Namespace, metadata: {name: web}}`)
	return tn
}

func (tn *tenant) createTarget(name string) *workloadv1alpha1.SyncTarget {
	tn.t.Helper()
	u := tn.up.create(fmt.Sprintf(`{apiVersion: workload.kcp.io/v1alpha1, kind: SyncTarget, metadata: {name: %s}, spec: {supportedAPIExports: [{path: %q, export: kubernetes}]}}`, name, tn.fleet.provider))
	st := &workloadv1alpha1.SyncTarget{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, st); err != nil {
		tn.t.Fatal(err)
	}
	return st
}

// removeWorkspace does not wait: kcp takes its time, and nothing depends on it.
func (tn *tenant) removeWorkspace() {
	client := must(dynamic.NewForConfig(tn.fleet.kcp.WorkspaceConfig(env.Root)))(tn.t)
	workspaces := client.Resource(schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: "workspaces"})
	if err := workspaces.Delete(context.Background(), tn.ws.Path.Base(), metav1.DeleteOptions{}); err != nil {
		tn.t.Errorf("removing workspace %s: %v", tn.ws.Path, err)
	}
}

// removeCopies removes what the tenant's syncers left in the physical cluster, so that tests can be run again and again.
func (tn *tenant) removeCopies() {
	ctx, selector := context.Background(), workloadv1alpha1.DownstreamClusterLabel+"="+tn.key
	namespaces := tn.down.typed.CoreV1().Namespaces()
	list, err := namespaces.List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		tn.t.Errorf("cleaning up: %v", err)
		return
	}
	for _, ns := range list.Items {
		if err := namespaces.Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			tn.t.Errorf("cleaning up: %v", err)
		}
	}
}

// downNamespace is the namespace in the physical cluster that stands for one of the tenant's.
func (tn *tenant) downNamespace(namespace string) string { return tn.namespaceOf(tn, namespace) }

// namespaceOf is the namespace in the physical cluster by which this tenant's target stands for one of another tenant's.
func (tn *tenant) namespaceOf(other *tenant, namespace string) string {
	return workloadv1alpha1.NamespaceLocator{
		SyncTarget:  workloadv1alpha1.SyncTargetLocator{ClusterName: string(tn.ws.Cluster), Name: tn.target.Name, UID: tn.target.UID},
		ClusterName: string(other.ws.Cluster),
		Namespace:   namespace,
	}.DownstreamNamespace()
}

// copy waits for the copy of an object in the tenant's namespace web.
func (tn *tenant) copyOf(kind, name string, check func(*unstructured.Unstructured) error) *unstructured.Unstructured {
	tn.t.Helper()
	return tn.down.eventually(kind, tn.downNamespace("web"), name, check)
}

// syncer is a running workload-syncer, the real binary.
type syncer struct {
	*env.Process
	t *testing.T
}

// syncerOptions say how a syncer is started; the zero value has all rights and straight links.
type syncerOptions struct {
	kcp, cluster *rest.Config
	flags        []string
	env          []string
	// target is the name of the SyncTarget; "target" if empty.
	target string
	// mayFail: the test is about a syncer that does not get to work.
	mayFail bool
}

// startSyncer starts a syncer for the tenant's SyncTarget and waits until it is ready.
func (tn *tenant) startSyncer(flags ...string) *syncer {
	tn.t.Helper()
	return tn.startSyncerWith(syncerOptions{flags: flags})
}

func (tn *tenant) startSyncerWith(o syncerOptions) *syncer {
	tn.t.Helper()
	s := &syncer{t: tn.t}
	command := tn.syncerCommand(o)
	s.Process = must(tn.fleet.env.Start(tn.t.Context(), command))(tn.t)
	tn.t.Cleanup(s.stop)
	if !o.mayFail {
		s.awaitReady()
	}
	return s
}

// syncerCommand is the command line that a test's syncer is started with. Flags of the test come last and win.
func (tn *tenant) syncerCommand(o syncerOptions) env.Command {
	tn.t.Helper()
	if o.kcp == nil {
		o.kcp = tn.fleet.kcp.AdminConfig()
	}
	if o.cluster == nil {
		o.cluster = tn.cluster.AdminConfig()
	}
	if o.target == "" {
		o.target = tn.target.Name
	}
	e := tn.fleet.env
	args := []string{
		"--kcp-kubeconfig=" + must(e.Kubeconfig(o.kcp))(tn.t),
		"--cluster-kubeconfig=" + must(e.Kubeconfig(o.cluster))(tn.t),
		"--sync-target-workspace=" + tn.ws.Path.String(),
		"--sync-target-name=" + o.target,
		"--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0",
		"--leader-elect=false", "--heartbeat-period=5s", "--namespace-clean-delay=1s", "--orphan-grace-period=3s", "-v=4",
	}
	return env.Command{Name: "syncer-" + tn.ws.Path.Base(), Path: tn.fleet.binary, Args: append(args, o.flags...), Env: o.env}
}

// stop ends the syncer in an orderly manner, and shows its log if the test failed.
func (s *syncer) stop() {
	s.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := s.Wait(ctx); err != nil {
		s.Kill()
	}
	if s.t.Failed() {
		s.t.Logf("the end of the syncer's log:\n%s", s.Tail(80))
	}
}

// terminate asks the syncer to end, and gives its exit code.
func (s *syncer) terminate() int {
	s.t.Helper()
	s.Signal(syscall.SIGTERM)
	return s.exitCode()
}

// exitCode waits until the syncer has ended.
func (s *syncer) exitCode() int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), soon)
	defer cancel()
	return must(s.Wait(ctx))(s.t)
}

var serving = regexp.MustCompile(`"Serving" server="(\w+)" address="([^"]+)"`)

// url is that of a path on the syncer's "health" or "metrics" server.
func (s *syncer) url(server, path string) string {
	s.t.Helper()
	var found string
	env.Eventually(s.t, soon, func() error {
		select {
		case <-s.Done():
			s.t.Fatalf("the syncer ended:\n%s", s.Tail(40))
		default:
		}
		for _, match := range serving.FindAllStringSubmatch(s.Output(), -1) {
			if match[1] == server {
				found = "http://" + match[2] + path // the last start counts
			}
		}
		if found == "" {
			return fmt.Errorf("no address of %s in the log", server)
		}
		return nil
	})
	return found
}

// ask sends a GET to one of the syncer's servers.
func (s *syncer) ask(server, path string) (code int, body string) {
	s.t.Helper()
	code, body, err := ask(s.t.Context(), s.url(server, path))
	if err != nil {
		s.t.Fatal(err)
	}
	return code, body
}

func (s *syncer) awaitReady() {
	s.t.Helper()
	env.Eventually(s.t, soon, func() error {
		code, body := s.ask("health", "/readyz?verbose")
		if code != http.StatusOK {
			return fmt.Errorf("readyz: %d\n%s", code, body)
		}
		return nil
	})
}
