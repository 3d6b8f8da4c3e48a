package tmc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// Part is something that runs for as long as the process does, and that somebody waits for.
type Part struct {
	// Name appears in logs and in the error of RunParts.
	Name string
	// Run blocks until all that it started has stopped. It stops when its context is done; a return before that,
	// also without an error, is a failure of the process.
	Run func(context.Context) error
}

// RunParts starts the parts in order and keeps them running until ctx is done or one of them ends. Then it stops them
// in reverse order, one after the other, all within stopTimeout.
//
// The order of stopping is never given up before the timeout: a part that still works may rely on every part that was
// started before it (a worker on the lease that lets it work). At the timeout all parts that are left are told to
// stop, the one that was waited for is named in the error, and RunParts returns without waiting any longer.
//
// It returns nil only if ctx was done and every part stopped in time and without an error.
func RunParts(ctx context.Context, stopTimeout time.Duration, parts ...Part) error {
	ended := make(chan *runningPart, len(parts))
	running := make([]*runningPart, 0, len(parts))
	for _, part := range parts {
		running = append(running, startPart(ctx, part, ended))
	}

	var first *runningPart
	var failure error
	select {
	case <-ctx.Done():
	case first = <-ended: // never if there are no parts
		failure = first.earlyEnd()
	}
	return errors.Join(failure, stopParts(running, first, stopTimeout))
}

type runningPart struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	// err may be read once done is closed.
	err error
}

// startPart runs the part under a context of its own, which carries the values of ctx and not its end: the order of
// stopping is decided by stopParts.
func startPart(ctx context.Context, part Part, ended chan<- *runningPart) *runningPart {
	partCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &runningPart{name: part.Name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer func() {
			close(r.done)
			ended <- r
		}()
		r.run(partCtx, part.Run)
	}()
	return r
}

// run makes an error of everything that can end the call: a return, a panic, and runtime.Goexit (which tests call).
func (r *runningPart) run(ctx context.Context, run func(context.Context) error) {
	r.err = errors.New("its goroutine exited")
	defer func() {
		if reason := recover(); reason != nil {
			r.err = fmt.Errorf("panic: %v\n%s", reason, debug.Stack())
		}
	}()
	r.err = run(ctx)
}

func (r *runningPart) earlyEnd() error {
	if r.err == nil {
		return fmt.Errorf("part %q ended although nobody asked it to", r.name)
	}
	return fmt.Errorf("part %q ended: %w", r.name, r.err)
}

// stopParts stops the parts in reverse order. The error of the part that ended first is known already.
func stopParts(parts []*runningPart, first *runningPart, timeout time.Duration) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	defer func() {
		for _, part := range parts {
			part.cancel()
		}
	}()

	var errs []error
	for _, part := range slices.Backward(parts) {
		part.cancel()
		select {
		case <-part.done:
		case <-deadline.C:
			return errors.Join(append(errs, fmt.Errorf("part %q did not stop within %s", part.name, timeout))...)
		}
		if part != first && part.err != nil && !errors.Is(part.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("stopping part %q: %w", part.name, part.err))
		}
	}
	return errors.Join(errs...)
}
