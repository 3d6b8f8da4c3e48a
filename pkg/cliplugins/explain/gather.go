package explain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

var (
	namespacesGVR = corev1.SchemeGroupVersion.WithResource("namespaces")
	eventsGVR     = corev1.SchemeGroupVersion.WithResource("events")
	bindingsGVR   = apisv1alpha2.SchemeGroupVersion.WithResource("apibindings")
)

// Workspace is where to look.
type Workspace struct {
	kcp    *rest.Config
	path   logicalcluster.Path
	client dynamic.Interface
	mapper meta.RESTMapper
	// discovery tells which types there are.
	discovery discovery.DiscoveryInterface
}

// Open reaches the workspace at path.
func Open(ctx context.Context, kcp *rest.Config, path logicalcluster.Path) (*Workspace, error) {
	if err := workspace.Probe(ctx, kcp, path); err != nil {
		return nil, err
	}
	scoped, err := workspace.Config(kcp, path)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(scoped)
	if err != nil {
		return nil, err
	}
	direct, err := discovery.NewDiscoveryClientForConfig(scoped)
	if err != nil {
		return nil, err
	}
	cached := memory.NewMemCacheClient(direct)
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, func(string) {})
	return &Workspace{kcp: kcp, path: path, client: client, mapper: mapper, discovery: cached}, nil
}

// Kinds are the types whose objects can be explained, as they are called in a command.
func (w *Workspace) Kinds() []string {
	lists, _ := w.discovery.ServerPreferredResources() // what is known is offered
	var kinds []string
	for _, list := range lists {
		for _, resource := range list.APIResources {
			gv, err := schema.ParseGroupVersion(list.GroupVersion)
			if err == nil && !strings.Contains(resource.Name, "/") && slices.Contains(resource.Verbs, "list") {
				kinds = append(kinds, schema.GroupResource{Group: gv.Group, Resource: resource.Name}.String())
			}
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// Names are those of the objects of a kind.
func (w *Workspace) Names(ctx context.Context, kind, namespace string) ([]string, error) {
	mapping, err := w.mapping(kind)
	if err != nil {
		return nil, err
	}
	list, err := w.of(mapping, namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].GetName())
	}
	return names, nil
}

// Explain answers about the object of that kind and name.
func (w *Workspace) Explain(ctx context.Context, kind, namespace, name string, now time.Time) (Report, error) {
	mapping, err := w.mapping(kind)
	if err != nil {
		return Report{}, err
	}
	object, err := w.of(mapping, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Report{}, w.explain(mapping, namespace, name, err)
	}
	if mapping.Resource == workspace.Placements {
		return w.explainPlacement(ctx, object, now)
	}
	f := Facts{Workspace: w.path.String(), Now: now, Resource: mapping.Resource.GroupResource(), Object: object, Targets: map[string]*workloadv1alpha1.SyncTarget{}}
	if err := w.gather(ctx, &f); err != nil {
		return Report{}, fmt.Errorf("looking at workspace %s: %w", w.path, workspace.Explain(err, w.kcp.Host, w.path))
	}
	return Object(f), nil
}

func (w *Workspace) explainPlacement(ctx context.Context, object *unstructured.Unstructured, now time.Time) (Report, error) {
	placement, err := workspace.As[schedulingv1alpha1.Placement](object)
	if err != nil {
		return Report{}, err
	}
	namespaces, err := workspace.List[corev1.Namespace](ctx, w.client.Resource(namespacesGVR), metav1.ListOptions{})
	if err != nil {
		return Report{}, fmt.Errorf("looking at workspace %s: %w", w.path, err)
	}
	return Placement(PlacementFacts{Workspace: w.path.String(), Now: now, Placement: placement, Namespaces: namespaces}), nil
}

func (w *Workspace) mapping(kind string) (*meta.RESTMapping, error) {
	resource := schema.ParseGroupResource(strings.ToLower(kind))
	gvr, err := w.mapper.ResourceFor(resource.WithVersion(""))
	if err != nil {
		return nil, fmt.Errorf("workspace %s serves no %q: see kubectl api-resources, or bind what provides it: %w", w.path, kind, err)
	}
	gvk, err := w.mapper.KindFor(gvr)
	if err != nil {
		return nil, err
	}
	return w.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
}

func (w *Workspace) of(mapping *meta.RESTMapping, namespace string) dynamic.ResourceInterface {
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return w.client.Resource(mapping.Resource)
	}
	return w.client.Resource(mapping.Resource).Namespace(namespace)
}

