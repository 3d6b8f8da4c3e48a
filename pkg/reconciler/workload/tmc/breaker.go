package tmc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// CircuitState says whether requests to a server make sense.
type CircuitState string

const (
	// CircuitClosed means: as far as is known the server answers.
	CircuitClosed CircuitState = "closed"
	// CircuitHalfOpen means: one request is under way to find out.
	CircuitHalfOpen CircuitState = "half-open"
	// CircuitOpen means: the server does not answer; nobody asks until the next probe is due.
	CircuitOpen CircuitState = "open"
)

// ErrCircuitOpen is what [Breaker.Allow] answers, marked [Unreachable], while the server is known not to answer.
var ErrCircuitOpen = errors.New("not asked: the server did not answer before and is being probed")

const (
	// defaultThreshold is how many requests in a row have to be without an answer.
	defaultThreshold = 5
	// The first probe comes after about a quarter of a second, later ones at most every 10 s.
	firstProbe, maxProbe = 250 * time.Millisecond, 10 * time.Second
	// probeTimeout makes a hung server the same as none.
	probeTimeout = 5 * time.Second
)

// Breaker keeps workers from asking a server that does not answer. Workers [Breaker.Wait] before they ask and
// [Breaker.Report] what came of it. It has no goroutine of its own: of those that wait, one probes when it is time.
//
// Only requests without an answer count: unreachable, broken off, or timed out on our side. A server that answers, with whatever
// error, is there; so that one bad type or object never stops the work on others. No lock is held while the server is
// asked.
type Breaker struct {
	recovery *Recovery
	server   string
	probe    func(context.Context) error

	lock  sync.Mutex
	state CircuitState
	// changed is closed and replaced with every change of state.
	changed chan struct{}
	// failures in a row while closed.
	failures int
	// attempts to probe in a row, and when the next is due, while open.
	attempts int
	probeAt  time.Time
	lastErr  error
}

// State is the present one.
func (b *Breaker) State() CircuitState {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.state
}

// Check is a [Check.Run]: it fails while the circuit is not closed.
func (b *Breaker) Check(context.Context) error { return b.Allow() }

// Allow answers at once: nil if the server may be asked, else an error of category [Unreachable].
func (b *Breaker) Allow() error {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.state == CircuitClosed {
		return nil
	}
	return As(Unreachable, fmt.Errorf("%s: %w: %w", b.server, ErrCircuitOpen, b.lastErr))
}

// Report takes note of what came of a request.
func (b *Breaker) Report(err error) {
	if !b.recovery.opts.Enabled || errors.Is(err, ErrCircuitOpen) || CategoryOf(err) == Canceled {
		return
	}
	if b.note(err) {
		b.recovery.Failed(Incident{Component: LinkComponent, Subject: Server(b.server), Err: err})
	}
}

// note counts a request, and says whether the circuit opened for it.
func (b *Breaker) note(err error) (opened bool) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if answered(err) {
		b.failures, b.attempts = 0, 0
		b.become(CircuitClosed)
		return false
	}
	b.failures++
	b.lastErr = err
	if b.state != CircuitClosed || b.failures < b.recovery.opts.Threshold {
		return false
	}
	b.open()
	return true
}

func (b *Breaker) report() circuitReport {
	b.lock.Lock()
	defer b.lock.Unlock()
	shown := circuitReport{Server: b.server, State: b.state, Failures: b.failures}
	if b.state != CircuitClosed {
		shown.Error, shown.NextTry = Summary(b.lastErr), b.probeAt
	}
	return shown
}

// answered tells whether the server answered, whatever it was.
func answered(err error) bool {
	if err == nil || apiStatus(err) != nil {
		return true
	}
	switch CategoryOf(err) {
	case Unreachable, Network, Timeout:
		return false
	}
	return true
}

// Wait returns nil as soon as the server may be asked; at once while it is there. It fails only with ctx.
func (b *Breaker) Wait(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		changed, due, probing := b.next()
		switch {
		case changed == nil:
			return nil
		case probing:
			b.probeOnce(ctx)
			continue
		}
		if err := b.sleep(ctx, changed, due); err != nil {
			return err
		}
	}
}

// next tells a waiting worker what to do: go (no channel), probe, or wait for a change or the time of the next probe.
func (b *Breaker) next() (changed <-chan struct{}, due time.Duration, probing bool) {
	b.lock.Lock()
	defer b.lock.Unlock()
	switch b.state {
	case CircuitClosed:
		return nil, 0, false
	case CircuitOpen:
		due = b.probeAt.Sub(b.recovery.opts.Clock.Now())
		if due <= 0 {
			b.become(CircuitHalfOpen)
			return b.changed, 0, true
		}
		return b.changed, due, false
	}
	return b.changed, probeTimeout, false
}

func (b *Breaker) sleep(ctx context.Context, changed <-chan struct{}, due time.Duration) error {
	timer := b.recovery.opts.Clock.NewTimer(due)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer.C():
	}
	return nil
}

// probeOnce asks the server and closes the circuit or opens it again.
func (b *Breaker) probeOnce(ctx context.Context) {
	err := errors.New("the probe panicked")
	defer func() { b.probed(ctx, err) }()
	probeCtx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err = b.probe(probeCtx)
}

func (b *Breaker) probed(ctx context.Context, err error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	switch {
	case ctx.Err() != nil: // given up, which says nothing about the server: the next who waits probes at once
		if b.state == CircuitHalfOpen {
			b.become(CircuitOpen)
		}
	case answered(err):
		b.recovery.metrics.probes.WithLabelValues(b.server, "answered").Inc()
		b.failures, b.attempts = 0, 0
		b.become(CircuitClosed)
	default:
		b.recovery.metrics.probes.WithLabelValues(b.server, "unanswered").Inc()
		if b.state == CircuitHalfOpen { // else a request that somebody else made was answered meanwhile
			b.lastErr = err
			b.open()
		}
	}
}

// open opens the circuit until the next probe is due.
func (b *Breaker) open() {
	b.attempts++
	wait := backoff(firstProbe, maxProbe, b.attempts, b.recovery.opts.Random)
	b.probeAt = b.recovery.opts.Clock.Now().Add(wait)
	b.become(CircuitOpen)
}

// become changes the state and wakes those who wait for a change.
func (b *Breaker) become(state CircuitState) {
	if b.state == state {
		return
	}
	b.state = state
	close(b.changed)
	b.changed = make(chan struct{})
	b.recovery.metrics.circuit.WithLabelValues(b.server).Set(map[CircuitState]float64{CircuitClosed: 0, CircuitHalfOpen: 1, CircuitOpen: 2}[state])
	b.recovery.metrics.transitions.WithLabelValues(b.server, string(state)).Inc()
}
