package tmc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// CheckKind says what a failing check means.
type CheckKind int

const (
	// Readiness means: the process works and cannot do its duty at the moment. A restart would not help.
	Readiness CheckKind = iota
	// Liveness means: the process will not recover by itself. A check that fails because of something outside of the
	// process is never of this kind. What is not live is not ready either.
	Liveness
)

const (
	// defaultCheckDeadline holds for checks that name none.
	defaultCheckDeadline = 2 * time.Second
	// maxReason bounds what of an error is told to whoever asks.
	maxReason = 512
)

// StuckAfter is how long one piece of work may take before the process counts as stuck: far longer than every time-out
// that it can run into.
const StuckAfter = 5 * time.Minute

// Check is a named question about the health of one part.
type Check struct {
	// Name appears in paths, output and metrics: letters, digits, dots, dashes; with a slash if there are several of a sort,
	// as in type/deployments.apps.
	Name string
	Kind CheckKind
	// Run answers nil for healthy, and an error made by [Degraded] for what is told and fails no probe. It must not put
	// secrets into its error: the text is served without authentication.
	Run func(context.Context) error
	// Asks: Run may send a request. It is not called to find out about the process itself; see [Health.Known].
	Asks bool
	// Deadline is how long Run may take before the check fails; 2 s if zero. Run that does not return in spite of its
	// context is not called again before it returned.
	Deadline time.Duration
	// Freshness is how long an answer is good for; zero asks every time.
	Freshness time.Duration
}

// Result is what a check answered.
type Result struct {
	Name string
	Kind CheckKind
	// Err is nil if healthy.
	Err error
	// At is when the answer was given.
	At time.Time
	// Since is when the level became what it is, and Reason what was said then: a text that does not change with the clock.
	Since  time.Time
	Reason string
}

// Level is how bad an answer is. A larger one is worse.
type Level int

const (
	// Healthy means: as it should be.
	Healthy Level = iota
	// LevelDegraded means: a part of the duty is not done, and the rest is. It fails no probe.
	LevelDegraded
	// NotReady means: the duty is not done at the moment.
	NotReady
	// NotLive means: the process will not recover by itself.
	NotLive
)

// Level is how bad the answer is.
func (r Result) Level() Level {
	var lesser *degraded
	switch {
	case r.Err == nil:
		return Healthy
	case errors.As(r.Err, &lesser):
		return LevelDegraded
	case r.Kind == Liveness:
		return NotLive
	}
	return NotReady
}

type degraded struct{ error }

// Unwrap gives the reason.
func (d *degraded) Unwrap() error { return d.error }

// Degraded marks the error of a check as one that fails no probe, because the rest goes on. Nil stays nil.
func Degraded(err error) error {
	if err == nil {
		return nil
	}
	return &degraded{err}
}

// WorstFirst sorts the results: the worst first, the others in the order of their registration.
func WorstFirst(results []Result) []Result {
	slices.SortStableFunc(results, func(a, b Result) int { return int(b.Level()) - int(a.Level()) })
	return results
}

// Overall is how bad the worst result is, and what all that are not healthy have said, worst first.
func Overall(results []Result) (Level, string) {
	worst, reasons := Healthy, []string(nil)
	for _, r := range WorstFirst(slices.Clone(results)) {
		if level := r.Level(); level > Healthy {
			worst = max(worst, level)
			reasons = append(reasons, r.Name+": "+r.Reason)
		}
	}
	return worst, strings.Join(reasons, "; ")
}

// Health asks checks and serves their answers. The zero value is not usable; see [NewHealth].
type Health struct {
	clock clock.WithTicker

	lock sync.Mutex
	// checks are in the order of their registration.
	checks []*monitoredCheck
}

// HealthOption changes a Health.
type HealthOption func(*Health)

// WithHealthClock sets the clock by which deadlines and freshness are judged.
func WithHealthClock(c clock.WithTicker) HealthOption {
	return func(h *Health) { h.clock = c }
}

// NewHealth returns a Health that knows one check, "ping", which says that the process answers.
func NewHealth(opts ...HealthOption) *Health {
	h := &Health{clock: clock.RealClock{}}
	for _, opt := range opts {
		opt(h)
	}
	h.Register(Check{Name: "ping", Kind: Liveness, Run: func(context.Context) error { return nil }})
	return h
}

