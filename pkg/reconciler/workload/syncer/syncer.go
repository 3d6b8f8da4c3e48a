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
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	kcpdynamic "github.com/kcp-dev/client-go/dynamic"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
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

	kcp, cluster *link
	fresh        fresh

	targets    *syncTargets
	kcpDynamic kcpdynamic.ClusterInterface
	kubernetes kubernetes.Interface
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
	s := &Syncer{config: config, clock: clock.RealClock{}, registry: tmc.NewRegistry("workload-syncer")}
	s.metrics = NewMetrics(s.registry)
	s.queues = tmc.NewQueueMetrics(s.registry)
	s.registry.MustRegister(newObjectsCollector(s.statuses))
	s.progress = tmc.NewWatermark(s.clock, stuckAfter)
	s.heartbeat = tmc.NewHeartbeat(s.clock, holdPeriods*config.HeartbeatPeriod)
	s.phase.Store("starting")
	var err error
	if s.tracing, err = tmc.NewTracing(context.Background(), "workload-syncer", config.EnableTracing); err != nil {
		return nil, fmt.Errorf("setting up tracing: %w", err)
	}
	s.recovery = tmc.NewRecovery(tmc.RecoveryOptions{Enabled: config.EnableRecovery, Registerer: s.registry, Clock: s.clock})
	requests := tmc.NewClientMetrics(s.registry, s.clock)
	s.kcp = newLink(sideKCP, requests, s.tracing, s.recovery)
	s.cluster = newLink(sideCluster, requests, s.tracing, s.recovery)
	if err := s.connect(config.KCP, config.Cluster); err != nil {
		return nil, err
	}
	s.registerChecks()
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// connect makes the clients; no request is sent.
func (s *Syncer) connect(kcp, cluster *rest.Config) error {
	if err := errors.Join(s.kcp.use(kcp), s.cluster.use(cluster)); err != nil {
		return err
	}
	var err error
	if s.kcpDynamic, err = kcpdynamic.NewForConfig(s.kcp.wired.Load().config); err != nil {
		return fmt.Errorf("connecting to kcp: %w", err)
	}
	s.targets = &syncTargets{
		client: s.kcpDynamic.Cluster(s.config.SyncTarget.Workspace).Resource(syncTargetsGVR), ref: s.config.SyncTarget,
	}
	w := s.cluster.wired.Load()
	var errs [3]error
	s.kubernetes, errs[0] = kubernetes.NewForConfigAndClient(w.config, w.client)
	s.dynamic, errs[1] = dynamic.NewForConfigAndClient(w.config, w.client)
	s.metadata, errs[2] = metadata.NewForConfigAndClient(w.config, w.client)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("connecting to the physical cluster: %w", err)
	}
	return nil
}

// listen opens the ports of the probes and of the metrics.
func (s *Syncer) listen() error {
	if s.config.EnableHealth {
		if err := s.serve("health", "--health-port", s.config.HealthPort, s.health.Handler()); err != nil {
			return err
		}
	}
	mux := http.NewServeMux()
	if s.config.EnableMetrics {
		mux.Handle("/metrics", tmc.Handler(s.registry))
	}
	if s.config.EnableProfiling {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	if s.config.EnableMetrics || s.config.EnableProfiling {
		return s.serve("metrics", "--metrics-port", s.config.MetricsPort, mux)
	}
	return nil
}

func (s *Syncer) serve(name, flag string, port int, handler http.Handler) error {
	part, _, err := tmc.ServePart(name, net.JoinHostPort(s.config.BindAddress, strconv.Itoa(port)), handler)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	s.servers = append(s.servers, part)
	return nil
}

// Run works until ctx is done, and then stops in order within a few seconds. An error before that is final.
func (s *Syncer) Run(ctx context.Context) error {
	parts := []tmc.Part{s.tracing.Part()}
	parts = append(parts, s.servers...)
	if s.config.EnableRecovery {
		parts = append(parts, s.watchCredentials()...)
	}
	parts = append(parts, tmc.Part{Name: "syncer", Run: s.keepWorking})
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
	return orStopped(ctx, s.campaign(ctx))
}

// orStopped makes what follows from being told to stop no error.
func orStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is what it is for
	}
	return err
}

// errLeaseLost: another replica works now, or the physical cluster did not let us renew the Lease.
var errLeaseLost = errors.New("the leader election Lease was lost")

// campaign stands for election until ctx is done. Losing the Lease is no reason to end the process: usually the physical
// cluster's API server is away, and a container that waits for it is back sooner than one that crashes again and again.
func (s *Syncer) campaign(ctx context.Context) error {
	for {
		s.phase.Store(phaseStandby)
		err := s.elected(ctx, s.lead)
		if !errors.Is(err, errLeaseLost) || ctx.Err() != nil {
			return err
		}
		klog.FromContext(ctx).Error(err, "Standing for election again")
	}
}

// elected runs lead while this replica holds the Lease. The Lease is given back only when lead has returned, so that two
// replicas never work at the same time.
func (s *Syncer) elected(ctx context.Context, lead func(context.Context) error) error {
	c := s.config.LeaderElection
	leaseCtx, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	workCtx, stopWork := context.WithCancel(ctx)
	defer stopWork()

	result := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name},
			Client:     s.kubernetes.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: c.Identity},
		},
		LeaseDuration: c.LeaseDuration, RenewDeadline: c.RenewDeadline, RetryPeriod: c.RetryPeriod,
		ReleaseOnCancel: true, Name: c.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				klog.FromContext(ctx).Info("Elected", "lease", c.Namespace+"/"+c.Name, "identity", c.Identity)
				result <- lead(workCtx)
			},
			OnStoppedLeading: func() { stopWork() },
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	electing := make(chan struct{})
	go func() { // waited for below
		defer close(electing)
		elector.Run(leaseCtx)
	}()
	return s.awaitElection(ctx, elector, electing, result, release)
}

