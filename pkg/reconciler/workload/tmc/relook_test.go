package tmc_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// relooked is a Relook in a bubble, which has a time of its own.
type relooked struct {
	*testing.T
	*tmc.Relook
	lock sync.Mutex
	at   []time.Time
	fail error
}

// looks are when it was looked at.
func (r *relooked) looks() []time.Time {
	r.lock.Lock()
	defer r.lock.Unlock()
	return slices.Clone(r.at)
}

// fails has looks end so from now on.
func (r *relooked) fails(err error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.fail = err
}

func inBubble(t *testing.T, settling []time.Duration, test func(*relooked)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &relooked{T: t}
		r.Relook = tmc.NewRelook(tmc.RelookOptions{
			Task: "testing", Settling: settling, Period: func() time.Duration { return time.Hour }, Retry: 5 * time.Second,
			Look: func(context.Context) error {
				r.lock.Lock()
				defer r.lock.Unlock()
				r.at = append(r.at, time.Now())
				return r.fail
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			r.Relook.Run(ctx)
			close(ended)
		}()
		test(r)
		cancel()
		<-ended
	})
}

// after says how many looks there are until the time has passed.
func (r *relooked) after(passed time.Duration, want int) {
	r.Helper()
	before := len(r.looks())
	pass(passed)
	synctest.Wait()
	if got := len(r.looks()) - before; got != want {
		r.Errorf("%d looks within %s, want %d", got, passed, want)
	}
}

var settlingTwice = []time.Duration{0, 2 * time.Second}

func TestRelook(t *testing.T) {
	inBubble(t, settlingTwice, func(r *relooked) {
		r.after(59*time.Minute, 0)
		r.after(10*time.Minute, 1) // without a hint

		r.Hint()
		r.after(time.Millisecond, 1)
		r.after(time.Second, 0)
		r.after(1300*time.Millisecond, 1)
		r.after(59*time.Minute, 0)
	})
}

// A failure that passes costs a moment; one that lasts is not asked for again and again.
func TestRelookBacksOff(t *testing.T) {
	inBubble(t, settlingTwice, func(r *relooked) {
		const retry = 5 * time.Second
		r.fails(errors.New("it does not answer"))
		r.Hint()
		pass(time.Minute)
		r.fails(nil)
		pass(time.Minute)
		at := r.looks()
		for i, want := range []time.Duration{retry / 16, retry / 8, retry / 4, retry / 2, retry, retry, retry} { // later and later
			if got := at[i+1].Sub(at[i]); got < want || got > want*11/10 {
				t.Errorf("%s between looks %d and %d, want %s and at most a tenth more", got, i, i+1, want)
			}
		}
		last := len(at) - 1
		if got := at[last].Sub(at[last-1]); got < 2*time.Second || got > 2200*time.Millisecond {
			t.Errorf("after the failures comes what the hint led to besides: %s", got)
		}
		r.after(59*time.Minute-2*time.Minute, 0)

		r.fails(errors.New("it does not answer"))
		r.Hint()
		r.after(time.Millisecond, 1)
		r.fails(nil)
		r.after(retry/12, 1) // the first failure after a success is the first again
	})
}

// Hints that come more often than the first wait after one do not keep it from being looked at.
func TestRelookIsNotPutOffByHints(t *testing.T) {
	inBubble(t, []time.Duration{time.Second}, func(r *relooked) {
		for range 9 {
			r.Hint()
			r.after(100*time.Millisecond, 0)
		}
		r.Hint()
		r.after(210*time.Millisecond, 1)
	})
}
