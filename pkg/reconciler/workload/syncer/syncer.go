// Package syncer is the agent of a physical cluster: it pulls the objects that kcp assigns to its SyncTarget, makes
// copies of them in the cluster, and brings the copies' status home.
//
// A [Syncer] wires an [Engine], which runs one [ResourceController] per resource type, to a [StatusReporter]. What to do
// is decided in the pure packages below it; only apply and report write. It never touches what it did not create, and
// deletes only on positive evidence.
package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	kcpdynamic "github.com/kcp-dev/client-go/dynamic"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/publish"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Phases in which a replica does its duty; the others are words for people about what it waits for.
const (
	phaseStandby = "standing by until elected"
	phaseWorking = "working"
)

// stopTimeout bounds an orderly stop. Whatever is not done by then is done by the next leader.
const stopTimeout = 4 * time.Second

// Syncer is the coordinator: it validates that it serves the right SyncTarget, waits to be elected, and then runs the
// engine and the status reporter until it is told to stop.
type Syncer struct {
	config   Config
	clock    clock.WithTicker
	registry *prometheus.Registry
	metrics  *Metrics
	queues   *tmc.QueueMetrics
	health   *tmc.Health
	tracing  *tmc.Tracing
	recovery *tmc.Recovery
	progress *tmc.Watermark

	kcp, cluster *tmc.Link
	// settings are what of the configuration can change, and file is where they come from.
	settings *live
	file     *tmc.ConfigFile[Config]
	renewal  tmc.Renewal[connections]

	targets *syncTargets
	// identified: the physical cluster has been.
	identified *doubt
	kcpDynamic kcpdynamic.ClusterInterface
	core       corev1client.CoreV1Interface
	leases     coordinationv1client.CoordinationV1Interface
	dynamic    dynamic.Interface
	metadata   metadata.Interface
	heartbeat  *tmc.Heartbeat
	servers    []tmc.Part
	phase      atomic.Value // string, for readyz
	engine     atomic.Pointer[Engine]
	leading    atomic.Bool
}

// New connects nothing yet, but listens: a port that is taken is an error here.
func New(config Config) (*Syncer, error) {
	s := &Syncer{config: config, clock: clock.RealClock{}, registry: tmc.NewRegistry("workload-syncer"), settings: newLive(settingsOf(&config))}
	s.metrics = NewMetrics(s.registry)
	config.Features.Register(s.registry)
	s.queues = tmc.NewQueueMetrics(s.registry)
	s.registry.MustRegister(newObjectsCollector(s.statuses))
	s.progress = tmc.NewWatermark(s.clock, tmc.StuckAfter)
	s.heartbeat = tmc.NewHeartbeat(s.clock, holdPeriods*config.HeartbeatPeriod)
	s.phase.Store("starting")
	var err error
	if s.tracing, err = tmc.NewTracing(context.Background(), "workload-syncer", config.Tracing); err != nil {
		return nil, fmt.Errorf("setting up tracing: %w", err)
	}
	s.recovery = tmc.NewRecovery(tmc.RecoveryOptions{Enabled: config.EnableRecovery, Registerer: s.registry, Clock: s.clock, Strategies: s.strategies(), Ended: tmc.LogRecovery})
	requests := tmc.NewClientMetrics(s.registry, s.clock)
	s.kcp = tmc.NewLink(sideKCP, sideName[sideKCP], requests, s.tracing, s.recovery)
	s.cluster = tmc.NewLink(sideCluster, sideName[sideCluster], requests, s.tracing, s.recovery)
	s.renewal = tmc.Renewal[connections]{Files: config.CredentialFiles, Reread: s.reread, Use: s.connect, Fingerprint: fingerprint}
	s.renewal.InUse(connections{kcp: config.KCP, cluster: config.Cluster})
	if err := s.connect(connections{kcp: config.KCP, cluster: config.Cluster}); err != nil {
		return nil, err
	}
	s.limit(&config)
	s.file = tmc.NewConfigFile(tmc.ConfigFileOptions[Config]{
		Source: config.Source, Use: s.adopt, Registerer: s.registry, Clock: s.clock,
	})
	s.registerChecks()
	if s.servers, err = config.Exposition.Parts(s.health, s.registry, tmc.Page{Path: "/debug/recovery", Handler: s.recovery.Handler()}, config.Source.Page()); err != nil {
		return nil, err
	}
	return s, nil
}

