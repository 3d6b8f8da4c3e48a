package e2e

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/kcp-dev/logicalcluster/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// soon is how long anything may take on a busy machine before a test gives up on it.
const soon = harness.Soon

// TestMain starts the servers that all tests share, when the first test asks for them.
func TestMain(m *testing.M) {
	os.Exit(env.Main(m, env.WithKCP(), env.WithCluster(clusterName)))
}

const clusterName = "east"

// side is one API server, or one workspace of kcp, as a test sees it.
type side struct{ *harness.Side }

func newSide(t *testing.T, config *rest.Config) *side {
	t.Helper()
	return &side{harness.NewSide(t, config)}
}

// What tests say often has a short name here.
var (
	parse       = harness.Parse
	remains     = harness.Remains
	field       = harness.Field
	has         = harness.Has
	all         = harness.All
	eventually  = harness.Eventually
	repeat      = harness.Repeat
	deployment  = harness.Deployment
	podTemplate = harness.PodTemplate
	ask         = harness.Ask
	sum         = harness.Sum
)

// must is for set-up: an error ends the test.
func must[T any](value T, err error) func(*testing.T) T { return harness.Must(value, err) }

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
	tn.up.Create(`{apiVersion: v1, kind: Namespace, metadata: {name: web}}`)
	return tn
}

func (tn *tenant) createTarget(name string) *workloadv1alpha1.SyncTarget {
	tn.t.Helper()
	u := tn.up.Create(fmt.Sprintf(`{apiVersion: workload.kcp.io/v1alpha1, kind: SyncTarget, metadata: {name: %s}, spec: {supportedAPIExports: [{path: %q, export: kubernetes}]}}`, name, tn.fleet.provider))
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
	namespaces := tn.down.Typed.CoreV1().Namespaces()
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
	return tn.down.Eventually(kind, tn.downNamespace("web"), name, check)
}

// syncer is a running workload-syncer, the real binary.
type syncer struct{ *harness.Program }

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
	s := &syncer{harness.Start(tn.t, tn.fleet.env, tn.syncerCommand(o))}
	if !o.mayFail {
		s.AwaitReady()
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
