package apiexport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
)

// gathered is what a pass works with.
type gathered struct {
	Observed
	resource schema.GroupResource
	// provider is the logical cluster of the provider's workspace.
	provider logicalcluster.Name
	imports  []*apiresourcev1alpha1.APIResourceImport
	// orphans are imports whose SyncTarget is gone.
	orphans    []*apiresourcev1alpha1.APIResourceImport
	negotiated []*apiresourcev1alpha1.NegotiatedAPIResource
	// offered is the APIResourceSchema that the export names now.
	offered string
	// again is when to look for SyncTargets that cannot be seen.
	again time.Duration
}

func (c *Controller) process(ctx context.Context, gr schema.GroupResource) (time.Duration, error) {
	g, err := c.gather(ctx, gr)
	if err != nil {
		return 0, err
	}
	outcome := negotiate(g.Observed)
	if outcome.AskUsed {
		used, err := c.fleet.Any(ctx, workloadv1alpha1.KubernetesExport, gr.WithVersion(g.Offered.Version))
		if err != nil {
			return 0, err
		}
		g.Used = &used
		outcome = negotiate(g.Observed)
	}
	offering := c.offer(ctx, g, outcome)
	var refusal *refusedError
	refused := errors.As(offering.err, &refusal)
	if refused { // nothing that a retry soon would change
		outcome.refuse(refusal, g.Offered != nil)
	} else if offering.err != nil {
		return 0, offering.err
	}
	unserved := c.reportNegotiated(ctx, g, outcome, offering.schema)
	if errors.Is(unserved, errNotServed) {
		klog.FromContext(ctx).Info("What is negotiated is kept nowhere", "resource", gr.String(), "why", unserved.Error())
		return againPeriod, c.reportImports(ctx, g, outcome)
	}
	if err := errors.Join(c.reportImports(ctx, g, outcome), unserved); err != nil {
		return 0, err
	}
	if refused || g.Used != nil && *g.Used {
		return againPeriod, nil
	}
	if g.again == 0 && (len(g.orphans) > 0 || len(g.surplus(outcome)) > 0) {
		return againPeriod, nil // whether they went indeed
	}
	return g.again, nil
}

// surplus are what was negotiated of versions that nobody serves or offers any more.
func (g gathered) surplus(outcome Outcome) []*apiresourcev1alpha1.NegotiatedAPIResource {
	return slices.DeleteFunc(slices.Clone(g.negotiated), func(n *apiresourcev1alpha1.NegotiatedAPIResource) bool {
		_, talked := outcome.Versions[n.Spec.Version]
		return talked || n.DeletionTimestamp != nil
	})
}

// refuse tells that kcp would not take the schema. What was offered stays.
func (o *Outcome) refuse(why error, offered bool) {
	if o.Offer == nil {
		return
	}
	for name, verdict := range o.Verdicts {
		if !offered {
			verdict.Available = available(nil, false)
			o.Verdicts[name] = verdict
		}
	}
	v := o.Versions[o.Offer.Version]
	v.Published = metav1.Condition{
		Type: apiresourcev1alpha1.NegotiatedPublished, Status: metav1.ConditionFalse,
		Reason: apiresourcev1alpha1.ReasonSchemaRefused, Message: shorten(why.Error()),
	}
	o.Versions[o.Offer.Version] = v
}

func (c *Controller) gather(ctx context.Context, gr schema.GroupResource) (gathered, error) {
	export, err := c.provider.current()
	if err != nil {
		return gathered{}, err
	}
	g := gathered{resource: gr, provider: logicalcluster.From(export)}
	if named := entry(export, gr); named != nil {
		g.offered = named.Schema
		described, err := c.provider.schema(ctx, named.Schema)
		if err != nil {
			return gathered{}, err
		}
		if g.Offered, err = offerOf(described); err != nil {
			return gathered{}, err
		}
	}
	g.Withheld = sets.New[string]()
	for _, n := range c.negotiated.In(g.provider) {
		if n.Spec.GVR().GroupResource() == gr {
			g.negotiated = append(g.negotiated, n)
			if n.Spec.Publish != nil && !*n.Spec.Publish {
				g.Withheld.Insert(n.Spec.Version)
			}
		}
	}
	err = c.gatherImports(ctx, &g)
	return g, err
}

// gatherImports reads what clusters serve. The import of a SyncTarget that cannot be seen counts as before.
func (c *Controller) gatherImports(ctx context.Context, g *gathered) error {
	for _, i := range c.imports.All() {
		if i.Spec.GVR().GroupResource() != g.resource || i.DeletionTimestamp != nil {
			continue
		}
		where := fleet.Key{Cluster: logicalcluster.From(i), Name: i.Spec.SyncTarget}
		target, exists := c.targets.Get(where)
		if !exists {
			gone, again, err := c.absences.Gone(ctx, workloadv1alpha1.SyncTargetKey(string(where.Cluster), where.Name), where)
			if err != nil {
				return err
			}
			if gone {
				g.orphans = append(g.orphans, i)
				continue
			}
			g.again = max(again, g.again)
		}
		if !exists || c.provides(target) {
			g.imports = append(g.imports, i)
			g.Imports = append(g.Imports, toImport(i))
		}
	}
	return nil
}

