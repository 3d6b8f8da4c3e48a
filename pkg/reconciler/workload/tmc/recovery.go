package tmc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// RecoveryOptions are what a Recovery needs.
type RecoveryOptions struct {
	// Enabled false leaves plain retries: every breaker is closed for ever, and no strategy acts.
	Enabled bool
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// Clock is the real one if nil.
	Clock clock.WithTicker
	// Random is between 0 and 1; math/rand's if nil.
	Random func() float64
	// Threshold is how many requests in a row without an answer open a circuit; 5 if zero.
	Threshold int
	// Strategies are what is done, in no order: see Strategy.Priority. A circuit that opens is a failure of the component
	// [LinkComponent].
	Strategies []Strategy
	// Ended hears of every recovery that ended, or that was given up for the time being; may be nil. It must not block.
	Ended func(RecoveryReport)
}

// Incident is something that went wrong, as given to a Recovery.
type Incident struct {
	// Component is what it happened to: a loop's name, or one of the components below.
	Component string
	// Subject is what failed there; it has to be comparable.
	Subject fmt.Stringer
	// Err is the error, sorted or not.
	Err error
}

// Components that are no loops.
const (
	// LinkComponent is the way to a server. The subject of its failures is a [Server].
	LinkComponent = "link"
	// FeedComponent is where upstream objects come from.
	FeedComponent = "feed"
)

// Server is an API server as a subject.
type Server string

// String is its name in metrics.
func (s Server) String() string { return string(s) }

// Strategy is what is done about failures of some categories.
type Strategy struct {
	// Name is a label value.
	Name string
	// Component whose failures it takes, and their Categories; all if empty.
	Component  string
	Categories []Category
	// Priority: of several strategies that take a failure the one with the highest does. It is also worked on first.
	Priority Priority
	// After is how many failures in a row of one subject it takes to begin; 1 if zero.
	After int

	// Act does something about it. Nil means that whoever failed tries again by itself, by the back-off of the category, and
	// the recovery only counts and tells.
	Act func(ctx context.Context, subject fmt.Stringer, err error) error
	// Verify is nil error when it is mended. Where it is nil itself, what failed has to say so by [Recovery.Mended].
	Verify func(ctx context.Context, subject fmt.Stringer) error
	// Then is done once it is mended; may be nil.
	Then func(ctx context.Context, subject fmt.Stringer)

	// Attempts is after how many it is given up, which means: told as exhausted. With Act it begins anew after Cooldown if
	// the failures go on; without, it goes on being tried. None is no bound.
	Attempts int
	// First and Longest are the pauses between attempts of Act; 1 s and 1 min if zero.
	First, Longest time.Duration
	// Cooldown is how long after its end the next attempt for the same subject waits at least.
	Cooldown time.Duration
}

func (s *Strategy) takes(f Incident, c Category) bool {
	return (s.Component == "" || s.Component == f.Component) && (len(s.Categories) == 0 || slices.Contains(s.Categories, c))
}

// RecoveryState says how far a recovery is.
type RecoveryState string

const (
	// RecoveryWaiting means: the next attempt is not due yet.
	RecoveryWaiting RecoveryState = "Waiting"
	// RecoveryActing means: something is being done.
	RecoveryActing RecoveryState = "Acting"
	// RecoveryRetrying means: what failed is tried again by its own work loop.
	RecoveryRetrying RecoveryState = "Retrying"
	// RecoveryExhausted means: all attempts were in vain. Somebody has to look.
	RecoveryExhausted RecoveryState = "Exhausted"
	// RecoveryRecovered means: it is mended. Only what has ended is.
	RecoveryRecovered RecoveryState = "Recovered"
	// RecoveryAbandoned means: what failed is no longer there, or nobody speaks of it any more.
	RecoveryAbandoned RecoveryState = "Abandoned"
)

