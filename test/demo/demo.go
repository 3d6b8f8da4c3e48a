package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// What the demo is about.
const (
	provider    = "root:compute"
	teamName    = "team-a"
	clusterName = "east"
	namespace   = "shop"
	deployment  = "web"
	examples    = "docs/examples"
)

// demo is the stage: all that the chapters set up and use.
type demo struct {
	*screen
	keep bool
	env  *env.Env

	plugin, agent string // executables
	kubeconfig    string
	team          env.Workspace
	syncer        *env.Process
	// up is the team's workspace, down the physical cluster.
	up, down dynamic.Interface
	// downNamespace stands for namespace in the physical cluster.
	downNamespace string
}

// chapter is a part of the story.
type chapter struct {
	title string
	tell  func(context.Context) error
}

// run tells the whole story, and ends all that it started.
func run(ctx context.Context, s *screen, keep bool) (err error) {
	s.show("A Deployment in a kcp workspace runs on a physical cluster, and its status comes home.")
	e, err := env.New(env.Options{Progress: s})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	d := &demo{screen: s, keep: keep, env: e}
	for _, c := range d.chapters() {
		if err := d.during(c.title, func() error { return c.tell(ctx) }); err != nil {
			d.explain(ctx)
			return fmt.Errorf("%s: %w", c.title, err)
		}
	}
	d.show(fmt.Sprintf("\nThat was all, in %s.", time.Since(s.started).Round(time.Second)))
	return d.lookAround(ctx)
}

func (d *demo) chapters() []chapter {
	return []chapter{
		{"Build what is missing", d.build},
		{fmt.Sprintf("Start kcp, and the physical cluster %q with simulated nodes", clusterName), d.startServers},
		{"Give kcp the APIs for workloads: kubectl workload init --workspace " + provider, d.initialize},
		{"Make the workspace root:" + teamName + " for a team: kubectl workload bind", d.makeWorkspace},
		{"Create a SyncTarget and start its syncer", d.startSyncer},
		{"Deploy: apply " + examples + "/web.yaml in the workspace", d.deploy},
		{"Scale the Deployment in the workspace to 5 replicas", d.scale},
		{"Somebody changes the image of the copy in the cluster: it is corrected", d.tamper},
		{"Somebody deletes the copy in the cluster: it comes back", d.vandalize},
		{"Delete the Deployment in the workspace, then its namespace", d.remove},
	}
}

func (d *demo) build(ctx context.Context) error {
	if _, err := env.EnsureServers(ctx, d); err != nil {
		return err
	}
	var err error
	if d.agent, err = d.env.Build(ctx, "./cmd/workload-syncer"); err != nil {
		return err
	}
	d.plugin, err = d.env.Build(ctx, "./cmd/kubectl-workload")
	return err
}

func (d *demo) startServers(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { _, err := d.env.StartKCP(groupCtx); return err })
	group.Go(func() error { _, err := d.env.StartCluster(groupCtx, clusterName); return err })
	if err := group.Wait(); err != nil {
		return err
	}
	return d.writeKubeconfig()
}

// writeKubeconfig makes the file that everything here is done with, and that people look around with.
func (d *demo) writeKubeconfig() error {
	d.kubeconfig = filepath.Join(d.env.Dir(), "kubeconfig")
	return env.WriteKubeconfig(d.kubeconfig, "root", map[string]*rest.Config{
		"root":      d.env.KCP().WorkspaceConfig(env.Root),
		teamName:    d.env.KCP().WorkspaceConfig(env.Root.Join(teamName)),
		clusterName: d.env.Cluster(clusterName).AdminConfig(),
	})
}

func (d *demo) initialize(ctx context.Context) error {
	return d.workload(ctx, "init", "--workspace", provider)
}

func (d *demo) makeWorkspace(ctx context.Context) (err error) {
	if d.team, err = d.env.KCP().CreateWorkspace(ctx, env.Root, teamName); err != nil {
		return err
	}
	if err := d.workload(ctx, "bind", provider, "--workspace", d.team.Path.String(), "--export", "kubernetes,workload.kcp.io"); err != nil {
		return err
	}
	if d.up, err = dynamic.NewForConfig(d.env.KCP().WorkspaceConfig(d.team.Path)); err != nil {
		return err
	}
	d.down, err = dynamic.NewForConfig(d.env.Cluster(clusterName).AdminConfig())
	return err
}

// workload runs the kubectl plugin, and shows what it says.
func (d *demo) workload(ctx context.Context, arguments ...string) error {
	result, err := d.env.Run(ctx, env.Command{
		Name: "kubectl-workload", Path: d.plugin, Args: append(arguments, "--kubeconfig", d.kubeconfig),
	})
	if err != nil {
		return err
	}
	d.say("%s", result.Stdout)
	if result.ExitCode != 0 {
		return fmt.Errorf("kubectl workload %s: %s", strings.Join(arguments, " "), result.Stderr)
	}
	return nil
}

