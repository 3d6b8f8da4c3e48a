package workspace

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"
	corev1alpha1 "github.com/kcp-dev/sdk/apis/core/v1alpha1"
	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
)

// pollInterval is how often kcp is asked whether something has become ready.
const pollInterval = 200 * time.Millisecond

// Ensure makes the workspace with that path, and each one above it that is missing, and waits until it can be used. made
// is called for each workspace that it created.
func Ensure(ctx context.Context, config *rest.Config, path logicalcluster.Path, made func(logicalcluster.Path)) error {
	err := Probe(ctx, config, path)
	if err == nil || !mayBeMissing(err) {
		return err
	}
	parent, name := path.Split()
	if parent.Empty() {
		return err
	}
	if err := Ensure(ctx, config, parent, made); err != nil {
		return err
	}
	created, err := create(ctx, config, parent, name)
	if err != nil {
		return err
	}
	if err := awaitReady(ctx, config, parent, name); err != nil {
		return err
	}
	if created {
		made(path)
	}
	return Poll(ctx, func(ctx context.Context) (bool, error) {
		err := Probe(ctx, config, path)
		return err == nil, err
	})
}

// Probe is nil if there is a workspace with that path and this user may enter it.
func Probe(ctx context.Context, config *rest.Config, path logicalcluster.Path) error {
	client, err := Client(config, path)
	if err != nil {
		return err
	}
	_, err = client.Resource(corev1alpha1.SchemeGroupVersion.WithResource("logicalclusters")).
		Get(ctx, corev1alpha1.LogicalClusterName, metav1.GetOptions{})
	if err != nil {
		return Explain(err, config.Host, path)
	}
	return nil
}

// mayBeMissing is true for the answers that kcp gives for a workspace that does not exist; to users who may not know
// that, it says Forbidden.
func mayBeMissing(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err)
}

func create(ctx context.Context, config *rest.Config, parent logicalcluster.Path, name string) (created bool, err error) {
	client, err := Client(config, parent)
	if err != nil {
		return false, err
	}
	workspace := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": tenancyv1alpha1.SchemeGroupVersion.String(), "kind": "Workspace",
		"metadata": map[string]any{"name": name},
	}}
	_, err = client.Resource(workspaces()).Create(ctx, workspace, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	if apierrors.IsForbidden(err) {
		return false, fmt.Errorf("workspace %s does not exist, or this user may not enter it, and this user may not create it: check --workspace, or ask the owner of %s: %w", parent.Join(name), parent, err)
	}
	if err != nil {
		return false, fmt.Errorf("creating workspace %s: %w", parent.Join(name), Explain(err, config.Host, parent))
	}
	return true, nil
}

func awaitReady(ctx context.Context, config *rest.Config, parent logicalcluster.Path, name string) error {
	client, err := Client(config, parent)
	if err != nil {
		return err
	}
	err = Poll(ctx, func(ctx context.Context) (bool, error) {
		workspace, err := client.Resource(workspaces()).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		phase, _, _ := unstructured.NestedString(workspace.Object, "status", "phase")
		if phase != string(corev1alpha1.LogicalClusterPhaseReady) {
			return false, fmt.Errorf("it is in phase %q", phase)
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for workspace %s to become ready: %w", parent.Join(name), err)
	}
	return nil
}

// Poll calls check until it says done. When ctx ends before, the error holds what check answered last.
func Poll(ctx context.Context, check func(context.Context) (done bool, err error)) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		done, err := check(ctx)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return done, nil
	})
	if err != nil && last != nil {
		return errors.Join(last, err)
	}
	return err
}

func workspaces() schema.GroupVersionResource {
	return tenancyv1alpha1.SchemeGroupVersion.WithResource("workspaces")
}
