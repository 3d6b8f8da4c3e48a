package chaos

import "maps"

// Model is the state that a script leads to.
type Model struct {
	Things map[Slot]Thing
	// Incarnations is the last of each slot, also of those that are empty.
	Incarnations map[Slot]int
	Homes        []Home
}

// NewModel is the state before anything was created.
func NewModel(size Size) *Model {
	m := &Model{Things: map[Slot]Thing{}, Incarnations: map[Slot]int{}}
	for workspace := range size.Workspaces {
		m.Homes = append(m.Homes, []Home{East, West, East, West, Both}[workspace%5])
	}
	return m
}

// Copy is the same state, which can go another way.
func (m *Model) Copy() *Model {
	return &Model{Things: maps.Clone(m.Things), Incarnations: maps.Clone(m.Incarnations), Homes: append([]Home(nil), m.Homes...)}
}

// Play does what users do. What vandals do changes nothing: it is undone.
func (m *Model) Play(acts []Act) {
	for _, act := range acts {
		switch act.Verb {
		case Create, Update:
			m.Things[act.Slot] = act.Thing
			m.Incarnations[act.Slot] = act.Thing.Incarnation
		case Delete:
			delete(m.Things, act.Slot)
		case Move:
			m.Homes[act.Slot.Workspace] = act.To
		case Spoil, Destroy:
		}
	}
}
