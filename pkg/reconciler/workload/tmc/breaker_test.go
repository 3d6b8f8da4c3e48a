package tmc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func recovery(reg prometheus.Registerer) *tmc.Recovery {
	return tmc.NewRecovery(tmc.RecoveryOptions{Enabled: true, Registerer: reg, Random: func() float64 { return 0 }})
}

var errUnreachable = tmc.As(tmc.Unreachable, io.ErrUnexpectedEOF)

func report(b *tmc.Breaker, times int, err error) {
	for range times {
		b.Report(err)
	}
}

func TestBreakerOpens(t *testing.T) {
	serverSays := apierrors.NewServiceUnavailable("later")
	for name, test := range map[string]struct {
		reports []error
		want    tmc.CircuitState
	}{
		"not before enough requests in a row were without an answer": {repeat(errUnreachable, 4), tmc.CircuitClosed},
		"when they were":                                        {repeat(errUnreachable, 5), tmc.CircuitOpen},
		"also if they timed out":                                {repeat(context.DeadlineExceeded, 5), tmc.CircuitOpen},
		"not if one between was answered":                       {append(append(repeat(errUnreachable, 4), nil), errUnreachable), tmc.CircuitClosed},
		"not if one between was refused, for that is an answer": {append(append(repeat(errUnreachable, 4), serverSays), errUnreachable), tmc.CircuitClosed},
		"not because of errors of the server":                   {repeat(serverSays, 100), tmc.CircuitClosed},
		"not because of a type that times out on the server":    {repeat(apierrors.NewTimeoutError("webhook", 1), 100), tmc.CircuitClosed},
		"not because we gave up":                                {repeat(context.Canceled, 100), tmc.CircuitClosed},
		"not to close because we gave up":                       {append(repeat(errUnreachable, 5), context.Canceled), tmc.CircuitOpen},
		"not to close because nothing was asked":                {append(repeat(errUnreachable, 5), fmt.Errorf("getting: %w", tmc.ErrCircuitOpen)), tmc.CircuitOpen},
		"to close when somebody else gets an answer":            {append(repeat(errUnreachable, 5), nil), tmc.CircuitClosed},
	} {
		t.Run(name, func(t *testing.T) {
			b := recovery(prometheus.NewRegistry()).Breaker("kcp", nil)
			for _, err := range test.reports {
				b.Report(err)
			}
			if got := b.State(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			err := b.Allow()
			if (err == nil) != (test.want == tmc.CircuitClosed) {
				t.Errorf("got %v", err)
			}
			if err != nil && (tmc.CategoryOf(err) != tmc.Unreachable || !errors.Is(err, tmc.ErrCircuitOpen) || b.Check(t.Context()) == nil) {
				t.Errorf("it says that the server is unreachable: got %v", err)
			}
		})
	}
}

func repeat(err error, times int) []error {
	errs := make([]error, times)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func TestBreakerPausesAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		var up atomic.Bool
		var lock sync.Mutex
		var probes []time.Duration
		start := time.Now()
		b := recovery(reg).Breaker("kcp", func(context.Context) error {
			lock.Lock()
			defer lock.Unlock()
			probes = append(probes, time.Since(start))
			if up.Load() {
				return apierrors.NewUnauthorized("any answer will do")
			}
			return io.ErrUnexpectedEOF
		})
		report(b, 5, errUnreachable)

		resumed := make(chan time.Duration, 10)
		for range 10 {
			go func() {
				if err := b.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				resumed <- time.Since(start)
			}()
		}
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		pass(time.Minute)
		synctest.Wait()
		if len(resumed) > 0 {
			t.Error("nobody works while the server is gone")
		}
		wantLines(t, gather(t, reg), `recovery_circuit_state{server="kcp"} 2`)
		up.Store(true)
		pass(10 * time.Second)
		synctest.Wait()
		if len(resumed) != 10 {
			t.Fatalf("all go on when it is back: got %d", len(resumed))
		}
		want := []time.Duration{ms(250), ms(750), ms(1750), ms(3750), ms(7750), ms(15750), ms(25750), ms(35750), ms(45750), ms(55750), ms(65750)}
		if fmt.Sprint(probes) != fmt.Sprint(want) {
			t.Errorf("one of them probes, less and less often:\ngot  %v\nwant %v", probes, want)
		}
		wantLines(t, gather(t, reg), `recovery_circuit_state{server="kcp"} 0`, `recovery_circuit_transitions_total{server="kcp",state="closed"} 1`,
			`recovery_circuit_transitions_total{server="kcp",state="open"} 11`, `recovery_circuit_transitions_total{server="kcp",state="half-open"} 11`,
			`recovery_circuit_probes_total{result="answered",server="kcp"} 1`, `recovery_circuit_probes_total{result="unanswered",server="kcp"} 10`)
	})
}

func gather(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return exposition(t, families)
}

func TestBreakerHungProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{}, 10)
		b := recovery(prometheus.NewRegistry()).Breaker("kcp", func(ctx context.Context) error {
			asked <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		report(b, 5, errUnreachable)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Wait(ctx) }()
		<-asked
		if b.State() != tmc.CircuitHalfOpen || b.Allow() == nil {
			t.Error("nobody else asks during a probe")
		}
		b.Report(nil) // would hang if a lock were held during the probe
		if b.State() != tmc.CircuitClosed {
			t.Error("an answer that somebody else got counts at once")
		}
		if err := b.Wait(ctx); err != nil {
			t.Error(err)
		}
		pass(5 * time.Second)
		if err := <-ended; err != nil || b.State() != tmc.CircuitClosed {
			t.Errorf("a probe that hangs ends, and does not outdo that answer: got %v, %s", err, b.State())
		}
		cancel()
	})
}

func TestBreakerWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probed := 0
		b := recovery(prometheus.NewRegistry()).Breaker("kcp", func(ctx context.Context) error {
			probed++
			if probed == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		report(b, 5, errUnreachable)
		for _, timeout := range []time.Duration{100 * time.Millisecond, time.Second} { // while waiting, and while probing
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			cancel()
		}
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil || time.Since(start) > 0 {
			t.Errorf("the next one takes over a probe that was given up, at once: %v after %s", err, time.Since(start))
		}
	})
}

func TestRecoveryDisabled(t *testing.T) {
	r := tmc.NewRecovery(tmc.RecoveryOptions{Registerer: prometheus.NewRegistry()})
	b := r.Breaker("kcp", nil)
	report(b, 100, errUnreachable)
	if r.Enabled() || b.State() != tmc.CircuitClosed || b.Allow() != nil || b.Wait(t.Context()) != nil {
		t.Error("a breaker stays closed for ever")
	}
}

func TestRecoveryHasOneBreakerPerServer(t *testing.T) {
	r := recovery(prometheus.NewRegistry())
	report(r.Breaker("kcp", nil), 5, errUnreachable)
	if r.Breaker("kcp", nil).State() != tmc.CircuitOpen || r.Breaker("cluster", nil).State() != tmc.CircuitClosed {
		t.Error("servers are lost one by one")
	}
}
