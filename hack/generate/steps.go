package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/test/env"
)

const (
	apiDir        = "apis/workload/v1alpha1"
	crdDir        = "config/crds"
	syncTargetCRD = crdDir + "/workload.kcp.io_synctargets.yaml"
	workloadDir   = "config/kcp/workload"
	kubernetesDir = "config/kcp/kubernetes"
	conditionsDoc = "docs/reference/conditions.md"
	apiDoc        = "docs/reference/api.md"
)

// step makes some of the files; later ones read what earlier ones wrote.
type step struct {
	name string
	run  func(context.Context) error
}

func steps() []step {
	return []step{
		{"code", generateCode},
		{"workload", generateWorkloadExport},
		{"kubernetes", generateKubernetesExport},
		{"conditions", func(context.Context) error {
			return generateConditions(filepath.Join(apiDir, "conditions.go"), conditionsDoc)
		}},
		{"api", func(context.Context) error { return generateAPIReference(syncTargetCRD, apiDoc) }},
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
	if _, err := os.Stat(apiDir); err != nil {
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

func generateWorkloadExport(context.Context) error {
	crd, err := readCRD(syncTargetCRD)
	if err != nil {
		return err
	}
	return writeExport(workloadDir, config.WorkloadExport, []*apiextensionsv1.CustomResourceDefinition{crd}, nil)
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
		return writeExport(kubernetesDir, config.KubernetesExport, crds, claims())
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
