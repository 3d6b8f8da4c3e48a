package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// startTimeout is generous: a machine that also compiles is several times slower than an idle one.
const startTimeout = 5 * time.Minute

// Cluster is a running physical cluster, whose nodes and pods kwok simulates.
type Cluster struct {
	Name string

	Etcd, APIServer, ControllerManager, Scheduler, Kwok *Process

	env       *Env
	dir       string
	binaries  Binaries
	authority *authority
	admin     *rest.Config
	ports     clusterPorts
}

type clusterPorts struct{ etcd, etcdPeer, apiServer, controllerManager, scheduler, kwok int }

// ClusterOption changes how a cluster is started.
type ClusterOption func(*clusterOptions)

type clusterOptions struct {
	nodes         int
	apiServerArgs []string
	auditPolicy   string
}

// WithNodes sets the number of nodes, which is two otherwise.
func WithNodes(count int) ClusterOption {
	return func(o *clusterOptions) { o.nodes = count }
}

// WithAPIServerArgs adds arguments to the command line of kube-apiserver.
func WithAPIServerArgs(args ...string) ClusterOption {
	return func(o *clusterOptions) { o.apiServerArgs = append(o.apiServerArgs, args...) }
}

// WithAudit has kube-apiserver write what the policy, in YAML, asks for to [Cluster.AuditLog].
func WithAudit(policy string) ClusterOption {
	return func(o *clusterOptions) { o.auditPolicy = policy }
}

// StartCluster starts a physical cluster and waits until its nodes are ready and pods can be made in the default namespace.
func (e *Env) StartCluster(ctx context.Context, name string, options ...ClusterOption) (*Cluster, error) {
	chosen := clusterOptions{nodes: 2}
	for _, option := range options {
		option(&chosen)
	}
	binaries, err := ensure(ctx, e.tell, "kubernetes", "kwok")
	if err != nil {
		return nil, err
	}
	if e.Cluster(name) != nil {
		return nil, fmt.Errorf("cluster %s runs already", name)
	}
	dir, err := os.MkdirTemp(e.dir, "cluster-"+name+"-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: name, env: e, dir: dir, binaries: binaries}
	err = e.timed("cluster "+name, func() error { return c.start(ctx, chosen) })
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clusters[name] = c
	return c, nil
}

func (c *Cluster) start(ctx context.Context, options clusterOptions) error {
	p := &c.ports
	err := c.env.ports.claimAll(&p.etcd, &p.etcdPeer, &p.apiServer, &p.controllerManager, &p.scheduler, &p.kwok)
	if err != nil {
		return err
	}
	if err := c.writeCredentials(); err != nil {
		return err
	}
	if c.Etcd, err = c.env.Start(ctx, c.etcdCommand()); err != nil {
		return err
	}
	arguments := options.apiServerArgs
	if options.auditPolicy != "" {
		policy := c.file("audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(options.auditPolicy), 0o644); err != nil {
			return err
		}
		arguments = append(arguments, "--audit-policy-file="+policy, "--audit-log-path="+c.AuditLog())
	}
	if c.APIServer, err = c.env.Start(ctx, c.apiServerCommand(arguments)); err != nil {
		return err
	}
	starting, ctx := errgroup.WithContext(ctx)
	startOne := func(process **Process, command Command) {
		starting.Go(func() (err error) {
			*process, err = c.env.Start(ctx, command)
			return err
		})
	}
	startOne(&c.ControllerManager, c.controllerManagerCommand())
	startOne(&c.Scheduler, c.schedulerCommand())
	startOne(&c.Kwok, c.kwokCommand())
	starting.Go(func() error { return c.createNodes(ctx, options.nodes) })
	starting.Go(func() error { return c.awaitUsable(ctx) })
	return starting.Wait()
}

// AdminConfig is for a member of system:masters, with a client certificate.
func (c *Cluster) AdminConfig() *rest.Config { return rest.CopyConfig(c.admin) }

// ServiceAccount makes a ServiceAccount in the cluster, and returns a config with its token.
func (c *Cluster) ServiceAccount(ctx context.Context, account ServiceAccount) (*rest.Config, error) {
	return CreateServiceAccount(ctx, c.admin, account)
}

// NewLink makes a link to the API server.
func (c *Cluster) NewLink() (*Link, error) {
	return c.env.newLink(address(c.ports.apiServer), false)
}

// AuditLog is the file that kube-apiserver writes audit events to, a line each, if the cluster was started with [WithAudit].
func (c *Cluster) AuditLog() string { return c.file("audit.log") }

// Compact has etcd forget all but the present state, so that nobody can go on from where a watch ended. What the API server
// itself still remembers goes with its restart.
func (c *Cluster) Compact(ctx context.Context) error {
	return compact(ctx, &rest.Config{Host: "http://" + address(c.ports.etcd)})
}

// Kill ends all servers of the cluster with SIGKILL, which is how a cluster goes away for good.
func (c *Cluster) Kill() {
	for _, process := range []*Process{c.Kwok, c.Scheduler, c.ControllerManager, c.APIServer, c.Etcd} {
		process.Kill()
	}
}

func (c *Cluster) file(name string) string { return filepath.Join(c.dir, name) }

// writeCredentials makes the authority, what the API server serves and signs with, and a kubeconfig per client.
func (c *Cluster) writeCredentials() (err error) {
	if c.authority, err = newAuthority("cluster " + c.Name); err != nil {
		return err
	}
	serving, err := c.authority.server("kubernetes", "kubernetes.default", "kubernetes.default.svc")
	if err != nil {
		return err
	}
	signing, err := newKey()
	if err != nil {
		return err
	}
	signingPEM, err := encodeKey(signing)
	if err != nil {
		return err
	}
	if c.admin, err = c.clientConfig("admin", "system:masters"); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(c.file("ca.crt"), c.authority.certPEM, 0o644),
		serving.write(c.file("serving.crt"), c.file("serving.key")),
		os.WriteFile(c.file("service-accounts.key"), signingPEM, 0o600),
		c.writeClientKubeconfig("kube-controller-manager", "system:kube-controller-manager"),
		c.writeClientKubeconfig("kube-scheduler", "system:kube-scheduler"),
		c.writeClientKubeconfig("kwok", "kwok", "system:masters"),
	)
}

