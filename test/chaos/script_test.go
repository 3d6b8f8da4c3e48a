package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var small = Size{Workspaces: 4, Slots: 20, Rate: 10, Active: 10 * time.Second, Faults: 5, Kinds: FaultKinds}

func deal(seed uint64, rounds int) (*Script, []Round) {
	s := NewScript(seed, small)
	all := []Round{s.Begin()}
	for range rounds {
		all = append(all, s.Next())
	}
	return s, all
}

func TestAScriptCanBePlayedAgain(t *testing.T) {
	_, one := deal(7, 6)
	_, again := deal(7, 6)
	if diff := cmp.Diff(one, again); diff != "" {
		t.Errorf("the same seed deals something else:\n%s", diff)
	}
	if _, other := deal(8, 6); cmp.Equal(one, other) {
		t.Error("another seed deals the same")
	}
}

// What the script says of the state has to be what its acts lead to, and each act has to fit to what is there.
func TestActsFitToTheState(t *testing.T) {
	script, rounds := deal(3, 12)
	things, incarnations := map[Slot]Thing{}, map[Slot]int{}
	seen := map[Verb]int{}
	for _, round := range rounds {
		for _, act := range round.Acts {
			seen[act.Verb]++
			thing, there := things[act.Slot]
			switch act.Verb {
			case Create:
				if there || act.Thing.Incarnation != incarnations[act.Slot]+1 {
					t.Errorf("round %d creates %s as %+v, where %+v is", round.Number, act.Slot, act.Thing, thing)
				}
				things[act.Slot], incarnations[act.Slot] = act.Thing, act.Thing.Incarnation
			case Update:
				if !there || act.Thing.Incarnation != thing.Incarnation || act.Thing.Value == thing.Value {
					t.Errorf("round %d updates %s from %+v to %+v", round.Number, act.Slot, thing, act.Thing)
				}
				things[act.Slot] = act.Thing
			case Delete:
				if !there || act.Thing != thing {
					t.Errorf("round %d deletes %s as %+v, where %+v is", round.Number, act.Slot, act.Thing, thing)
				}
				delete(things, act.Slot)
			case Spoil, Destroy, Move:
			}
		}
		if !slices.IsSortedFunc(round.Faults, func(a, b Fault) int { return int(a.At - b.At) }) {
			t.Errorf("round %d: the faults are not in their order: %v", round.Number, round.Faults)
		}
	}
	if diff := cmp.Diff(script.After().Things, things); diff != "" {
		t.Errorf("the acts lead elsewhere:\n%s", diff)
	}
	for _, verb := range []Verb{Create, Update, Delete, Spoil, Destroy, Move} {
		if seen[verb] < 5 {
			t.Errorf("%s is dealt %d times", verb, seen[verb])
		}
	}
}

func TestFaultsAreDealt(t *testing.T) {
	_, rounds := deal(5, 12)
	dealt := map[FaultKind]int{}
	for _, round := range rounds[1:] {
		if len(round.Faults) != small.Faults {
			t.Errorf("round %d has %d faults", round.Number, len(round.Faults))
		}
		for _, fault := range round.Faults {
			dealt[fault.Kind]++
			if fault.At < 0 || fault.For <= 0 || fault.At+fault.For > small.Active {
				t.Errorf("round %d: %s is not within %s", round.Number, fault, small.Active)
			}
			if !slices.Contains(fault.Kind.places(), fault.Where) {
				t.Errorf("round %d: %s cannot be there", round.Number, fault)
			}
			if fault.Kind.killsProgram() && (round.Number-1)%4 >= deadly {
				t.Errorf("round %d: %s, where programs have to live on", round.Number, fault)
			}
		}
	}
	for _, kind := range FaultKinds {
		if dealt[kind] < 2 {
			t.Errorf("%q is dealt %d times in 12 rounds", kind, dealt[kind])
		}
	}
}

// A run has each kind of faults, wherever it may be: links in every way first, and then everything within the rounds that there are
// in twenty minutes; what needs more than that comes in turns.
func TestEachRunHasEachKindOfFaults(t *testing.T) {
	const least = 7 // rounds that a run of twenty minutes has at least
	for seed := range uint64(200) {
		s := NewScript(seed, whole)
		s.Begin()
		s.Resize(onlyLinks(whole))
		hurt := map[card]int{}
		for _, fault := range s.Next().Faults {
			hurt[card{fault.Kind, fault.Where}]++
		}
		for _, kind := range linkFaults {
			for _, link := range links {
				if hurt[card{kind, link}] != 1 {
					t.Errorf("seed %d: %q of %s comes %d times in the round of links", seed, kind, link, hurt[card{kind, link}])
				}
			}
		}
		s.Resize(whole)
		dealt, places := map[FaultKind]int{}, map[card]bool{}
		for range least {
			for _, fault := range s.Next().Faults {
				dealt[fault.Kind]++
				places[card{fault.Kind, fault.Where}] = true
			}
		}
		for _, kind := range FaultKinds {
			if dealt[kind] == 0 {
				t.Errorf("seed %d: %q is not dealt in %d rounds", seed, kind, least)
			}
			at := 0
			for _, place := range kind.places() {
				if places[card{kind, place}] {
					at++
				}
			}
			if want := min(dealt[kind], len(kind.places())); at != want {
				t.Errorf("seed %d: %q is dealt %d times at %d places, want %d", seed, kind, dealt[kind], at, want)
			}
		}
	}
}

// The part that is played with every test run is short: it has each of its kinds all the same.
func TestThePartHasEachKindOfFaults(t *testing.T) {
	s := NewScript(1, part)
	s.Begin()
	s.Resize(onlyLinks(part))
	s.Next()
	s.Resize(part)
	dealt := map[FaultKind]int{}
	for range partRounds {
		for _, fault := range s.Next().Faults {
			dealt[fault.Kind]++
		}
	}
	for _, kind := range withoutSkew {
		if dealt[kind] == 0 {
			t.Errorf("%q is not dealt", kind)
		}
	}
}

func TestOnlyTheFaultsAskedForAreDealt(t *testing.T) {
	s := NewScript(1, small)
	s.Begin()
	s.Next()
	other := small
	other.Workspaces, other.Kinds, other.Faults = 99, []FaultKind{LinkCut}, 7
	s.Resize(other)
	round := s.Next()
	if len(round.Faults) != 7 || s.Size.Workspaces != small.Workspaces {
		t.Errorf("%d faults, %d workspaces", len(round.Faults), s.Size.Workspaces)
	}
	for _, fault := range round.Faults {
		if fault.Kind != LinkCut {
			t.Errorf("%s was dealt", fault)
		}
	}
	other.Kinds = []FaultKind{ProgramKilled}
	s.Resize(other)
	for range 4 {
		if round := s.Next(); (round.Number-1)%4 >= deadly && len(round.Faults) > 0 {
			t.Errorf("round %d kills", round.Number)
		}
	}
}

func TestPurgedWorkspacesAreEmpty(t *testing.T) {
	s := NewScript(11, small)
	s.Begin()
	for range purged {
		s.Next()
	}
	left := map[int]int{}
	for slot := range s.After().Things {
		left[slot.Workspace]++
	}
	if len(left) != small.Workspaces-1 {
		t.Errorf("%d workspaces have things, want all but one of %d", len(left), small.Workspaces)
	}
}
