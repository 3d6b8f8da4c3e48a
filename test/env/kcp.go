package env

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kcp-dev/logicalcluster/v3"
	corev1alpha1 "github.com/kcp-dev/sdk/apis/core/v1alpha1"
	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	kcpclient "github.com/kcp-dev/sdk/client/clientset/versioned"
)

// Root is the path of kcp's topmost workspace.
var Root = logicalcluster.NewPath("root")

// KCP is a running kcp with its embedded etcd, all in one process.
type KCP struct {
	*Process

	env      *Env
	port     int
	etcdPort int
	dir      string
	admin    *rest.Config
}

// universal is the workspace type without restrictions.
const universal = "universal"

// kcpAdminToken is the same in every kcp, as these listen on the loopback interface only.
const kcpAdminToken = "admin-of-a-kcp-for-tests"

// KCPUser is who [KCP.User] is about, by a token of the same kind.
const KCPUser = "robot"

const kcpUserToken = "user-of-a-kcp-for-tests"

// StartKCP starts kcp and waits until the root workspace can be used.
func (e *Env) StartKCP(ctx context.Context) (*KCP, error) {
	binaries, err := ensure(ctx, e.tell, "kcp")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(e.dir, "kcp-")
	if err != nil {
		return nil, err
	}
	if err := plantSeed(ctx, e.tell, binaries, dir); err != nil {
		return nil, err
	}
	k := &KCP{env: e, dir: dir}
	err = e.timed("kcp", func() error { return k.start(ctx, binaries.KCP) })
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kcp = k
	return k, nil
}

func (k *KCP) start(ctx context.Context, executable string) error {
	var etcdPeerPort int
	if err := k.env.ports.claimAll(&k.port, &k.etcdPort, &etcdPeerPort); err != nil {
		return err
	}
	// kcp makes new tokens for its admin.kubeconfig at each start; this one outlives a restart.
	tokens := filepath.Join(k.dir, "tokens.csv")
	users := kcpAdminToken + `,admin,admin,"system:kcp:admin"` + "\n" + kcpUserToken + "," + KCPUser + "," + KCPUser + "\n"
	if err := os.WriteFile(tokens, []byte(users), 0o600); err != nil {
		return err
	}
	process, err := k.env.Start(ctx, Command{
		Name: "kcp",
		Path: executable,
		Args: []string{
			"start",
			"--root-directory=" + k.dir,
			"--bind-address=127.0.0.1",
			"--secure-port=" + strconv.Itoa(k.port),
			"--embedded-etcd-client-port=" + strconv.Itoa(k.etcdPort),
			"--embedded-etcd-peer-port=" + strconv.Itoa(etcdPeerPort),
			"--embedded-etcd-wal-size-bytes=8000000", // keeps the seed small
			"--token-auth-file=" + tokens,
			"--enable-home-workspaces=false",
		},
		Env:          k.env.serverVariables("UNSAFE_E2E_HACK_DISABLE_ETCD_FSYNC=true"), // what a killed process wrote is safe with the kernel
		Dir:          k.dir,
		Ready:        k.ready,
		StartTimeout: startTimeout,
	})
	if err != nil {
		return err
	}
	k.Process = process
	k.admin, err = k.readConfig()
	return err
}

// ready tells what is missing until workspaces can be made.
func (k *KCP) ready(ctx context.Context) error {
	config, err := k.readConfig()
	if err != nil {
		return err
	}
	if err := probe(ctx, config, "/readyz"); err != nil {
		return err
	}
	client, err := kcpclient.NewForConfig(inWorkspace(config, Root))
	if err != nil {
		return err
	}
	root, err := client.CoreV1alpha1().LogicalClusters().Get(ctx, corev1alpha1.LogicalClusterName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the root workspace: %w", err)
	}
	if root.Status.Phase != corev1alpha1.LogicalClusterPhaseReady {
		return fmt.Errorf("the root workspace is in phase %q", root.Status.Phase)
	}
	if _, err := client.TenancyV1alpha1().WorkspaceTypes().Get(ctx, universal, metav1.GetOptions{}); err != nil {
		return err
	}
	return knowsItsURL(ctx, client, config.Host)
}