// connections are how the two servers are reached.
type connections struct{ kcp, cluster *rest.Config }

// reread makes the connections anew from files that may have changed.
func (s *Syncer) reread() (fresh connections, err error) {
	fresh.kcp, fresh.cluster, err = s.config.Reread()
	return fresh, err
}

func fingerprint(c connections) (string, error) { return tmc.Fingerprint(c.kcp, c.cluster) }

// connect makes the clients; no request is sent.
func (s *Syncer) connect(to connections) error {
	if err := errors.Join(s.kcp.Use(to.kcp), s.cluster.Use(to.cluster)); err != nil {
		return err
	}
	var err error
	if s.kcpDynamic, err = kcpdynamic.NewForConfig(s.kcp.Config()); err != nil {
		return fmt.Errorf("connecting to kcp: %w", err)
	}
	s.targets = &syncTargets{
		client: s.kcpDynamic.Cluster(s.config.SyncTarget.Workspace).Resource(syncTargetsGVR), ref: s.config.SyncTarget, doubt: &doubt{clock: s.clock},
	}
	s.identified = &doubt{clock: s.clock}
	config, client := s.cluster.Config(), s.cluster.Client()
	// Of typed clients just these two: all of them are a sixth of the program, and of the memory that it takes.
	var errs [4]error
	s.core, errs[0] = corev1client.NewForConfigAndClient(config, client)
	s.leases, errs[1] = coordinationv1client.NewForConfigAndClient(config, client)
	s.dynamic, errs[2] = dynamic.NewForConfigAndClient(config, client)
	s.metadata, errs[3] = metadata.NewForConfigAndClient(config, client)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("connecting to the physical cluster: %w", err)
	}
	return nil
}

// Run works until ctx is done, and then stops in order within a few seconds. An error before that is final.
func (s *Syncer) Run(ctx context.Context) error {
	parts := []tmc.Part{s.tracing.Part()}
	parts = append(parts, s.servers...)
	parts = append(parts, s.file.Parts()...)
	if s.config.EnableRecovery {
		parts = append(parts, s.recovery.Part())
		parts = append(parts, s.renewal.Parts(s.clock)...)
	}
	parts = append(parts, tmc.Part{Name: "syncer", Run: func(ctx context.Context) error { return s.renewal.KeepWorking(ctx, s.work) }})
	return tmc.RunParts(ctx, stopTimeout, parts...)
}

// work resolves the SyncTarget, waits to be elected and leads.
func (s *Syncer) work(ctx context.Context) error {
	s.phase.Store("reading the SyncTarget")
	st, err := s.targets.resolve(ctx)
	if err != nil {
		return orStopped(ctx, err)
	}
	logger := klog.FromContext(ctx).WithValues("syncTarget", st.Name)
	ctx = klog.NewContext(ctx, logger)
	logger.Info("Serving a SyncTarget", "workspace", s.config.SyncTarget.Workspace.String(), "uid", st.UID, "feed", s.config.Feed.Kind)
	if s.config.LeaderElection == nil {
		return orStopped(ctx, s.lead(ctx))
	}
	return orStopped(ctx, s.config.LeaderElection.Campaign(ctx, s.health, s.leases, func() { s.phase.Store(phaseStandby) }, s.lead))
}

// orStopped makes what follows from being told to stop no error.
func orStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is what it is for
	}
	return err
}

// lead serves the SyncTarget, anew whenever the virtual workspaces change.
func (s *Syncer) lead(ctx context.Context) error {
	s.leading.Store(true)
	s.metrics.leader.Set(1)
	defer func() { s.leading.Store(false); s.metrics.leader.Set(0) }()

	s.phase.Store("identifying the physical cluster")
	identifier, err := s.identify(ctx)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := s.serveTarget(ctx, identifier); err != nil && !errors.Is(err, errFeedChanged) {
			return err
		}
	}
	return nil
}

