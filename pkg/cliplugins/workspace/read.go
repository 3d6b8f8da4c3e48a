package workspace

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// The resources that commands read.
var (
	SyncTargets = workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")
	Locations   = schedulingv1alpha1.SchemeGroupVersion.WithResource("locations")
	Placements  = schedulingv1alpha1.SchemeGroupVersion.WithResource("placements")
)

// Client reaches the objects of the workspace at path.
func Client(kcp *rest.Config, path logicalcluster.Path) (dynamic.Interface, error) {
	scoped, err := Config(kcp, path)
	if err != nil {
		return nil, err
	}
	return dynamic.NewForConfig(scoped)
}

// List reads the objects of a resource.
func List[T any](ctx context.Context, client dynamic.ResourceInterface, options metav1.ListOptions) ([]T, error) {
	content, err := client.List(ctx, options)
	if err != nil {
		return nil, err
	}
	items := make([]T, len(content.Items))
	var errs []error
	for i := range content.Items {
		errs = append(errs, into(&content.Items[i], &items[i]))
	}
	return items, errors.Join(errs...)
}

// Get reads an object of a resource.
func Get[T any](ctx context.Context, client dynamic.ResourceInterface, name string) (*T, error) {
	content, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return As[T](content)
}

// As is the object in its own type.
func As[T any](content *unstructured.Unstructured) (*T, error) {
	object := new(T)
	return object, into(content, object)
}

func into(content *unstructured.Unstructured, object any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content.Object, object); err != nil {
		return fmt.Errorf("reading %s %s: %w", content.GetKind(), content.GetName(), err)
	}
	return nil
}
