package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"k8s.io/klog/v2"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Loop is the work loop of a reconciler; see [tmc.Loop].
type Loop[K comparable] struct {
	*tmc.Loop[K]
	fleet      *Fleet
	reconciler string

	lock sync.Mutex
	// seen is when a live change came in that is not yet worked off.
	seen map[K]time.Time
	// origins are the traces of changes that are not yet worked off.
	origins tmc.Origins[K]
}

// NewLoop makes the loop of the reconciler of that name, with the fleet's metrics, gates and health, for as long as the fleet runs. Process runs one
// pass over a key and says when to look again without being asked; zero for not.
func NewLoop[K comparable](f *Fleet, reconciler string, workers int, process func(context.Context, K) (again time.Duration, err error)) *Loop[K] {
	l := &Loop[K]{fleet: f, reconciler: reconciler, seen: map[K]time.Time{}}
	lag := f.deps.Metrics.lag.WithLabelValues(reconciler)
	progress := tmc.NewWatermark(f.deps.Clock, tmc.StuckAfter)
	l.Loop = tmc.NewLoop(tmc.LoopOptions[K]{
		Name: reconciler, Workers: workers, Gates: f.deps.Gates, Progress: progress, Queues: f.deps.Metrics.queues, Recovery: f.deps.Recovery,
		Process: func(ctx context.Context, key K) (time.Duration, error) {
			since := l.take(key)
			ctx, end := l.startSpan(ctx, key)
			again, err := process(ctx, key)
			end(err)
			switch {
			case since.IsZero():
			case err != nil:
				l.mark(key, since)
			default:
				tmc.Observe(ctx, lag, f.deps.Clock.Since(since).Seconds())
			}
			return again, err
		},
		Failed: func(ctx context.Context, failure tmc.FailedPass[K]) {
			f.deps.Metrics.retries.WithLabelValues(reconciler, string(failure.Category)).Inc()
			tmc.LogFailure(ctx, failure)
		},
	})
	f.keepLoop(l.Close, tmc.Check{Name: "reconciler/" + reconciler, Kind: tmc.Liveness, Run: func(ctx context.Context) error {
		if err := errors.Join(progress.Check(ctx), l.Stalled(f.deps.Clock.Now())); err != nil {
			return err
		}
		if waiting := l.Len(); waiting > 0 && !l.Running() {
			return tmc.Degraded(fmt.Errorf("%d keys wait until all that it depends on has been listed", waiting))
		}
		return nil
	}})
	return l
}

// keepLoop has the probes ask the check while the fleet runs, and the loop closed when it has ended.
func (f *Fleet) keepLoop(end func(), check tmc.Check) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.checks, f.closing = append(f.checks, check), append(f.closing, end)
}

// Run works until ctx is done, and returns when every worker has stopped.
func (l *Loop[K]) Run(ctx context.Context) {
	l.Loop.Run(klog.NewContext(ctx, klog.FromContext(ctx).WithValues("reconciler", l.reconciler)))
}

// Add has the key worked on. The time until that is done is told if the change is a live one.
func (l *Loop[K]) Add(key K, priority tmc.Priority) {
	if priority >= tmc.PriorityLive {
		l.mark(key, l.fleet.deps.Clock.Now())
	}
	l.Loop.Add(key, priority)
}

// NoteTrace has the next pass over the key belong to the trace that a change carried.
func (l *Loop[K]) NoteTrace(key K, traceparent string) {
	if l.fleet.deps.Tracing.Carries() {
		l.origins.Note(key, traceparent)
	}
}

// startSpan is for one pass, which is named after the reconciler.
func (l *Loop[K]) startSpan(ctx context.Context, key K) (_ context.Context, end func(error)) {
	tracing := l.fleet.deps.Tracing
	if !tracing.Enabled() {
		return ctx, func(error) {}
	}
	origin := l.origins.Take(key)
	return tracing.Start(origin.Context(ctx), l.reconciler, origin.Links(), trace.WithAttributes(attribute.String("key", fmt.Sprint(key))))
}

func (l *Loop[K]) mark(key K, since time.Time) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if earlier, ok := l.seen[key]; !ok || since.Before(earlier) {
		l.seen[key] = since
	}
}

func (l *Loop[K]) take(key K) time.Time {
	l.lock.Lock()
	defer l.lock.Unlock()
	since := l.seen[key]
	delete(l.seen, key)
	return since
}