func (d *demo) startSyncer(ctx context.Context) error {
	objects, err := readExamples("synctarget.yaml")
	if err != nil {
		return err
	}
	target, err := create(ctx, d.up, objects[0])
	if err != nil {
		return err
	}
	cluster := string(d.team.Cluster)
	d.downNamespace = workloadv1alpha1.NamespaceLocator{
		SyncTarget:  workloadv1alpha1.SyncTargetLocator{ClusterName: cluster, Name: target.GetName(), UID: target.GetUID()},
		ClusterName: cluster,
		Namespace:   namespace,
	}.DownstreamNamespace()

	d.syncer, err = d.env.Start(ctx, env.Command{Name: "workload-syncer", Path: d.agent, Args: []string{
		"--kcp-kubeconfig=" + d.kubeconfig, "--kcp-context=" + teamName,
		"--cluster-kubeconfig=" + d.kubeconfig, "--cluster-context=" + clusterName,
		"--sync-target-name=" + target.GetName(), "--sync-target-uid=" + string(target.GetUID()),
		"--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0",
		"--namespace-clean-delay=1s", "-v=2",
	}})
	if err != nil {
		return err
	}
	if err := d.awaitReady(ctx, target); err != nil {
		return err
	}
	return d.workload(ctx, "status", "--workspace", d.team.Path.String())
}

