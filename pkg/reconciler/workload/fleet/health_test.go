package fleet

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// A reconciler that never comes back from an object fails liveness under its name, and is told only while the fleet runs.
func TestLivenessTellsAStuckReconciler(t *testing.T) {
	c := clocktesting.NewFakeClock(time.Unix(1000, 0))
	health := tmc.NewHealth(tmc.WithHealthClock(c))
	f, err := New(Deps{Config: &rest.Config{Host: "https://kcp.example"}, Metrics: NewMetrics(prometheus.NewRegistry()), Clock: c, Health: health})
	if err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	loop := NewLoop(f, "placement", 1, func(context.Context, string) (time.Duration, error) { // deaf to its context
		close(started)
		<-release
		return 0, nil
	})
	expect := func(when string, code int, words string) {
		t.Helper()
		answer := httptest.NewRecorder()
		health.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/livez?verbose", http.NoBody))
		if answer.Code != code || !strings.Contains(answer.Body.String(), words) {
			t.Errorf("%s: %d, want %d and %q:\n%s", when, answer.Code, code, words, answer.Body.String())
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	running, working := make(chan struct{}), make(chan struct{})
	go func() { defer close(running); _ = f.Run(ctx) }()
	loop.Add("one", tmc.PriorityLive)
	for loop.Len() == 0 {
		<-time.After(time.Millisecond)
	}
	for !strings.Contains(livez(health), "[!]reconciler/placement degraded: 1 keys wait") {
		<-time.After(time.Millisecond) // until the fleet runs
	}
	go func() { defer close(working); loop.Run(ctx) }()
	<-started
	expect("while it works", http.StatusOK, "[+]reconciler/placement ok")
	c.Step(tmc.StuckAfter + time.Second)
	expect("when it is stuck", http.StatusInternalServerError, "[-]reconciler/placement failed: placement: one has been in work for 5m1s")
	close(release)
	stop()
	<-running
	<-working
	if text := livez(health); strings.Contains(text, "placement") {
		t.Errorf("a fleet that has ended is told of:\n%s", text)
	}
}

// A fleet that ends before everything has been listed leaves nothing of its loops behind, although they never came to run. A
// manager that loses its Lease again and again, because kcp is slow, makes many of them.
func TestNothingIsLeftOfAFleet(t *testing.T) {
	before := goleak.IgnoreCurrent()
	f, err := New(Deps{Config: &rest.Config{Host: "https://kcp.example"}, Metrics: NewMetrics(prometheus.NewRegistry()), Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	ran := NewLoop(f, "ran", 1, func(context.Context, string) (time.Duration, error) { return 0, nil })
	NewLoop(f, "never ran", 1, func(context.Context, string) (time.Duration, error) { return 0, nil })
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { ran.Run(ctx) })
	running.Go(func() { _ = f.Run(ctx) }) // it has no error
	stop()
	running.Wait()
	goleak.VerifyNone(t, before)
}

func livez(health *tmc.Health) string {
	answer := httptest.NewRecorder()
	health.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/livez?verbose", http.NoBody))
	return answer.Body.String()
}
