package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/test/env"
)

const (
	apisDir       = "apis"
	crdDir        = "config/crds"
	kubernetesDir = "config/kcp/kubernetes"
	conditionsDoc = "docs/reference/conditions.md"
	apiDoc        = "docs/reference/api.md"
)

// group is an API group of this repository. Its types are in apis/<dir>; conditions.go there spells its conditions, if it
// has any.
type group struct {
	name, dir string
	// export is the APIExport that serves its resources.
	export string
}

func groups() []group {
	return []group{
		{name: "workload.kcp.io", dir: "workload/v1alpha1", export: config.WorkloadExport},
		{name: "apiresource.kcp.io", dir: "apiresource/v1alpha1", export: config.WorkloadExport},
		{name: "scheduling.kcp.io", dir: "scheduling/v1alpha1", export: config.SchedulingExport},
	}
}

// conditions is the file that spells the group's conditions.
func (g group) conditions() string { return filepath.Join(apisDir, g.dir, "conditions.go") }

// crds are the files with the group's CustomResourceDefinitions, which generateCode has written.
func (g group) crds() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(crdDir, g.name+"_*.yaml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no %s_*.yaml", crdDir, g.name)
	}
	slices.Sort(files)
	return files, err
}

// export is an APIExport of the groups' resources.
type export struct {
	name, dir string
	claims    []apisv1alpha2.PermissionClaim
}

func exports() []export {
	return []export{
		{name: config.WorkloadExport, dir: "config/kcp/workload", claims: workloadClaims()},
		{name: config.SchedulingExport, dir: "config/kcp/scheduling", claims: schedulingClaims()},
	}
}

// step makes some of the files; later ones read what earlier ones wrote.
type step struct {
	name string
	run  func(context.Context) error
}

func steps() []step {
	return []step{
		{"code", generateCode},
		{"exports", generateExports},
		{"kubernetes", generateKubernetesExport},
		{"conditions", func(context.Context) error { return generateConditions(groups(), conditionsDoc) }},
		{"api", func(context.Context) error { return generateAPIReference(groups(), apiDoc) }},
	}
}

func stepNames() string {
	var names []string
	for _, s := range steps() {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

// generate takes all steps, or the one named only.
func generate(ctx context.Context, only string) error {
	if _, err := os.Stat(apisDir); err != nil {
		return fmt.Errorf("run it in the root of the repository: %w", err)
	}
	taken := false
	for _, s := range steps() {
		if only != "" && only != s.name {
			continue
		}
		taken = true
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if !taken {
		return fmt.Errorf("-only=%s: must be one of %s", only, stepNames())
	}
	return nil
}

func generateCode(ctx context.Context) error {
	tool, err := exec.CommandContext(ctx, "hack/tools/tool", "controller-gen").Output()
	if err != nil {
		return fmt.Errorf("building controller-gen: %w", withStderr(err))
	}
	if err := os.RemoveAll(crdDir); err != nil { // with what is left of types that are gone
		return err
	}
	if err := os.MkdirAll(crdDir, 0o755); err != nil {
		return err
	}
	// #nosec G204 -- the program that was just built
	out, err := exec.CommandContext(ctx, strings.TrimSpace(string(tool)),
		"object", "crd:crdVersions=v1", "paths=./apis/...", "output:crd:dir="+crdDir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("controller-gen: %w\n%s", err, out)
	}
	return nil
}

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return err
}

func generateExports(context.Context) error {
	for _, e := range exports() {
		var crds []*apiextensionsv1.CustomResourceDefinition
		for _, g := range groups() {
			if g.export != e.name {
				continue
			}
			of, err := readCRDs(g)
			if err != nil {
				return err
			}
			crds = append(crds, of...)
		}
		if err := writeExport(e.dir, e.name, crds, e.claims); err != nil {
			return err
		}
	}
	return nil
}

func generateKubernetesExport(ctx context.Context) error {
	return withAPIServer(ctx, func(clientConfig *rest.Config) error {
		server, err := newAPIServer(clientConfig)
		if err != nil {
			return err
		}
		var crds []*apiextensionsv1.CustomResourceDefinition
		for _, b := range builtins() {
			crd, err := server.crd(ctx, b)
			if err != nil {
				return fmt.Errorf("describing %s: %w", b.resource, err)
			}
			crds = append(crds, crd)
		}
		return writeExport(kubernetesDir, config.KubernetesExport, crds, kubernetesClaims())
	})
}

// withAPIServer runs a real cluster while use works.
func withAPIServer(ctx context.Context, use func(*rest.Config) error) (err error) {
	servers, err := env.New(env.Options{Progress: os.Stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()

	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute) // the servers may have to be built
	defer cancel()
	cluster, err := servers.StartCluster(ctx, "openapi", env.WithNodes(0))
	if err != nil {
		return err
	}
	return use(cluster.AdminConfig())
}