// releaseTimeout is how long giving the Lease back may take. A server that does not answer learns of it when the Lease runs out.
const releaseTimeout = 2 * time.Second

// awaitElection waits for the work to end, then for the Lease to be given back.
func (s *Syncer) awaitElection(ctx context.Context, elector *leaderelection.LeaderElector, electing <-chan struct{}, result <-chan error, release context.CancelFunc) error {
	var err error
	select {
	case err = <-result:
	case <-ctx.Done():
		if elector.IsLeader() {
			err = <-result
		}
	case <-electing: // the Lease was lost
		err = errors.Join(errLeaseLost, <-result)
	}
	release()
	select {
	case <-electing:
	case <-time.After(releaseTimeout): // client-go gives itself the renew deadline for it; the process ends before
		klog.FromContext(ctx).Info("The Lease could not be given back in time: the physical cluster does not answer")
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
		ns, err := s.kubernetes.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
		if err != nil {
			return "", tmc.Classify(err)
		}
		return string(ns.UID), nil
	}, func(err error) error {
		if category := tmc.CategoryOf(err); category == tmc.Permission || category == tmc.NotFound {
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
	f, err := s.newFeed(ctx, t, spec)
	if err != nil {
		return err
	}
	if f == nil {
		s.phase.Store("waiting for SyncTarget.status.virtualWorkspaces, which the workload manager writes")
		return tmc.RunParts(ctx, stopTimeout, parts...)
	}
	engine, err := s.newEngine(t, f, spec)
	if err != nil {
		return err
	}
	reporter.facts = func() facts { return s.facts(engine) }
	spec.onChange = engine.Recheck
	s.engine.Store(engine)
	defer s.engine.Store(nil)
	s.phase.Store(phaseWorking)
	return tmc.RunParts(ctx, stopTimeout, append(parts, tmc.Part{Name: "engine", Run: engine.run})...)
}

func (s *Syncer) newReporter(t target, identifier string) *StatusReporter {
	return &StatusReporter{
		targets: s.targets, target: t, identifier: identifier, feed: s.config.Feed.Kind, period: s.config.HeartbeatPeriod,
		clock: s.clock, metrics: s.metrics, heartbeat: s.heartbeat, nodes: s.newNodesInformer(),
		facts: func() facts { return s.facts(nil) },
	}
}

func (s *Syncer) newNodesInformer() cache.SharedIndexInformer {
	factory := informers.NewSharedInformerFactoryWithOptions(s.kubernetes, 0, informers.WithTransform(func(obj any) (any, error) {
		if node, ok := obj.(*corev1.Node); ok {
			return &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
				Spec:       corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable},
				Status:     corev1.NodeStatus{Capacity: node.Status.Capacity, Allocatable: node.Status.Allocatable, Conditions: node.Status.Conditions},
			}, nil
		}
		return obj, nil
	}))
	return factory.Core().V1().Nodes().Informer()
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
		return feed.NewWorkspace(s.kcp.wired.Load().config, t.cluster, t.key)
	}
	if urls := s.config.Feed.URLs; len(urls) > 0 {
		klog.FromContext(ctx).Info("Using --feed-urls: with a raw APIExport virtual workspace this syncer can read every tenant's objects; meant for development")
		return feed.NewAssigned(s.kcp.wired.Load().config, urls, t.key)
	}
	spec.followURLs = true
	if len(spec.urls) == 0 {
		return nil, nil
	}
	return feed.NewAssigned(s.kcp.wired.Load().config, spec.urls, t.key)
}

func (s *Syncer) newEngine(t target, f *feed.Feed, spec *watchedTarget) (*Engine, error) {
	namespaces, err := newNamespaces(t, s.dynamic, s.metadata, s.config.NamespaceCleanDelay, s.metrics)
	if err != nil {
		return nil, err
	}
	selection, err := newSelection(f, s.config.Filters)
	if err != nil {
		return nil, err
	}
	return newEngine(controllerDeps{
		target: t, feed: f, cluster: s.dynamic, namespaces: namespaces, selection: selection,
		settings: settings{
			workers: s.config.Workers, resyncPeriod: s.config.ResyncPeriod, statusWindow: s.config.StatusWindow,
			orphanGrace: s.config.OrphanGracePeriod, conflictPolicy: s.config.ConflictPolicy,
		},
		clock: s.clock, metrics: s.metrics, queues: s.queues, tracing: s.tracing,
		kcp: s.kcp.breaker, phys: s.cluster.breaker, progress: s.progress,
	}, s.config.Filters, s.cluster.discovery, s.metadata, spec.exports), nil
}

func (s *Syncer) statuses() []TypeStatus {
	if engine := s.engine.Load(); engine != nil {
		return engine.statuses()
	}
	return nil
}

func (s *Syncer) facts(engine *Engine) facts {
	f := facts{cluster: s.cluster.state(), kcp: s.kcp.state()}
	if engine == nil {
		f.discovery = fmt.Errorf("the syncer is %s", s.phase.Load())
		return f
	}
	f.discovery, f.types = engine.discovered(), engine.statuses()
	return f
}