func (c *Cluster) writeClientKubeconfig(component, user string, groups ...string) error {
	config, err := c.clientConfig(user, groups...)
	if err != nil {
		return err
	}
	return WriteKubeconfig(c.kubeconfig(component), c.Name, map[string]*rest.Config{c.Name: config})
}

func (c *Cluster) kubeconfig(component string) string { return c.file(component + ".kubeconfig") }

func (c *Cluster) clientConfig(user string, groups ...string) (*rest.Config, error) {
	pair, err := c.authority.client(user, groups...)
	if err != nil {
		return nil, err
	}
	return fast(&rest.Config{
		Host:            "https://" + address(c.ports.apiServer),
		TLSClientConfig: rest.TLSClientConfig{CAData: c.authority.certPEM, CertData: pair.cert, KeyData: pair.key},
	}), nil
}

func (c *Cluster) etcdCommand() Command {
	client, peer := "http://"+address(c.ports.etcd), "http://"+address(c.ports.etcdPeer)
	return Command{
		Name: c.Name + "-etcd",
		Path: c.binaries.Etcd,
		Args: []string{
			"--data-dir=" + c.file("etcd"),
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=default=" + peer,
			"--unsafe-no-fsync", // what a killed process wrote is safe with the kernel
			"--log-level=warn",
		},
		Dir:          c.dir,
		Ready:        func(ctx context.Context) error { return probe(ctx, &rest.Config{Host: client}, "/health") },
		StartTimeout: startTimeout,
	}
}

