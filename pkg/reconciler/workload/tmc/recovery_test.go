package tmc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// thing is a subject.
type thing string

func (t thing) String() string { return string(t) }

// patient is what strategies of a test act on: it is mended by the attempt of that number.
type patient struct {
	loopDiary
	mendedBy int
	acted    int
	start    time.Time
	// fails is what acting ends in, nil for well; panics: in none of both.
	fails  error
	panics bool
}

func (p *patient) act(_ context.Context, subject fmt.Stringer, err error) error {
	p.acted++
	p.note("%s: acting on %s for %s", time.Since(p.start), subject, tmc.CategoryOf(err))
	if p.panics {
		panic("as told")
	}
	return p.fails
}

func (p *patient) verify(context.Context, fmt.Stringer) error {
	if p.acted < p.mendedBy {
		return errBroken
	}
	return nil
}

// recover runs a Recovery with the strategies while story tells what happens; it gives the recovery's page after that.
func recoverWith(t *testing.T, p *patient, strategies []tmc.Strategy, story func(*tmc.Recovery)) (page string, metrics string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p.start = time.Now()
		reg := prometheus.NewRegistry()
		r := tmc.NewRecovery(tmc.RecoveryOptions{
			Enabled: true, Registerer: reg, Random: func() float64 { return 0 }, Strategies: strategies,
			Ended: func(report tmc.RecoveryReport) {
				p.note("%s: %s of %s %s after %d attempts", time.Since(p.start), report.Strategy, report.Subject, report.State, report.Attempts)
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- r.Part().Run(ctx) }()
		synctest.Wait()
		story(r)
		synctest.Wait()
		page, metrics = show(t, r), gather(t, reg)
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		pass(time.Minute) // the queue's own goroutines look at a ticker
	})
	return page, metrics
}

func show(t *testing.T, r *tmc.Recovery) string {
	t.Helper()
	answer := httptest.NewRecorder()
	r.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/debug/recovery", http.NoBody))
	if !json.Valid(answer.Body.Bytes()) {
		t.Fatalf("no JSON: %s", answer.Body)
	}
	return answer.Body.String()
}

func failed(r *tmc.Recovery, component string, subject thing, category tmc.Category, times int) {
	for range times {
		r.Failed(tmc.Incident{Component: component, Subject: subject, Err: tmc.As(category, errBroken)})
	}
}

