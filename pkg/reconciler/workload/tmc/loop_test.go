package tmc_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// loopDiary is what a loop did, in order, and when.
type loopDiary struct {
	sync.Mutex
	lines []string
}

func (d *loopDiary) note(format string, args ...any) {
	d.Lock()
	defer d.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *loopDiary) read() []string {
	d.Lock()
	defer d.Unlock()
	return slices.Clone(d.lines)
}

// runLoop makes a loop, lets prepare fill it, runs it for the time given, and checks that it stops.
func runLoop(t *testing.T, options tmc.LoopOptions[string], prepare func(*tmc.Loop[string]), during time.Duration) {
	t.Helper()
	options.Name, options.Queues = "test", tmc.NewQueueMetrics(prometheus.NewRegistry())
	loop := tmc.NewLoop(options)
	prepare(loop)
	synctest.Wait() // the queue has taken them in
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); loop.Run(ctx) }()
	<-time.After(during)
	synctest.Wait()
	cancel()
	<-ended
	<-time.After(time.Minute) // the queue's own goroutines look at a ticker to see that it was shut down
}

func TestLoopWorksOnWhatIsLiveBeforeTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d loopDiary
		runLoop(t, tmc.LoopOptions[string]{
			Process: func(_ context.Context, key string) (time.Duration, error) { d.note("%s", key); return 0, nil },
		}, func(l *tmc.Loop[string]) {
			l.Add("old-1", tmc.PriorityBacklog)
			l.Add("old-2", tmc.PriorityBacklog)
			l.Add("old-2", tmc.PriorityLive) // it changed meanwhile
			l.Add("new", tmc.PriorityLive)
			l.Add("new", tmc.PriorityLive)
		}, time.Second)
		if got, want := d.read(), []string{"old-2", "new", "old-1"}; !slices.Equal(got, want) {
			t.Errorf("worked on %v, want %v", got, want)
		}
	})
}

func TestLoopRetriesForEverByCategory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d loopDiary
		passes, failed := 0, []tmc.FailedPass[string]{}
		runLoop(t, tmc.LoopOptions[string]{
			Process: func(context.Context, string) (time.Duration, error) {
				passes++
				switch passes {
				case 1, 2:
					return time.Nanosecond, tmc.As(tmc.Validation, errors.New("no")) // what a failed pass says of its next time does not count
				case 3:
					return 0, nil
				case 4:
					return 0, apierrors.NewTooManyRequests("slow down", 60)
				}
				return 0, nil
			},
			Failed: func(_ context.Context, f tmc.FailedPass[string]) {
				failed = append(failed, f)
				d.note("%s %d", f.Category, f.Attempt)
			},
		}, func(l *tmc.Loop[string]) {
			l.Add("a", tmc.PriorityLive)
			time.AfterFunc(10*time.Second, func() { l.Add("a", tmc.PriorityLive) })
		}, 2*time.Minute)
		if got, want := d.read(), []string{"Validation 1", "Validation 2", "Unavailable 1"}; !slices.Equal(got, want) {
			t.Errorf("failures were %v, want %v", got, want)
		}
		if passes < 5 {
			t.Errorf("after %d passes it was dropped", passes)
		}
		if failed[0].RetryAfter < 500*time.Millisecond || failed[1].RetryAfter <= failed[0].RetryAfter/2 {
			t.Errorf("it waits %s and %s after invalid requests", failed[0].RetryAfter, failed[1].RetryAfter)
		}
		if failed[2].RetryAfter != time.Minute {
			t.Errorf("it waits %s although the server asks for a minute", failed[2].RetryAfter)
		}
	})
}