// RecoveryReport is how a recovery is doing.
type RecoveryReport struct {
	Strategy  string       `json:"strategy"`
	Component string       `json:"component"`
	Subject   fmt.Stringer `json:"-"`
	Name      string       `json:"subject"`
	// Category is that of what went wrong last: of the attempt to mend it, if that says why it is in vain.
	Category Category      `json:"category"`
	Severity Severity      `json:"severity"`
	Hint     string        `json:"hint"`
	State    RecoveryState `json:"state"`
	// Attempts so far, failures in a row before them aside.
	Attempts int       `json:"attempts"`
	Since    time.Time `json:"since"`
	// Changed is when the last attempt, failure or end was.
	Changed time.Time `json:"changed"`
	// Next is when the next attempt is due, if it is the recovery's.
	Next time.Time `json:"next,omitzero"`
	// Error is the last one, without any word of a server.
	Error string `json:"error"`
	// Acts: the recovery does something itself.
	Acts bool `json:"acts"`
}

const (
	// mostRecoveries bounds what is followed of each strategy; more are only counted.
	mostRecoveries = 1000
	// recentRecoveries are how many that have ended are remembered.
	recentRecoveries = 50
	// silentAfter is how long nobody must have spoken of a failure for it to count as no longer there.
	silentAfter = time.Hour
	// recoveryWorkers is how many recoveries act at the same time.
	recoveryWorkers = 4
)

// recoveryID is what recoveries are deduplicated by.
type recoveryID struct {
	strategy, component string
	subject             fmt.Stringer
}

// String is for logs.
func (id recoveryID) String() string {
	return fmt.Sprintf("%s of %s %s", id.strategy, id.component, id.subject)
}

// recovering is one recovery.
type recovering struct {
	strategy *Strategy
	// category is that of what was told, now that of what went wrong last.
	category, now Category
	// failure is what was told, err what went wrong last.
	failure, err error
	state        RecoveryState
	// failures in a row that were told; begun: they were enough.
	failures, attempts int
	begun              bool
	since, changed     time.Time
	next               time.Time
}

// Recovery is what is done about failures, beyond trying again: it is given them, sorted, picks the strategy with the
// highest priority that takes them, sees that each subject is in one recovery at a time, bounds the attempts, lets it cool
// down, verifies the outcome, and tells.
type Recovery struct {
	opts    RecoveryOptions
	metrics *recoveryMetrics

	lock     sync.Mutex
	breakers map[string]*Breaker
	active   map[recoveryID]*recovering
	// cooling are those that ended a short time ago, until the next attempt may be made.
	cooling map[recoveryID]time.Time
	recent  []RecoveryReport
	// untracked counts, by strategy, the failures of subjects beyond those that are followed.
	untracked map[string]int
	loop      *Loop[recoveryID]
}

// NewRecovery registers the metrics.
func NewRecovery(opts RecoveryOptions) *Recovery {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.Threshold <= 0 {
		opts.Threshold = defaultThreshold
	}
	opts.Strategies = slices.Clone(opts.Strategies)
	slices.SortStableFunc(opts.Strategies, func(a, b Strategy) int { return cmp.Compare(b.Priority, a.Priority) })
	for i := range opts.Strategies {
		s := &opts.Strategies[i]
		s.After, s.First, s.Longest = max(s.After, 1), cmp.Or(s.First, time.Second), cmp.Or(s.Longest, time.Minute)
	}
	r := &Recovery{
		opts: opts, breakers: map[string]*Breaker{}, active: map[recoveryID]*recovering{}, cooling: map[recoveryID]time.Time{}, untracked: map[string]int{},
	}
	r.metrics = newRecoveryMetrics(opts.Registerer, r.Active)
	return r
}

// Enabled tells whether breakers and strategies act.
func (r *Recovery) Enabled() bool { return r != nil && r.opts.Enabled }

