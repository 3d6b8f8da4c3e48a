package tmc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
)

// Priority says what a loop works on first. Any number will do; a larger one goes first.
type Priority int

// Live changes go before what an initial list or a resync brings. What failed waits behind both.
const (
	PriorityLive    Priority = 0
	PriorityBacklog Priority = -100
	priorityRetry            = PriorityBacklog + 1
)

// defaultPassTimeout bounds the requests of one pass together.
const defaultPassTimeout = 30 * time.Second

// LoopOptions are what a Loop needs. Name and Process are required.
type LoopOptions[K comparable] struct {
	// Name of the queue in metrics and logs.
	Name string
	// Workers is how many keys are worked on at the same time; 1 if zero.
	Workers int
	// Process runs one pass over the key, and says when to look at it again without being asked; zero for not.
	// What it returns as an error is tried again for ever, with the back-off of its category.
	Process func(ctx context.Context, key K) (again time.Duration, err error)
	// PassTimeout bounds one pass; 30 s if zero.
	PassTimeout time.Duration
	// Gates are waited for before each pass: a circuit breaker's Wait, for one.
	Gates []func(context.Context) error
	// Failed hears of every failure, before the retry is scheduled. If nil, failures are logged.
	Failed func(ctx context.Context, failure FailedPass[K])
	// Recovery is told of every failure, and of every success after one, under the loop's name; may be nil.
	Recovery *Recovery
	// Progress tells of passes that hang; may be nil.
	Progress *Watermark
	// Queues takes the queue's metrics; may be nil.
	Queues workqueue.MetricsProvider
}

// FailedPass is a pass that failed.
type FailedPass[K comparable] struct {
	Key      K
	Err      error
	Category Category
	// Attempt counts the failures in a row, 1 for the first.
	Attempt int
	// RetryAfter is when the key is worked on again.
	RetryAfter time.Duration
}

// Loop is the work loop of every controller: a queue of distinct keys with priorities, workers, and retries by the
// category of the error. One key is never in two passes at the same time, and none is ever dropped.
type Loop[K comparable] struct {
	options LoopOptions[K]
	queue   priorityqueue.PriorityQueue[K]
	closing sync.Once

	lock     sync.Mutex
	failures map[K]int

	// running: workers take keys. taken counts the keys that they took, inHand are those that they have.
	running       atomic.Bool
	taken, inHand atomic.Int64
	stall         stall
}

// stall is since when keys are ready, workers are free, and nothing happens.
type stall struct {
	lock  sync.Mutex
	taken int64
	since time.Time
}

// idle is for how long nothing has happened although it could have. Busy: it could not.
func (s *stall) idle(taken int64, busy bool, now time.Time) time.Duration {
	s.lock.Lock()
	defer s.lock.Unlock()
	if busy || taken != s.taken || s.since.IsZero() {
		s.taken, s.since = taken, now
	}
	return now.Sub(s.since)
}

// NewLoop returns a loop that takes keys, and works on them once it runs.
func NewLoop[K comparable](options LoopOptions[K]) *Loop[K] {
	options.Workers = max(options.Workers, 1)
	if options.PassTimeout == 0 {
		options.PassTimeout = defaultPassTimeout
	}
	if options.Failed == nil {
		options.Failed = LogFailure[K]
	}
	return &Loop[K]{
		options: options, failures: map[K]int{},
		queue: priorityqueue.New(options.Name, func(o *priorityqueue.Opts[K]) { o.MetricProvider = options.Queues }),
	}
}

// Add has the key worked on. A key that waits already keeps its place, or takes the better one of the two.
func (l *Loop[K]) Add(key K, priority Priority) { l.AddAfter(key, priority, 0) }

// AddAfter has the key worked on when the time has passed.
func (l *Loop[K]) AddAfter(key K, priority Priority, after time.Duration) {
	p := int(priority)
	l.queue.AddWithOpts(priorityqueue.AddOpts{After: after, Priority: &p}, key)
}

