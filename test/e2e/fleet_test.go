package e2e

import (
	"testing"

	"github.com/kcp-dev/logicalcluster/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// exports are what a tenant binds.
var exports = []string{config.WorkloadExport, config.KubernetesExport}

const apisGroup = "apis.kcp.io/v1alpha2"

// initProvider makes the workspace that provides the APIs to all tenants.
func (f *fleet) initProvider(t *testing.T) {
	t.Helper()
	if _, err := f.kcp.CreateWorkspace(t.Context(), env.Root, "compute"); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	p := newSide(t, f.kcp.WorkspaceConfig(f.provider))
	for _, object := range must(config.Objects())(t) {
		must(p.client(object).Create(t.Context(), object, metav1.CreateOptions{}))(t)
	}
}

// bind binds a workspace to the provider's exports and accepts all that they claim.
func (f *fleet) bind(t *testing.T, path logicalcluster.Path) {
	t.Helper()
	p := newSide(t, f.kcp.WorkspaceConfig(f.provider))
	ws := newSide(t, f.kcp.WorkspaceConfig(path))
	for _, name := range exports {
		export := p.eventually(apisGroup+" APIExport", "", name, nil)
		claims, _, _ := unstructured.NestedSlice(export.Object, "spec", "permissionClaims")
		for _, claim := range claims {
			c := claim.(map[string]any)
			c["state"], c["selector"] = "Accepted", map[string]any{"matchAll": true}
		}
		binding := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": apisGroup, "kind": "APIBinding", "metadata": map[string]any{"name": name},
			"spec": map[string]any{
				"reference":        map[string]any{"export": map[string]any{"path": f.provider.String(), "name": name}},
				"permissionClaims": claims,
			},
		}}
		must(ws.client(binding).Create(t.Context(), binding, metav1.CreateOptions{}))(t)
	}
	for _, name := range exports {
		ws.eventually(apisGroup+" APIBinding", "", name, has("Bound", "status", "phase"))
	}
}
