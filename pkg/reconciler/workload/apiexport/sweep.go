package apiexport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

var bindingsGVR = apisv1alpha2.SchemeGroupVersion.WithResource("apibindings")

// sweeper removes APIResourceSchemas that were negotiated once and that nobody uses any more: each change of what is offered
// makes a new one. It removes none that it did not make, that an APIExport of the workspace names, or by which a workspace is
// bound; and nothing while it cannot see all of these.
type sweeper struct {
	provider *provider
	// bindings are those of all workspaces to the export that tenants bind.
	bindings func(context.Context) ([]unstructured.Unstructured, error)
	// grace is for how long a schema has to be unused.
	grace time.Duration
	clock clock.Clock

	// since is when a schema was first seen to be unused.
	since map[types.UID]time.Time
	// left: there are schemas that no export names. Workspaces are bound anew in their own time.
	left bool
}

// sweepPeriod is how often it is looked for unused schemas although the export has not changed: bindings come and go.
const sweepPeriod = time.Hour

// relook has the sweeper look when the export has changed, again when the grace is over, and every now and then.
func (s *sweeper) relook() *tmc.Relook {
	return tmc.NewRelook(tmc.RelookOptions{
		Task: "removing unused APIResourceSchemas", Look: s.sweep, Settling: []time.Duration{time.Second, s.grace + s.grace/4 + time.Second},
		Period: s.period, Retry: againPeriod, Clock: s.clock,
	})
}

func (s *sweeper) period() time.Duration {
	if s.left {
		return min(s.grace+time.Second, sweepPeriod)
	}
	return sweepPeriod
}

// sweep looks at all schemas that were negotiated, and removes those that have been unused for long enough.
func (s *sweeper) sweep(ctx context.Context) error {
	// Nothing is published meanwhile: a schema that is about to be named again must not go.
	s.provider.changing.Lock()
	defer s.provider.changing.Unlock()
	ours, err := s.provider.negotiatedSchemas(ctx)
	if err != nil || len(ours) == 0 {
		return err
	}
	used, err := s.provider.namedSchemas(ctx)
	if err != nil {
		return err
	}
	if s.left = slices.ContainsFunc(ours, func(o metav1.PartialObjectMetadata) bool { return !used.Has(o.Name) }); !s.left {
		clear(s.since)
		return nil
	}
	if err := s.addBound(ctx, used); err != nil {
		return err
	}
	due := unused(ours, used, s.since, s.clock.Now(), s.grace)
	var errs []error
	for _, schema := range due {
		klog.FromContext(ctx).Info("Removing an APIResourceSchema that nobody uses", "name", schema.Name, "unusedFor", s.clock.Since(s.since[schema.UID]).Round(time.Second).String())
		errs = append(errs, s.provider.removeSchema(ctx, schema))
	}
	return errors.Join(errs...)
}

// addBound adds the names of the schemas by which workspaces are bound.
func (s *sweeper) addBound(ctx context.Context, used sets.Set[string]) error {
	bindings, err := s.bindings(ctx)
	if err != nil {
		return fmt.Errorf("listing the APIBindings: %w", err)
	}
	for i := range bindings {
		var binding apisv1alpha2.APIBinding
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(bindings[i].Object, &binding); err != nil {
			return fmt.Errorf("reading APIBinding %s: %w", bindings[i].GetName(), err)
		}
		for _, bound := range binding.Status.BoundResources {
			used.Insert(bound.Schema.Name)
		}
	}
	return nil
}

// unused are the schemas that have not been used for as long as the grace. Since remembers when that began.
func unused(ours []metav1.PartialObjectMetadata, used sets.Set[string], since map[types.UID]time.Time, now time.Time, grace time.Duration) (due []metav1.PartialObjectMetadata) {
	there := sets.New[types.UID]()
	for _, schema := range ours {
		there.Insert(schema.UID)
		if used.Has(schema.Name) {
			delete(since, schema.UID)
			continue
		}
		if _, known := since[schema.UID]; !known {
			since[schema.UID] = now
		}
		if schema.DeletionTimestamp == nil && now.Sub(since[schema.UID]) >= grace {
			due = append(due, schema)
		}
	}
	for uid := range since {
		if !there.Has(uid) {
			delete(since, uid)
		}
	}
	return due
}

// negotiatedSchemas are those that publish has made.
func (p *provider) negotiatedSchemas(ctx context.Context) (ours []metav1.PartialObjectMetadata, err error) {
	selector := labels.Set{workloadv1alpha1.NegotiatedSchemaLabel: "true"}.String()
	list, err := p.client.Resource(schemasGVR).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, tmc.Classify(fmt.Errorf("listing the APIResourceSchemas of workspace %s: %w", p.path, err))
	}
	for i := range list.Items {
		u := &list.Items[i]
		ours = append(ours, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: u.GetName(), UID: u.GetUID(), DeletionTimestamp: u.GetDeletionTimestamp()}})
	}
	return ours, nil
}

// namedSchemas are those that an APIExport of the workspace names, whoever made it.
func (p *provider) namedSchemas(ctx context.Context) (sets.Set[string], error) {
	list, err := p.client.Resource(exportsGVR).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, tmc.Classify(fmt.Errorf("listing the APIExports of workspace %s: %w", p.path, err))
	}
	named := sets.New[string]()
	for i := range list.Items {
		export, err := toExport(&list.Items[i])
		if err != nil {
			return nil, err
		}
		for _, resource := range export.Spec.Resources {
			named.Insert(resource.Schema)
		}
	}
	if !slices.ContainsFunc(list.Items, func(u unstructured.Unstructured) bool { return u.GetName() == workloadv1alpha1.KubernetesExport }) {
		return nil, tmc.As(tmc.Unavailable, fmt.Errorf("workspace %s has no APIExport %s: what is used is not known", p.path, workloadv1alpha1.KubernetesExport))
	}
	return named, nil
}

func (p *provider) removeSchema(ctx context.Context, schema metav1.PartialObjectMetadata) error {
	p.lock.Lock()
	delete(p.read, schema.Name)
	p.lock.Unlock()
	err := p.client.Resource(schemasGVR).Delete(ctx, schema.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(schema.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return tmc.Classify(fmt.Errorf("removing APIResourceSchema %s of workspace %s: %w", schema.Name, p.path, err))
	}
	return nil
}
