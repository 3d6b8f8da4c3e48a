package feed

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var (
	apiBindings = apisv1alpha2.SchemeGroupVersion.WithResource("apibindings")
	crds        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// TypeSources are the resources whose changes may change what Accepted answers or what discovery shows.
// It is empty for a virtual workspace, which serves just the accepted types.
func (s *Source) TypeSources() []schema.GroupVersionResource {
	if s.scope == logicalcluster.Wildcard {
		return nil
	}
	return []schema.GroupVersionResource{apiBindings, crds}
}

// Accepted says which of the types that the source serves are compute types: in a virtual workspace all of them; in a
// workspace those bound from one of the exports, what these exports claim, and the workspace's own custom resources.
func (s *Source) Accepted(ctx context.Context, exports []workloadv1alpha1.APIExportReference) (func(schema.GroupResource) bool, error) {
	if s.scope == logicalcluster.Wildcard {
		return func(schema.GroupResource) bool { return true }, nil
	}
	accepted := sets.New[schema.GroupResource]()
	if err := s.acceptBound(ctx, exports, accepted); err != nil {
		return nil, err
	}
	if err := s.acceptCustom(ctx, accepted); err != nil {
		return nil, err
	}
	return accepted.Has, nil
}

// NoBindingError says that a workspace has no APIBinding to any of the wanted exports.
type NoBindingError struct {
	Source  string
	Exports []workloadv1alpha1.APIExportReference
}

func (e *NoBindingError) Error() string {
	return fmt.Sprintf("%s has no bound APIBinding to the APIExports %v of SyncTarget.spec.supportedAPIExports; bind one of them, e.g. with kubectl workload bind", e.Source, e.Exports)
}

func (s *Source) acceptBound(ctx context.Context, exports []workloadv1alpha1.APIExportReference, accepted sets.Set[schema.GroupResource]) error {
	list, err := s.resource(apiBindings).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing the APIBindings of %s: %w", s, err)
	}
	found := false
	for i := range list.Items {
		var binding apisv1alpha2.APIBinding
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &binding); err != nil {
			return fmt.Errorf("reading APIBinding %s: %w", list.Items[i].GetName(), err)
		}
		if wanted(&binding, exports) {
			found = true
			acceptTypesOf(&binding, accepted)
		}
	}
	if !found {
		return &NoBindingError{Source: s.String(), Exports: exports}
	}
	return nil
}

func wanted(binding *apisv1alpha2.APIBinding, exports []workloadv1alpha1.APIExportReference) bool {
	reference := binding.Spec.Reference.Export
	for _, export := range exports {
		if reference != nil && reference.Name == export.Export && (export.Path == "" || export.Path == reference.Path) {
			return true
		}
	}
	return false
}

func acceptTypesOf(binding *apisv1alpha2.APIBinding, accepted sets.Set[schema.GroupResource]) {
	for _, bound := range binding.Status.BoundResources {
		accepted.Insert(schema.GroupResource{Group: bound.Group, Resource: bound.Resource})
	}
	for _, claim := range binding.Spec.PermissionClaims {
		if claim.State == apisv1alpha2.ClaimAccepted {
			accepted.Insert(schema.GroupResource{Group: claim.Group, Resource: claim.Resource})
		}
	}
}

func (s *Source) acceptCustom(ctx context.Context, accepted sets.Set[schema.GroupResource]) error {
	list, err := s.resource(crds).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing the CustomResourceDefinitions of %s: %w", s, err)
	}
	for i := range list.Items {
		accepted.Insert(schema.ParseGroupResource(list.Items[i].GetName())) // the API demands <resource>.<group>
	}
	return nil
}