// Register adds the check, in place of one of the same name. The returned function removes it.
func (h *Health) Register(check Check) (unregister func()) {
	if check.Deadline <= 0 {
		check.Deadline = defaultCheckDeadline
	}
	m := &monitoredCheck{Check: check, clock: h.clock}
	h.lock.Lock()
	defer h.lock.Unlock()
	if i := slices.IndexFunc(h.checks, func(c *monitoredCheck) bool { return c.Name == check.Name }); i >= 0 {
		h.checks[i] = m
	} else {
		h.checks = append(h.checks, m)
	}
	return func() { h.unregister(m) }
}

func (h *Health) unregister(m *monitoredCheck) {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.checks = slices.DeleteFunc(h.checks, func(c *monitoredCheck) bool { return c == m })
}

// Live asks the liveness checks.
func (h *Health) Live(ctx context.Context) []Result {
	return h.ask(ctx, func(c Check) bool { return c.Kind == Liveness })
}

// Ready asks all checks.
func (h *Health) Ready(ctx context.Context) []Result {
	return h.ask(ctx, func(Check) bool { return true })
}

// Known asks the checks that find out by themselves, and has what the others have answered last, if they were asked. It
// sends nothing.
func (h *Health) Known(ctx context.Context) []Result {
	results := h.ask(ctx, func(c Check) bool { return !c.Asks })
	for _, m := range h.wanted(func(c Check) bool { return c.Asks }) {
		if last := m.lastAnswer(); last != nil {
			results = append(results, *last)
		}
	}
	return results
}

// Failed returns nil if no result fails a probe, else one error that names those that do, worst first.
func Failed(results []Result) error {
	var errs []error
	for _, r := range WorstFirst(slices.Clone(results)) {
		if r.Level() > LevelDegraded {
			errs = append(errs, fmt.Errorf("%s: %w", r.Name, r.Err))
		}
	}
	return errors.Join(errs...)
}

// ask asks the wanted checks side by side: the answer takes as long as the slowest, at most its deadline.
func (h *Health) ask(ctx context.Context, wanted func(Check) bool) []Result {
	checks := h.wanted(wanted)
	results := make([]Result, len(checks))
	var asking sync.WaitGroup
	for i, check := range checks {
		asking.Go(func() { results[i] = check.result(ctx) })
	}
	asking.Wait()
	return results
}

func (h *Health) wanted(wanted func(Check) bool) []*monitoredCheck {
	h.lock.Lock()
	defer h.lock.Unlock()
	var checks []*monitoredCheck
	for _, c := range h.checks {
		if wanted(c.Check) {
			checks = append(checks, c)
		}
	}
	return checks
}

// monitoredCheck remembers the last answer and sees to it that at most one call of Run is under way.
type monitoredCheck struct {
	Check
	clock clock.WithTicker

	lock    sync.Mutex
	last    *Result
	current *checkRun
	// level is the last one that was told, and since when it is so; reason is what was said then.
	level  Level
	since  time.Time
	reason string
}

type checkRun struct {
	started time.Time
	// done is closed when Run has returned; result may be read then.
	done   chan struct{}
	result Result
}

// result answers from memory while that is fresh, else with the run under way, else with a new one.
func (m *monitoredCheck) result(ctx context.Context) Result {
	run, fresh := m.begin(ctx)
	if fresh != nil {
		return *fresh
	}
	timeout := m.clock.NewTimer(m.Deadline - m.clock.Since(run.started))
	defer timeout.Stop()
	select {
	case <-run.done:
		return run.result
	case <-timeout.C():
	case <-ctx.Done():
	}
	return m.unanswered(ctx, run)
}

func (m *monitoredCheck) begin(ctx context.Context) (*checkRun, *Result) {
	m.lock.Lock()
	defer m.lock.Unlock()
	switch {
	case m.current != nil:
		return m.current, nil
	case m.last != nil && m.clock.Since(m.last.At) < m.Freshness:
		return nil, m.last
	}
	run := &checkRun{started: m.clock.Now(), done: make(chan struct{})}
	m.current = run
	// Not bound to the request: its answer is for everybody who asks meanwhile.
	runCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.Deadline)
	go func() {
		defer cancel()
		m.end(run, m.call(runCtx))
	}()
	return run, nil
}

