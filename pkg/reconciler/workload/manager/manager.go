// Package manager is the coordinator of kcp's side: it waits to be elected, follows where the virtual workspaces of the
// provider's APIExports are, and runs the reconcilers over the objects of all workspaces that are bound to them.
//
// What the reconcilers are is listed in one place, [Manager.reconcilers]. It decides nothing and writes nothing itself.
package manager

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/heartbeat"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/placement"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/virtualworkspace"
)

// Phases in which a replica does its duty; the others are words for people about what it waits for.
const (
	phaseStandby = "standing by until elected"
	phaseWorking = "working"
)

// Manager is the coordinator.
type Manager struct {
	config Config
	// live is the configuration of now: of what may change, nobody uses config. file is where it comes from.
	live atomic.Pointer[Config]
	file *tmc.ConfigFile[Config]
	// lookAgain has the targets judged by the patience of now; nil while this replica does not work.
	lookAgain  atomic.Pointer[func()]
	clock      clock.WithTicker
	registry   *prometheus.Registry
	metrics    *fleet.Metrics
	memory     *fleet.Memory
	placements *placement.Metrics
	leader     prometheus.Gauge
	// heartbeats count the SyncTargets.
	heartbeats *heartbeat.Metrics
	health     *tmc.Health
	tracing    *tmc.Tracing
	kcp        *tmc.Link
	renewal    tmc.Renewal[*rest.Config]
	servers    []tmc.Part

	// views are the metrics of the virtual workspace server.
	views      *virtualworkspace.Metrics
	assignment *assignment.Metrics
	webhook    *assignment.Webhook // nil for none

	// provider reaches the provider's workspace.
	provider  kubernetes.Interface
	phase     atomic.Value // string, for readyz
	endpoints atomic.Pointer[fleet.Endpoints]
	recovery  *tmc.Recovery
	// fleet and placing are set while this replica leads. relist asks for everything to be listed anew.
	fleet   atomic.Pointer[fleet.Fleet]
	placing atomic.Pointer[placement.Controller]
	relist  chan struct{}
}

// New connects nothing yet, but listens: a port that is taken is an error here.
func New(config Config) (*Manager, error) {
	m := &Manager{config: config, clock: clock.RealClock{}, registry: tmc.NewRegistry("workload-manager"), health: tmc.NewHealth(), relist: make(chan struct{}, 1)}
	m.metrics, m.memory = fleet.NewMetrics(m.registry), fleet.NewMemory()
	config.Features.Register(m.registry)
	m.placements = placement.NewMetrics(m.registry)
	m.leader = prometheus.NewGauge(prometheus.GaugeOpts{Name: "workload_manager_leader", Help: "1 if this replica is the one that works."})
	m.registry.MustRegister(m.leader)
	m.views = virtualworkspace.NewMetrics(m.registry)
	m.heartbeats = heartbeat.NewMetrics(m.registry)
	m.phase.Store("starting")
	var err error
	if m.tracing, err = tmc.NewTracing(context.Background(), "workload-manager", config.Tracing); err != nil {
		return nil, fmt.Errorf("setting up tracing: %w", err)
	}
	m.recovery = tmc.NewRecovery(tmc.RecoveryOptions{Enabled: config.EnableRecovery, Registerer: m.registry, Clock: m.clock, Strategies: m.strategies(), Ended: tmc.LogRecovery})
	m.kcp = tmc.NewLink("kcp", "kcp", tmc.NewClientMetrics(m.registry, m.clock), m.tracing, m.recovery)
	m.renewal = tmc.Renewal[*rest.Config]{Files: config.CredentialFiles, Reread: config.Reread, Use: m.connect, Fingerprint: func(c *rest.Config) (string, error) { return tmc.Fingerprint(c) }}
	m.renewal.InUse(config.KCP)
	if err := m.connect(config.KCP); err != nil {
		return nil, err
	}
	m.adopt(&config)
	m.file = tmc.NewConfigFile(tmc.ConfigFileOptions[Config]{Source: config.Source, Use: m.adopt, Registerer: m.registry, Clock: m.clock})
	m.registerChecks()
	if m.servers, err = config.Exposition.Parts(m.health, m.registry, tmc.Page{Path: "/debug/recovery", Handler: m.recovery.Handler()}, config.Source.Page()); err != nil {
		return nil, err
	}
	m.assignment = assignment.NewMetrics(m.registry)
	if webhook := config.Assignment.Webhook; webhook != nil {
		if m.webhook, err = assignment.NewWebhook(*webhook, m.assignment, m.clock); err != nil {
			return nil, err
		}
		m.servers = append(m.servers, m.webhook.Part())
		m.health.Register(tmc.Check{Name: "webhook", Run: m.webhook.Check})
	}
	return m, nil
}

