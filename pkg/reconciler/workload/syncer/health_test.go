package syncer

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// patient is a syncer that works, by a clock of the test, with one type whose passes are the test's.
type patient struct {
	*Syncer
	t     *testing.T
	clock *clocktesting.FakeClock
}

func newPatient(t *testing.T, process func(context.Context, Key) (time.Duration, error)) *patient {
	t.Helper()
	c := clocktesting.NewFakeClock(time.Unix(1000, 0))
	registry := prometheus.NewRegistry()
	s := &Syncer{clock: c, registry: registry, progress: tmc.NewWatermark(c, tmc.StuckAfter), heartbeat: tmc.NewHeartbeat(c, time.Hour)}
	s.heartbeat.Beat()
	s.phase.Store(phaseWorking)
	s.leading.Store(true)
	tracing, err := tmc.NewTracing(t.Context(), "test", tmc.TracingConfig{})
	if err != nil {
		t.Fatal(err)
	}
	requests, recovery := tmc.NewClientMetrics(registry, c), tmc.NewRecovery(tmc.RecoveryOptions{Registerer: registry})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	t.Cleanup(server.Close)
	for side, link := range map[string]**tmc.Link{sideKCP: &s.kcp, sideCluster: &s.cluster} {
		*link = tmc.NewLink(side, side, requests, tracing, recovery)
		if err := (*link).Use(&rest.Config{Host: server.URL}); err != nil {
			t.Fatal(err)
		}
	}
	s.recovery = recovery
	s.file = tmc.NewConfigFile(tmc.ConfigFileOptions[Config]{Registerer: s.registry, Clock: c})
	s.registerChecks()

	engine := newEngine(controllerDeps{clock: c, namespaces: &namespaces{watchErrors: &watchErrors{}}, selection: &selection{settings: newLive(settings{})}, settings: newLive(settings{}), health: s.health}, nil, nil, nil)
	engine.known = true
	controller := &ResourceController{
		resourceType: resourceType{gvr: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, servedDownstream: true},
		records:      newRecords(), namespaces: engine.namespaces, selection: engine.selection,
		loop: tmc.NewLoop(tmc.LoopOptions[Key]{Name: "configmaps", Progress: s.progress, Process: process}),
	}
	controller.running.Store(true)
	engine.running[controller.resourceType] = &runningType{controller: controller}
	s.engine.Store(engine)
	working := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	go func() { defer close(working); controller.loop.Run(ctx) }()
	t.Cleanup(func() { stop(); <-working })
	controller.loop.Add(Key{Cluster: "team", Namespace: "web", Name: "settings"}, tmc.PriorityLive)
	return &patient{Syncer: s, t: t, clock: c}
}

// probe asks a path of the probes. Time passes meanwhile only if a check is expected to hang.
func (p *patient) probe(path string, hangs bool) (code int, body string) {
	p.t.Helper()
	answered := make(chan struct{})
	answer := httptest.NewRecorder()
	go func() {
		defer close(answered)
		p.health.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	}()
	for {
		select {
		case <-answered:
			return answer.Code, answer.Body.String()
		case <-time.After(5 * time.Millisecond):
			if hangs {
				p.clock.Step(time.Second)
			}
		}
	}
}

func (p *patient) answer(path string) string {
	p.t.Helper()
	_, body := p.probe(path, false)
	return body
}

func (p *patient) expect(when, path string, code int, words ...string) {
	p.t.Helper()
	got, body := p.probe(path, slices.ContainsFunc(words, func(word string) bool { return strings.Contains(word, "no answer") }))
	for _, word := range words {
		if !strings.Contains(body, word) {
			p.t.Errorf("%s: %s does not say %q:\n%s", when, path, word, body)
		}
	}
	if got != code {
		p.t.Errorf("%s: %s answers %d, want %d:\n%s", when, path, got, code, body)
	}
}

// told is the condition that the SyncTarget gets.
func (p *patient) told(when, reason, words string) {
	p.t.Helper()
	f := facts{types: []TypeStatus{{State: workloadv1alpha1.ResourceAccepted}}}
	f.health, f.unhealthy = p.components()
	for _, c := range conditionsOf(f, nil, 1, p.clock.Now()) {
		if c.Type == workloadv1alpha1.ConditionComponentsHealthy && (c.Reason != reason || !strings.Contains(c.Message, words)) {
			p.t.Errorf("%s: the condition says %s: %s", when, c.Reason, c.Message)
		}
	}
}

// A worker that never comes back fails liveness, though its server, the types and all else are well; and no longer when it does.
func TestLivenessTellsAStuckWorker(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	p := newPatient(t, func(context.Context, Key) (time.Duration, error) { // deaf to its context
		close(started)
		<-release
		return 0, nil
	})
	<-started
	p.expect("while it works", "/livez?verbose", http.StatusOK, "[+]workers ok", "[+]engine ok")
	p.clock.Step(tmc.StuckAfter + time.Second)
	p.heartbeat.Beat()
	p.expect("when it is stuck", "/livez", http.StatusInternalServerError, "[-]workers failed: configmaps: team|web/settings has been in work for 5m", "[+]engine ok")
	p.expect("what is not live is not ready", "/readyz", http.StatusInternalServerError, "[-]workers failed", "[+]kcp ok", "[+]cluster ok")
	p.expect("all else is well", "/readyz?exclude=workers", http.StatusOK)
	p.told("when it is stuck", workloadv1alpha1.ReasonSyncerStuck, "workers: configmaps: team|web/settings")
	close(release)
	for items, _ := p.progress.InWork(); items > 0; items, _ = p.progress.InWork() {
		<-time.After(time.Millisecond)
	}
	p.expect("when it has come back", "/livez", http.StatusOK)
	p.told("when it has come back", workloadv1alpha1.ReasonComponentsRunning, "")
}

// An engine whose lock is never given back fails liveness as soon as it is asked, and so does one that never ends a look.
func TestLivenessTellsALockedEngine(t *testing.T) {
	p := newPatient(t, func(context.Context, Key) (time.Duration, error) { return 0, nil })
	engine := p.engine.Load()
	p.expect("while it works", "/livez?verbose", http.StatusOK, "[+]engine ok")

	engine.mu.Lock()
	p.expect("when it is locked", "/livez", http.StatusInternalServerError, "[-]engine failed: no answer within 5s")
	p.expect("and ever after", "/livez", http.StatusInternalServerError, "[-]engine failed: no answer within 5s")
	engine.mu.Unlock()

	lookingEnds := engine.looking.Begin("the look at the types")
	p.clock.Step(tmc.StuckAfter + time.Second)
	for !strings.Contains(p.answer("/livez"), "[-]engine failed: the look at the types has been in work for 5m") { // when the answer that hung has come
		<-time.After(time.Millisecond)
	}
	lookingEnds()
	p.expect("when the look has ended", "/livez", http.StatusOK)
}
