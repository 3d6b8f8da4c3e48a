package tmc

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Relook looks at something that cannot be watched, such as the types that a server serves: whenever a hint says that it may
// have changed, again after a failure, and every now and then.
//
// Hints come early: servers tell of a new type before they serve it. So a hint leads to several looks, which come later and later.
type Relook struct {
	options RelookOptions
	hinted  chan struct{}
}

// RelookOptions are what a Relook does.
type RelookOptions struct {
	// Task is what a look is for, for the log: "determining the types to sync".
	Task string
	// Look must stand being called for nothing.
	Look func(context.Context) error
	// Settling are the waits before the looks that a hint leads to; at least one.
	Settling []time.Duration
	// Period is for how long nothing is looked at without a hint. The answer may change.
	Period func() time.Duration
	// Retry is the longest wait after failures. It is looked again after a sixteenth of it, and after each failure more
	// after twice the time.
	Retry time.Duration
	Clock clock.Clock
}

// relookJitter keeps those who were hinted at by the same event from looking at the same moment, in parts of the wait.
const relookJitter = 0.1

// NewRelook looks at nothing before it runs.
func NewRelook(options RelookOptions) *Relook {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	return &Relook{options: options, hinted: make(chan struct{}, 1)}
}

// Hint has it looked at soon. It does not block.
func (r *Relook) Hint() {
	select {
	case r.hinted <- struct{}{}:
	default: // one is there already
	}
}

// Run looks until ctx is done. Without a hint before, it begins with a wait. A hint never puts a look off that is due: who gives
// one again and again is heard.
func (r *Relook) Run(ctx context.Context) {
	var (
		pending  []time.Duration
		failures int
	)
	due := r.in(r.options.Period())
	for {
		hinted, ok := r.wait(ctx, due)
		switch {
		case !ok:
			return
		case hinted:
			pending = slices.Clone(r.options.Settling)
			if soon := r.in(pending[0]); soon.Before(due) {
				due = soon
			}
			pending = pending[1:]
			continue
		}
		if err := r.options.Look(ctx); err == nil || ctx.Err() != nil {
			failures = 0
		} else {
			after := r.retryAfter(failures)
			failures++
			klog.FromContext(ctx).Error(err, "Looking again after a failure", "task", r.options.Task, "retryAfter", after.String())
			pending = append([]time.Duration{after}, pending...)
		}
		if len(pending) == 0 {
			pending = append(pending, r.options.Period())
		}
		due, pending = r.in(pending[0]), pending[1:]
	}
}

// retryAfter is how long to wait after a failure that so many came before.
func (r *Relook) retryAfter(before int) time.Duration {
	const doublings = 4
	return r.options.Retry >> max(0, doublings-before)
}

// in is a moment some time from now.
func (r *Relook) in(some time.Duration) time.Time {
	return r.options.Clock.Now().Add(wait.Jitter(some, relookJitter))
}

// wait waits for the moment or a hint; it is not ok if neither came before ctx was done.
func (r *Relook) wait(ctx context.Context, due time.Time) (hinted, ok bool) {
	timer := r.options.Clock.NewTimer(due.Sub(r.options.Clock.Now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-r.hinted:
		return true, true
	case <-timer.C():
		return false, true
	}
}