func TestRecovery(t *testing.T) {
	for name, test := range map[string]struct {
		mendedBy int
		fails    error
		panics   bool
		strategy func(*tmc.Strategy)
		story    func(*tmc.Recovery)
		want     []string
		metrics  []string
	}{
		"a failure is acted on once however often it is told, and the outcome is verified": {
			mendedBy: 1,
			strategy: func(s *tmc.Strategy) { // it is told while somebody acts on it already
				act := s.Act
				s.Act = func(ctx context.Context, subject fmt.Stringer, err error) error {
					pass(time.Second)
					return act(ctx, subject, err)
				}
			},
			story: func(r *tmc.Recovery) { failed(r, "feed", "a", tmc.NotFound, 100); pass(time.Minute) },
			want:  []string{"1s: acting on a for NotFound", "1s: mend of a Recovered after 1 attempts"},
			metrics: []string{
				`recovery_attempts_total{category="NotFound",strategy="mend"} 1`,
				`recovery_outcomes_total{category="NotFound",outcome="recovered",strategy="mend"} 1`,
				`recovery_duration_seconds_count{strategy="mend"} 1`,
			},
		},
		"until it is mended, with growing pauses": {
			mendedBy: 4,
			story:    func(r *tmc.Recovery) { failed(r, "feed", "a", tmc.NotFound, 1); pass(time.Minute) },
			want: []string{
				"0s: acting on a for NotFound", "1s: acting on a for NotFound", "3s: acting on a for NotFound", "7s: acting on a for NotFound",
				"7s: mend of a Recovered after 4 attempts",
			},
		},
		"or the attempts are exhausted": {
			mendedBy: 100,
			strategy: func(s *tmc.Strategy) { s.Attempts = 2 },
			story:    func(r *tmc.Recovery) { failed(r, "feed", "a", tmc.NotFound, 1); pass(time.Minute) },
			want:     []string{"0s: acting on a for NotFound", "1s: acting on a for NotFound", "1s: mend of a Exhausted after 2 attempts"},
			metrics: []string{
				`recovery_outcomes_total{category="NotFound",outcome="exhausted",strategy="mend"} 1`,
				`recovery_active{category="NotFound",strategy="mend"} 1`,
			},
		},
		"what is exhausted begins anew when it has cooled down, if it still fails": {
			mendedBy: 3,
			strategy: func(s *tmc.Strategy) { s.Attempts, s.Cooldown = 2, 10*time.Second },
			story: func(r *tmc.Recovery) {
				for range 20 {
					failed(r, "feed", "a", tmc.NotFound, 1)
					pass(time.Second)
				}
			},
			want: []string{
				"0s: acting on a for NotFound", "1s: acting on a for NotFound", "1s: mend of a Exhausted after 2 attempts",
				"11s: acting on a for NotFound", "11s: mend of a Recovered after 1 attempts",
			},
		},
		"what was mended and fails again cools down first": {
			mendedBy: 1,
			strategy: func(s *tmc.Strategy) { s.Cooldown = 10 * time.Second },
			story: func(r *tmc.Recovery) {
				failed(r, "feed", "a", tmc.NotFound, 1)
				pass(time.Second)
				failed(r, "feed", "a", tmc.NotFound, 1)
				pass(time.Minute)
			},
			want: []string{
				"0s: acting on a for NotFound", "0s: mend of a Recovered after 1 attempts",
				"10s: acting on a for NotFound", "10s: mend of a Recovered after 1 attempts",
			},
		},
		"a few failures that pass are none of its business": {
			strategy: func(s *tmc.Strategy) { s.After = 3 },
			story: func(r *tmc.Recovery) {
				failed(r, "feed", "a", tmc.NotFound, 2)
				r.Mended("feed", thing("a"))
				failed(r, "feed", "a", tmc.NotFound, 2)
			},
		},
		"of several strategies that take it, that with the highest priority does": {
			mendedBy: 1,
			story: func(r *tmc.Recovery) {
				failed(r, "loop", "a", tmc.NotFound, 1)
				failed(r, "loop", "b", tmc.Validation, 1)
			},
			want: nil, // neither acts: see the metrics
			metrics: []string{
				`recovery_active{category="NotFound",strategy="rest"} 1`,
				`recovery_active{category="Validation",strategy="object"} 1`,
			},
		},
		"what a loop tries again itself is counted, given up, and mended when the loop says so": {
			story: func(r *tmc.Recovery) {
				failed(r, "loop", "a", tmc.Validation, 5)
				pass(time.Second)
				r.Mended("loop", thing("another"))
				r.Mended("loop", thing("a"))
			},
			want:    []string{"0s: object of a Exhausted after 3 attempts", "1s: object of a Recovered after 5 attempts"},
			metrics: []string{`recovery_attempts_total{category="Validation",strategy="object"} 5`},
		},
		"what fails in another way goes over to the strategy for that": {
			story: func(r *tmc.Recovery) {
				failed(r, "loop", "a", tmc.Validation, 1)
				failed(r, "loop", "a", tmc.Internal, 1)
			},
			want:    []string{"0s: object of a Abandoned after 1 attempts"},
			metrics: []string{`recovery_active{category="Internal",strategy="rest"} 1`},
		},
		"what is no longer there is forgotten": {
			story: func(r *tmc.Recovery) {
				failed(r, "loop", "a", tmc.Validation, 1)
				failed(r, "other", "a", tmc.Validation, 1)
				r.Forget("loop")
			},
			want:    []string{"0s: object of a Abandoned after 1 attempts"},
			metrics: []string{`recovery_active{category="Validation",strategy="object"} 1`},
		},
		"so is what nobody speaks of any more": {
			story: func(r *tmc.Recovery) { failed(r, "loop", "a", tmc.Validation, 1); pass(2 * time.Hour); r.Active() },
			want:  []string{"2h0m0s: object of a Abandoned after 1 attempts"},
		},
		"also before that was often enough to begin": {
			strategy: func(s *tmc.Strategy) { s.After = 3 },
			story: func(r *tmc.Recovery) {
				failed(r, "feed", "a", tmc.NotFound, 2)
				pass(2 * time.Hour)
				r.Active()
				failed(r, "feed", "a", tmc.NotFound, 2) // counted from the start
			},
		},
		"why an attempt is in vain is told, and for whom that is to see to": {
			fails:    tmc.As(tmc.MigrationRollback, errBroken),
			strategy: func(s *tmc.Strategy) { s.Attempts = 2 },
			story:    func(r *tmc.Recovery) { failed(r, "feed", "a", tmc.MigrationTimeout, 1); pass(time.Minute) },
			want:     []string{"0s: acting on a for MigrationTimeout", "1s: acting on a for MigrationTimeout", "1s: mend of a Exhausted after 2 attempts"},
			metrics: []string{
				`recovery_attempts_total{category="MigrationTimeout",strategy="mend"} 2`,
				`recovery_outcomes_total{category="MigrationRollback",outcome="exhausted",strategy="mend"} 1`,
				`recovery_active{category="MigrationRollback",strategy="mend"} 1`,
			},
		},
		"an attempt that panics is one": {
			panics:   true,
			strategy: func(s *tmc.Strategy) { s.Attempts = 2 },
			story:    func(r *tmc.Recovery) { failed(r, "feed", "a", tmc.NotFound, 1); pass(time.Minute) },
			want:     []string{"0s: acting on a for NotFound", "1s: acting on a for NotFound", "1s: mend of a Exhausted after 2 attempts"},
			metrics:  []string{`recovery_active{category="NotFound",strategy="mend"} 1`},
		},
		"that we gave up ourselves is no failure": {
			story: func(r *tmc.Recovery) { failed(r, "feed", "a", tmc.Canceled, 10) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &patient{mendedBy: test.mendedBy, fails: test.fails, panics: test.panics}
			mend := tmc.Strategy{Name: "mend", Component: "feed", Priority: 10, Act: p.act, Verify: p.verify}
			if test.strategy != nil {
				test.strategy(&mend)
			}
			_, metrics := recoverWith(t, p, []tmc.Strategy{
				{Name: "rest"},
				{Name: "object", Categories: []tmc.Category{tmc.Validation}, Priority: 5, Attempts: 3},
				mend,
			}, test.story)
			if got := p.read(); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			wantLines(t, metrics, test.metrics...)
		})
	}
}