func (m *monitoredCheck) call(ctx context.Context) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v", reason)
		}
	}()
	return m.Run(ctx)
}

func (m *monitoredCheck) end(run *checkRun, err error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	run.result = m.resultLocked(err)
	m.last, m.current = &run.result, nil
	close(run.done)
}

func (m *monitoredCheck) resultLocked(err error) Result {
	r := Result{Name: m.Name, Kind: m.Kind, Err: err, At: m.clock.Now()}
	if level := r.Level(); m.since.IsZero() || level != m.level {
		m.level, m.since, m.reason = level, r.At, ""
		if err != nil {
			m.reason = reason(err)
		}
	}
	r.Since, r.Reason = m.since, m.reason
	return r
}

func (m *monitoredCheck) lastAnswer() *Result {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.last
}

// unanswered judges a run that was not waited for until its end. Who stopped to wait learns nothing about the part.
func (m *monitoredCheck) unanswered(ctx context.Context, run *checkRun) Result {
	if ctx.Err() != nil {
		err := fmt.Errorf("no answer yet: %w", context.Cause(ctx))
		return Result{Name: m.Name, Kind: m.Kind, Err: err, At: m.clock.Now(), Reason: reason(err)}
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.resultLocked(fmt.Errorf("no answer within %s (asked %s ago)", m.Deadline, m.clock.Since(run.started).Round(time.Millisecond)))
}

// Watermark tells work that got stuck: it fails when one item has been in work for longer than a limit.
type Watermark struct {
	clock clock.PassiveClock
	limit time.Duration

	lock sync.Mutex
	next uint64
	work map[uint64]workItem
}

type workItem struct {
	item  any
	since time.Time
}

// NewWatermark returns a Watermark with nothing in work.
func NewWatermark(c clock.PassiveClock, limit time.Duration) *Watermark {
	return &Watermark{clock: c, limit: limit, work: map[uint64]workItem{}}
}

// Begin takes note that the item is in work until the returned function is called. The item is formatted (%v) only
// if it gets stuck.
func (w *Watermark) Begin(item any) (end func()) {
	w.lock.Lock()
	defer w.lock.Unlock()
	id := w.next
	w.next++
	w.work[id] = workItem{item: item, since: w.clock.Now()}
	return func() { w.end(id) }
}

func (w *Watermark) end(id uint64) {
	w.lock.Lock()
	defer w.lock.Unlock()
	delete(w.work, id)
}

// InWork is the number of items in work, and for how long the oldest of them has been.
func (w *Watermark) InWork() (items int, oldest time.Duration) {
	w.lock.Lock()
	defer w.lock.Unlock()
	_, oldest = w.oldest()
	return len(w.work), oldest
}

func (w *Watermark) oldest() (item any, age time.Duration) {
	for _, it := range w.work {
		if a := w.clock.Since(it.since); item == nil || a > age {
			item, age = it.item, a
		}
	}
	return item, age
}

// Check is a [Check.Run].
func (w *Watermark) Check(context.Context) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	item, age := w.oldest()
	if age <= w.limit {
		return nil
	}
	return fmt.Errorf("%v has been in work for %s (limit %s); %d in work", item, age.Round(time.Second), w.limit, len(w.work))
}

// Heartbeat tells whether something that shall happen again and again still does.
type Heartbeat struct {
	clock  clock.PassiveClock
	maxAge time.Duration

	lock sync.Mutex
	last time.Time
}

// NewHeartbeat returns a Heartbeat that fails until the first beat, and whenever the last one is older than maxAge.
func NewHeartbeat(c clock.PassiveClock, maxAge time.Duration) *Heartbeat {
	return &Heartbeat{clock: c, maxAge: maxAge}
}

// Beat takes note that it happened.
func (b *Heartbeat) Beat() {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.last = b.clock.Now()
}

// Age is the time since the last beat; false if there was none.
func (b *Heartbeat) Age() (time.Duration, bool) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.clock.Since(b.last), !b.last.IsZero()
}

// Check is a [Check.Run].
func (b *Heartbeat) Check(context.Context) error {
	age, once := b.Age()
	switch {
	case !once:
		return errors.New("not once yet")
	case age > b.maxAge:
		return fmt.Errorf("last %s ago (limit %s)", age.Round(time.Second), b.maxAge)
	}
	return nil
}

// reason is an error's text on one line of bounded length.
func reason(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}
