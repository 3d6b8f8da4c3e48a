// Package setup gives a kcp what workloads need: the APIExports of config/ in a workspace of their own.
package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	conditionsv1alpha1 "github.com/kcp-dev/sdk/apis/third_party/conditions/apis/conditions/v1alpha1"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// fieldManager owns what this package applies.
const fieldManager = "kubectl-workload"

// Outcome is what was done to an object.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
)

// Change is an object and what was done to it.
type Change struct {
	Kind, Name string
	Outcome    Outcome
}

// Apply makes the workspace with that path if it is missing, applies all objects of config/ there, and waits until the
// APIExports can be bound. It writes each change to out as it happens, and returns them all. Done again, it changes
// nothing.
func Apply(ctx context.Context, kcp *rest.Config, path logicalcluster.Path, out io.Writer) ([]Change, error) {
	objects, err := config.Objects()
	if err != nil {
		return nil, err
	}
	run := &run{out: out}
	if err := workspace.Ensure(ctx, kcp, path, func(made logicalcluster.Path) { run.note("Workspace", made.String(), Created) }); err != nil {
		return run.changes, err
	}
	scoped, err := workspace.Config(kcp, path)
	if err != nil {
		return run.changes, err
	}
	if run.client, err = dynamic.NewForConfig(scoped); err != nil {
		return run.changes, err
	}
	for _, object := range objects {
		outcome, err := run.apply(ctx, object)
		if err != nil {
			return run.changes, fmt.Errorf("applying %s %s in workspace %s: %w", object.GetKind(), object.GetName(), path, workspace.Explain(err, kcp.Host, path))
		}
		run.note(object.GetKind(), object.GetName(), outcome)
	}
	for _, export := range config.Exports() {
		if err := run.awaitExport(ctx, export); err != nil {
			return run.changes, fmt.Errorf("waiting until APIExport %s in workspace %s can be bound: %w", export, path, err)
		}
	}
	return run.changes, nil
}

// run is one call of Apply.
type run struct {
	client  dynamic.Interface
	out     io.Writer
	changes []Change
}

func (r *run) note(kind, name string, outcome Outcome) {
	r.changes = append(r.changes, Change{Kind: kind, Name: name, Outcome: outcome})
	_, _ = fmt.Fprintf(r.out, "%-9s  %s %s\n", outcome, kind, name)
}

// apply creates the object if it is missing, and changes it if that is allowed and needed.
func (r *run) apply(ctx context.Context, object *unstructured.Unstructured) (Outcome, error) {
	client := r.client.Resource(resourceOf(object))
	before, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	if err == nil && !changeable(object) {
		return Unchanged, nil
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return "", err
	}
	force := true
	after, err := client.Patch(ctx, object.GetName(), types.ApplyPatchType, raw, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	switch {
	case err != nil:
		return "", err
	case before == nil:
		return Created, nil
	case before.GetResourceVersion() == after.GetResourceVersion():
		return Unchanged, nil
	}
	return Updated, nil
}

// changeable is false for APIResourceSchemas, which are immutable and called after a hash of what is in them, and for
// ClusterRoleBindings, whose subjects belong to the administrator of this kcp.
func changeable(object *unstructured.Unstructured) bool {
	return object.GetKind() != "APIResourceSchema" && object.GetKind() != "ClusterRoleBinding"
}

// resourceOf is where the kinds of config/ are served.
func resourceOf(object *unstructured.Unstructured) schema.GroupVersionResource {
	switch object.GetKind() {
	case "APIResourceSchema":
		return apisv1alpha1.SchemeGroupVersion.WithResource("apiresourceschemas")
	case "APIExport":
		return exports()
	case "ClusterRole":
		return rbacv1.SchemeGroupVersion.WithResource("clusterroles")
	case "ClusterRoleBinding":
		return rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings")
	}
	return schema.GroupVersionResource{} // config's test rules it out
}

func exports() schema.GroupVersionResource {
	return apisv1alpha2.SchemeGroupVersion.WithResource("apiexports")
}

// awaitExport waits until kcp has given the export its identity and made the slice where its virtual workspace is found.
// The slice stays empty until somebody binds the export.
func (r *run) awaitExport(ctx context.Context, name string) error {
	return workspace.Poll(ctx, func(ctx context.Context) (bool, error) {
		content, err := r.client.Resource(exports()).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		var export apisv1alpha2.APIExport
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content.Object, &export); err != nil {
			return false, err
		}
		if err := bindable(&export); err != nil {
			return false, err
		}
		_, err = r.client.Resource(apisv1alpha1.SchemeGroupVersion.WithResource("apiexportendpointslices")).Get(ctx, name, metav1.GetOptions{})
		return err == nil, err
	})
}

// bindable tells what keeps the export from being bound.
func bindable(export *apisv1alpha2.APIExport) error {
	for _, condition := range export.Status.Conditions {
		if condition.Status == corev1.ConditionFalse && condition.Severity == conditionsv1alpha1.ConditionSeverityError {
			return fmt.Errorf("condition %s: %s: %s", condition.Type, condition.Reason, condition.Message)
		}
	}
	if export.Status.IdentityHash == "" {
		return errors.New("it has no identity yet")
	}
	return nil
}
