package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is a type of objects that the script plays with.
type Kind string

// The kinds.
const (
	ConfigMap  Kind = "ConfigMap"
	Secret     Kind = "Secret"
	Service    Kind = "Service"
	Deployment Kind = "Deployment"
)

// Kinds are all of them.
var Kinds = []Kind{ConfigMap, Secret, Service, Deployment}

// Slot is a place for an object: a name of a kind in the namespace of a workspace.
type Slot struct {
	Workspace int
	Kind      Kind
	Name      string
}

func (s Slot) String() string { return fmt.Sprintf("%s %d/%s", s.Kind, s.Workspace, s.Name) }

// Thing is an object in a slot. One that is deleted and created anew is another incarnation.
type Thing struct{ Incarnation, Value int }

// Verb is what a user or a vandal does.
type Verb string

// The verbs. Users act in workspaces, vandals on copies in the physical clusters.
const (
	Create  Verb = "create"
	Update  Verb = "update"
	Delete  Verb = "delete"
	Spoil   Verb = "spoil"   // a vandal changes a copy
	Destroy Verb = "destroy" // a vandal deletes a copy
	Move    Verb = "move"    // a user has the work of a workspace run elsewhere
)

// Act is one thing that somebody does.
type Act struct {
	At   time.Duration
	Verb Verb
	Slot Slot
	// Thing is what is then in the slot, for Create and Update, or what was, for Delete.
	Thing Thing
	// To is where the workspace moves, for Move.
	To Home
}

// Home is where the work of a workspace runs.
type Home string

// The homes: one of the targets, or both.
const (
	East Home = "east"
	West Home = "west"
	Both Home = "both"
)

// Has is whether the work runs on that target.
func (h Home) Has(target string) bool { return h == Both || string(h) == target }

// Fault is something that breaks, and is mended after a while.
type Fault struct {
	Kind  FaultKind
	Where string
	At    time.Duration
	For   time.Duration
}

func (f Fault) String() string {
	return fmt.Sprintf("%s of %s at %s for %s", f.Kind, f.Where, f.At.Round(100*time.Millisecond), f.For.Round(100*time.Millisecond))
}

// Round is a part of the script, after which all is mended and both sides have to come together.
type Round struct {
	Number int
	Acts   []Act
	Faults []Fault
}

// Size says how much is played.
type Size struct {
	Workspaces int
	// Slots per workspace.
	Slots int
	// Acts per second, of all together.
	Rate float64
	// Active is how long a round lasts until all is mended.
	Active time.Duration
	// Faults per round.
	Faults int
	// Kinds of faults that are dealt.
	Kinds []FaultKind
}

// Script deals rounds. The same seed and size deal the same rounds; what happens meanwhile has no influence.
type Script struct {
	Seed  uint64
	Size  Size
	model *Model
	deck  []card
	// places are, for each kind of faults, those where it has not been since it was everywhere.
	places map[FaultKind][]string
	round  int
}

type card struct {
	kind  FaultKind
	where string
}

// NewScript is the script of a seed, with the state before its first round.
func NewScript(seed uint64, size Size) *Script {
	return &Script{Seed: seed, Size: size, model: NewModel(size), places: map[FaultKind][]string{}}
}

// Resize has the rounds from now on be of another size. Workspaces and slots stay.
func (s *Script) Resize(size Size) {
	size.Workspaces, size.Slots = s.Size.Workspaces, s.Size.Slots
	s.Size, s.deck = size, nil
}

// random is for one purpose in one round: rounds do not depend on how much randomness those before took.
func (s *Script) random(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(s.Seed, uint64(s.round)<<8|purpose)) //nolint:gosec // a script is no secret
}

// Begin is the round zero: everything is created for the first time, and nothing breaks but what the caller breaks.
func (s *Script) Begin() Round {
	random, round := s.random(1), Round{}
	for _, slot := range Slots(s.Size) {
		if random.Float64() < 0.92 {
			round.Acts = append(round.Acts, Act{Verb: Create, Slot: slot, Thing: Thing{Incarnation: 1, Value: 1}})
		}
	}
	random.Shuffle(len(round.Acts), func(i, j int) { round.Acts[i], round.Acts[j] = round.Acts[j], round.Acts[i] })
	s.model.Play(round.Acts)
	return round
}

// Next deals the next round.
func (s *Script) Next() Round {
	s.round++
	round := Round{Number: s.round, Acts: s.acts(s.random(1)), Faults: s.faults(s.random(2))}
	return round
}

// After is the state that the rounds so far lead to.
func (s *Script) After() *Model { return s.model.Copy() }

// purged is every how many rounds a workspace loses all that it has, so that namespaces go and come again.
const purged = 3