func TestRecoveryCheck(t *testing.T) {
	p := &patient{mendedBy: 100}
	strategies := []tmc.Strategy{{Name: "mend", Component: "feed", Attempts: 1, Act: p.act, Verify: p.verify}, {Name: "object", Attempts: 1}}
	recoverWith(t, p, strategies, func(r *tmc.Recovery) {
		failed(r, "loop", "a", tmc.Validation, 3)
		if err := r.Check(t.Context()); err != nil {
			t.Errorf("an object that was given up is its owner's to mend: %v", err)
		}
		failed(r, "feed", "b", tmc.NotFound, 1)
		pass(time.Second)
		if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "mend of feed b") {
			t.Errorf("got %v", err)
		}
	})
}

// A failure that came in before anybody acts is not lost.
func TestRecoveryBeforeItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patient{mendedBy: 1, start: time.Now()}
		r := tmc.NewRecovery(tmc.RecoveryOptions{Enabled: true, Registerer: prometheus.NewRegistry(), Strategies: []tmc.Strategy{{Name: "mend", Act: p.act, Verify: p.verify}}})
		failed(r, "feed", "a", tmc.NotFound, 1)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- r.Part().Run(ctx) }()
		pass(time.Second)
		synctest.Wait()
		if p.acted != 1 || len(r.Active()) != 0 {
			t.Errorf("acted %d times, active: %v", p.acted, r.Active())
		}
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		pass(time.Minute)
	})
}

// A circuit that opens is recovered from when its server is back, and what depends on that follows.
func TestRecoveryOfACircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *tmc.Recovery
		var resumed []string
		var up atomic.Bool
		breaker := func() *tmc.Breaker { return r.Breaker("kcp", nil) }
		r = tmc.NewRecovery(tmc.RecoveryOptions{Enabled: true, Registerer: prometheus.NewRegistry(), Random: func() float64 { return 0 }, Strategies: []tmc.Strategy{{
			Name: "connectivity", Component: tmc.LinkComponent, Categories: []tmc.Category{tmc.Unreachable},
			Act:    func(ctx context.Context, _ fmt.Stringer, _ error) error { return breaker().Wait(ctx) },
			Verify: func(context.Context, fmt.Stringer) error { return breaker().Allow() },
			Then:   func(_ context.Context, subject fmt.Stringer) { resumed = append(resumed, subject.String()) },
		}}})
		r.Breaker("kcp", func(context.Context) error {
			if up.Load() {
				return nil
			}
			return errUnreachable
		})
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- r.Part().Run(ctx) }()
		report(breaker(), 5, errUnreachable)
		pass(2 * time.Minute)
		synctest.Wait()
		if active := r.Active(); len(active) != 1 || active[0].Name != "kcp" || active[0].Category != tmc.Unreachable && active[0].Category != tmc.Timeout || len(resumed) > 0 {
			t.Errorf("nobody works, and still the server is probed: %+v, %v", active, resumed)
		}
		if page := show(t, r); !strings.Contains(page, `"state": "open"`) && !strings.Contains(page, `"state": "half-open"`) {
			t.Errorf("the circuit is shown: %s", page)
		}
		up.Store(true)
		pass(2 * time.Minute)
		synctest.Wait()
		if breaker().State() != tmc.CircuitClosed || len(r.Active()) != 0 || !slices.Equal(resumed, []string{"kcp"}) {
			t.Errorf("got %s, %+v, %v", breaker().State(), r.Active(), resumed)
		}
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		pass(time.Minute)
	})
}