// knowsItsURL is nil once the virtual workspaces have the URL of this start; after the seed they have another port. kcp looks
// at the URL of its shard only when it looks at an APIExportEndpointSlice anyway, so each slice that lags gets a nudge.
func knowsItsURL(ctx context.Context, client kcpclient.Interface, baseURL string) error {
	slices := client.ApisV1alpha1().APIExportEndpointSlices()
	all, err := slices.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var lagging []string
	for _, slice := range all.Items {
		for _, endpoint := range slice.Status.APIExportEndpoints {
			if strings.HasPrefix(endpoint.URL, baseURL+"/") {
				continue
			}
			lagging = append(lagging, endpoint.URL)
			nudge := fmt.Appendf(nil, `{"metadata":{"annotations":{"nudged":%q}}}`, time.Now().Format(time.RFC3339Nano))
			if _, err := slices.Patch(ctx, slice.Name, types.MergePatchType, nudge, metav1.PatchOptions{}); err != nil {
				return err
			}
		}
	}
	if len(lagging) > 0 {
		return fmt.Errorf("virtual workspaces are still at %s", strings.Join(lagging, ", "))
	}
	return nil
}

// readConfig needs the certificate that kcp makes for itself at its first start.
func (k *KCP) readConfig() (*rest.Config, error) {
	kubeconfig, err := clientcmd.LoadFromFile(k.adminKubeconfig())
	if err != nil {
		return nil, fmt.Errorf("waiting for kcp to write its admin kubeconfig: %w", err)
	}
	base := kubeconfig.Clusters["base"]
	if base == nil {
		return nil, errors.New("kcp's admin kubeconfig has no cluster called base")
	}
	return fast(&rest.Config{
		Host:            base.Server,
		BearerToken:     kcpAdminToken,
		TLSClientConfig: rest.TLSClientConfig{CAData: base.CertificateAuthorityData},
	}), nil
}

func (k *KCP) adminKubeconfig() string { return filepath.Join(k.dir, "admin.kubeconfig") }

// AdminConfig is for the admin of all workspaces. Its host has no path: it is for clients that know workspaces themselves.
func (k *KCP) AdminConfig() *rest.Config { return rest.CopyConfig(k.admin) }

// WorkspaceConfig is AdminConfig at one workspace, which may be given by path or by the name of its logical cluster.
func (k *KCP) WorkspaceConfig(path logicalcluster.Path) *rest.Config {
	return inWorkspace(k.admin, path)
}

// AdminKubeconfig is the file that kcp writes at each start, with the contexts root, base, system:admin and shard-base. Its
// tokens end with a restart of kcp.
func (k *KCP) AdminKubeconfig() string { return k.adminKubeconfig() }

// ServiceAccount makes a ServiceAccount in a workspace, and returns a config with its token at that workspace.
func (k *KCP) ServiceAccount(ctx context.Context, path logicalcluster.Path, account ServiceAccount) (*rest.Config, error) {
	return CreateServiceAccount(ctx, k.WorkspaceConfig(path), account)
}

// User gives a user who is no ServiceAccount the rules, in a workspace, and returns a config at that workspace. It is always the
// same user, whose rules in a workspace are those of the last call. Whoever works through an APIExport's virtual workspace
// should be one: kcp v0.28.1 ends with "concurrent map writes" now and then when a ServiceAccount does.
func (k *KCP) User(ctx context.Context, path logicalcluster.Path, rules []rbacv1.PolicyRule) (*rest.Config, error) {
	admin := k.WorkspaceConfig(path)
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	subject := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: KCPUser}
	if err := grantRules(ctx, client, "user:"+KCPUser, rules, subject); err != nil {
		return nil, fmt.Errorf("granting rules at %s: %w", admin.Host, err)
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = kcpUserToken
	return config, awaitRules(ctx, config, rules)
}