func (s *Script) acts(random *rand.Rand) []Act {
	slots := Slots(s.Size)
	count := int(s.Size.Rate * s.Size.Active.Seconds())
	times := make([]time.Duration, count)
	for i := range times {
		times[i] = time.Duration(random.Float64() * float64(s.Size.Active))
	}
	slices.Sort(times)
	var acts []Act
	for _, at := range times {
		acts = append(acts, s.one(random, at, slots[random.IntN(len(slots))]))
	}
	if s.round%purged == 0 {
		acts = append(acts, s.purge(random, slots)...)
	}
	acts = append(acts, s.move(random))
	return acts
}

// one is an act on a slot, fitting to what it holds.
func (s *Script) one(random *rand.Rand, at time.Duration, slot Slot) Act {
	act := Act{At: at, Slot: slot}
	thing, there := s.model.Things[slot]
	draw := random.Float64()
	switch {
	case !there:
		act.Verb, act.Thing = Create, Thing{Incarnation: s.model.Incarnations[slot] + 1, Value: 1 + random.IntN(1000)}
	case draw < 0.45:
		act.Verb, act.Thing = Update, Thing{Incarnation: thing.Incarnation, Value: thing.Value + 1 + random.IntN(9)}
	case draw < 0.65:
		act.Verb, act.Thing = Delete, thing
	case draw < 0.85:
		act.Verb = Spoil
	default:
		act.Verb = Destroy
	}
	s.model.Play([]Act{act})
	return act
}

// purge empties one workspace at the end of the round.
func (s *Script) purge(random *rand.Rand, slots []Slot) (acts []Act) {
	workspace := random.IntN(s.Size.Workspaces)
	for _, slot := range slots {
		if thing, there := s.model.Things[slot]; there && slot.Workspace == workspace {
			acts = append(acts, Act{At: s.Size.Active, Verb: Delete, Slot: slot, Thing: thing})
		}
	}
	s.model.Play(acts)
	return acts
}

// move has the work of one workspace run elsewhere.
func (s *Script) move(random *rand.Rand) Act {
	workspace := random.IntN(s.Size.Workspaces)
	homes := slices.DeleteFunc([]Home{East, West, Both}, func(h Home) bool { return h == s.model.Homes[workspace] })
	act := Act{
		At: time.Duration(random.Float64() * float64(s.Size.Active)), Verb: Move,
		Slot: Slot{Workspace: workspace}, To: homes[random.IntN(len(homes))],
	}
	s.model.Play([]Act{act})
	return act
}

// deadly is for how many of four rounds programs are killed; they have to live through the other rounds, so that what they leak
// adds up.
const deadly = 2

// faults deals from a deck, so that each kind comes up before one comes twice. What kills has to wait for a round where it may,
// and comes first there.
func (s *Script) faults(random *rand.Rand) []Fault {
	mayKill := (s.round-1)%4 < deadly
	var dealt []Fault
	for len(dealt) < s.Size.Faults {
		at := s.next(mayKill)
		if at < 0 {
			s.deck = append(s.deck, s.newDeck(random)...)
			if s.next(mayKill) < 0 {
				break
			}
			continue
		}
		drawn := s.deck[at]
		s.deck = slices.Delete(s.deck, at, at+1)
		lasts := time.Duration((0.15 + 0.35*random.Float64()) * float64(s.Size.Active))
		dealt = append(dealt, Fault{
			Kind: drawn.kind, Where: drawn.where,
			At: time.Duration(random.Float64() * float64(s.Size.Active-lasts)), For: lasts,
		})
	}
	slices.SortStableFunc(dealt, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return dealt
}

// next is which card is drawn; none is below zero.
func (s *Script) next(mayKill bool) int {
	kills := func(c card) bool { return c.kind.killsProgram() }
	if at := slices.IndexFunc(s.deck, kills); mayKill && at >= 0 {
		return at
	}
	return slices.IndexFunc(s.deck, func(c card) bool { return !kills(c) })
}

// newDeck has each kind once, at a place where it has not been before it was everywhere.
func (s *Script) newDeck(random *rand.Rand) []card {
	var deck []card
	for _, kind := range s.Size.Kinds {
		left := s.places[kind]
		if len(left) == 0 {
			left = slices.Clone(kind.places())
		}
		at := random.IntN(len(left))
		deck = append(deck, card{kind, left[at]})
		s.places[kind] = slices.Delete(left, at, at+1)
	}
	random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

// Slots are all places for objects: half of them ConfigMaps, some Deployments.
func Slots(size Size) []Slot {
	pattern := []Kind{ConfigMap, Secret, ConfigMap, Service, ConfigMap, Secret, ConfigMap, ConfigMap, Service, Deployment}
	var slots []Slot
	for workspace := range size.Workspaces {
		for i := range size.Slots {
			kind := pattern[i%len(pattern)]
			slots = append(slots, Slot{Workspace: workspace, Kind: kind, Name: fmt.Sprintf("thing-%02d", i)})
		}
	}
	return slots
}
