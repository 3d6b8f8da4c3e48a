package harness

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// Provider is a workspace with APIExports of its own: what is bound to one provider knows nothing of what is bound to
// another, so that a test which needs a manager of its own is not seen by the others.
type Provider struct {
	Env  *env.Env
	KCP  *env.KCP
	Path logicalcluster.Path
	// Manager runs for all tests of the package; nil for a provider of a test's own.
	manager *env.Process
	// views is where the manager serves the targets' virtual workspaces; nil where it serves none.
	views *views
}

// views is where syncers see what is assigned to their targets.
type views struct {
	cert *env.ServerCertificate
	port int
}

// flags are those of the manager that serves the views and tells the SyncTargets where.
func (v *views) flags() []string {
	return []string{
		fmt.Sprintf("--virtual-workspace-url=https://127.0.0.1:%d", v.port), fmt.Sprintf("--virtual-workspace-port=%d", v.port),
		"--virtual-workspace-cert-file=" + v.cert.CertFile, "--virtual-workspace-key-file=" + v.cert.KeyFile,
	}
}

// shared is the provider that all tests of the package use.
var shared struct {
	sync.Mutex
	provider *Provider
}

// SharedProvider gives the provider that all tests of the package share. No manager runs for it unless a test asks for [Shared].
// The package's TestMain has to start a kcp and the clusters, by env.Main.
func SharedProvider(t *testing.T) *Provider {
	t.Helper()
	e := env.For(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.provider == nil {
		shared.provider = newProvider(t, e, "root:compute")
	}
	return shared.provider
}

// Shared gives the provider that all tests of the package share, with a manager that runs until they have ended.
func Shared(t *testing.T) *Provider {
	t.Helper()
	p := SharedProvider(t)
	shared.Lock()
	defer shared.Unlock()
	if p.manager == nil {
		p.views = &views{cert: Must(p.Env.NewServerCertificate("views"))(t), port: Must(p.Env.Port())(t)}
		p.manager = Must(p.Env.Start(context.Background(), p.ManagerCommand(t, p.views.flags()...)))(t)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the shared manager's log:\n%s", p.manager.Tail(120))
		}
	})
	return p
}

// NewProvider makes a provider for one test. No manager runs yet.
func NewProvider(t *testing.T) *Provider {
	t.Helper()
	return newProvider(t, env.For(t), "root:compute-"+rand.String(8))
}

func newProvider(t *testing.T, e *env.Env, path string) *Provider {
	t.Helper()
	p := &Provider{Env: e, KCP: e.KCP(), Path: logicalcluster.NewPath(path)}
	Must(setup.Apply(t.Context(), p.KCP.AdminConfig(), p.Path, t.Output()))(t)
	return p
}

// Manager is the shared one, as this test sees it.
func (p *Provider) Manager(t *testing.T) *Program { return &Program{Process: p.manager, T: t} }

// StartManager starts a manager for this provider, which has none running but those that a test starts, and waits until it
// is ready. It has exactly the rights that config/kcp/rbac.yaml names. Flags of the test come last and win.
func (p *Provider) StartManager(t *testing.T, flags ...string) *Program {
	t.Helper()
	m := Start(t, p.Env, p.ManagerCommand(t, flags...))
	m.AwaitReady()
	return m
}

// StartManagerThrough is StartManager with a link on the way to kcp.
func (p *Provider) StartManagerThrough(t *testing.T, link *env.Link, flags ...string) *Program {
	t.Helper()
	file := Must(p.Env.Kubeconfig(link.Config(p.ManagerAccount(t))))(t)
	return p.StartManager(t, append([]string{"--kcp-kubeconfig=" + file}, flags...)...)
}

// ManagerCommand is how StartManager starts it, for tests that wait for something else.
func (p *Provider) ManagerCommand(t *testing.T, flags ...string) env.Command {
	t.Helper()
	args := []string{
		"--kcp-kubeconfig=" + Must(p.Env.Kubeconfig(p.ManagerAccount(t)))(t), "--provider-workspace=" + p.Path.String(),
		"--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0", "-v=4",
		"--leader-elect-lease-duration=4s", "--leader-elect-renew-deadline=3s", "--leader-elect-retry-period=500ms",
	}
	return env.Command{Name: "manager", Path: p.Binary(t, "workload-manager"), Args: append(args, flags...)}
}

// Binary builds one of the programs, once for all tests.
func (p *Provider) Binary(t *testing.T, program string) string {
	t.Helper()
	return Must(p.Env.Build(context.Background(), "./cmd/"+program))(t)
}

