package main

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// namespace is that of the objects in each workspace.
const namespace = "bench"

// tenant is a SyncTarget, and the workspaces whose objects go to it.
type tenant struct {
	name       string
	workspaces []workspace
	target     *unstructured.Unstructured
	key        string
	// flags for the syncer that serves it.
	flags []string
}

// workspace is one that is bound to the provider. The first of a tenant holds its SyncTarget.
type workspace struct {
	env.Workspace
	objects dynamic.Interface
}

// newTenant makes workspaces, each with the namespace, and a SyncTarget in the first.
func (b *bench) newTenant(ctx context.Context, name string, workspaces int) (*tenant, error) {
	t := &tenant{name: name, workspaces: make([]workspace, workspaces)}
	var making errgroup.Group
	making.SetLimit(4)
	for i := range t.workspaces {
		making.Go(func() (err error) {
			t.workspaces[i], err = b.newWorkspace(ctx, fmt.Sprintf("%s-%d", name, i))
			return err
		})
	}
	if err := making.Wait(); err != nil {
		return nil, err
	}
	home := t.workspaces[0]
	var err error
	t.target, err = home.objects.Resource(syncTargets).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": workloadv1alpha1.SchemeGroupVersion.String(), "kind": "SyncTarget", "metadata": map[string]any{"name": name},
	}}, metav1.CreateOptions{})
	t.key = workloadv1alpha1.SyncTargetKey(string(home.Cluster), name)
	return t, err
}

func (b *bench) newWorkspace(ctx context.Context, name string) (w workspace, err error) {
	if w.Workspace, err = b.kcp.CreateWorkspace(ctx, env.Root, name); err != nil {
		return w, err
	}
	exports := []string{config.WorkloadExport, config.KubernetesExport}
	if err := bind.Bind(ctx, b.kcp.AdminConfig(), w.Path, provider, exports, io.Discard); err != nil {
		return w, err
	}
	if w.objects, err = unlimited(b.kcp.WorkspaceConfig(w.Path)); err != nil {
		return w, err
	}
	return w, createNamespace(ctx, w.objects, namespace)
}

func createNamespace(ctx context.Context, side dynamic.Interface, name string) error {
	_, err := side.Resource(namespaces).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// home is where the objects of a tenant with one workspace are.
func (t *tenant) home() dynamic.Interface { return t.workspaces[0].objects }

// downNamespace is where the objects of a workspace go.
func (t *tenant) downNamespace(w workspace) string {
	return workloadv1alpha1.NamespaceLocator{
		SyncTarget:  workloadv1alpha1.SyncTargetLocator{ClusterName: string(t.workspaces[0].Cluster), Name: t.target.GetName(), UID: t.target.GetUID()},
		ClusterName: string(w.Cluster), Namespace: namespace,
	}.DownstreamNamespace()
}

// copies selects what the tenant's syncer made.
func (t *tenant) copies() string { return workloadv1alpha1.DownstreamClusterLabel + "=" + t.key }

// claimed has the object look as if a syncer of this target had claimed it.
func (t *tenant) claimed(u *unstructured.Unstructured) {
	u.SetFinalizers([]string{workloadv1alpha1.SyncerFinalizer(t.key)})
}

// assigned has the object belong to the target wherever it is.
func (t *tenant) assigned(u *unstructured.Unstructured) {
	u.SetLabels(map[string]string{workloadv1alpha1.StateLabel(t.key): string(workloadv1alpha1.StateSync)})
}
