package tmc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// ConnectionState is what the requests to a server have told about the way there.
type ConnectionState string

const (
	// ConnectionUnknown means: no request has ended yet.
	ConnectionUnknown ConnectionState = "Unknown"
	// Connected means: the server answered last, whatever it answered.
	Connected ConnectionState = "Connected"
	// Disconnected means: the last request or watch ended without an answer.
	Disconnected ConnectionState = "Disconnected"
)

// Connection watches the requests to one server. An answer of any code is a success: the way there works. An event on
// a watch is one too. A request that we canceled ourselves says nothing.
type Connection struct {
	server string
	clock  clock.PassiveClock

	lock        sync.Mutex
	lastSuccess time.Time
	lastFailure time.Time
	failing     bool
	lastError   error
	observers   []func(error)
}

func newConnection(server string, c clock.PassiveClock) *Connection {
	return &Connection{server: server, clock: c}
}

// State is the present state, and since when there was no success resp. the error that it was lost with.
func (c *Connection) State() (ConnectionState, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	switch {
	case c.failing:
		return Disconnected, c.lastError
	case c.lastSuccess.IsZero():
		return ConnectionUnknown, nil
	}
	return Connected, nil
}

// LastSuccess is when the server was last heard of; zero for never.
func (c *Connection) LastSuccess() time.Time {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.lastSuccess
}

// LastFailure is when a request last ended without an answer; zero for never.
func (c *Connection) LastFailure() time.Time {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.lastFailure
}

// OnResult has observe called with the outcome of every request, nil for an answer, on the goroutine of the request:
// it must not block. Events on watches are not told. It is how a [Breaker] learns of all requests.
func (c *Connection) OnResult(observe func(error)) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.observers = append(c.observers, observe)
}

// Check returns a readiness check that fails if the connection does. While the server was heard of within freshness
// it costs nothing; otherwise probe asks it (through the instrumented transport or not), and its error is the check's.
func (c *Connection) Check(name string, freshness time.Duration, probe func(context.Context) error) Check {
	run := func(ctx context.Context) error {
		state, _ := c.State()
		if state == Connected && c.clock.Since(c.LastSuccess()) < freshness {
			return nil
		}
		return c.explain(probe(ctx))
	}
	return Check{Name: name, Kind: Readiness, Run: run, Asks: true, Freshness: time.Second}
}

// explain adds since when the server was not heard of, and the remedy.
func (c *Connection) explain(err error) error {
	if err == nil {
		return nil
	}
	heard := "never heard of"
	if last := c.LastSuccess(); !last.IsZero() {
		heard = fmt.Sprintf("last heard of %s ago", c.clock.Since(last).Round(time.Second))
	}
	return fmt.Errorf("%s: %w (%s; %s)", c.server, err, heard, CategoryOf(err).Hint())
}

// ended takes note of a request's outcome.
func (c *Connection) ended(err error) {
	if CategoryOf(err) == Canceled {
		return
	}
	if err == nil {
		c.succeeded()
	} else {
		c.failed(err)
	}
	c.lock.Lock()
	observers := c.observers
	c.lock.Unlock()
	for _, observe := range observers {
		observe(err)
	}
}

func (c *Connection) succeeded() {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.lastSuccess, c.failing, c.lastError = c.clock.Now(), false, nil
}

func (c *Connection) failed(err error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.lastFailure, c.failing, c.lastError = c.clock.Now(), true, err
}