func (w *Workspace) explain(mapping *meta.RESTMapping, namespace, name string, err error) error {
	if apierrors.IsNotFound(err) {
		where := "workspace " + w.path.String()
		if mapping.Scope.Name() != meta.RESTScopeNameRoot {
			where = fmt.Sprintf("namespace %s of %s; choose another with -n", namespace, where)
		}
		return fmt.Errorf("there is no %s %s in %s: %w", mapping.Resource.GroupResource(), name, where, err)
	}
	return workspace.Explain(err, w.kcp.Host, w.path)
}

// gather reads what surrounds the object. What this user may not read is left out, and the answer says where that matters.
func (w *Workspace) gather(ctx context.Context, f *Facts) error {
	var errs [4]error
	f.Namespace, errs[0] = w.namespace(ctx, f.Object)
	f.Bindings, errs[1] = workspace.List[apisv1alpha2.APIBinding](ctx, w.client.Resource(bindingsGVR), metav1.ListOptions{})
	f.Placements, errs[2] = workspace.List[schedulingv1alpha1.Placement](ctx, w.client.Resource(workspace.Placements), metav1.ListOptions{})
	f.PlacementsServed = !apierrors.IsNotFound(errs[2])
	f.Events, errs[3] = w.events(ctx, f.Object)
	for _, err := range errs {
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return err
		}
	}
	return w.gatherTargets(ctx, f)
}

func (w *Workspace) namespace(ctx context.Context, object *unstructured.Unstructured) (*corev1.Namespace, error) {
	content := object
	if object.GetKind() != "Namespace" {
		if object.GetNamespace() == "" {
			return nil, nil
		}
		var err error
		if content, err = w.client.Resource(namespacesGVR).Get(ctx, object.GetNamespace(), metav1.GetOptions{}); err != nil {
			return nil, err
		}
	}
	return workspace.As[corev1.Namespace](content)
}

func (w *Workspace) events(ctx context.Context, object *unstructured.Unstructured) ([]corev1.Event, error) {
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	selector := fields.OneTermEqualSelector("involvedObject.uid", string(object.GetUID())).String()
	events, err := workspace.List[corev1.Event](ctx, w.client.Resource(eventsGVR).Namespace(namespace), metav1.ListOptions{FieldSelector: selector})
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	return events, err
}

// gatherTargets reads the SyncTargets of this workspace, and those that its Placements chose.
func (w *Workspace) gatherTargets(ctx context.Context, f *Facts) error {
	own, err := workspace.List[workloadv1alpha1.SyncTarget](ctx, w.client.Resource(workspace.SyncTargets), metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return err
	}
	for i := range own {
		key := workloadv1alpha1.SyncTargetKey(logicalcluster.From(&own[i]).String(), own[i].Name)
		f.Targets[key] = &own[i]
		if own[i].Status.Feed == workloadv1alpha1.FeedWorkspace {
			f.Feeders = append(f.Feeders, key)
		}
	}
	for i := range f.Placements {
		for _, chosen := range f.Placements[i].Status.SelectedTargets {
			if f.Targets[chosen.Key] != nil {
				continue
			}
			target, err := w.target(ctx, chosen)
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
				return err
			}
			if target != nil {
				f.Targets[chosen.Key] = target
			}
		}
	}
	return nil
}

func (w *Workspace) target(ctx context.Context, chosen schedulingv1alpha1.SelectedTarget) (*workloadv1alpha1.SyncTarget, error) {
	client, err := workspace.Client(w.kcp, logicalcluster.NewPath(chosen.Cluster))
	if err != nil {
		return nil, err
	}
	target, err := workspace.Get[workloadv1alpha1.SyncTarget](ctx, client.Resource(workspace.SyncTargets), chosen.Name)
	if err != nil {
		return nil, err
	}
	if target.UID != chosen.UID {
		return nil, nil // a namesake that was created later
	}
	return target, nil
}