// Len is how many keys are ready and wait for a worker.
func (l *Loop[K]) Len() int { return l.queue.Len() }

// Close ends a loop that will not run. One that runs is ended by its context.
func (l *Loop[K]) Close() { l.closing.Do(l.queue.ShutDown) }

// Run works until ctx is done, and returns when every pass has ended. It runs once.
func (l *Loop[K]) Run(ctx context.Context) {
	l.running.Store(true)
	defer l.running.Store(false)
	var working sync.WaitGroup
	working.Go(func() { l.work(ctx, &working) })
	<-ctx.Done()
	l.Close()
	working.Wait()
}

// work gives the most urgent key to a worker whenever one is free. Passes mostly wait for servers, so there may be many workers. One is a
// place and not a goroutine that waits: a loop without work costs the same however many it has.
func (l *Loop[K]) work(ctx context.Context, workers *sync.WaitGroup) {
	places, next := make(chan struct{}, l.options.Workers), make(chan job[K])
	for {
		select {
		case <-ctx.Done():
			return
		case places <- struct{}{}:
		}
		key, priority, shutdown := l.queue.GetWithPriority()
		if shutdown {
			return
		}
		l.taken.Add(1)
		l.inHand.Add(1)
		t := job[K]{key, Priority(priority)}
		select {
		case next <- t:
		default:
			workers.Go(func() { l.worker(ctx, t, next, func() { <-places }) })
		}
	}
}

// job is a key in hand.
type job[K comparable] struct {
	key      K
	priority Priority
}

// lingering is how long the goroutine of a worker waits for a next key. Its stack has grown by then; growing new ones took 7 % of a
// start's CPU.
const lingering = time.Second

func (l *Loop[K]) worker(ctx context.Context, t job[K], next <-chan job[K], leave func()) {
	idle := time.NewTimer(lingering)
	defer idle.Stop()
	for {
		l.workOn(ctx, t.key, t.priority)
		l.inHand.Add(-1)
		leave()
		idle.Reset(lingering)
		select {
		case t = <-next:
		case <-idle.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (l *Loop[K]) workOn(ctx context.Context, key K, priority Priority) {
	defer l.queue.Done(key)
	for _, gate := range l.options.Gates {
		if gate(ctx) != nil {
			return // shutting down
		}
	}
	again, err := l.pass(ctx, key)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, ErrQuarantined):
		l.AddAfter(key, min(priority, priorityRetry), again)
	case err != nil && !errors.Is(err, ErrUndecided):
		l.AddAfter(key, min(priority, priorityRetry), l.failed(ctx, key, err))
	default:
		if err == nil {
			l.succeeded(key)
		}
		if again > 0 {
			l.AddAfter(key, priority, again)
		}
	}
}

// Running reports whether the loop works. One that does not run yet waits for what its owner waits for.
func (l *Loop[K]) Running() bool { return l.running.Load() }

// Stalled is for a [Check.Run]: it tells a loop whose workers are free and do not take what is ready. What a worker has
// taken and does not end is the [Watermark]'s to tell.
func (l *Loop[K]) Stalled(now time.Time) error {
	ready := l.Len()
	idle := l.stall.idle(l.taken.Load(), ready == 0 || !l.Running() || l.inHand.Load() > 0, now)
	if idle <= StuckAfter {
		return nil
	}
	return fmt.Errorf("%s: for %s no worker has taken any of the keys that are ready, now %d (limit %s)", l.options.Name, idle.Round(time.Second), ready, StuckAfter)
}

// inWork is put into words only if it gets stuck.
type inWork[K comparable] struct {
	loop string
	key  K
}

func (w inWork[K]) String() string { return fmt.Sprintf("%s: %v", w.loop, w.key) }

func (l *Loop[K]) pass(ctx context.Context, key K) (time.Duration, error) {
	if l.options.Progress != nil {
		defer l.options.Progress.Begin(inWork[K]{l.options.Name, key})()
	}
	ctx, cancel := context.WithTimeout(ctx, l.options.PassTimeout)
	defer cancel()
	return l.process(ctx, key)
}

// ErrQuarantined is for a pass that did nothing, because what it is about has failed often enough and has not changed since.
// It is neither a failure nor a success; the pass says when to look again.
var ErrQuarantined = errors.New("in quarantine")

// ErrUndecided is for a pass that has somebody else do what failed before, and does not wait for it. It is neither a failure nor a
// success: who does it has the key worked on again, and what it failed before still counts then.
var ErrUndecided = errors.New("not decided yet")

// Pardon forgets how often the key has failed, because what it is about has changed.
func (l *Loop[K]) Pardon(key K) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if _, failed := l.failures[key]; failed {
		l.failures[key] = 0 // its next success is still one after failures
	}
}