func TestRecoveryTellsNoPayload(t *testing.T) {
	gr := schema.GroupResource{Resource: "secrets"}
	answer := apierrors.NewForbidden(gr, "needed", errors.New("the value is sesame"))
	page, _ := recoverWith(t, &patient{}, []tmc.Strategy{{Name: "object"}}, func(r *tmc.Recovery) {
		r.Failed(tmc.Incident{Component: "secrets", Subject: thing("a"), Err: tmc.WithContext(answer, tmc.Context{Operation: "creating", Name: "needed", Resource: gr})})
	})
	if strings.Contains(page, "sesame") || !strings.Contains(page, "creating needed (secrets): the server answered 403 Forbidden") {
		t.Errorf("got %s", page)
	}
}

func TestRecoveryFollowsNotMoreThanItCanHold(t *testing.T) {
	page, metrics := recoverWith(t, &patient{}, []tmc.Strategy{{Name: "object"}}, func(r *tmc.Recovery) {
		for i := range 1100 {
			failed(r, "loop", thing(strconv.Itoa(i)), tmc.Validation, 1)
		}
	})
	wantLines(t, metrics, `recovery_active{category="Validation",strategy="object"} 1000`)
	if strings.Count(page, `"component"`) != 100 || !strings.Contains(page, `"untracked": 100`) {
		t.Errorf("got %d of them", strings.Count(page, `"component"`))
	}
}

func TestRecoveryDisabledDoesNothing(t *testing.T) {
	r := tmc.NewRecovery(tmc.RecoveryOptions{Registerer: prometheus.NewRegistry(), Strategies: []tmc.Strategy{{Name: "object"}}})
	failed(r, "loop", "a", tmc.Validation, 10)
	r.Mended("loop", thing("a"))
	if len(r.Active()) != 0 || !strings.Contains(show(t, r), `"enabled": false`) {
		t.Error("plain retries are all that is left")
	}
	var none *tmc.Recovery
	failed(none, "loop", "a", tmc.Validation, 1) // a loop without one
	none.Mended("loop", thing("a"))
}

func TestLoopSurvivesAPassThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d loopDiary
		r := recovery(prometheus.NewRegistry())
		runLoop(t, tmc.LoopOptions[string]{
			Recovery: r,
			Process: func(_ context.Context, key string) (time.Duration, error) {
				if key == "poison" {
					panic("sesame")
				}
				d.note("%s", key)
				return 0, nil
			},
			Failed: func(_ context.Context, f tmc.FailedPass[string]) {
				if !errors.Is(f.Err, tmc.ErrPanicked) || strings.Contains(f.Err.Error(), "sesame") || !tmc.Poisonous(f.Err) {
					t.Errorf("got %v", f.Err)
				}
				if f.Attempt == 1 {
					d.note("%s failed: %s", f.Key, f.Category)
				}
			},
		}, func(l *tmc.Loop[string]) {
			l.Add("poison", tmc.PriorityLive)
			l.AddAfter("good", tmc.PriorityLive, time.Second)
		}, time.Minute)
		if got := d.read(); !slices.Equal(got, []string{"poison failed: Internal", "good"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestPoisonous(t *testing.T) {
	for category, want := range map[tmc.Category]bool{
		tmc.Validation: true, tmc.Immutable: true, tmc.Projection: true, tmc.Aggregation: true,
		tmc.Quota: false, tmc.Admission: false, tmc.Permission: false, tmc.AlreadyExists: false, tmc.Internal: false, tmc.Unavailable: false, tmc.Conflict: false,
	} {
		if got := tmc.Poisonous(fmt.Errorf("applying: %w", tmc.As(category, errBroken))); got != want {
			t.Errorf("%s: got %t", category, got)
		}
	}
}

func TestContextOf(t *testing.T) {
	inner := tmc.WithContext(errBroken, tmc.Context{Operation: "applying", Target: "east", Kind: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Name: "web"})
	for name, err := range map[string]error{"as it is": inner, "wrapped": fmt.Errorf("passing: %w", inner), "marked again": tmc.As(tmc.Quota, inner)} {
		if got := tmc.ContextOf(err); got.Target != "east" || got.Kind.Kind != "Deployment" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if inner.Error() != "applying web (Deployment.apps): it broke" || tmc.ContextOf(errBroken) != (tmc.Context{}) {
		t.Errorf("got %v", inner)
	}
}
