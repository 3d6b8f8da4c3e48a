package e2e

import (
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/config"
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

func newSide(t *testing.T, to *rest.Config) *side {
	t.Helper()
	return &side{harness.NewSide(t, to)}
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
	*harness.Provider

	env      *env.Env
	kcp      *env.KCP
	provider logicalcluster.Path
	binary   string
}

// shared sets the fleet up when the first test needs it.
func shared(t *testing.T) *fleet {
	t.Helper()
	p := harness.SharedProvider(t)
	return &fleet{Provider: p, env: p.Env, kcp: p.KCP, provider: p.Path, binary: p.Binary(t, "workload-syncer")}
}

const apisGroup = "apis.kcp.io/v1alpha2"

// exports are what a tenant binds.
var exports = []string{config.WorkloadExport, config.KubernetesExport}

// tenant is a team's workspace with a SyncTarget of its own, and the physical cluster seen from there.
type tenant struct {
	t       *testing.T
	fleet   *fleet
	ws      *harness.Workspace
	up      *side
	down    *side
	target  *harness.Target
	key     string
	cluster *env.Cluster
}

// newTenant makes a workspace that is bound to compute, with a SyncTarget called "target" and a namespace called "web".
func newTenant(t *testing.T) *tenant {
	t.Helper()
	f := shared(t)
	ws := f.NewWorkspace(t, "team", exports...)
	target := ws.NewTarget("target", clusterName, "", "")
	ws.Create(`{apiVersion: v1, kind: Namespace, metadata: {name: web}}`)
	return &tenant{
		t: t, fleet: f, ws: ws, up: &side{ws.Side}, down: &side{target.Down}, target: target, key: target.Key, cluster: target.Cluster,
	}
}

// downNamespace is the namespace in the physical cluster that stands for one of the tenant's.
func (tn *tenant) downNamespace(namespace string) string { return tn.namespaceOf(tn, namespace) }

// namespaceOf is the namespace in the physical cluster by which this tenant's target stands for one of another tenant's.
func (tn *tenant) namespaceOf(other *tenant, namespace string) string {
	return tn.target.NamespaceOf(other.ws, namespace)
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