// Describe describes the metrics, for their reference.
func (m *Manager) Describe(out chan<- *prometheus.Desc) { m.registry.Describe(out) }

// adopt takes up what of another configuration can change while the manager works; nothing else differs.
func (m *Manager) adopt(fresh *Config) {
	m.live.Store(fresh)
	if lookAgain := m.lookAgain.Load(); lookAgain != nil {
		(*lookAgain)()
	}
	m.kcp.Limit(fresh.KCP.QPS, fresh.KCP.Burst)
	_ = m.tracing.SetSampling(fresh.Tracing.SamplingRatio) // it fails for an environment only that no process starts with
}

// connect makes the clients; no request is sent.
func (m *Manager) connect(config *rest.Config) error {
	if err := m.kcp.Use(config); err != nil {
		return err
	}
	provider := rest.CopyConfig(m.kcp.Config())
	provider.Host += m.config.Provider.RequestPath()
	var err error
	if m.provider, err = kubernetes.NewForConfig(provider); err != nil {
		return fmt.Errorf("connecting to workspace %s: %w", m.config.Provider, err)
	}
	return nil
}

// registerChecks tells the probes what to ask. The fleet adds a check for each reconciler and for each resource that it
// watches, and whatever else runs its own.
//
// Live is only what a restart would mend: a pass that hangs, workers that take nothing. Ready is whether this replica does its
// duty, or could: a standby is ready when it reaches kcp.
func (m *Manager) registerChecks() {
	tmc.NewHealthMetrics(m.registry, m.health)
	m.health.Register(m.kcp.Connection().Check("kcp", linkFreshness, m.kcp.Probe))
	m.health.Register(m.file.Check())
	m.health.Register(tmc.Check{Name: "phase", Run: m.checkPhase})
	m.health.Register(tmc.Check{Name: "endpoints", Run: m.checkEndpoints})
	m.health.Register(tmc.Check{Name: "recovery", Run: m.recovery.Check})
}

func (m *Manager) checkPhase(context.Context) error {
	switch phase := m.phase.Load(); phase {
	case phaseStandby, phaseWorking:
		return nil
	default:
		return fmt.Errorf("%s", phase)
	}
}

func (m *Manager) checkEndpoints(ctx context.Context) error {
	if endpoints := m.endpoints.Load(); endpoints != nil {
		return endpoints.Check(ctx)
	}
	return errors.New("the APIExportEndpointSlices are not followed yet")
}

// Run works until ctx is done, and then stops in order within a few seconds. An error before that is final.
func (m *Manager) Run(ctx context.Context) error {
	parts := []tmc.Part{m.tracing.Part()}
	parts = append(parts, m.servers...)
	parts = append(parts, m.file.Parts()...)
	if m.config.EnableRecovery {
		parts = append(parts, m.recovery.Part())
		parts = append(parts, m.renewal.Parts(m.clock)...)
	}
	parts = append(parts, tmc.Part{Name: "manager", Run: func(ctx context.Context) error { return m.renewal.KeepWorking(ctx, m.work) }})
	return tmc.RunParts(ctx, stopTimeout, parts...)
}

// exports are those whose virtual workspaces the reconcilers work in.
var exports = []string{workloadv1alpha1.WorkloadExport, workloadv1alpha1.SchedulingExport, workloadv1alpha1.KubernetesExport}