// provides reports whether the target takes the objects of tenants of this provider.
func (c *Controller) provides(target *workloadv1alpha1.SyncTarget) bool {
	return slices.ContainsFunc(target.Spec.SupportedAPIExports, func(e workloadv1alpha1.APIExportReference) bool {
		return e.Export == workloadv1alpha1.KubernetesExport && (e.Path == "" || e.Path == c.provider.path.String())
	})
}

func nameOf(i *apiresourcev1alpha1.APIResourceImport) string { return fleet.KeyOf(i).String() }

func toImport(i *apiresourcev1alpha1.APIResourceImport) Import {
	out := Import{Name: nameOf(i), Created: i.CreationTimestamp.Time, Version: i.Spec.Version}
	out.Description, out.Invalid = decodeDescription(i.Spec.ResourceDescription)
	return out
}

// offering is what came of offering the outcome to tenants.
type offering struct {
	// schema is the APIResourceSchema that the export names now.
	schema string
	err    error
}

func (c *Controller) offer(ctx context.Context, g gathered, outcome Outcome) offering {
	switch {
	case outcome.Offer == nil && g.Offered == nil:
		return offering{}
	case outcome.Offer == nil:
		return offering{err: c.provider.withdraw(ctx, g.resource)}
	case outcome.Offer == g.Offered:
		return offering{schema: g.offered}
	}
	next, err := resourceSchema(ctx, g.resource.Group, *outcome.Offer)
	if err == nil && next.Name != g.offered {
		err = c.provider.publish(ctx, next)
	}
	if err != nil {
		return offering{schema: g.offered, err: err}
	}
	return offering{schema: next.Name}
}

// reportImports tells each cluster's syncer, through its import, and removes imports of targets that are gone.
func (c *Controller) reportImports(ctx context.Context, g gathered, outcome Outcome) error {
	var errs []error
	for _, i := range g.imports {
		verdict := outcome.Verdicts[nameOf(i)]
		conditions, changed := setConditions(i.Status.Conditions, i.Generation, c.fleet.Clock().Now(), verdict.Compatible, verdict.Available)
		if !changed {
			continue
		}
		_, err := c.writer.Patch(ctx, importsGVR, fleet.KeyOf(i), map[string]any{"status": map[string]any{"conditions": conditions}}, "status")
		errs = append(errs, err)
	}
	for _, i := range g.orphans {
		errs = append(errs, c.writer.Delete(ctx, importsGVR, fleet.KeyOf(i), i.UID))
	}
	return errors.Join(errs...)
}

// reportNegotiated keeps a NegotiatedAPIResource for each version that is served or offered.
func (c *Controller) reportNegotiated(ctx context.Context, g gathered, outcome Outcome, schemaName string) error {
	var errs []error
	for name, v := range outcome.Versions {
		resource := apiresourcev1alpha1.ResourceName{Group: g.resource.Group, Version: name, Resource: g.resource.Resource}
		if outcome.Offer == nil || outcome.Offer.Version != name {
			errs = append(errs, c.reportVersion(ctx, g, resource, v, ""))
			continue
		}
		errs = append(errs, c.reportVersion(ctx, g, resource, v, schemaName))
	}
	for _, n := range g.surplus(outcome) {
		errs = append(errs, c.writer.Delete(ctx, negotiatedGVR, fleet.KeyOf(n), n.UID))
	}
	return errors.Join(errs...)
}

func (c *Controller) reportVersion(ctx context.Context, g gathered, resource apiresourcev1alpha1.ResourceName, v Version, schemaName string) error {
	i := slices.IndexFunc(g.negotiated, func(n *apiresourcev1alpha1.NegotiatedAPIResource) bool { return n.Spec.ResourceName == resource })
	var before *apiresourcev1alpha1.NegotiatedAPIResource
	if i >= 0 {
		before = g.negotiated[i]
	}
	if before == nil {
		made, err := c.createNegotiated(ctx, g.provider, resource)
		if err != nil || made == nil {
			return err
		}
		before = made
	}
	patch, err := statusPatch(before, v, schemaName, c.fleet.Clock().Now())
	if err != nil || patch == nil {
		return err
	}
	key := fleet.Key{Cluster: g.provider, Name: before.Name}
	if _, err = c.writer.Patch(ctx, negotiatedGVR, key, patch, "status"); err != nil {
		return fmt.Errorf("telling what was negotiated: %w", err)
	}
	return nil
}