// A pass that is not decided yet neither counts as a failure nor forgets those before it.
func TestLoopWaitsForWhatIsNotDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d loopDiary
		passes := 0
		runLoop(t, tmc.LoopOptions[string]{
			Process: func(context.Context, string) (time.Duration, error) {
				passes++
				d.note("pass")
				switch passes {
				case 1, 3:
					return 0, tmc.As(tmc.Validation, errors.New("no"))
				case 2, 4:
					return 0, fmt.Errorf("asking: %w", tmc.ErrUndecided)
				case 5:
					return time.Second, tmc.ErrUndecided
				}
				return 0, nil
			},
			Failed: func(_ context.Context, f tmc.FailedPass[string]) { d.note("attempt %d", f.Attempt) },
		}, func(l *tmc.Loop[string]) {
			l.Add("a", tmc.PriorityLive)
			for _, later := range []time.Duration{20 * time.Second, 40 * time.Second} { // who does it has it looked at again
				time.AfterFunc(later, func() { l.Add("a", tmc.PriorityLive) })
			}
		}, time.Minute)
		want := []string{"pass", "attempt 1", "pass", "pass", "attempt 2", "pass", "pass", "pass"}
		if got := d.read(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestLoopLooksAgainWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		start := time.Now()
		runLoop(t, tmc.LoopOptions[string]{
			Process: func(context.Context, string) (time.Duration, error) {
				times = append(times, time.Since(start).Round(time.Second))
				return time.Minute, nil
			},
		}, func(l *tmc.Loop[string]) { l.Add("a", tmc.PriorityBacklog) }, 150*time.Second)
		if want := []time.Duration{0, time.Minute, 2 * time.Minute}; !slices.Equal(times, want) {
			t.Errorf("looked at %v, want %v", times, want)
		}
	})
}

func TestLoopNeverWorksTwiceOnOneKeyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d loopDiary
		var inWork, most int
		var lock sync.Mutex
		runLoop(t, tmc.LoopOptions[string]{
			Workers: 3,
			Process: func(_ context.Context, key string) (time.Duration, error) {
				lock.Lock()
				inWork++
				most = max(most, inWork)
				lock.Unlock()
				<-time.After(time.Second)
				lock.Lock()
				inWork--
				lock.Unlock()
				d.note("%s", key)
				return 0, nil
			},
		}, func(l *tmc.Loop[string]) {
			l.Add("a", tmc.PriorityLive)
			for i := range 3 { // while it is in work
				time.AfterFunc(time.Duration(200*(i+1))*time.Millisecond, func() { l.Add("a", tmc.PriorityLive) })
			}
		}, 10*time.Second)
		if got := len(d.read()); most != 1 || got != 2 {
			t.Errorf("%d at a time, %d passes", most, got)
		}
	})
}

func TestLoopWaitsForItsGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d loopDiary
		open := make(chan struct{})
		time.AfterFunc(time.Minute, func() { d.note("open"); close(open) })
		runLoop(t, tmc.LoopOptions[string]{
			Gates: []func(context.Context) error{func(ctx context.Context) error {
				select {
				case <-open:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}},
			Process: func(_ context.Context, key string) (time.Duration, error) { d.note("%s", key); return 0, nil },
		}, func(l *tmc.Loop[string]) { l.Add("a", tmc.PriorityLive) }, 2*time.Minute)
		if got, want := d.read(), []string{"open", "a"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestLoopBoundsAPassAndShowsOneThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		progress := tmc.NewWatermark(clock.RealClock{}, time.Minute)
		var hanging, cut error
		passes := 0
		runLoop(t, tmc.LoopOptions[string]{
			PassTimeout: 2 * time.Minute, Progress: progress,
			Failed: func(_ context.Context, f tmc.FailedPass[string]) { cut = f.Err },
			Process: func(ctx context.Context, _ string) (time.Duration, error) {
				passes++
				if passes > 1 {
					return 0, nil
				}
				time.AfterFunc(90*time.Second, func() { hanging = progress.Check(t.Context()) })
				<-ctx.Done()
				return 0, ctx.Err()
			},
		}, func(l *tmc.Loop[string]) { l.Add("a", tmc.PriorityLive) }, 5*time.Minute)
		if hanging == nil || !strings.Contains(hanging.Error(), "test: a") {
			t.Errorf("the watermark says %v", hanging)
		}
		if !errors.Is(cut, context.DeadlineExceeded) {
			t.Errorf("the pass ended with %v", cut)
		}
		if err := progress.Check(t.Context()); err != nil {
			t.Errorf("afterwards the watermark says %v", err)
		}
	})
}