// work follows the virtual workspaces, waits to be elected and leads. What every replica does runs beside the election.
func (m *Manager) work(ctx context.Context) error {
	endpoints, err := fleet.NewEndpoints(m.kcp.Config(), m.config.Provider, exports...)
	if err != nil {
		return err
	}
	endpoints.Failed = func(err error) {
		m.recovery.Failed(tmc.Incident{Component: tmc.FeedComponent, Subject: feedSubject{}, Err: err})
	}
	m.endpoints.Store(endpoints)
	defer m.endpoints.Store(nil)
	parts := []tmc.Part{{Name: "endpoints", Run: endpoints.Run}}
	if m.config.VirtualWorkspace != nil {
		server, err := m.newVirtualWorkspace(endpoints)
		if err != nil {
			return err
		}
		defer m.health.Register(tmc.Check{Name: "virtual-workspace", Run: server.Check})()
		parts = append(parts, tmc.Part{Name: "virtual workspace", Run: server.Run})
	}
	if m.config.VirtualWorkspaceOnly {
		m.phase.Store(phaseWorking)
	} else {
		parts = append(parts, tmc.Part{Name: "reconcilers", Run: func(ctx context.Context) error { return m.campaign(ctx, endpoints) }})
	}
	return orStopped(ctx, tmc.RunParts(ctx, stopTimeout, parts...))
}

// newVirtualWorkspace makes the server that syncers reach.
func (m *Manager) newVirtualWorkspace(endpoints *fleet.Endpoints) (*virtualworkspace.Server, error) {
	return virtualworkspace.New(*m.config.VirtualWorkspace, virtualworkspace.Deps{
		KCP: m.kcp.Config(), Metrics: m.views, Tracing: m.tracing, Clock: m.clock,
		ExportURLs: func(export string) []string {
			urls, _ := endpoints.Current()
			return urls[export]
		},
	})
}

// orStopped makes what follows from being told to stop no error.
func orStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is what it is for
	}
	return err
}

func (m *Manager) campaign(ctx context.Context, endpoints *fleet.Endpoints) error {
	lead := func(ctx context.Context) error { return m.lead(ctx, endpoints) }
	if m.config.LeaderElection == nil {
		return orStopped(ctx, lead(ctx))
	}
	return orStopped(ctx, m.config.LeaderElection.Campaign(ctx, m.health, m.provider.CoordinationV1(), func() { m.phase.Store(phaseStandby) }, lead))
}

// lead runs the reconcilers, anew whenever the virtual workspaces change.
func (m *Manager) lead(ctx context.Context, endpoints *fleet.Endpoints) error {
	m.leader.Set(1)
	defer m.leader.Set(0)
	for ctx.Err() == nil {
		m.phase.Store("reading where the virtual workspaces are")
		urls, changed, err := endpoints.Await(ctx)
		if err != nil {
			return orStopped(ctx, err)
		}
		if err := m.serveFleet(ctx, endpoints, urls, changed); err != nil && !errors.Is(err, errURLsChanged) {
			return err
		}
	}
	return nil
}

// errURLsChanged asks for a new start with other virtual workspaces.
var errURLsChanged = errors.New("the virtual workspaces of the APIExports changed")

// serveFleet runs the reconcilers while the virtual workspaces are these.
func (m *Manager) serveFleet(ctx context.Context, endpoints *fleet.Endpoints, urls fleet.URLs, changed <-chan struct{}) error {
	f, err := fleet.New(fleet.Deps{
		Config: m.kcp.Config(), URLs: urls, Complete: endpoints.Complete, Metrics: m.metrics, Memory: m.memory, Health: m.health, Recovery: m.recovery, Tracing: m.tracing, Clock: m.clock,
		Gates: []func(context.Context) error{m.kcp.Breaker().Wait},
	})
	if err != nil {
		return err
	}
	reconcilers, err := m.reconcilers(f)
	if err != nil {
		return err
	}
	parts := []tmc.Part{
		{Name: "virtual workspace watch", Run: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			case <-m.relist:
			}
			return errURLsChanged
		}},
		{Name: "fleet", Run: f.Run},
		{Name: "memory", Run: (&keeper{configMaps: m.provider.CoreV1().ConfigMaps(metav1.NamespaceDefault), memory: m.memory, clock: m.clock}).Run},
	}
	m.fleet.Store(f)
	defer func() { m.fleet.Store(nil); m.placing.Store(nil) }()
	m.phase.Store(phaseWorking)
	klog.FromContext(ctx).Info("Working", "urls", urls)
	return tmc.RunParts(ctx, stopTimeout, append(parts, reconcilers...)...)
}
