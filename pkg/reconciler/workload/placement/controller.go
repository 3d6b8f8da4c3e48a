package placement

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement/choose"
)

const name = "placement"

// pathsSettle is how long after the start an unknown path may be one that was not told yet.
const pathsSettle = 10 * time.Second

// Deps are what the reconciler needs.
type Deps struct {
	Fleet   *fleet.Fleet
	Metrics *Metrics
	// Provider is the workspace of the APIExports, whose Locations are open to all and the default.
	Provider logicalcluster.Path
	Workers  int
}

// Metrics are those of the reconciler, for all its lives in the process.
type Metrics struct {
	moves *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{moves: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "workload_manager_placement_moves_total",
		Help: "Targets that Placements selected, are leaving, returned to or have left, by act and reason.",
	}, []string{"act", "reason"})}
	registry.MustRegister(m.moves)
	return m
}

// Controller is the reconciler.
type Controller struct {
	deps  Deps
	clock clock.Clock

	targets    *fleet.Cache[*workloadv1alpha1.SyncTarget]
	absences   *fleet.Absences
	locations  *fleet.Cache[*schedulingv1alpha1.Location]
	placements *fleet.Cache[*schedulingv1alpha1.Placement]
	namespaces *fleet.Cache[*metav1.PartialObjectMetadata]
	// schedulers are the workspaces that are bound to the scheduling API.
	schedulers *fleet.Cache[*metav1.PartialObjectMetadata]

	// scheduling and workload write through the exports of those names.
	scheduling, workload *fleet.Writer
	placementLoop        *fleet.Loop[fleet.Key]
	// locationLoop works on Locations, and under an empty name on the default Location of a workspace.
	locationLoop *fleet.Loop[fleet.Key]

	ledger *ledger
	// deciding keeps decisions that depend on requests from being made side by side.
	deciding sync.Mutex

	lock sync.Mutex
	// read are the SyncTargets as placement knows them, so that each is read once and not for each Placement.
	read map[fleet.Key]readTarget
	// notReadySince is since when targets have been seen not to be ready, or have not been seen, by key.
	notReadySince map[string]time.Time
	// rollBacks are failed moves that are to be taken back, by Placement and the target that was to be left.
	rollBacks map[fleet.Key]map[string]choose.RollBack
	started   time.Time
}

// readTarget is what was read of a SyncTarget, for as long as the cache holds that very object.
type readTarget struct {
	from *workloadv1alpha1.SyncTarget
	choose.Target
}

// New sends no request.
func New(deps Deps) (*Controller, error) {
	c := &Controller{
		deps: deps, clock: deps.Fleet.Clock(), ledger: newLedger(), read: map[fleet.Key]readTarget{}, notReadySince: map[string]time.Time{},
		rollBacks:  map[fleet.Key]map[string]choose.RollBack{},
		scheduling: deps.Fleet.Writer(name, workloadv1alpha1.SchedulingExport),
		workload:   deps.Fleet.Writer(name, workloadv1alpha1.WorkloadExport),
	}
	c.placementLoop = fleet.NewLoop(deps.Fleet, name, deps.Workers, c.processPlacement)
	c.locationLoop = fleet.NewLoop(deps.Fleet, "location", 1, c.processLocation)
	for _, step := range []func() error{c.watch, c.index, c.listen} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Controller) watch() (err error) {
	f := c.deps.Fleet
	if c.targets, err = fleet.SyncTargets(f); err != nil {
		return err
	}
	if c.absences, err = f.Absences(); err != nil {
		return err
	}
	if c.locations, err = fleet.Locations(f); err != nil {
		return err
	}
	if c.placements, err = fleet.Placements(f); err != nil {
		return err
	}
	if c.namespaces, err = fleet.Namespaces(f); err != nil {
		return err
	}
	c.schedulers, err = fleet.LogicalClusters(f, workloadv1alpha1.SchedulingExport)
	return err
}

// Run works until ctx is done. What is not in a cache counts as not there, so all of them are waited for.
func (c *Controller) Run(ctx context.Context) error {
	if !fleet.Synced(ctx, c.targets, c.locations, c.placements, c.namespaces, c.schedulers) {
		return nil
	}
	c.lock.Lock()
	c.started = c.clock.Now()
	c.lock.Unlock()
	var loops sync.WaitGroup
	loops.Go(func() { c.placementLoop.Run(ctx) })
	loops.Go(func() { c.locationLoop.Run(ctx) })
	loops.Wait()
	return nil
}

// target is what placement knows of a SyncTarget, this process's own observation included.
func (c *Controller) target(st *workloadv1alpha1.SyncTarget) choose.Target {
	key := fleet.KeyOf(st)
	path := c.pathOf(key.Cluster)
	c.lock.Lock()
	defer c.lock.Unlock()
	known := c.read[key]
	if known.from != st {
		known = readTarget{from: st, Target: choose.TargetOf(st, string(key.Cluster), path)}
		c.read[key] = known
	}
	t := known.Target
	t.Path = path
	if t.NotReady != "" {
		t.NotReadySince = metav1.NewTime(c.notReadySince[t.Key])
	}
	return t
}

func (c *Controller) pathOf(cluster logicalcluster.Name) string {
	path, _ := c.deps.Fleet.PathOf(cluster)
	return path.String()
}

// isProvider is true for the workspace of the APIExports.
func (c *Controller) isProvider(cluster logicalcluster.Name) bool {
	provider, known := c.deps.Fleet.ClusterOf(c.deps.Provider)
	return known && provider == cluster
}

var (
	placementKind = schema.GroupVersionKind{Group: schedulingv1alpha1.GroupName, Version: schedulingv1alpha1.SchemeGroupVersion.Version, Kind: "Placement"}
	locationKind  = schema.GroupVersionKind{Group: schedulingv1alpha1.GroupName, Version: schedulingv1alpha1.SchemeGroupVersion.Version, Kind: "Location"}
)
