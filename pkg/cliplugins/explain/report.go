// Package explain tells why an object of a workspace runs where it does, or why it does not run: each hop on its way to a
// physical cluster and back, what was found there, and what to do. It reads, and never writes.
package explain

// State is what was found at a hop.
type State string

// The states. A hop that waits for one before it is Pending.
const (
	OK      State = "OK"
	Pending State = "Pending"
	Problem State = "Problem"
	Unknown State = "Unknown"
	Info    State = "Info"
)

// Report is the answer.
type Report struct {
	// Object is what was asked about, for people.
	Object    string `json:"object"`
	Workspace string `json:"workspace"`
	// Verdict is the whole in one line, State its sort.
	State   State  `json:"state"`
	Verdict string `json:"verdict"`
	// Next is what to do, if there is something.
	Next []string `json:"next,omitempty"`
	Hops []Hop    `json:"hops"`
}

// Hop is a station on the way.
type Hop struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Says  string `json:"says"`
	// Do is what to do about it.
	Do string `json:"do,omitempty"`
	// Hops are those on one of several ways.
	Hops []Hop `json:"hops,omitempty"`
}

func ok(name, says string) Hop      { return Hop{Name: name, State: OK, Says: says} }
func info(name, says string) Hop    { return Hop{Name: name, State: Info, Says: says} }
func unknown(name, says string) Hop { return Hop{Name: name, State: Unknown, Says: says} }
func pending(name, says string) Hop { return Hop{Name: name, State: Pending, Says: says} }
func problem(name, says, remedy string) Hop {
	return Hop{Name: name, State: Problem, Says: says, Do: remedy}
}

// conclude draws the whole from the hops: the first problem decides, or else the first that waits.
func (r *Report) conclude(allIsWell string) {
	r.State, r.Verdict = OK, allIsWell
	for _, state := range []State{Pending, Problem} {
		if says := first(r.Hops, state); says != "" {
			r.State, r.Verdict = state, says
		}
	}
	r.Next = remedies(r.Hops, nil)
}

// first is what the first hop in that state says; of hops on one of several ways also on which.
func first(hops []Hop, state State) string {
	for _, hop := range hops {
		if says := first(hop.Hops, state); says != "" {
			return hop.Name + ": " + says
		}
		if hop.State == state {
			return hop.Says
		}
	}
	return ""
}

func remedies(hops []Hop, known []string) []string {
next:
	for _, hop := range hops {
		known = remedies(hop.Hops, known)
		for _, k := range known {
			if k == hop.Do {
				continue next
			}
		}
		if hop.Do != "" {
			known = append(known, hop.Do)
		}
	}
	return known
}