// Breaker returns the server's breaker. Probe asks the server for something cheap; an answer of any kind will do. The
// first call for a server decides on the probe.
func (r *Recovery) Breaker(server string, probe func(context.Context) error) *Breaker {
	r.lock.Lock()
	defer r.lock.Unlock()
	b, ok := r.breakers[server]
	if !ok {
		b = &Breaker{recovery: r, server: server, probe: probe, state: CircuitClosed, changed: make(chan struct{})}
		r.metrics.circuit.WithLabelValues(server).Set(0)
		r.breakers[server] = b
	}
	return b
}

// Part has the strategies act, until it is stopped. Failures that come in before are not lost.
func (r *Recovery) Part() Part {
	return Part{Name: "recovery", Run: func(ctx context.Context) error {
		loop := NewLoop(LoopOptions[recoveryID]{Name: "recovery", Workers: recoveryWorkers, Process: r.attempt})
		r.lock.Lock()
		r.loop = loop
		for id, a := range r.active {
			if a.begun && a.strategy.Act != nil {
				loop.Add(id, a.strategy.Priority)
			}
		}
		r.lock.Unlock()
		loop.Run(ctx)
		return nil
	}}
}

// Failed takes note of a failure, and begins or goes on with what is done about it.
func (r *Recovery) Failed(f Incident) {
	if !r.Enabled() || f.Err == nil {
		return
	}
	category := CategoryOf(f.Err)
	strategy := r.strategyFor(f, category)
	if strategy == nil || category == Canceled {
		return
	}
	ended := r.note(recoveryID{strategy: strategy.Name, component: f.Component, subject: f.Subject}, strategy, category, f.Err)
	r.tell(ended)
}

// strategyFor is the one that takes the failure; nil if none does.
func (r *Recovery) strategyFor(f Incident, category Category) *Strategy {
	i := slices.IndexFunc(r.opts.Strategies, func(s Strategy) bool { return s.takes(f, category) })
	if i < 0 {
		return nil
	}
	return &r.opts.Strategies[i]
}

func (r *Recovery) note(id recoveryID, strategy *Strategy, category Category, err error) (told []RecoveryReport) {
	r.lock.Lock()
	defer r.lock.Unlock()
	now := r.opts.Clock.Now()
	a, known := r.active[id]
	if !known {
		if r.count(strategy.Name) >= mostRecoveries {
			r.untracked[strategy.Name]++
			return nil
		}
		a = &recovering{strategy: strategy, since: now}
		r.active[id] = a
		// What is in another recovery already is handed over: it fails in another way now.
		told = r.endOthers(id, now)
	}
	a.category, a.now, a.failure, a.err, a.changed = category, category, err, err, now
	a.failures++
	if a.failures < strategy.After {
		return told
	}
	if strategy.Act == nil {
		return append(told, r.noteRetry(id, a)...)
	}
	r.noteActing(id, a, now)
	return told
}

func (r *Recovery) count(strategy string) int {
	n := 0
	for id := range r.active {
		if id.strategy == strategy {
			n++
		}
	}
	return n
}

// noteRetry counts an attempt that somebody else makes.
func (r *Recovery) noteRetry(id recoveryID, a *recovering) []RecoveryReport {
	a.begun = true
	a.attempts++
	r.metrics.attempts.WithLabelValues(id.strategy, string(a.category)).Inc()
	if a.state == RecoveryExhausted {
		return nil
	}
	a.state = RecoveryRetrying
	if a.strategy.Attempts > 0 && a.attempts >= a.strategy.Attempts {
		a.state = RecoveryExhausted
		r.metrics.outcome(id.strategy, a.category, RecoveryExhausted)
		return []RecoveryReport{a.report(id)}
	}
	return nil
}