// NewLink makes a link to kcp. Its configs name it as a proxy, so that virtual workspaces are reached through it too.
func (k *KCP) NewLink() (*Link, error) { return k.env.newLink(address(k.port), true) }

// Compact has kcp's etcd forget all but the present state, so that nobody can go on from where a watch ended. What kcp itself
// still remembers goes with its restart.
func (k *KCP) Compact(ctx context.Context) error {
	secrets := filepath.Join(k.dir, "etcd-server", "secrets")
	return compact(ctx, &rest.Config{Host: "https://" + net.JoinHostPort("localhost", strconv.Itoa(k.etcdPort)), TLSClientConfig: rest.TLSClientConfig{
		CAFile:   filepath.Join(secrets, "ca", "cert.pem"),
		CertFile: filepath.Join(secrets, "client", "cert.pem"), KeyFile: filepath.Join(secrets, "client", "key.pem"),
	}})
}

// Workspace is a workspace by both of its names.
type Workspace struct {
	Path    logicalcluster.Path
	Cluster logicalcluster.Name
}

// CreateWorkspace makes a workspace of the type "universal" and waits until it is ready.
func (k *KCP) CreateWorkspace(ctx context.Context, parent logicalcluster.Path, name string) (Workspace, error) {
	wrap := func(err error) error { return fmt.Errorf("creating workspace %s: %w", parent.Join(name), err) }
	client, err := kcpclient.NewForConfig(k.WorkspaceConfig(parent))
	if err != nil {
		return Workspace{}, wrap(err)
	}
	workspaces := client.TenancyV1alpha1().Workspaces()
	object := &tenancyv1alpha1.Workspace{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: tenancyv1alpha1.WorkspaceSpec{
			Type: &tenancyv1alpha1.WorkspaceTypeReference{Name: universal, Path: Root.String()},
		},
	}
	if _, err := workspaces.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return Workspace{}, wrap(err)
	}
	err = Poll(ctx, func(ctx context.Context) (err error) {
		if object, err = workspaces.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		return readiness(object)
	})
	if err != nil {
		return Workspace{}, wrap(err)
	}
	workspace := Workspace{Path: parent.Join(name), Cluster: logicalcluster.Name(object.Spec.Cluster)}
	return workspace, k.awaitUsable(ctx, workspace)
}

func readiness(workspace *tenancyv1alpha1.Workspace) error {
	if workspace.Status.Phase == corev1alpha1.LogicalClusterPhaseReady {
		return nil
	}
	err := fmt.Errorf("it is in phase %q", workspace.Status.Phase)
	for _, condition := range workspace.Status.Conditions {
		if condition.Status != "True" {
			err = fmt.Errorf("%w; %s is %s: %s", err, condition.Type, condition.Status, condition.Message)
		}
	}
	return err
}

// awaitUsable waits for what a workspace gets shortly after it is ready: the route to its path, and its default namespace.
func (k *KCP) awaitUsable(ctx context.Context, workspace Workspace) error {
	client, err := kubernetes.NewForConfig(k.WorkspaceConfig(workspace.Path))
	if err != nil {
		return err
	}
	return Poll(ctx, func(ctx context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err
	})
}

// DeleteWorkspace deletes a workspace and waits until it is gone.
func (k *KCP) DeleteWorkspace(ctx context.Context, path logicalcluster.Path) error {
	parent, name := path.Split()
	client, err := kcpclient.NewForConfig(k.WorkspaceConfig(parent))
	if err != nil {
		return err
	}
	workspaces := client.TenancyV1alpha1().Workspaces()
	err = Poll(ctx, func(ctx context.Context) error {
		err := workspaces.Delete(ctx, name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = errors.New("it still exists")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting workspace %s: %w", path, err)
	}
	return nil
}

func inWorkspace(base *rest.Config, path logicalcluster.Path) *rest.Config {
	config := rest.CopyConfig(base)
	if host, err := url.JoinPath(base.Host, path.RequestPath()); err == nil { // else the host was no URL before
		config.Host = host
	}
	return config
}