func (c *Cluster) apiServerCommand(extra []string) Command {
	return Command{
		Name: c.Name + "-kube-apiserver",
		Path: c.binaries.KubeAPIServer,
		Args: append([]string{
			"--etcd-servers=http://" + address(c.ports.etcd),
			"--bind-address=127.0.0.1",
			"--secure-port=" + strconv.Itoa(c.ports.apiServer),
			"--endpoint-reconciler-type=none", // a loopback address is no valid endpoint
			"--tls-cert-file=" + c.file("serving.crt"),
			"--tls-private-key-file=" + c.file("serving.key"),
			"--client-ca-file=" + c.file("ca.crt"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + c.file("service-accounts.key"),
			"--service-account-signing-key-file=" + c.file("service-accounts.key"),
			"--service-cluster-ip-range=10.96.0.0/16",
			"--authorization-mode=Node,RBAC",
			"--allow-privileged=true",
		}, extra...),
		Dir:          c.dir,
		Env:          c.env.serverVariables(),
		Ready:        func(ctx context.Context) error { return probe(ctx, c.admin, "/readyz") },
		StartTimeout: startTimeout,
	}
}

func (c *Cluster) controllerManagerCommand() Command {
	return Command{
		Name: c.Name + "-kube-controller-manager",
		Path: c.binaries.KubeControllerManager,
		Args: append(c.componentArgs("kube-controller-manager", c.ports.controllerManager),
			"--service-account-private-key-file="+c.file("service-accounts.key"),
			"--root-ca-file="+c.file("ca.crt"),
			"--use-service-account-credentials=true",
			"--node-monitor-grace-period=1h", // simulated nodes are never ill, also when nobody could hear them for a while
			"--service-cluster-ip-range=10.96.0.0/16",
		),
		Dir:          c.dir,
		Env:          c.env.serverVariables(),
		Ready:        healthy("https", c.ports.controllerManager),
		StartTimeout: startTimeout,
	}
}

func (c *Cluster) schedulerCommand() Command {
	return Command{
		Name:         c.Name + "-kube-scheduler",
		Path:         c.binaries.KubeScheduler,
		Args:         c.componentArgs("kube-scheduler", c.ports.scheduler),
		Dir:          c.dir,
		Ready:        healthy("https", c.ports.scheduler),
		StartTimeout: startTimeout,
	}
}

// componentArgs are common to kube-controller-manager and kube-scheduler.
func (c *Cluster) componentArgs(component string, port int) []string {
	return []string{
		"--kubeconfig=" + c.kubeconfig(component),
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--cert-dir=" + c.file(component),
		"--leader-elect=false", // a restarted process would wait for the lease of the killed one
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	}
}

func (c *Cluster) kwokCommand() Command {
	return Command{
		Name: c.Name + "-kwok",
		Path: c.binaries.Kwok,
		Args: []string{
			"--kubeconfig=" + c.kubeconfig("kwok"),
			"--config=" + c.binaries.KwokStages,
			"--manage-all-nodes=true",
			"--node-lease-duration-seconds=40",
			"--server-address=" + address(c.ports.kwok),
		},
		Dir:          c.dir,
		Ready:        healthy("http", c.ports.kwok),
		StartTimeout: startTimeout,
	}
}

// healthy asks a server with a certificate of its own making, which shows anybody whether it is well.
func healthy(scheme string, port int) func(context.Context) error {
	config := &rest.Config{Host: scheme + "://" + address(port), TLSClientConfig: rest.TLSClientConfig{Insecure: scheme == "https"}}
	return func(ctx context.Context) error { return probe(ctx, config, "/healthz") }
}

func (c *Cluster) createNodes(ctx context.Context, count int) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	for i := range count {
		if _, err := client.CoreV1().Nodes().Create(ctx, c.node(i), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating a node: %w", err)
		}
	}
	return Poll(ctx, func(ctx context.Context) error {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, node := range nodes.Items {
			if !schedulable(&node) {
				return fmt.Errorf("node %s is not ready: conditions %v, taints %v", node.Name, node.Status.Conditions, node.Spec.Taints)
			}
		}
		return nil
	})
}

// node is what a kubelet would register.
func (c *Cluster) node(index int) *corev1.Node {
	name := fmt.Sprintf("%s-node-%d", c.Name, index)
	resources := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("32"),
		corev1.ResourceMemory:           resource.MustParse("256Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		corev1.ResourcePods:             resource.MustParse("5000"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname:   name,
				corev1.LabelOSStable:   "linux",
				corev1.LabelArchStable: "amd64",
			},
		},
		Status: corev1.NodeStatus{Allocatable: resources, Capacity: resources},
	}
}

// schedulable is true once the node is ready and the controllers have taken away the taints of a new node.
func schedulable(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0
		}
	}
	return false
}

// awaitUsable waits for the ServiceAccount that every pod in the default namespace needs.
func (c *Cluster) awaitUsable(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return Poll(ctx, func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return errors.New("the default ServiceAccount does not exist yet")
		}
		return err
	})
}