// noteActing has the recovery acted on, unless it is already, or has to cool down.
func (r *Recovery) noteActing(id recoveryID, a *recovering, now time.Time) {
	switch {
	case a.state == RecoveryExhausted && !now.Before(a.next): // it has cooled down, and the failures go on
		a.attempts, a.state, a.since = 0, "", now
	case a.begun:
		return
	}
	a.begun, a.state, a.next = true, RecoveryWaiting, now
	if until := r.cooling[id]; now.Before(until) {
		a.next = until
	}
	if r.loop != nil {
		r.loop.AddAfter(id, a.strategy.Priority, a.next.Sub(now))
	}
}

// endOthers ends the recoveries that the same subject is in under other strategies.
func (r *Recovery) endOthers(id recoveryID, now time.Time) (ended []RecoveryReport) {
	for other, a := range r.active {
		if other.strategy != id.strategy && other.component == id.component && other.subject == id.subject && a.strategy.Act == nil {
			ended = append(ended, r.end(other, a, RecoveryAbandoned, now)...)
		}
	}
	return ended
}

// end ends a recovery. It is told if it had begun.
func (r *Recovery) end(id recoveryID, a *recovering, outcome RecoveryState, now time.Time) []RecoveryReport {
	delete(r.active, id)
	if !a.begun {
		return nil
	}
	if a.strategy.Cooldown > 0 {
		r.cooling[id] = now.Add(a.strategy.Cooldown)
	}
	for other, until := range r.cooling {
		if now.After(until) {
			delete(r.cooling, other)
		}
	}
	a.state, a.changed, a.next, a.now = outcome, now, time.Time{}, a.category
	r.metrics.outcome(id.strategy, a.category, outcome)
	r.metrics.duration.WithLabelValues(id.strategy).Observe(now.Sub(a.since).Seconds())
	report := a.report(id)
	r.recent = append(r.recent, report)
	if len(r.recent) > recentRecoveries {
		r.recent = slices.Delete(r.recent, 0, len(r.recent)-recentRecoveries)
	}
	return []RecoveryReport{report}
}

// Mended takes note that something that may have failed before did not, this time.
func (r *Recovery) Mended(component string, subject fmt.Stringer) {
	r.finish(RecoveryRecovered, func(id recoveryID, a *recovering) bool {
		return id.component == component && id.subject == subject && (!a.begun || a.strategy.Act == nil || a.strategy.Verify == nil || a.state == RecoveryExhausted)
	})
}

// Forget ends all that is done about a component that is no longer there.
func (r *Recovery) Forget(component string) {
	r.finish(RecoveryAbandoned, func(id recoveryID, _ *recovering) bool { return id.component == component })
}

func (r *Recovery) finish(outcome RecoveryState, which func(recoveryID, *recovering) bool) {
	if !r.Enabled() {
		return
	}
	r.lock.Lock()
	now := r.opts.Clock.Now()
	var ended []RecoveryReport
	for id, a := range r.active {
		if which(id, a) {
			ended = append(ended, r.end(id, a, outcome, now)...)
		}
	}
	r.lock.Unlock()
	r.tell(ended)
}

func (r *Recovery) tell(reports []RecoveryReport) {
	for _, report := range reports {
		if r.opts.Ended != nil {
			r.opts.Ended(report)
		}
	}
}

// attempt makes one attempt. No lock is held meanwhile.
func (r *Recovery) attempt(ctx context.Context, id recoveryID) (again time.Duration, err error) {
	r.lock.Lock()
	a, ok := r.active[id]
	if !ok || !a.begun || a.state == RecoveryExhausted {
		r.lock.Unlock()
		return 0, nil
	}
	if left := a.next.Sub(r.opts.Clock.Now()); left > 0 {
		r.lock.Unlock()
		return left, nil
	}
	a.state = RecoveryActing
	a.attempts++
	strategy, failure := a.strategy, a.failure
	r.metrics.attempts.WithLabelValues(id.strategy, string(a.category)).Inc()
	r.lock.Unlock()

	klog.FromContext(ctx).V(2).Info("Recovering", "strategy", id.strategy, "component", id.component, "subject", id.subject.String(), "why", Summary(failure))
	err = NoPanic(ctx, id, func() error { return act(ctx, strategy, id.subject, failure) })
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return 0, nil // stopping
	}
	again, ended := r.attempted(id, a, err)
	if err == nil && strategy.Then != nil {
		strategy.Then(ctx, id.subject)
	}
	r.tell(ended)
	return again, nil
}

