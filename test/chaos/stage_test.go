package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/onboard"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
	"github.com/kcp-dev/workload-syncer/test/env"
	"github.com/kcp-dev/workload-syncer/test/installed"
)

// patience is how long a step of setting up may take.
const patience = 2 * time.Minute

var provider = logicalcluster.NewPath("root:compute")

var (
	placements  = schema.GroupVersionResource{Group: "scheduling.kcp.io", Version: "v1alpha1", Resource: "placements"}
	locations   = schema.GroupVersionResource{Group: "scheduling.kcp.io", Version: "v1alpha1", Resource: "locations"}
	syncTargets = workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

// syncerNamespace is where a syncer is installed in its cluster.
func syncerNamespace(target string) string { return "syncer-" + target }

func TestMain(m *testing.M) {
	audited := func(target string) env.Server {
		return env.WithCluster(target, env.WithAudit(AuditPolicy(syncerNamespace(target))))
	}
	os.Exit(env.Main(m, env.WithKCP(), audited(string(East)), audited(string(West))))
}

// stage is all that the script is played on.
type stage struct {
	env *env.Env
	kcp *env.KCP
	// export shows the things of all workspaces, compute the provider's workspace.
	export, compute dynamic.Interface
	workspaces      []*workspace
	targets         map[string]*target
	manager         *program
	links           map[string]*env.Link
	proxies         map[string]*env.FaultProxy
	programs        map[string]*program
	webhook         *rejecting
	supervisor      *supervisor
}

// workspace is a team's.
type workspace struct {
	env.Workspace
	client dynamic.Interface
}

// target is a physical cluster with its SyncTarget, as its syncer knows it.
type target struct {
	name, key string
	locator   workloadv1alpha1.SyncTargetLocator
	cluster   *env.Cluster
	down      dynamic.Interface
	typed     kubernetes.Interface
	manifest  *installed.Manifest
	syncer    *program
	// toKCP and toCluster are the syncer's kubeconfigs.
	toKCP, toCluster credentials
	workspaceOf      map[string]int
}

// program is a process under test. Its metrics are always at the same address.
type program struct {
	*env.Process
	name    string
	metrics string
	// clock is the file that says how wrong its clock is.
	clock string
}

// credentials are those of a ServiceAccount, in a kubeconfig file.
type credentials struct {
	file      string
	admin     *rest.Config // of the server that knows the account
	config    *rest.Config
	namespace string
	account   string
}

// newStage starts everything. Only the manager and the syncers are behind links.
func newStage(ctx context.Context, e *env.Env, size Size, skewable bool) (*stage, error) {
	tell := progress()
	s := &stage{
		env: e, kcp: e.KCP(), targets: map[string]*target{},
		links: map[string]*env.Link{}, proxies: map[string]*env.FaultProxy{}, programs: map[string]*program{},
	}
	s.supervisor = newSupervisor(s)
	var err error
	if s.compute, err = dynamic.NewForConfig(s.kcp.WorkspaceConfig(provider)); err != nil {
		return nil, err
	}
	if _, err := setup.Apply(ctx, s.kcp.AdminConfig(), provider, io.Discard); err != nil {
		return nil, err
	}
	if err := bind.Bind(ctx, s.kcp.AdminConfig(), provider, provider, []string{config.WorkloadExport, config.SchedulingExport}, io.Discard); err != nil {
		return nil, err
	}
	if err := s.lay(); err != nil {
		return nil, err
	}
	if s.webhook, err = newRejecting(e); err != nil {
		return nil, err
	}
	flags, err := clockFlags(skewable)
	if err != nil {
		return nil, err
	}
	tell("the provider's workspace")
	authority, err := s.startManager(ctx, flags)
	if err != nil {
		return nil, err
	}
	tell("the manager")
	for _, name := range Targets {
		if err := s.onboard(ctx, name, authority, flags); err != nil {
			return nil, fmt.Errorf("target %s: %w", name, err)
		}
	}
	tell("the targets and their syncers")
	if err := s.settle(ctx, size); err != nil {
		return nil, err
	}
	tell("the teams' workspaces")
	if err := s.see(ctx); err != nil {
		return nil, err
	}
	go s.supervisor.run(context.Background()) // for as long as there are servers: until the process ends
	return s, nil
}

// progress tells what was set up, and how long it took.
func progress() func(what string) {
	began := time.Now()
	return func(what string) {
		fmt.Fprintf(os.Stderr, "chaos: set up %s in %s\n", what, time.Since(began).Round(100*time.Millisecond))
		began = time.Now()
	}
}

// lay makes the links, each with a proxy that can answer in the server's place.
func (s *stage) lay() error {
	for _, name := range links {
		newLink := s.kcp.NewLink
		if from, way, _ := strings.Cut(name, " to "); way == "its cluster" {
			newLink = s.env.Cluster(from).NewLink
		}
		var err error
		if s.links[name], err = newLink(); err != nil {
			return err
		}
		if s.proxies[name], err = s.env.NewFaultProxy(); err != nil {
			return err
		}
	}
	return nil
}

// behind is a config whose connections take the link, and that trusts the link's proxy and others.
func (s *stage) behind(link string, straight *rest.Config, authorities ...[]byte) *rest.Config {
	led := s.links[link].Config(straight)
	led.CAData = append(append([]byte{}, led.CAData...), s.proxies[link].CA()...)
	for _, ca := range authorities {
		led.CAData = append(led.CAData, ca...)
	}
	return led
}

// start starts one of the programs under test.
func (s *stage) start(ctx context.Context, name, pkg string, flags, args, environment []string) (*program, error) {
	binary, err := s.env.Build(ctx, pkg, flags...)
	if err != nil {
		return nil, err
	}
	metrics, err := s.env.Port()
	if err != nil {
		return nil, err
	}
	p := &program{name: name, metrics: fmt.Sprintf("http://127.0.0.1:%d", metrics), clock: filepath.Join(s.env.Dir(), strings.ReplaceAll(name, " ", "-")+".clock")}
	p.Process, err = s.env.Start(ctx, env.Command{
		Name: strings.ReplaceAll(name, " ", "-"), Path: binary,
		Args: append(args, "--bind-address=127.0.0.1", fmt.Sprintf("--metrics-port=%d", metrics), "--health-port=0", "--enable-profiling", "-v=2"),
		Env:  append(environment, "CHAOS_CLOCK="+p.clock),
	})
	s.programs[name] = p
	return p, err
}

// startManager starts the manager with the virtual workspaces, and gives the authority of its certificate.
func (s *stage) startManager(ctx context.Context, flags []string) (authority string, err error) {
	account, err := s.kcp.User(ctx, provider, nil)
	if err != nil {
		return "", err
	}
	for _, role := range []string{"content", "manager"} {
		binding := parse(fmt.Sprintf(`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: manager-%[1]s},
			roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "workload.kcp.io:%[1]s"}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[2]s}]}`, role, env.KCPUser))
		if _, err := s.compute.Resource(rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings")).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			return "", err
		}
	}
	account.Host = s.kcp.AdminConfig().Host
	kubeconfig, err := s.env.Kubeconfig(s.behind("manager to kcp", account))
	if err != nil {
		return "", err
	}
	certificate, err := s.env.NewServerCertificate("virtual-workspace")
	if err != nil {
		return "", err
	}
	port, err := s.env.Port()
	if err != nil {
		return "", err
	}
	s.manager, err = s.start(ctx, "manager", "./cmd/workload-manager", flags, []string{
		"--kcp-kubeconfig=" + kubeconfig, "--provider-workspace=" + provider.String(),
		fmt.Sprintf("--virtual-workspace-port=%d", port), fmt.Sprintf("--virtual-workspace-url=https://127.0.0.1:%d", port),
		"--virtual-workspace-cert-file=" + certificate.CertFile, "--virtual-workspace-key-file=" + certificate.KeyFile,
		// Short, so that a killed manager is soon followed by the next; and longer than a write takes on a machine that does other things
		// too: a leader that loses its Lease lists everything anew.
		"--leader-elect-lease-duration=10s", "--leader-elect-renew-deadline=8s", "--leader-elect-retry-period=500ms",
	}, nil)
	if err != nil {
		return "", err
	}
	return certificate.CAFile()
}

// onboard gives a cluster its SyncTarget and starts its syncer, as the manifest that the plugin prints says.
func (s *stage) onboard(ctx context.Context, name, authority string, flags []string) error {
	t := &target{name: name, cluster: s.env.Cluster(name), workspaceOf: map[string]int{}}
	s.targets[name] = t
	var err error
	if t.down, err = dynamic.NewForConfig(t.cluster.AdminConfig()); err != nil {
		return err
	}
	if t.typed, err = kubernetes.NewForConfig(t.cluster.AdminConfig()); err != nil {
		return err
	}
	raw, err := onboard.Sync(ctx, s.kcp.AdminConfig(), provider, onboard.Options{
		Name: name, Image: "registry.example.com/workload-syncer:chaos", Namespace: syncerNamespace(name), KCPNamespace: "default", Replicas: 1,
		Feed: string(workloadv1alpha1.FeedAssigned), Labels: map[string]string{"region": name}, VirtualWorkspaceCAFile: authority,
	}, io.Discard)
	if err != nil {
		return err
	}
	if t.manifest, err = installed.Read(raw); err != nil {
		return err
	}
	if err := t.manifest.Apply(ctx, t.cluster.AdminConfig()); err != nil {
		return err
	}
	found, err := s.compute.Resource(syncTargets).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	t.locator = workloadv1alpha1.SyncTargetLocator{ClusterName: string(logicalcluster.From(found)), Name: name, UID: found.GetUID()}
	t.key = workloadv1alpha1.SyncTargetKey(t.locator.ClusterName, name)
	_, err = s.compute.Resource(locations).Create(ctx, parse(fmt.Sprintf(`{apiVersion: scheduling.kcp.io/v1alpha1, kind: Location,
		metadata: {name: %[1]s, labels: {region: %[1]s}}, spec: {instanceSelector: {matchLabels: {region: %[1]s}}}}`, name)), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := s.writeCredentials(ctx, t, authority); err != nil {
		return err
	}
	args, environment := t.manifest.Command(t.toKCP.file, t.toCluster.file)
	t.syncer, err = s.start(ctx, "syncer of "+name, "./cmd/workload-syncer", flags,
		append(args, "--heartbeat-period=5s", "--namespace-clean-delay=1s", "--orphan-grace-period=5s"), environment)
	return err
}

// writeCredentials makes the syncer's kubeconfigs, which lead over links.
func (s *stage) writeCredentials(ctx context.Context, t *target, authority string) error {
	toKCP, err := t.manifest.Kubeconfig()
	if err != nil {
		return err
	}
	kcpConfig, err := clientcmd.RESTConfigFromKubeConfig(toKCP)
	if err != nil {
		return err
	}
	views, err := os.ReadFile(authority)
	if err != nil {
		return err
	}
	accounts, err := kubernetes.NewForConfig(s.kcp.WorkspaceConfig(provider))
	if err != nil {
		return err
	}
	account, err := syncerAccount(ctx, accounts, t.name)
	if err != nil {
		return err
	}
	t.toKCP = credentials{
		file: filepath.Join(s.env.Dir(), t.name+"-to-kcp.yaml"), admin: s.kcp.WorkspaceConfig(provider),
		config: s.behind(t.name+" to kcp", kcpConfig, views), namespace: "default", account: account,
	}
	inCluster := rest.AnonymousClientConfig(t.cluster.AdminConfig())
	installedAs := t.manifest.Of("ServiceAccount")
	t.toCluster = credentials{
		file: filepath.Join(s.env.Dir(), t.name+"-to-cluster.yaml"), admin: t.cluster.AdminConfig(),
		config: s.behind(t.name+" to its cluster", inCluster), namespace: installedAs.GetNamespace(), account: installedAs.GetName(),
	}
	return errors.Join(t.toKCP.renew(ctx), t.toCluster.renew(ctx))
}

// syncerAccount is the name of the ServiceAccount in kcp that the plugin made for the target.
func syncerAccount(ctx context.Context, client kubernetes.Interface, target string) (string, error) {
	accounts, err := client.CoreV1().ServiceAccounts("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, account := range accounts.Items {
		if strings.Contains(account.Name, target) {
			return account.Name, nil
		}
	}
	return "", fmt.Errorf("target %s has no ServiceAccount in kcp", target)
}

// renew puts a new token into the kubeconfig.
func (c credentials) renew(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 60 * 60)}}
	token, err := client.CoreV1().ServiceAccounts(c.namespace).CreateToken(ctx, c.account, request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	renewed := rest.CopyConfig(c.config)
	renewed.BearerToken = token.Status.Token
	return env.WriteKubeconfig(c.file, "default", map[string]*rest.Config{"default": renewed})
}