// identify gives a name to the physical cluster that is stable and its own: the UID of its kube-system namespace.
func (s *Syncer) identify(ctx context.Context) (string, error) {
	return untilAnswered(ctx, "Identifying the physical cluster", func(ctx context.Context) (string, error) {
		ns, err := s.core.Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
		if err != nil {
			return "", tmc.Classify(err)
		}
		s.identified.over()
		return string(ns.UID), nil
	}, func(err error) error {
		if category := tmc.CategoryOf(err); (category == tmc.Permission || category == tmc.NotFound) && s.identified.believes() {
			return refused("the physical cluster cannot be identified: reading its namespace kube-system: %v; grant get on namespaces to the user of --cluster-kubeconfig", err)
		}
		return nil
	})
}

// errFeedChanged asks for a new start with other virtual workspaces.
var errFeedChanged = errors.New("the virtual workspaces of the SyncTarget changed")

// serveTarget runs the engine and the status reporter for the SyncTarget as it is now.
func (s *Syncer) serveTarget(ctx context.Context, identifier string) error {
	st, err := s.targets.resolve(ctx)
	if err != nil {
		return err
	}
	t := newTarget(clusterOf(st), st.Name, st.UID)
	spec := newWatchedTarget(s.targets, st)
	reporter := s.newReporter(t, identifier)
	s.phase.Store("holding the SyncTarget")
	if err := reporter.hold(ctx, st); err != nil {
		return err
	}
	parts := []tmc.Part{
		{Name: "SyncTarget watch", Run: spec.run},
		{Name: "nodes watch", Run: runInformer(reporter.nodes)},
		{Name: "status reporter", Run: reporter.run},
	}
	crds := newMetadataInformer(s.metadata, crdsGVR)
	parts = append(parts, tmc.Part{Name: "CustomResourceDefinitions watch", Run: runInformer(crds)})
	published := s.newPublisher(t, spec)
	if published != nil {
		if err := onAnyChange(crds, published.Recheck); err != nil {
			return err
		}
		spec.onExportedChange, reporter.imports = published.Recheck, published.Report
		parts = append(parts, tmc.Part{Name: "imports", Run: published.Run})
	}
	f, err := s.newFeed(ctx, t, spec)
	if err != nil {
		return err
	}
	if f == nil {
		s.phase.Store("waiting for SyncTarget.status.virtualWorkspaces, which the workload manager writes")
		return tmc.RunParts(ctx, stopTimeout, parts...)
	}
	engine, err := s.newEngine(t, f, spec, crds)
	if err != nil {
		return err
	}
	if published != nil {
		engine.offered = published.OfferedResources
		defer s.health.Register(tmc.Check{Name: "imports", Run: func(context.Context) error { return tmc.Degraded(published.Report().Problem) }})()
	}
	defer s.health.Register(tmc.Check{Name: "namespaces", Run: engine.namespaces.healthy})()
	defer s.health.Register(tmc.Check{Name: "capacity", Run: reporter.checkNodes})()
	reporter.facts = func() facts { return s.facts(engine) }
	spec.onChange, spec.onUpsyncedChange = engine.Recheck, engine.UpsyncedChanged
	engine.seeTarget = spec.take
	s.engine.Store(engine)
	defer s.engine.Store(nil)
	s.phase.Store(phaseWorking)
	return tmc.RunParts(ctx, stopTimeout, append(parts, tmc.Part{Name: "engine", Run: engine.run})...)
}

func (s *Syncer) newReporter(t target, identifier string) *StatusReporter {
	return &StatusReporter{
		targets: s.targets, workspace: s.kcpDynamic.Cluster(s.config.SyncTarget.Workspace), target: t, identifier: identifier, feed: s.config.Feed.Kind, period: s.config.HeartbeatPeriod,
		clock: s.clock, metrics: s.metrics, heartbeat: s.heartbeat, nodes: s.newNodesInformer(),
		progress: s.progress, facts: func() facts { return s.facts(nil) }, imports: func() publish.Report { return publish.Report{} },
	}
}

