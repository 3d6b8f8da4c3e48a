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
	// Settling are the waits before the looks that a hint leads to.
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

// Run looks until ctx is done. Without a hint before, it begins with a wait.
func (r *Relook) Run(ctx context.Context) {
	var pending []time.Duration
	failures := 0
	for {
		var next time.Duration
		if len(pending) > 0 {
			next, pending = pending[0], pending[1:]
		} else {
			next = r.options.Period()
		}
		timer := r.options.Clock.NewTimer(wait.Jitter(next, relookJitter))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.hinted:
			timer.Stop()
			pending = slices.Clone(r.options.Settling)
			continue
		case <-timer.C():
		}
		err := r.options.Look(ctx)
		if err == nil || ctx.Err() != nil {
			failures = 0
			continue
		}
		after := r.retryAfter(failures)
		failures++
		klog.FromContext(ctx).Error(err, "Looking again after a failure", "task", r.options.Task, "retryAfter", after.String())
		pending = append([]time.Duration{after}, pending...)
	}
}

// retryAfter is how long to wait after a failure that so many came before.
func (r *Relook) retryAfter(before int) time.Duration {
	const doublings = 4
	return r.options.Retry >> max(0, doublings-before)
}