// ErrPanicked is what a pass that panics ends in. One object that nobody knows how to handle does not take the others along.
var ErrPanicked = errors.New("the pass panicked")

func (l *Loop[K]) process(ctx context.Context, key K) (again time.Duration, err error) {
	err = NoPanic(ctx, SubjectOf(key), func() (failure error) {
		again, failure = l.options.Process(ctx, key)
		return failure
	})
	return again, err
}

// NoPanic makes an error of a panic, and logs where it came from.
func NoPanic(ctx context.Context, about fmt.Stringer, run func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			klog.FromContext(ctx).Error(ErrPanicked, "Working on an object", "key", about.String(), "reason", panicReason(reason), "stack", string(debug.Stack()))
			err = As(Internal, fmt.Errorf("%w: %s", ErrPanicked, panicReason(reason)))
		}
	}()
	return run()
}

// SubjectOf is a loop's key as the subject of a failure.
func SubjectOf[K comparable](key K) fmt.Stringer { return subject[K]{key} }

// panicReason tells what the runtime says. What anybody else panics with may hold an object.
func panicReason(reason any) string {
	var err runtime.Error
	if e, ok := reason.(error); ok && errors.As(e, &err) {
		return err.Error()
	}
	return fmt.Sprintf("a %T", reason)
}

// subject is a key as what failed.
type subject[K comparable] struct{ key K }

// String is for people.
func (s subject[K]) String() string { return fmt.Sprint(s.key) }

// failed counts the failure, tells of it, and says when to try again.
func (l *Loop[K]) failed(ctx context.Context, key K, err error) time.Duration {
	l.lock.Lock()
	l.failures[key]++
	attempt := l.failures[key]
	l.lock.Unlock()
	category := CategoryOf(err)
	l.options.Recovery.Failed(Incident{Component: l.options.Name, Subject: SubjectOf(key), Err: err})
	delay := Backoff(category, attempt, rand.Float64)
	if demanded, ok := RetryAfter(err); ok {
		delay = max(delay, demanded)
	}
	l.options.Failed(ctx, FailedPass[K]{Key: key, Err: err, Category: category, Attempt: attempt, RetryAfter: delay})
	return delay
}

func (l *Loop[K]) succeeded(key K) {
	l.lock.Lock()
	_, failed := l.failures[key]
	delete(l.failures, key)
	l.lock.Unlock()
	if failed {
		l.options.Recovery.Mended(l.options.Name, SubjectOf(key))
	}
}

// LogFailure is what a loop does with failures unless told otherwise. The context's logger says which loop it is.
func LogFailure[K comparable](ctx context.Context, f FailedPass[K]) {
	logger := klog.FromContext(ctx).WithValues("key", fmt.Sprint(f.Key))
	if f.Category == Conflict {
		logger.V(4).Info("Trying again with a fresh version", "why", f.Err.Error())
		return
	}
	logger.Error(f.Err, "Working on an object", "category", f.Category, "attempt", f.Attempt, "retryAfter", f.RetryAfter.Round(time.Millisecond).String())
}
