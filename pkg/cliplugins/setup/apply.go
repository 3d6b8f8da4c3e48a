// Package setup gives a kcp what workloads need: the APIExports of config/ in a workspace of their own.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	conditionsv1alpha1 "github.com/kcp-dev/sdk/apis/third_party/conditions/apis/conditions/v1alpha1"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/apply"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// Apply makes the workspace with that path if it is missing, applies all objects of config/ there, and waits until the
// APIExports can be bound. It writes each change to out as it happens, and returns them all. Done again, it changes
// nothing.
func Apply(ctx context.Context, kcp *rest.Config, path logicalcluster.Path, out io.Writer) ([]apply.Change, error) {
	objects, err := config.Objects()
	if err != nil {
		return nil, err
	}
	run := &apply.Run{Out: out}
	if err := workspace.Ensure(ctx, kcp, path, func(made logicalcluster.Path) { run.Note("Workspace", made.String(), apply.Created) }); err != nil {
		return run.Changes, err
	}
	scoped, err := workspace.Config(kcp, path)
	if err != nil {
		return run.Changes, err
	}
	if run.Client, err = dynamic.NewForConfig(scoped); err != nil {
		return run.Changes, err
	}
	for _, object := range objects {
		put := run.Create
		if changeable(object) {
			put = run.Apply
		}
		if err := put(ctx, resourceOf(object), object); err != nil {
			return run.Changes, fmt.Errorf("in workspace %s: %w", path, workspace.Explain(err, kcp.Host, path))
		}
	}
	for _, export := range config.Exports() {
		if err := awaitExport(ctx, run.Client, export); err != nil {
			return run.Changes, fmt.Errorf("waiting until APIExport %s in workspace %s can be bound: %w", export, path, err)
		}
	}
	return run.Changes, nil
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
func awaitExport(ctx context.Context, client dynamic.Interface, name string) error {
	return workspace.Poll(ctx, func(ctx context.Context) (bool, error) {
		content, err := client.Resource(exports()).Get(ctx, name, metav1.GetOptions{})
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
		_, err = client.Resource(apisv1alpha1.SchemeGroupVersion.WithResource("apiexportendpointslices")).Get(ctx, name, metav1.GetOptions{})
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
