// Package decide says which targets a namespace is to be on, when it may leave one, and what to write on one of its
// objects for that.
//
// It is pure: no client, no clock, no logger. A fact that is not in what it is given cannot influence a decision, and every
// decision says why.
package decide

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Placed is a target that a Placement which selects the namespace has chosen, or chose and now gives up.
type Placed struct {
	// By is the Placement.
	By  string
	Key string
	// StopFirst: the Placement's work must not run on two targets at once, not even in a move.
	StopFirst bool
	// Leaving: the namespace is to leave the target.
	Leaving bool
	Leave
}

// Leave is since when and why a namespace is to leave a target.
type Leave struct {
	Since time.Time
	// Urgent: what runs there must not wait for what takes its place.
	Urgent bool
	Why    string
	// RollsBack: when what runs there is not ready elsewhere in time, the move is to be taken back, by the Placements By.
	RollsBack bool
	By        []string
	// Gone is the UID of the SyncTarget if it does not exist any more, which is certain then; else empty.
	Gone string
}

// Plan is where the objects of a namespace are to be.
type Plan struct {
	// Wanted are the keys of the targets that they are to be on, sorted.
	Wanted []string
	// Leaving are those that they are to leave. They do so when [MayLeave] says so.
	Leaving map[string]Leave
	// After says which targets have to be left completely before an object goes to a wanted one.
	After map[string][]string
}

// PlanOf puts together what all Placements say that select the namespace. A target that one of them wants is wanted.
func PlanOf(placed []Placed) Plan {
	plan := Plan{Leaving: map[string]Leave{}, After: map[string][]string{}}
	for _, p := range placed {
		if !p.Leaving {
			plan.Wanted = append(plan.Wanted, p.Key)
		}
	}
	slices.Sort(plan.Wanted)
	plan.Wanted = slices.Compact(plan.Wanted)
	for _, p := range placed {
		if p.Leaving && !slices.Contains(plan.Wanted, p.Key) {
			plan.Leaving[p.Key] = both(plan.Leaving, p)
		}
	}
	for _, key := range plan.Wanted {
		if first := leftFirst(key, placed); len(first) > 0 {
			plan.After[key] = first
		}
	}
	return plan
}

// leftFirst are the targets that have to be left before a wanted one is gone to; none if a Placement wants it that does not
// ask for that.
func leftFirst(key string, placed []Placed) []string {
	var first []string
	for _, p := range placed {
		if p.Key != key || p.Leaving {
			continue
		}
		if !p.StopFirst {
			return nil
		}
		for _, other := range placed {
			if other.By == p.By && other.Leaving {
				first = append(first, other.Key)
			}
		}
	}
	slices.Sort(first)
	return slices.Compact(first)
}

// both is the stricter of what is said already and what one more Placement says.
func both(said map[string]Leave, p Placed) Leave {
	known, ok := said[p.Key]
	if !ok {
		return p.Leave
	}
	if p.Since.Before(known.Since) {
		known.Since = p.Since
	}
	if p.Urgent && !known.Urgent {
		known.Urgent, known.Why = true, p.Why
	}
	if p.Gone != "" {
		known.Gone = p.Gone
	}
	known.RollsBack = known.RollsBack && p.Leave.RollsBack
	known.By = append(slices.Clone(known.By), p.Leave.By...)
	return known
}

// Equal reports whether two plans are the same.
func (p Plan) Equal(other Plan) bool {
	sameLeave := func(a, b Leave) bool {
		return a.Urgent == b.Urgent && a.Gone == b.Gone && a.Since.Equal(b.Since) && a.RollsBack == b.RollsBack
	}
	return slices.Equal(p.Wanted, other.Wanted) && maps.EqualFunc(p.Leaving, other.Leaving, sameLeave) &&
		maps.EqualFunc(p.After, other.After, slices.Equal[[]string])
}

