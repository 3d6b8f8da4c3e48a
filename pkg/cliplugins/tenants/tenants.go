// Package tenants looks at all workspaces that have bound the exports of a provider, for those who may: the provider's
// administrators. It reads, and never writes.
package tenants

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"
	kcpclientset "github.com/kcp-dev/sdk/client/clientset/versioned"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// Provider is the workspace whose export serves SyncTargets in the workspace at path.
func Provider(ctx context.Context, kcp *rest.Config, path logicalcluster.Path) (logicalcluster.Path, error) {
	client, err := clientFor(kcp, path)
	if err != nil {
		return path, err
	}
	bindings, err := client.ApisV1alpha2().APIBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return path, fmt.Errorf("listing the APIBindings of workspace %s: %w", path, err)
	}
	for i := range bindings.Items {
		if from := bindings.Items[i].Spec.Reference.Export; from != nil && from.Name == workloadv1alpha1.WorkloadExport && from.Path != "" {
			return logicalcluster.NewPath(from.Path), nil
		}
	}
	return path, nil // an export of the workspace itself
}

// View is what is seen through one export: a URL per kcp shard.
type View struct {
	configs []*rest.Config
}

// Open finds the export's virtual workspaces.
func Open(ctx context.Context, kcp *rest.Config, provider logicalcluster.Path, export string) (*View, error) {
	client, err := clientFor(kcp, provider)
	if err != nil {
		return nil, err
	}
	slice, err := client.ApisV1alpha1().APIExportEndpointSlices().Get(ctx, export, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("looking for the virtual workspace of APIExport %s: %w", export, err)
	}
	v := &View{}
	for _, endpoint := range slice.Status.APIExportEndpoints {
		config := rest.CopyConfig(kcp)
		config.Host = strings.TrimSuffix(endpoint.URL, "/") + logicalcluster.Wildcard.RequestPath()
		config.QPS = -1
		v.configs = append(v.configs, config)
	}
	return v, nil
}

func clientFor(kcp *rest.Config, path logicalcluster.Path) (kcpclientset.Interface, error) {
	scoped, err := workspace.Config(kcp, path)
	if err != nil {
		return nil, err
	}
	return kcpclientset.NewForConfig(scoped)
}

// PlacementsOn are the Placements that have chosen the target with that key, or are leaving it, in the order of their clusters and
// names.
func (v *View) PlacementsOn(ctx context.Context, key string) ([]schedulingv1alpha1.Placement, error) {
	var found []schedulingv1alpha1.Placement
	for _, config := range v.configs {
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		placements, err := workspace.List[schedulingv1alpha1.Placement](ctx, client.Resource(workspace.Placements), metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range placements {
			if slices.ContainsFunc(placements[i].Status.SelectedTargets, func(t schedulingv1alpha1.SelectedTarget) bool { return t.Key == key }) {
				found = append(found, placements[i])
			}
		}
	}
	slices.SortFunc(found, func(a, b schedulingv1alpha1.Placement) int { return strings.Compare(place(&a), place(&b)) })
	return found, nil
}

func place(object metav1.Object) string {
	return logicalcluster.From(object).String() + "|" + object.GetNamespace() + "/" + object.GetName()
}

// ObjectsOn are the objects of a type that are assigned to the target with that key; of their content nothing is read.
func (v *View) ObjectsOn(ctx context.Context, key string, resource schema.GroupVersionResource) ([]metav1.PartialObjectMetadata, error) {
	selector := labels.Set{workloadv1alpha1.StateLabel(key): string(workloadv1alpha1.StateSync)}.String()
	var found []metav1.PartialObjectMetadata
	var errs []error
	for _, config := range v.configs {
		client, err := metadata.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		list, err := client.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if apierrors.IsNotFound(err) {
			continue // nobody on that shard has bound it
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, list.Items...)
	}
	slices.SortFunc(found, func(a, b metav1.PartialObjectMetadata) int { return strings.Compare(place(&a), place(&b)) })
	return found, errors.Join(errs...)
}
