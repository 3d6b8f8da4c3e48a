// Package apiexport offers to tenants what the physical clusters of a provider serve.
//
// Syncers import the types of their clusters as APIResourceImports. For each resource the controller computes what the
// clusters have in common, keeps it in a NegotiatedAPIResource of the provider's workspace, and puts it into the APIExport
// that tenants bind. Each import is told whether its cluster takes what is offered.
//
// It never changes what kubectl workload init installed, and never takes from tenants what they use: a resource becomes
// narrower, or goes, only while no workspace has objects of it.
package apiexport

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"

	"github.com/kcp-dev/logicalcluster/v3"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const name = "apiexport"

// againPeriod is how often it is tried again to change what objects, or a refusal of kcp's, are in the way of.
const againPeriod = time.Minute

// Deps are what the reconciler needs.
type Deps struct {
	Fleet *fleet.Fleet
	// Provider is the workspace with the APIExports.
	Provider logicalcluster.Path
	// UnusedSchemaGrace is how long an APIResourceSchema that was negotiated stays when nobody uses it any more.
	UnusedSchemaGrace time.Duration
}

// Controller is the reconciler. Its keys are resources: what the versions of one have to do with each other is decided together.
type Controller struct {
	fleet      *fleet.Fleet
	provider   *provider
	imports    *fleet.Cache[*apiresourcev1alpha1.APIResourceImport]
	negotiated *fleet.Cache[*apiresourcev1alpha1.NegotiatedAPIResource]
	targets    *fleet.Cache[*workloadv1alpha1.SyncTarget]
	absences   *fleet.Absences
	writer     *fleet.Writer
	loop       *fleet.Loop[schema.GroupResource]
	sweeping   *tmc.Relook
}

// New sends no request.
func New(deps Deps) (*Controller, error) {
	c := &Controller{
		fleet: deps.Fleet, provider: newProvider(deps.Fleet.Workspace(deps.Provider), deps.Provider),
		writer: deps.Fleet.Writer(name, workloadv1alpha1.WorkloadExport),
	}
	sweeper := &sweeper{
		provider: c.provider, grace: deps.UnusedSchemaGrace, clock: deps.Fleet.Clock(), since: map[types.UID]time.Time{},
		bindings: func(ctx context.Context) ([]unstructured.Unstructured, error) {
			return deps.Fleet.List(ctx, workloadv1alpha1.KubernetesExport, bindingsGVR)
		},
	}
	c.sweeping = sweeper.relook()
	c.loop = fleet.NewLoop(deps.Fleet, name, 1, c.process) // one: all change the same export, and change it seldom
	var errs [4]error
	c.imports, errs[0] = fleet.Watch(deps.Fleet, workloadv1alpha1.WorkloadExport, importsGVR, fleet.Typed[apiresourcev1alpha1.APIResourceImport])
	c.negotiated, errs[1] = fleet.Watch(deps.Fleet, workloadv1alpha1.WorkloadExport, negotiatedGVR, fleet.Typed[apiresourcev1alpha1.NegotiatedAPIResource])
	c.targets, errs[2] = fleet.SyncTargets(deps.Fleet)
	c.absences, errs[3] = deps.Fleet.Absences()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if err := c.listen(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Controller) listen() error {
	return errors.Join(
		c.imports.OnChange(func(change fleet.Change[*apiresourcev1alpha1.APIResourceImport]) {
			c.loop.Add(change.Object.Spec.GVR().GroupResource(), change.Priority)
		}),
		c.negotiated.OnChange(func(change fleet.Change[*apiresourcev1alpha1.NegotiatedAPIResource]) {
			c.loop.Add(change.Object.Spec.GVR().GroupResource(), change.Priority)
		}),
		c.absences.OnChange(func(change fleet.Change[*workloadv1alpha1.SyncTarget]) {
			if change.Before != nil && slices.Equal(change.Before.Spec.SupportedAPIExports, change.Object.Spec.SupportedAPIExports) {
				return // a heartbeat, most likely
			}
			for _, i := range c.imports.In(logicalcluster.From(change.Object)) {
				if i.Spec.SyncTarget == change.Object.Name {
					c.loop.Add(i.Spec.GVR().GroupResource(), change.Priority)
				}
			}
		}),
	)
}

// Run works until ctx is done.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.provider.onChange(func() { c.lookAtAll(); c.sweeping.Hint() }); err != nil {
		return err
	}
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() { c.provider.export.RunWithContext(ctx) })
	following.Go(func() { c.sweeping.Run(ctx) })
	// What is not seen yet would look as if no cluster served it.
	if fleet.Synced(ctx, c.imports, c.negotiated, c.targets) && cache.WaitForCacheSync(ctx.Done(), c.provider.export.HasSynced) {
		c.loop.Run(ctx)
	}
	return nil
}

// lookAtAll looks at all resources that are negotiated: the export that they are offered in has changed.
func (c *Controller) lookAtAll() {
	all := sets.New[schema.GroupResource]()
	for _, i := range c.imports.All() {
		all.Insert(i.Spec.GVR().GroupResource())
	}
	for _, n := range c.negotiated.All() {
		all.Insert(n.Spec.GVR().GroupResource())
	}
	for gr := range all {
		c.loop.Add(gr, tmc.PriorityBacklog)
	}
}