func act(ctx context.Context, s *Strategy, subject fmt.Stringer, failure error) error {
	if err := s.Act(ctx, subject, failure); err != nil {
		return err
	}
	if s.Verify == nil {
		return errNotVerified
	}
	return s.Verify(ctx, subject)
}

// errNotVerified: who failed will say when it is mended.
var errNotVerified = errors.New("not known to be mended yet")

// attempted takes note of what came of an attempt.
func (r *Recovery) attempted(id recoveryID, a *recovering, err error) (again time.Duration, told []RecoveryReport) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.active[id] != a {
		return 0, nil // it was ended meanwhile
	}
	now := r.opts.Clock.Now()
	if err == nil {
		return 0, r.end(id, a, RecoveryRecovered, now)
	}
	a.changed = now
	if !errors.Is(err, errNotVerified) {
		a.err = err
		if c := CategoryOf(err); c != Internal && c != Canceled { // else what was told says more
			a.now = c
		}
	}
	if a.strategy.Attempts > 0 && a.attempts >= a.strategy.Attempts {
		a.state, a.next = RecoveryExhausted, now.Add(a.strategy.Cooldown)
		r.metrics.outcome(id.strategy, a.now, RecoveryExhausted)
		return 0, []RecoveryReport{a.report(id)}
	}
	again = backoff(a.strategy.First, a.strategy.Longest, a.attempts, r.opts.Random)
	a.state, a.next = RecoveryWaiting, now.Add(again)
	return again, nil
}

func (a *recovering) report(id recoveryID) RecoveryReport {
	return RecoveryReport{
		Strategy: id.strategy, Component: id.component, Subject: id.subject, Name: id.subject.String(), Category: a.now, Severity: a.now.Severity(),
		Hint: a.now.Hint(), State: a.state, Attempts: a.attempts, Since: a.since, Changed: a.changed, Next: a.next,
		Error: Summary(a.err), Acts: a.strategy.Act != nil,
	}
}

// LogRecovery logs a recovery that ended, or that was given up for the time being: for RecoveryOptions.Ended.
func LogRecovery(r RecoveryReport) {
	logger := klog.Background().WithValues("strategy", r.Strategy, "component", r.Component, "subject", r.Name, "category", r.Category, "attempts", r.Attempts)
	switch {
	case r.Acts && r.State == RecoveryExhausted:
		logger.Info("Giving up to recover for now", "hint", r.Hint, "error", r.Error)
	case r.Acts:
		logger.Info("Recovered", "outcome", r.State, "after", r.Changed.Sub(r.Since).Round(time.Millisecond).String())
	default:
		logger.V(2).Info("Following a failure", "outcome", r.State, "error", r.Error)
	}
}

// Active are the recoveries that go on, the most urgent and oldest first. What nobody has spoken of for long ends here.
func (r *Recovery) Active() []RecoveryReport {
	r.finish(RecoveryAbandoned, func(_ recoveryID, a *recovering) bool {
		return (!a.begun || a.strategy.Act == nil || a.state == RecoveryExhausted) && r.opts.Clock.Since(a.changed) > silentAfter
	})
	r.lock.Lock()
	defer r.lock.Unlock()
	var all []RecoveryReport
	priority := map[string]Priority{}
	for id, a := range r.active {
		if a.begun {
			all, priority[id.strategy] = append(all, a.report(id)), a.strategy.Priority
		}
	}
	slices.SortFunc(all, func(a, b RecoveryReport) int {
		return cmp.Or(cmp.Compare(priority[b.Strategy], priority[a.Strategy]), a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	return all
}