// Move is what it depends on whether a namespace may leave a target now.
type Move struct {
	// Key is the target that is to be left.
	Key string
	// Leave is what the Placements say about it; nil when none that selects the namespace names the target any more.
	Leave *Leave
	// Wanted are the targets that the namespace is to be on.
	Wanted []string
	// Workloads of the namespace.
	Workloads []Workload
	// Name is what people call a target; its key if nil.
	Name func(key string) string
	// Since is when the move began. After Patience what is not ready is no longer waited for.
	Since, Now time.Time
	Patience   time.Duration
}

// Workload is what matters of an object that runs pods.
type Workload struct {
	Name string
	// On are the targets that it is assigned to.
	On []string
	// Ready are those on which it does what it shall.
	Ready []string
	// Refused says of targets why the object cannot be synced there before it changes.
	Refused map[string]string
	// Finished: it has run to its end, and will not run anywhere else.
	Finished bool
	// Stays: it is not to go along, or is being deleted.
	Stays bool
}

// Verdict is whether, and why.
type Verdict struct {
	Yes bool
	Why string
	// Failed is set when the move is to be taken back: what runs there cannot run, or was not ready in time, on the target To.
	Failed Failure
	To     string
	// After says when to look again although nothing changes; zero for never.
	After time.Duration
}

// Failure is how a move has failed.
type Failure string

const (
	// TooLate means: something was not ready in time where it was to be.
	TooLate Failure = "TooLate"
	// Refused means: something cannot run where it is to be.
	Refused Failure = "Refused"
)

// askAgain is when to look again at a move that is to be taken back, if nothing has come of it.
const askAgain = 30 * time.Second

// MayLeave decides whether a namespace may leave a target: not before what it runs there also runs where it is to be, if
// nothing forbids to wait for that.
func MayLeave(m Move) Verdict {
	switch {
	case m.Leave != nil && m.Leave.Urgent:
		return Verdict{Yes: true, Why: m.Leave.Why}
	case m.Leave == nil && len(m.Wanted) == 0:
		return Verdict{Yes: true, Why: "no Placement wants it there"}
	case len(m.Wanted) == 0:
		return Verdict{Why: "there is no other target to go to"}
	}
	waitsFor, on := m.waitsFor()
	refused, by := m.refused()
	rollsBack := m.Leave != nil && m.Leave.RollsBack
	left := m.Patience - m.Now.Sub(m.Since)
	switch {
	case waitsFor == "":
		return Verdict{Yes: true, Why: "everything is ready where it is to be"}
	case rollsBack && refused != "":
		return Verdict{Why: refused, Failed: Refused, To: by, After: askAgain}
	case left > 0:
		return Verdict{Why: waitsFor, After: left}
	case rollsBack:
		return Verdict{Why: fmt.Sprintf("%s after %s", waitsFor, m.Patience), Failed: TooLate, To: on, After: askAgain}
	}
	return Verdict{Yes: true, Why: "waited for too long: " + waitsFor}
}

func (m Move) name(key string) string {
	if m.Name == nil {
		return key
	}
	return m.Name(key)
}

// refused is why something cannot run where it is to be, and on which target; empty if nothing says so.
func (m Move) refused() (why, on string) {
	for _, w := range m.Workloads {
		for _, key := range m.Wanted {
			if said := w.Refused[key]; said != "" && m.moves(w) && !slices.Contains(w.Ready, key) {
				return fmt.Sprintf("%s cannot run on %s: %s", w.Name, m.name(key), said), key
			}
		}
	}
	return "", ""
}

// moves reports whether a workload loses something by leaving. What is not ready where it is now does not.
func (m Move) moves(w Workload) bool {
	return !w.Stays && !w.Finished && slices.Contains(w.On, m.Key) && slices.Contains(w.Ready, m.Key)
}

// waitsFor is what is not ready yet, and on which target; empty if all is.
func (m Move) waitsFor() (what, on string) {
	for _, w := range m.Workloads {
		if !m.moves(w) {
			continue
		}
		for _, key := range m.Wanted {
			if !slices.Contains(w.Ready, key) {
				return w.Name + " is not ready on " + m.name(key) + " yet", key
			}
		}
	}
	return "", ""
}
