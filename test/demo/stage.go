package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sync/errgroup"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
	"github.com/kcp-dev/workload-syncer/test/installed"
)

// syncerImage is what the manifests name. Nobody pulls it: nodes are simulated, so the demo itself runs the syncers as the manifests say.
const syncerImage = "registry.example.com/workload-syncer:demo"

// heartbeats are short, so that nobody has to wait long for a dead cluster to be noticed.
var (
	syncerFlags  = []string{"--heartbeat-period=1s", "--namespace-clean-delay=1s", "-v=2"}
	managerFlags = []string{"--heartbeat-grace=4s", "-v=2"}
)

// cluster is a physical cluster with its SyncTarget and syncer.
type cluster struct {
	name   string
	env    *env.Cluster
	down   dynamic.Interface
	syncer *env.Process
	target workloadv1alpha1.SyncTargetLocator
}

// namespaceOf is the namespace in the cluster that stands for the team's.
func (c *cluster) namespaceOf(t *team) string {
	return workloadv1alpha1.NamespaceLocator{SyncTarget: c.target, ClusterName: string(t.workspace.Cluster), Namespace: namespace}.DownstreamNamespace()
}

// deployments are those of the team in the cluster.
func (c *cluster) deployments(t *team) dynamic.ResourceInterface {
	return of(c.down, kind("apps/v1", "Deployment"), c.namespaceOf(t))
}

// team is a team and its workspace.
type team struct {
	name      string
	workspace env.Workspace
	up        dynamic.Interface
}

func (t *team) deployments() dynamic.ResourceInterface {
	return of(t.up, kind("apps/v1", "Deployment"), namespace)
}

func (t *team) placements() dynamic.ResourceInterface {
	return of(t.up, kind(schedulingv1alpha1.SchemeGroupVersion.String(), "Placement"), "")
}