// ManagerAccount is a user with the roles for a manager in the provider's workspace, and no other.
func (p *Provider) ManagerAccount(t *testing.T) *rest.Config {
	t.Helper()
	var rules []rbacv1.PolicyRule
	for _, object := range Must(config.Objects())(t) {
		if name := object.GetName(); object.GetKind() != "ClusterRole" || name != "workload.kcp.io:content" && name != "workload.kcp.io:manager" {
			continue
		}
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			t.Fatal(err)
		}
		rules = append(rules, role.Rules...)
	}
	account := Must(p.KCP.User(t.Context(), p.Path, rules))(t)
	account.Host = p.KCP.AdminConfig().Host
	return account
}

// Workspace is a workspace that is bound to exports of the provider, with all rights.
type Workspace struct {
	*Side
	env.Workspace
	Provider *Provider
}

// NewWorkspace makes a workspace whose name starts with prefix and binds it to the exports, as kubectl workload bind does.
// If the package's manager runs for it, it is removed with the test, after the programs that the test starts.
func (p *Provider) NewWorkspace(t *testing.T, prefix string, exports ...string) *Workspace {
	t.Helper()
	ws := Must(p.KCP.CreateWorkspace(t.Context(), env.Root, prefix+"-"+rand.String(8)))(t)
	t.Cleanup(func() { p.removeWorkspace(t, ws.Path.Base()) })
	if err := bind.Bind(t.Context(), p.KCP.AdminConfig(), ws.Path, p.Path, exports, t.Output()); err != nil {
		t.Fatal(err)
	}
	return &Workspace{Side: NewSide(t, p.KCP.WorkspaceConfig(ws.Path)), Workspace: ws, Provider: p}
}

// NewTenant makes a team's workspace, bound to compute and to placements, with a namespace called web.
func (p *Provider) NewTenant(t *testing.T) *Workspace {
	t.Helper()
	ws := p.NewWorkspace(t, "team", config.KubernetesExport, config.SchedulingExport)
	ws.Create(`{apiVersion: v1, kind: Namespace, metadata: {name: web}}`)
	return ws
}

// NewTargetWorkspace makes a workspace for SyncTargets and Locations of one test. Placements name it as locationWorkspace.
func (p *Provider) NewTargetWorkspace(t *testing.T) *Workspace {
	t.Helper()
	return p.NewWorkspace(t, "targets", config.WorkloadExport, config.SchedulingExport)
}

// removeWorkspace removes one that the package's manager would go on with. It does not wait: kcp takes its time, and nothing
// depends on it. Where no manager runs any more nobody looks at the workspace, and kcp, which ends with the package, is spared
// the work: removing one takes it as long as making one.
func (p *Provider) removeWorkspace(t *testing.T, name string) {
	shared.Lock()
	lookedAt := p.manager != nil
	shared.Unlock()
	if !lookedAt {
		return
	}
	client := Must(dynamic.NewForConfig(p.KCP.WorkspaceConfig(env.Root)))(t)
	workspaces := client.Resource(schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: "workspaces"})
	if err := workspaces.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		t.Errorf("removing workspace %s: %v", name, err)
	}
}

// SyncTargetKind is what methods of Side call a SyncTarget.
const SyncTargetKind = "workload.kcp.io/v1alpha1 SyncTarget"

// Target is a SyncTarget and the physical cluster that it stands for.
type Target struct {
	T         *testing.T
	Workspace *Workspace
	*workloadv1alpha1.SyncTarget
	Key     string
	Cluster *env.Cluster
	// Down is the physical cluster.
	Down *Side
}

// NewTarget creates a SyncTarget in the workspace. Cluster names one of the package's physical clusters; metadata and spec
// are YAML in flow style, e.g. "labels: {region: eu}" and "unschedulable: true", and may be empty. What its syncers leave in
// the cluster is removed with the test.
func (w *Workspace) NewTarget(name, cluster, metadata, spec string) *Target {
	w.T.Helper()
	if metadata != "" {
		metadata = ", " + metadata
	}
	if spec != "" {
		spec = ", " + spec
	}
	u := w.Create(fmt.Sprintf(`{apiVersion: workload.kcp.io/v1alpha1, kind: SyncTarget, metadata: {name: %s%s}, spec: {supportedAPIExports: [{path: %q, export: kubernetes}]%s}}`,
		name, metadata, w.Provider.Path, spec))
	tg := &Target{T: w.T, Workspace: w, SyncTarget: &workloadv1alpha1.SyncTarget{}, Cluster: w.Provider.Env.Cluster(cluster)}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, tg.SyncTarget); err != nil {
		w.T.Fatal(err)
	}
	tg.Key = workloadv1alpha1.SyncTargetKey(string(w.Cluster), name)
	tg.Down = NewSide(w.T, tg.Cluster.AdminConfig())
	w.T.Cleanup(tg.removeCopies)
	return tg
}