func (s *Syncer) newNodesInformer() cache.SharedIndexInformer {
	informer := cache.NewSharedIndexInformer(tmc.ListWatch(s.core.Nodes(), nil, nil), &corev1.Node{}, 0, cache.Indexers{})
	// It fails only for an informer that runs already.
	if err := informer.SetTransform(trimNode); err != nil {
		panic(err)
	}
	return informer
}

// trimNode leaves of a node what is counted of it.
func trimNode(obj any) (any, error) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
		Spec:       corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable},
		Status:     corev1.NodeStatus{Capacity: node.Status.Capacity, Allocatable: node.Status.Allocatable, Conditions: node.Status.Conditions},
	}, nil
}

func runInformer(informer cache.SharedIndexInformer) func(context.Context) error {
	return func(ctx context.Context) error {
		informer.RunWithContext(ctx)
		return nil
	}
}

// newFeed makes the feed that the configuration asks for; nil if the SyncTarget has no URLs yet.
func (s *Syncer) newFeed(ctx context.Context, t target, spec *watchedTarget) (*feed.Feed, error) {
	if s.config.Feed.Kind == FeedWorkspace {
		return feed.NewWorkspace(s.kcp.Config(), t.cluster, t.key)
	}
	if urls := s.config.Feed.URLs; len(urls) > 0 {
		klog.FromContext(ctx).Info("Using --feed-urls: with a raw APIExport virtual workspace this syncer can read every tenant's objects; meant for development")
		return feed.NewAssigned(s.kcp.Config(), urls, t.key)
	}
	spec.followURLs = true
	if len(spec.urls) == 0 {
		return nil, nil
	}
	return feed.NewViews(s.kcp.Config(), spec.urls, t.key)
}

// newPublisher tells the workload manager which types the cluster serves. Where a workspace is all that is served there is
// no manager, and nobody would read it: it is nil.
func (s *Syncer) newPublisher(t target, spec *watchedTarget) *publish.Publisher {
	if s.config.Feed.Kind != FeedAssigned || !s.config.Features.Enabled(FeaturePublishAPIs) {
		return nil
	}
	return publish.New(publish.Options{
		Workspace: s.kcpDynamic.Cluster(s.config.SyncTarget.Workspace), SyncTarget: t.name, UID: t.uid, Key: t.key,
		Discovery: s.cluster.Discovery, Cluster: s.dynamic, Exported: spec.exported,
		Offered: func() { spec.onChange() }, // the types of the virtual workspaces are about to change
	})
}

func (s *Syncer) newEngine(t target, f *feed.Feed, spec *watchedTarget, crds cache.SharedIndexInformer) (*Engine, error) {
	namespaces, err := newNamespaces(namespacesDeps{
		target: t, cluster: s.cluster, dynamic: s.dynamic, metadata: s.metadata, settings: s.settings, metrics: s.metrics,
	})
	if err != nil {
		return nil, err
	}
	selection, err := newSelection(f, s.settings)
	if err != nil {
		return nil, err
	}
	return newEngine(controllerDeps{
		target: t, feed: f, cluster: s.cluster, dynamic: s.dynamic, namespaces: namespaces, selection: selection,
		settings: s.settings, workers: s.config.Workers,
		clock: s.clock, metrics: s.metrics, queues: s.queues, tracing: s.tracing,
		kcp: s.kcp.Breaker(), phys: s.cluster.Breaker(), recovery: s.recovery, progress: s.progress, health: s.health, upsynced: spec.upsynced,
	}, s.cluster.Discovery, crds, spec.exports), nil
}

func (s *Syncer) statuses() []TypeStatus {
	if engine := s.engine.Load(); engine != nil {
		return engine.statuses()
	}
	return nil
}

func (s *Syncer) facts(engine *Engine) facts {
	f := facts{cluster: s.cluster.State(), kcp: s.kcp.State(), recovery: s.recovery.Active(), recovers: s.recovery.Enabled(), configuration: s.file.State()}
	f.health, f.unhealthy = s.components()
	if engine == nil {
		f.discovery = fmt.Errorf("the syncer is %s", s.phase.Load())
		return f
	}
	f.discovery, f.types = engine.discovered(), engine.statuses()
	return f
}