// revoke makes all tokens so far worthless.
func (c credentials) revoke(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	accounts := client.CoreV1().ServiceAccounts(c.namespace)
	if err := accounts.Delete(ctx, c.account, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	_, err = accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: c.account}}, metav1.CreateOptions{})
	return err
}

// settle makes the teams' workspaces, each placed where the script begins with it.
func (s *stage) settle(ctx context.Context, size Size) error {
	s.workspaces = make([]*workspace, size.Workspaces)
	homes := NewModel(size).Homes
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range s.workspaces {
		group.Go(func() error {
			ws, err := s.newWorkspace(ctx, fmt.Sprintf("team-%02d", i), homes[i])
			if err != nil {
				return fmt.Errorf("workspace %d: %w", i, err)
			}
			s.workspaces[i] = ws
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, t := range s.targets {
		for i := range s.workspaces {
			t.workspaceOf[s.namespaceOf(t.name, i)] = i
		}
	}
	return nil
}

func (s *stage) newWorkspace(ctx context.Context, name string, home Home) (*workspace, error) {
	ws, err := s.kcp.CreateWorkspace(ctx, env.Root, name)
	if err != nil {
		return nil, err
	}
	if err := bind.Bind(ctx, s.kcp.AdminConfig(), ws.Path, provider, []string{config.KubernetesExport, config.SchedulingExport}, io.Discard); err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(s.kcp.WorkspaceConfig(ws.Path))
	if err != nil {
		return nil, err
	}
	create := func(gvr schema.GroupVersionResource, u *unstructured.Unstructured) error {
		return soon(ctx, func(ctx context.Context) error { // a type that was just bound may be on its way
			_, err := client.Resource(gvr).Create(ctx, u, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
	}
	placement := parse(`{apiVersion: scheduling.kcp.io/v1alpha1, kind: Placement, metadata: {name: all}, spec: {namespaceSelector: {}, tolerations: [{operator: Exists}]}}`)
	for field, value := range placed(home) {
		if err := unstructured.SetNestedField(placement.Object, value, "spec", field); err != nil {
			return nil, err
		}
	}
	return &workspace{ws, client}, errors.Join(
		create(namespaces, parse(`{apiVersion: v1, kind: Namespace, metadata: {name: `+Namespace+`}}`)), create(placements, placement))
}

// placed is what a Placement says for that home.
func placed(home Home) map[string]any {
	in := func(region Home) any {
		return map[string]any{"matchLabels": map[string]any{"region": string(region)}}
	}
	if home == Both {
		return map[string]any{"strategy": "Spread", "numberOfTargets": int64(2), "locationSelectors": []any{in(East), in(West)}}
	}
	return map[string]any{"strategy": "OneToAny", "numberOfTargets": int64(1), "locationSelectors": []any{in(home)}}
}

// see finds where kcp shows the things of all workspaces.
func (s *stage) see(ctx context.Context) error {
	slices := schema.GroupVersionResource{Group: "apis.kcp.io", Version: "v1alpha1", Resource: "apiexportendpointslices"}
	return soon(ctx, func(ctx context.Context) error {
		slice, err := s.compute.Resource(slices).Get(ctx, workloadv1alpha1.KubernetesExport, metav1.GetOptions{})
		if err != nil {
			return err
		}
		endpoints, _, _ := unstructured.NestedSlice(slice.Object, "status", "endpoints")
		if len(endpoints) != 1 {
			return fmt.Errorf("the APIExport has %d virtual workspaces, want 1", len(endpoints))
		}
		all := s.kcp.AdminConfig()
		url, _ := endpoints[0].(map[string]any)["url"].(string)
		all.Host = url + "/clusters/*"
		s.export, err = dynamic.NewForConfig(all)
		return err
	})
}

// namespaceOf is the namespace of the target that stands for that of the workspace.
func (s *stage) namespaceOf(target string, workspace int) string {
	return workloadv1alpha1.NamespaceLocator{
		SyncTarget: s.targets[target].locator, ClusterName: string(s.workspaces[workspace].Cluster), Namespace: Namespace,
	}.DownstreamNamespace()
}

// soon repeats what may fail for a moment while things are set up.
func soon(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return env.Poll(ctx, do)
}

// parse reads YAML that stands in the source.
func parse(text string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		panic(fmt.Sprintf("%v in %s", err, text))
	}
	return u
}

// of is the client for things of a kind.
func of(client dynamic.Interface, kind Kind, namespace string) dynamic.ResourceInterface {
	return client.Resource(Resources[kind]).Namespace(namespace)
}

// typed converts what the server returned.
func typed[T any](u *unstructured.Unstructured) (*T, error) {
	object := new(T)
	return object, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, object)
}