func (d *demo) startServers(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { _, err := d.env.StartKCP(groupCtx); return err })
	for _, c := range d.clusters {
		group.Go(func() (err error) {
			if c.env, err = d.env.StartCluster(groupCtx, c.name); err != nil {
				return err
			}
			c.down, err = dynamic.NewForConfig(c.env.AdminConfig())
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return d.writeKubeconfig()
}

// writeKubeconfig makes the file that everything here is done with, and that people look around with.
func (d *demo) writeKubeconfig() error {
	d.kubeconfig = filepath.Join(d.env.Dir(), "kubeconfig")
	contexts := map[string]*rest.Config{
		"root": d.env.KCP().WorkspaceConfig(env.Root), "compute": d.env.KCP().WorkspaceConfig(env.Root.Join("compute")),
	}
	for _, c := range d.clusters {
		contexts[c.name] = c.env.AdminConfig()
	}
	for _, t := range d.teams {
		contexts[t.name] = d.env.KCP().WorkspaceConfig(env.Root.Join(t.name))
	}
	return env.WriteKubeconfig(d.kubeconfig, "root", contexts)
}

func (d *demo) initialize(ctx context.Context) (err error) {
	if err := d.workload(ctx, "init", "--workspace", provider); err != nil {
		return err
	}
	if d.compute, err = dynamic.NewForConfig(d.env.KCP().WorkspaceConfig(logicalcluster.NewPath(provider))); err != nil {
		return err
	}
	certificate, err := d.env.NewServerCertificate("virtual-workspace")
	if err != nil {
		return err
	}
	if d.authority, err = certificate.CAFile(); err != nil {
		return err
	}
	common := []string{"--kcp-kubeconfig=" + d.kubeconfig, "--kcp-context=compute", "--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0"}
	d.views, err = d.env.Start(ctx, env.Command{Name: "virtual-workspace", Path: d.managerProgram, Args: append([]string{
		"virtual-workspace", "--virtual-workspace-port=0", "--virtual-workspace-cert-file=" + certificate.CertFile, "--virtual-workspace-key-file=" + certificate.KeyFile,
	}, common...)})
	if err != nil {
		return err
	}
	url, err := awaitAddress(ctx, d.views, "virtual-workspace")
	if err != nil {
		return err
	}
	d.say("Each cluster sees its own objects only, at https://%s", url)
	d.manager, err = d.env.Start(ctx, env.Command{Name: "workload-manager", Path: d.managerProgram, Args: append(append([]string{"--virtual-workspace-url=https://" + url}, common...), managerFlags...)})
	if err != nil {
		return err
	}
	return d.tellPrometheus(ctx)
}

var serving = regexp.MustCompile(`"Serving" server="([-\w]+)" address="([^"]+)"`)

// address is where a process says that it serves something; empty if it does not.
func address(p *env.Process, server string) string {
	for _, match := range serving.FindAllStringSubmatch(p.Output(), -1) {
		if match[1] == server {
			return match[2]
		}
	}
	return ""
}

func awaitAddress(ctx context.Context, p *env.Process, server string) (found string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = env.Poll(ctx, func(context.Context) error {
		if found = address(p, server); found == "" {
			return fmt.Errorf("%s is not served yet", server)
		}
		return nil
	})
	return found, err
}

func (d *demo) onboard(ctx context.Context) error {
	for _, c := range d.clusters {
		if err := d.install(ctx, c); err != nil {
			return err
		}
	}
	for _, c := range d.clusters {
		if err := d.awaitReady(ctx, c); err != nil {
			return err
		}
	}
	if err := d.tellPrometheus(ctx); err != nil {
		return err
	}
	return d.workload(ctx, "status", "--workspace", provider)
}

// install does what an operator does, and what the cluster would do if it had nodes: it starts the syncer.
func (d *demo) install(ctx context.Context, c *cluster) error {
	file := filepath.Join(d.env.Dir(), c.name+".yaml")
	if err := d.workload(ctx, "sync", c.name, "--workspace", provider, "--image", syncerImage, "--labels", "region="+c.name,
		"--virtual-workspace-ca-file", d.authority, "--output-file", file); err != nil {
		return err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	manifest, err := installed.Read(raw)
	if err != nil {
		return err
	}
	if err := manifest.Apply(ctx, c.env.AdminConfig()); err != nil {
		return err
	}
	d.say("kubectl --context %s apply -f %s.yaml    # %d objects", c.name, c.name, len(manifest.Objects))
	target, err := of(d.compute, kind(workloadv1alpha1.SchemeGroupVersion.String(), "SyncTarget"), "").Get(ctx, c.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	c.target = workloadv1alpha1.SyncTargetLocator{ClusterName: string(logicalcluster.From(target)), Name: c.name, UID: target.GetUID()}
	return d.startSyncer(ctx, c, manifest)
}

// startSyncer runs the syncer with the credentials, arguments and environment of the manifest.
func (d *demo) startSyncer(ctx context.Context, c *cluster, manifest *installed.Manifest) error {
	toKCP, err := manifest.Kubeconfig()
	if err != nil {
		return err
	}
	mounted := filepath.Join(d.env.Dir(), c.name+".kcp-kubeconfig")
	if err := os.WriteFile(mounted, toKCP, 0o600); err != nil {
		return err
	}
	account, err := manifest.Account(ctx, c.env.AdminConfig())
	if err != nil {
		return err
	}
	inCluster, err := d.env.Kubeconfig(account)
	if err != nil {
		return err
	}
	args, environment := manifest.Command(mounted, inCluster)
	c.syncer, err = d.env.Start(ctx, env.Command{Name: "syncer-" + c.name, Path: d.agent, Args: append(args, syncerFlags...), Env: environment})
	return err
}

// awaitReady waits until the SyncTarget says that workloads are synced.
func (d *demo) awaitReady(ctx context.Context, c *cluster) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	targets := of(d.compute, kind(workloadv1alpha1.SchemeGroupVersion.String(), "SyncTarget"), "")
	return env.Poll(ctx, func(ctx context.Context) error {
		select {
		case <-c.syncer.Done():
			return errors.New("the syncer has ended")
		default:
		}
		current, err := targets.Get(ctx, c.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !hasCondition(current, workloadv1alpha1.ConditionReady) {
			return fmt.Errorf("SyncTarget %s is not ready", c.name)
		}
		return nil
	})
}

// tolerance is how long the teams put up with a target that is not ready, before their work starts elsewhere.
const tolerance = `{"spec": {"tolerations": [{"key": %q, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}]}}`

func (d *demo) bindTeams(ctx context.Context) (err error) {
	for _, t := range d.teams {
		if t.workspace, err = d.env.KCP().CreateWorkspace(ctx, env.Root, t.name); err != nil {
			return err
		}
		if t.up, err = dynamic.NewForConfig(d.env.KCP().WorkspaceConfig(t.workspace.Path)); err != nil {
			return err
		}
		if err := d.workload(ctx, "bind", provider, "--workspace", t.workspace.Path.String()); err != nil {
			return err
		}
		if err := patch(ctx, t.placements(), "default", fmt.Sprintf(tolerance, schedulingv1alpha1.NotReadyTaint)); err != nil {
			return err
		}
	}
	return nil
}
