package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// What the demo is about.
const (
	provider   = "root:compute"
	namespace  = "shop"
	deployment = "web"
	examples   = "docs/examples"
)

// demo is the stage: all that the chapters set up and use.
type demo struct {
	*screen
	keep bool
	// prometheus is a file for the addresses of the metrics; empty for none.
	prometheus string
	env        *env.Env

	plugin, agent, managerProgram string // executables
	kubeconfig                    string
	// compute is the provider's workspace.
	compute        dynamic.Interface
	views, manager *env.Process
	// authority is the file with whom syncers trust about the virtual workspace.
	authority string
	clusters  []*cluster
	teams     []*team
}

// chapter is a part of the story.
type chapter struct {
	title string
	tell  func(context.Context) error
}

// run tells the whole story, and ends all that it started.
func run(ctx context.Context, s *screen, keep bool, prometheus string) (err error) {
	s.show("Two teams in two kcp workspaces, two physical clusters: the teams just apply, and their work runs, moves and survives.")
	e, err := env.New(env.Options{Progress: s})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	d := &demo{
		screen: s, keep: keep, prometheus: prometheus, env: e,
		clusters: []*cluster{{name: "east"}, {name: "west"}}, teams: []*team{{name: "team-a"}, {name: "team-b"}},
	}
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
	a, b := d.teams[0], d.teams[1]
	return []chapter{
		{"Build what is missing", d.build},
		{"Start kcp, and the physical clusters east and west with simulated nodes", d.startServers},
		{"Give kcp the APIs for workloads: kubectl workload init, and start the workload manager", d.initialize},
		{"Onboard the clusters: kubectl workload sync, and apply its manifest", d.onboard},
		{"Two teams: kubectl workload bind", d.bindTeams},
		{"team-a deploys: apply " + examples + "/web.yaml in its workspace", func(ctx context.Context) error { return d.deploy(ctx, a) }},
		{"team-b deploys the same, with the same names: they never meet", func(ctx context.Context) error { return d.deploy(ctx, b) }},
		{"team-a scales to 5 replicas", func(ctx context.Context) error { return d.scale(ctx, a) }},
		{"Somebody changes the image of the copy in the cluster: it is corrected", func(ctx context.Context) error { return d.tamper(ctx, a) }},
		{"Somebody deletes the copy in the cluster: it comes back", func(ctx context.Context) error { return d.vandalize(ctx, a) }},
		{"The cluster of team-a is drained: its work moves, and stays Available all the while", func(ctx context.Context) error { return d.drain(ctx, a) }},
		{"The cluster that it has moved to dies: the work starts on the other", func(ctx context.Context) error { return d.die(ctx, a) }},
		{"The dead cluster is given up; team-b deletes its Deployment and namespace", func(ctx context.Context) error { return d.remove(ctx, b) }},
	}
}

func (d *demo) build(ctx context.Context) error {
	if _, err := env.EnsureServers(ctx, d); err != nil {
		return err
	}
	for program, path := range map[string]*string{"workload-syncer": &d.agent, "workload-manager": &d.managerProgram, "kubectl-workload": &d.plugin} {
		var err error
		if *path, err = d.env.Build(ctx, "./cmd/"+program); err != nil {
			return err
		}
	}
	return nil
}

// workload runs the kubectl plugin, and shows what it says.
func (d *demo) workload(ctx context.Context, arguments ...string) error {
	result, err := d.env.Run(ctx, env.Command{
		Name: "kubectl-workload", Path: d.plugin, Args: append(arguments, "--kubeconfig", d.kubeconfig),
	})
	if err != nil {
		return err
	}
	d.say("%s", abridged(result.Stdout+result.Stderr))
	if result.ExitCode != 0 {
		return fmt.Errorf("kubectl workload %s: %s", strings.Join(arguments, " "), result.Stderr)
	}
	return nil
}

// abridged leaves out what is much of the same.
func abridged(output string) string {
	var lines []string
	for line := range strings.SplitSeq(output, "\n") {
		if !strings.Contains(line, "APIResourceSchema ") && !strings.Contains(line, "   accepted: ") {
			lines = append(lines, line)
		}
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// lookAround tells how, and waits while there is something to look at.
func (d *demo) lookAround(ctx context.Context) error {
	if !d.keep {
		d.show("To look around in it yourself: DEMO_KEEP=1 make demo")
		return nil
	}
	team := d.teams[0]
	at, err := d.placeOf(ctx, team)
	if err != nil {
		return err
	}
	d.show(fmt.Sprintf(`
All of it runs until Ctrl-C; %[3]s is the cluster that still lives. To look around, in another terminal:

  export KUBECONFIG=%[1]s
  kubectl --context %[2]s -n %[5]s get deployments,services,configmaps,secrets    # the team's workspace
  kubectl --context %[3]s -n %[6]s get deployments,pods,services    # the physical cluster
  %[4]s status --context compute
  %[4]s explain deployment/%[7]s -n %[5]s --context %[2]s
  curl http://%[8]s/metrics
  curl 'http://%[9]s/readyz?verbose'
  tail -f %[10]s`,
		d.kubeconfig, team.name, at.name, d.plugin, namespace, at.namespaceOf(team), deployment,
		address(at.syncer, "metrics"), address(at.syncer, "health"), at.syncer.LogFile()))
	select {
	case <-ctx.Done():
		return nil
	case <-at.syncer.Done():
		return fmt.Errorf("the syncer has ended:\n%s", at.syncer.Tail(20))
	case <-d.manager.Done():
		return fmt.Errorf("the manager has ended:\n%s", d.manager.Tail(20))
	}
}

// explain shows what the programs said last, after a failure that nobody asked for.
func (d *demo) explain(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	processes := map[string]*env.Process{"manager": d.manager, "virtual workspace server": d.views}
	for _, c := range d.clusters {
		processes["syncer of "+c.name] = c.syncer
	}
	for name, process := range processes {
		if process != nil {
			d.show("\nThe end of the log of the " + name + ":\n" + process.Tail(20))
		}
	}
}

// of gives the client for the object's kind, in a namespace unless that is empty.
func of(client dynamic.Interface, object *unstructured.Unstructured, namespace string) dynamic.ResourceInterface {
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind()) // right for all kinds that the demo uses
	if namespace == "" {
		return client.Resource(resource)
	}
	return client.Resource(resource).Namespace(namespace)
}

// kind is an object of which nothing but the kind is known.
func kind(apiVersion, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": name}}
}

func create(ctx context.Context, client dynamic.Interface, object *unstructured.Unstructured) error {
	if _, err := of(client, object, object.GetNamespace()).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

func patch(ctx context.Context, client dynamic.ResourceInterface, name, body string) error {
	_, err := client.Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{})
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