// removeCopies removes what the target's syncers left in the physical cluster, so that tests can be run again and again.
func (tg *Target) removeCopies() {
	ctx := context.Background()
	namespaces := tg.Down.Typed.CoreV1().Namespaces()
	list, err := namespaces.List(ctx, metav1.ListOptions{LabelSelector: workloadv1alpha1.DownstreamClusterLabel + "=" + tg.Key})
	if err != nil {
		tg.T.Logf("cleaning up: %v", err) // a test may have killed the cluster
		return
	}
	for _, ns := range list.Items {
		if err := namespaces.Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil {
			tg.T.Logf("cleaning up: %v", err)
		}
	}
}

// NamespaceOf is the namespace in the physical cluster that stands for one of a tenant's.
func (tg *Target) NamespaceOf(tenant *Workspace, namespace string) string {
	return workloadv1alpha1.NamespaceLocator{
		SyncTarget:  workloadv1alpha1.SyncTargetLocator{ClusterName: string(tg.Workspace.Cluster), Name: tg.Name, UID: tg.UID},
		ClusterName: string(tenant.Cluster),
		Namespace:   namespace,
	}.DownstreamNamespace()
}

// Await waits until check is content with the SyncTarget.
func (tg *Target) Await(check func(*unstructured.Unstructured) error) *unstructured.Unstructured {
	tg.T.Helper()
	return tg.Workspace.Eventually(SyncTargetKind, "", tg.Name, check)
}

// StartSyncer starts a syncer for the target, which takes what is assigned to it, and waits until it is ready. Flags of the
// test come last and win.
func (tg *Target) StartSyncer(flags ...string) *Program {
	tg.T.Helper()
	s := Start(tg.T, tg.Workspace.Provider.Env, tg.SyncerCommand(flags...))
	s.AwaitReady()
	return s
}

// SyncerCommand is how StartSyncer starts it, for tests that start it in another way. The syncer may do nothing in kcp but serve
// its SyncTarget, and sees objects through the virtual workspaces that the shared manager serves. A provider of a test's own has
// none: there it is an admin, and reads the APIExport's.
func (tg *Target) SyncerCommand(flags ...string) env.Command {
	tg.T.Helper()
	p := tg.Workspace.Provider
	args := []string{
		"--cluster-kubeconfig=" + Must(p.Env.Kubeconfig(tg.Cluster.AdminConfig()))(tg.T),
		"--sync-target-workspace=" + tg.Workspace.Path.String(), "--sync-target-name=" + tg.Name, "--feed=assigned",
		"--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0",
		"--leader-elect=false", "--heartbeat-period=1s", "--namespace-clean-delay=1s", "--orphan-grace-period=3s", "-v=2",
	}
	if p.views != nil {
		args = append(args, "--kcp-kubeconfig="+Must(p.Env.Kubeconfig(tg.account()))(tg.T))
	} else {
		args = append(args, "--kcp-kubeconfig="+Must(p.Env.Kubeconfig(p.KCP.AdminConfig()))(tg.T), "--feed-urls="+p.VirtualWorkspace(tg.T, config.KubernetesExport))
	}
	return env.Command{Name: "syncer-" + tg.Name, Path: p.Binary(tg.T, "workload-syncer"), Args: append(args, flags...)}
}

// account is a ServiceAccount with the rights that kubectl workload sync gives a syncer, and trust in the manager's server.
func (tg *Target) account() *rest.Config {
	tg.T.Helper()
	p := tg.Workspace.Provider
	account := Must(p.KCP.ServiceAccount(tg.T.Context(), tg.Workspace.Path, env.ServiceAccount{Namespace: "default", Name: "syncer-" + tg.Name, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, ResourceNames: []string{tg.Name}, Verbs: []string{"get", "list", "watch", "sync"}},
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets/status"}, ResourceNames: []string{tg.Name}, Verbs: []string{"patch"}},
		{APIGroups: []string{"apiresource.kcp.io"}, Resources: []string{"apiresourceimports"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"}},
	}}))(tg.T)
	account.CAData = slices.Concat(account.CAData, p.views.cert.CA)
	return account
}

// VirtualWorkspace is the URL at which an export shows the objects of all workspaces that are bound to it. There has to be one.
func (p *Provider) VirtualWorkspace(t *testing.T, export string) string {
	t.Helper()
	var url string
	NewSide(t, p.KCP.WorkspaceConfig(p.Path)).Eventually("apis.kcp.io/v1alpha1 APIExportEndpointSlice", "", export, func(u *unstructured.Unstructured) error {
		endpoints, _, _ := unstructured.NestedSlice(u.Object, "status", "endpoints")
		if len(endpoints) == 0 {
			return fmt.Errorf("APIExport %s has no virtual workspace yet: nobody has bound it", export)
		}
		url, _ = endpoints[0].(map[string]any)["url"].(string)
		return nil
	})
	return url
}
