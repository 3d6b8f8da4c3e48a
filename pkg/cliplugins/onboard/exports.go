package onboard

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	kcpclientset "github.com/kcp-dev/sdk/client/clientset/versioned"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

// neverSynced are claimed by the export, but say what is or was: a syncer makes namespaces as objects need them.
var neverSynced = sets.New(schema.GroupResource{Resource: "namespaces"}, schema.GroupResource{Resource: "events"}, schema.GroupResource{Group: "events.k8s.io", Resource: "events"})

// defaultExport is the export for Kubernetes resources of the workspace that the SyncTarget API itself comes from.
func (s *session) defaultExport(ctx context.Context) (workloadv1alpha1.APIExportReference, error) {
	reference := workloadv1alpha1.APIExportReference{Export: config.KubernetesExport}
	bindings, err := s.bindings(ctx)
	if err != nil {
		return reference, err
	}
	for i := range bindings {
		if from := bindings[i].Spec.Reference.Export; from != nil && from.Name == config.WorkloadExport {
			reference.Path = from.Path
		}
	}
	return reference, nil
}

func (s *session) bindings(ctx context.Context) ([]apisv1alpha2.APIBinding, error) {
	list, err := s.kcpClient.ApisV1alpha2().APIBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the APIBindings: %w", err)
	}
	return list.Items, nil
}

// resources are what the exports provide and claim.
func (s *session) resources(ctx context.Context, exports []workloadv1alpha1.APIExportReference) ([]schema.GroupResource, error) {
	all := sets.New[schema.GroupResource]()
	for _, export := range exports {
		found, err := s.resourcesOf(ctx, export)
		if err != nil {
			return nil, fmt.Errorf("reading what APIExport %s of %s provides; name the types with --resources instead, or another export with --apiexports: %w", export.Export, orHere(export.Path), err)
		}
		all = all.Union(found)
	}
	return sorted(all.Difference(neverSynced)), nil
}

func orHere(path string) string {
	if path == "" {
		return "this workspace"
	}
	return path
}

// resourcesOf asks the export itself, or, where this user may not, a binding to it in this workspace.
func (s *session) resourcesOf(ctx context.Context, reference workloadv1alpha1.APIExportReference) (sets.Set[schema.GroupResource], error) {
	path := s.path
	if reference.Path != "" {
		path = logicalcluster.NewPath(reference.Path)
	}
	scoped, err := workspace.Config(s.kcp, path)
	if err != nil {
		return nil, err
	}
	client, err := kcpclientset.NewForConfig(scoped)
	if err != nil {
		return nil, err
	}
	export, err := client.ApisV1alpha2().APIExports().Get(ctx, reference.Export, metav1.GetOptions{})
	if err == nil {
		return providedBy(export), nil
	}
	if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		return nil, err
	}
	bindings, listErr := s.bindings(ctx)
	if listErr != nil {
		return nil, listErr
	}
	for i := range bindings {
		from := bindings[i].Spec.Reference.Export
		if from != nil && from.Name == reference.Export && (reference.Path == "" || reference.Path == from.Path) {
			return boundBy(&bindings[i]), nil
		}
	}
	return nil, workspace.Explain(err, s.kcp.Host, path)
}

func providedBy(export *apisv1alpha2.APIExport) sets.Set[schema.GroupResource] {
	resources := sets.New[schema.GroupResource]()
	for _, resource := range export.Spec.Resources {
		resources.Insert(schema.GroupResource{Group: resource.Group, Resource: resource.Name})
	}
	for _, claim := range export.Spec.PermissionClaims {
		resources.Insert(schema.GroupResource{Group: claim.Group, Resource: claim.Resource})
	}
	return resources
}

func boundBy(binding *apisv1alpha2.APIBinding) sets.Set[schema.GroupResource] {
	resources := sets.New[schema.GroupResource]()
	for _, resource := range binding.Status.BoundResources {
		resources.Insert(schema.GroupResource{Group: resource.Group, Resource: resource.Resource})
	}
	for _, claim := range binding.Spec.PermissionClaims {
		if claim.State == apisv1alpha2.ClaimAccepted {
			resources.Insert(schema.GroupResource{Group: claim.Group, Resource: claim.Resource})
		}
	}
	return resources
}

func sorted(resources sets.Set[schema.GroupResource]) []schema.GroupResource {
	list := resources.UnsortedList()
	slices.SortFunc(list, func(a, b schema.GroupResource) int { return strings.Compare(a.String(), b.String()) })
	return list
}
