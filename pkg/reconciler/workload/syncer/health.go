package syncer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const (
	// stuckAfter is how long one pass may take before the process counts as stuck: far longer than every time-out that
	// a pass can run into.
	stuckAfter = 5 * time.Minute
	// linkFreshness is how long a server counts as reachable without being heard of.
	linkFreshness = 30 * time.Second
	// requestTimeout bounds the requests of one pass together.
	requestTimeout = 30 * time.Second
)

// link is the way to one of the two API servers.
type link struct {
	name       string
	connection *tmc.Connection
	breaker    *tmc.Breaker
	wrap       []func(http.RoundTripper) http.RoundTripper

	// wired is replaced as a whole when the credentials change.
	wired atomic.Pointer[wiring]
}

// wiring is a configuration with its HTTP client.
type wiring struct {
	config *rest.Config
	client *http.Client
}

// newLink gives the way to a server its metrics, traces and circuit breaker. Use has to follow.
func newLink(name string, requests *tmc.ClientMetrics, tracing *tmc.Tracing, recovery *tmc.Recovery) *link {
	l := &link{name: name, connection: requests.Connection(name)}
	l.wrap = append(l.wrap, tmc.InstrumentTransport(requests, name), tracing.InstrumentTransport())
	l.breaker = recovery.Breaker(name, l.probe)
	l.connection.OnResult(l.breaker.Report)
	return l
}

// use has the link use this configuration from now on.
func (l *link) use(config *rest.Config) error {
	w := &wiring{config: rest.CopyConfig(config)}
	w.config.WarningHandlerWithContext = rest.NoWarnings{} // about types that we list, not about anybody's objects
	for _, wrap := range l.wrap {
		w.config.Wrap(wrap)
	}
	var err error
	if w.client, err = rest.HTTPClientFor(w.config); err != nil {
		return fmt.Errorf("connecting to %s: %w", sideName[l.name], err)
	}
	l.wired.Store(w)
	return nil
}

// probe asks the server for something cheap. Any answer shows that it is there, except that it cannot answer.
func (l *link) probe(ctx context.Context) error {
	w := l.wired.Load()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.config.Host+"/version", http.NoBody)
	if err != nil {
		return err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%s answers %s", sideName[l.name], response.Status)
	}
	return nil
}

// discovery asks the server for its types, until ctx is done.
func (l *link) discovery(ctx context.Context) (discovery.DiscoveryInterface, error) {
	w := l.wired.Load()
	return tmc.Discovery(ctx, w.config, w.client)
}

// state is why the server does not answer, nil if it does or was not asked yet.
func (l *link) state() error {
	if state, err := l.connection.State(); state == tmc.Disconnected {
		return fmt.Errorf("%s does not answer: %w", sideName[l.name], err)
	}
	return nil
}

// registerChecks tells the probes what to ask.
//
// Live is only what a restart would mend: a pass that hangs. Ready is whether this replica does its duty, or could: a
// standby is ready when it reaches both servers.
func (s *Syncer) registerChecks() {
	s.health = tmc.NewHealth()
	s.health.Register(tmc.Check{Name: "workers", Kind: tmc.Liveness, Run: s.progress.Check})
	s.health.Register(s.kcp.connection.Check("kcp", linkFreshness, s.kcp.probe))
	s.health.Register(s.cluster.connection.Check("cluster", linkFreshness, s.cluster.probe))
	s.health.Register(tmc.Check{Name: "synctarget", Run: s.checkPhase})
	s.health.Register(tmc.Check{Name: "types", Run: s.whenLeading(s.checkTypes)})
	s.health.Register(tmc.Check{Name: "heartbeat", Run: s.whenLeading(s.heartbeat.Check)})
}

// whenLeading is for checks that a standby passes.
func (s *Syncer) whenLeading(check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !s.leading.Load() {
			return nil
		}
		return check(ctx)
	}
}

func (s *Syncer) checkPhase(context.Context) error {
	switch phase := s.phase.Load(); phase {
	case phaseStandby, phaseWorking:
		return nil
	default:
		return fmt.Errorf("%s", phase)
	}
}

// checkTypes fails until all types were listed. A type that cannot be, is degraded by itself: it has a condition, and
// does not make the others unready.
func (s *Syncer) checkTypes(context.Context) error {
	engine := s.engine.Load()
	if engine == nil {
		return errors.New("the engine does not run")
	}
	if err := engine.discovered(); err != nil {
		return err
	}
	var pending []string
	for _, t := range engine.statuses() {
		if t.State == workloadv1alpha1.ResourcePending {
			pending = append(pending, t.Resource.String())
		}
	}
	if len(pending) > 0 {
		return fmt.Errorf("not listed completely yet: %s", strings.Join(pending, ", "))
	}
	return nil
}