// awaitReady waits until the SyncTarget says that workloads are synced.
func (d *demo) awaitReady(ctx context.Context, target *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	targets := of(d.up, target, "")
	return env.Poll(ctx, func(ctx context.Context) error {
		select {
		case <-d.syncer.Done():
			return errors.New("the syncer has ended")
		default:
		}
		current, err := targets.Get(ctx, target.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !hasCondition(current, workloadv1alpha1.ConditionReady) {
			return fmt.Errorf("SyncTarget %s is not ready", target.GetName())
		}
		return nil
	})
}

var serving = regexp.MustCompile(`"Serving" server="(\w+)" address="([^"]+)"`)

// address is where the syncer says that it serves health or metrics.
func (d *demo) address(server string) (string, error) {
	for _, match := range serving.FindAllStringSubmatch(d.syncer.Output(), -1) {
		if match[1] == server {
			return match[2], nil
		}
	}
	return "", fmt.Errorf("the syncer does not serve %s", server)
}

func (d *demo) deploy(ctx context.Context) error {
	objects, err := readExamples("web.yaml")
	if err != nil {
		return err
	}
	last := len(objects) - 1
	var copies []hop
	for _, object := range objects[1:last] {
		copies = append(copies, hop{
			says: "the cluster has the " + object.GetKind() + " " + object.GetName(), at: of(d.down, object, d.downNamespace),
			name: object.GetName(), reached: exists,
		})
	}
	err = journey(ctx, d.screen, "kcp has the Namespace, ConfigMap, Secret and Service", func(ctx context.Context) error {
		for _, object := range objects[:last] {
			if _, err := create(ctx, d.up, object); err != nil {
				return err
			}
		}
		return nil
	}, copies...)
	if err != nil {
		return err
	}
	replicas := number(objects[last], "spec", "replicas")
	return journey(ctx, d.screen, "kcp has the Deployment", func(ctx context.Context) error {
		_, err := create(ctx, d.up, objects[last])
		return err
	}, d.deploymentHops(replicas, "has a copy of it, in namespace "+d.downNamespace)...)
}

// deploymentHops are those of a Deployment on its way down, and of its status home.
func (d *demo) deploymentHops(replicas int64, arrived string) []hop {
	return []hop{
		{"the cluster " + arrived, d.downDeployments(), deployment, hasReplicas(replicas)},
		{fmt.Sprintf("the cluster runs all %d pods", replicas), d.downDeployments(), deployment, func(object *unstructured.Unstructured) bool {
			return hasReplicas(replicas)(object) && isAvailable(replicas)(object)
		}},
		{fmt.Sprintf("the workspace says: Available, %d of %d", replicas, replicas), d.upDeployments(), deployment, func(object *unstructured.Unstructured) bool {
			return hasReplicas(replicas)(object) && isAvailable(replicas)(object)
		}},
	}
}

func (d *demo) scale(ctx context.Context) error {
	const replicas = 5
	return journey(ctx, d.screen, "kcp has the change", func(ctx context.Context) error {
		return patch(ctx, d.upDeployments(), fmt.Sprintf(`{"spec": {"replicas": %d}}`, replicas))
	}, d.deploymentHops(replicas, "asks for it too")...)
}

func (d *demo) tamper(ctx context.Context) error {
	before, err := d.downDeployments().Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	// The change makes one generation, the correction another.
	corrected := func(object *unstructured.Unstructured) bool {
		return object.GetGeneration() >= before.GetGeneration()+2 && image(object) == image(before)
	}
	return journey(ctx, d.screen, "the cluster has the wrong image", func(ctx context.Context) error {
		return patch(ctx, d.downDeployments(), `{"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "example.com/miner:latest"}]}}}}`)
	}, hop{"the cluster has the right image again", d.downDeployments(), deployment, corrected})
}

func (d *demo) vandalize(ctx context.Context) error {
	before, err := d.downDeployments().Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	replicas := number(before, "spec", "replicas")
	again := func(object *unstructured.Unstructured) bool { return object.GetUID() != before.GetUID() }
	return journey(ctx, d.screen, "the copy is deleted", func(ctx context.Context) error {
		return d.downDeployments().Delete(ctx, deployment, metav1.DeleteOptions{})
	},
		hop{"the cluster has a copy again", d.downDeployments(), deployment, again},
		hop{"the cluster runs all pods again", d.downDeployments(), deployment, func(object *unstructured.Unstructured) bool {
			return again(object) && isAvailable(replicas)(object)
		}},
	)
}

func (d *demo) remove(ctx context.Context) error {
	err := journey(ctx, d.screen, "kcp knows that the Deployment shall go", func(ctx context.Context) error {
		return d.upDeployments().Delete(ctx, deployment, metav1.DeleteOptions{})
	},
		hop{"the copy is gone from the cluster", d.downDeployments(), deployment, gone},
		hop{"the Deployment is gone from the workspace", d.upDeployments(), deployment, gone},
	)
	if err != nil {
		return err
	}
	namespaces := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	return journey(ctx, d.screen, "kcp knows that the namespace shall go", func(ctx context.Context) error {
		return of(d.up, namespaces, "").Delete(ctx, namespace, metav1.DeleteOptions{})
	},
		hop{"the namespace is gone from the workspace", of(d.up, namespaces, ""), namespace, gone},
		hop{"the namespace " + d.downNamespace + " is gone from the cluster", of(d.down, namespaces, ""), d.downNamespace, gone},
	)
}

// lookAround tells how, and waits while there is something to look at.
func (d *demo) lookAround(ctx context.Context) error {
	if !d.keep {
		d.show("To look around in it yourself: DEMO_KEEP=1 make demo")
		return nil
	}
	if err := d.during("Deploy once more, to look at", func() error { return d.deploy(ctx) }); err != nil {
		return err
	}
	metrics, err := d.address("metrics")
	if err != nil {
		return err
	}
	health, err := d.address("health")
	if err != nil {
		return err
	}
	d.show(fmt.Sprintf(`
All of it runs until Ctrl-C. To look around, in another terminal:

  export KUBECONFIG=%s
  kubectl --context %s -n %s get deployments,services,configmaps,secrets    # the team's workspace
  kubectl --context %s -n %s get deployments,pods,services    # the physical cluster
  %s status --context %s
  curl http://%s/metrics
  curl 'http://%s/readyz?verbose'
  tail -f %s`,
		d.kubeconfig, teamName, namespace, clusterName, d.downNamespace, d.plugin, teamName, metrics, health, d.syncer.LogFile()))
	select {
	case <-ctx.Done():
		return nil
	case <-d.syncer.Done():
		return fmt.Errorf("the syncer has ended:\n%s", d.syncer.Tail(20))
	}
}

// explain shows what the syncer said last, after a failure that nobody asked for.
func (d *demo) explain(ctx context.Context) {
	if d.syncer != nil && ctx.Err() == nil {
		d.show("\nThe end of the syncer's log:\n" + d.syncer.Tail(30))
	}
}

func (d *demo) upDeployments() dynamic.ResourceInterface { return deployments(d.up, namespace) }
func (d *demo) downDeployments() dynamic.ResourceInterface {
	return deployments(d.down, d.downNamespace)
}

func deployments(client dynamic.Interface, namespace string) dynamic.ResourceInterface {
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment"}}
	return of(client, object, namespace)
}

// of gives the client for the object's kind, in a namespace unless that is empty.
func of(client dynamic.Interface, object *unstructured.Unstructured, namespace string) dynamic.ResourceInterface {
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind()) // right for all kinds that the demo uses
	if namespace == "" {
		return client.Resource(resource)
	}
	return client.Resource(resource).Namespace(namespace)
}

func create(ctx context.Context, client dynamic.Interface, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	created, err := of(client, object, object.GetNamespace()).Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("creating %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return created, nil
}

func patch(ctx context.Context, client dynamic.ResourceInterface, body string) error {
	_, err := client.Patch(ctx, deployment, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{})
	return err
}

// readExamples reads the objects of a file in docs/examples.
func readExamples(name string) ([]*unstructured.Unstructured, error) {
	raw, err := os.ReadFile(filepath.Join(examples, name))
	if err != nil {
		return nil, fmt.Errorf("the demo has to run in the root of the repository: %w", err)
	}
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(object); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		objects = append(objects, object)
	}
}
