package tmc

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

// relooked is a Relook on a clock that the test moves.
type relooked struct {
	*testing.T
	*Relook
	clock *testingclock.FakeClock
	looks chan struct{}
	fail  chan error
}

func newRelooked(t *testing.T) *relooked {
	t.Helper()
	r := &relooked{T: t, clock: testingclock.NewFakeClock(time.Now()), looks: make(chan struct{}), fail: make(chan error, 1)}
	r.Relook = NewRelook(RelookOptions{
		Task: "testing", Settling: []time.Duration{0, 2 * time.Second}, Period: func() time.Duration { return time.Hour }, Retry: 5 * time.Second, Clock: r.clock,
		Look: func(ctx context.Context) error {
			select {
			case r.looks <- struct{}{}:
			case <-ctx.Done():
			}
			select {
			case err := <-r.fail:
				return err
			default:
				return nil
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		r.Relook.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return r
}

// waits until somebody waits for the clock.
func (r *relooked) waits() {
	r.Helper()
	for deadline := time.Now().Add(10 * time.Second); !r.clock.HasWaiters(); runtime.Gosched() {
		if time.Now().After(deadline) {
			r.Fatal("nobody waits")
		}
	}
}

// after says whether there is a look when the time has passed.
func (r *relooked) after(passed time.Duration, want bool) {
	r.Helper()
	r.waits()
	r.clock.Step(passed)
	if !want {
		select {
		case <-r.looks:
			r.Errorf("it was looked at before its time")
		case <-time.After(20 * time.Millisecond):
		}
		return
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		select {
		case <-r.looks:
			return
		case <-time.After(time.Millisecond):
			r.clock.Step(0) // for who has begun to wait since
		}
		if time.Now().After(deadline) {
			r.Fatalf("it was not looked at after %s", passed)
		}
	}
}

func TestRelook(t *testing.T) {
	r := newRelooked(t)
	r.after(59*time.Minute, false)
	r.after(10*time.Minute, true) // without a hint

	r.Hint()
	r.Hint() // which makes no difference
	r.after(0, true)
	r.after(time.Second, false)
	r.fail <- errors.New("it does not answer")
	r.after(2*time.Second, true)
	for _, wait := range []time.Duration{5 * time.Second / 16, 5 * time.Second / 8, 5 * time.Second / 4, 5 * time.Second / 2, 5 * time.Second, 5 * time.Second} {
		r.fail <- errors.New("it still does not")
		r.after(wait*9/10, false)
		r.after(wait/4, true) // later and later after failures
	}
	r.after(6*time.Second, true) // and after the last one
	r.after(59*time.Minute, false)
}
