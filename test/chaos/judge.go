package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Picture is what all servers show at one time.
type Picture struct {
	// Up are the things in the workspaces.
	Up map[Slot]Original
	// Down are the copies, by target.
	Down map[string]map[Slot]Copied
	// Namespaces are the workspaces for which a target has a namespace.
	Namespaces map[string][]int
	// Occupied are those of which the cluster has not yet removed what it made for copies itself: they stay until then.
	Occupied map[string][]int
	// Unknown are objects with a target's mark that are no thing's copy.
	Unknown []string
	// Targets that do not say that they are ready, and what they say.
	Unready map[string]string
}

// Original is a thing in its workspace.
type Original struct {
	Thing Thing
	// Misfit is what in it does not fit together.
	Misfit   string
	UID      string
	Deleting bool
	// On are the targets that it is assigned to, with the state; Claims those whose finalizer it has.
	On     map[string]string
	Claims []string
	// Trouble is what syncers say that is wrong with it.
	Trouble string
	// Replicas that it wants and that are available, for a Deployment. Stale: the status is about an earlier version of it.
	Replicas, Available int64
	Stale               bool
}

// Copied is the copy of a thing in a target.
type Copied struct {
	Thing    Thing
	Misfit   string
	Deleting bool
	// Replicas that it wants and that are available, for a Deployment.
	Replicas, Available int64
}

// Expected is what the picture has to be.
type Expected struct {
	*Model
	// UIDs of the things, as they were when each was created.
	UIDs map[Slot]string
	// Inhabited are namespaces that strangers live in, as target and workspace: they stay without things too.
	Inhabited map[string][]int
}

// Targets that work runs on.
var Targets = []string{string(East), string(West)}

// Judge tells all differences between what is and what has to be. None is the whole point.
func Judge(want Expected, got Picture) []string {
	var complaints []string
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	for slot, thing := range want.Things {
		home := want.Homes[slot.Workspace]
		original, there := got.Up[slot]
		if !there {
			complain("LOST: %s is gone from its workspace", slot)
			continue
		}
		for _, what := range original.judge(thing, want.UIDs[slot], home, slot.Kind) {
			complain("%s: %s", slot, what)
		}
		for _, what := range judgeCopies(slot, thing, home, original, got) {
			complain("%s: %s", slot, what)
		}
	}
	for slot := range got.Up {
		if _, wanted := want.Things[slot]; !wanted {
			complain("%s was deleted and is still in its workspace", slot)
		}
	}
	for _, target := range Targets {
		for slot := range got.Down[target] {
			if _, wanted := want.Things[slot]; !wanted || !want.Homes[slot.Workspace].Has(target) {
				complain("%s has no business on %s and has a copy there", slot, target)
			}
		}
	}
	complaints = append(complaints, judgeNamespaces(want, got)...)
	for _, unknown := range got.Unknown {
		complain("%s has a target's mark and is no copy of anything", unknown)
	}
	for target, says := range got.Unready {
		complain("target %s is not ready: %s", target, says)
	}
	slices.Sort(complaints)
	return complaints
}

func (o Original) judge(thing Thing, uid string, home Home, kind Kind) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	if o.Thing != thing || o.Misfit != "" {
		complain("is %+v in its workspace, want %+v %s", o.Thing, thing, o.Misfit)
	}
	if o.UID != uid {
		complain("LOST: another object is in its place: UID %s, it had %s", o.UID, uid)
	}
	if o.Deleting {
		complain("is being deleted and nobody asked for it")
	}
	if o.Trouble != "" {
		complain("has trouble: %s", o.Trouble)
	}
	for _, target := range Targets {
		state, on := o.On[target]
		if on != home.Has(target) || on && state != "Sync" {
			complain("is assigned to %s: %t %s, want %t", target, on, state, home.Has(target))
		}
		if claimed := slices.Contains(o.Claims, target); claimed != home.Has(target) {
			complain("is claimed by %s: %t, want %t", target, claimed, home.Has(target))
		}
	}
	if kind == Deployment && (o.Stale || o.Replicas != replicas(thing)) {
		complain("wants %d replicas, want %d (status is stale: %t)", o.Replicas, replicas(thing), o.Stale)
	}
	return complaints
}

func judgeCopies(slot Slot, thing Thing, home Home, original Original, got Picture) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	sum, available := int64(0), int64(0)
	for _, target := range Targets {
		copied, there := got.Down[target][slot]
		sum, available = sum+copied.Replicas, available+copied.Available
		switch {
		case !home.Has(target):
		case !there:
			complain("has no copy on %s", target)
		case copied.Deleting:
			complain("its copy on %s is being deleted", target)
		case copied.Thing != thing || copied.Misfit != "":
			complain("its copy on %s is %+v, want %+v %s", target, copied.Thing, thing, copied.Misfit)
		}
	}
	if slot.Kind != Deployment || len(complaints) > 0 {
		return complaints
	}
	if sum != replicas(thing) {
		complain("its copies want %d replicas, it wants %d", sum, replicas(thing))
	}
	if available != sum || original.Available != available {
		complain("its status says that %d replicas are available, its copies' that %d are, of %d", original.Available, available, sum)
	}
	return complaints
}

// judgeNamespaces: a namespace is there as long as something needs it, and no longer.
func judgeNamespaces(want Expected, got Picture) (complaints []string) {
	for _, target := range Targets {
		needed := map[int]bool{}
		for slot := range want.Things {
			if want.Homes[slot.Workspace].Has(target) {
				needed[slot.Workspace] = true
			}
		}
		there := map[int]bool{}
		for _, workspace := range got.Namespaces[target] {
			there[workspace] = true
			if !needed[workspace] && !slices.Contains(want.Inhabited[target], workspace) && !slices.Contains(got.Occupied[target], workspace) {
				complaints = append(complaints, fmt.Sprintf("target %s still has a namespace for workspace %d", target, workspace))
			}
		}
		for workspace := range needed {
			if !there[workspace] {
				complaints = append(complaints, fmt.Sprintf("target %s has no namespace for workspace %d", target, workspace))
			}
		}
	}
	return complaints
}

// Changed tells which of the strangers' objects are not what they were. They are compared as the server wrote them.
func Changed(before, after map[string]string) (complaints []string) {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		switch now, there := after[name]; {
		case !there:
			complaints = append(complaints, fmt.Sprintf("STRANGER: %s is gone", name))
		case now != before[name]:
			complaints = append(complaints, fmt.Sprintf("STRANGER: %s was changed from\n%s\nto\n%s", name, before[name], now))
		}
	}
	return complaints
}

// Footprint is what a program takes of the machine.
type Footprint struct {
	Goroutines int   `json:"goroutines"`
	Heap       int64 `json:"heapBytes"`
}

// What a program may have more than at the beginning: some connections more than then, and what caches and pools keep.
const (
	moreGoroutines = 60
	moreHeap       = 24 << 20
)

// Leaked tells what a program has more of than it should; empty if nothing.
func Leaked(program string, before, now Footprint) string {
	var more []string
	if now.Goroutines > before.Goroutines+moreGoroutines {
		more = append(more, fmt.Sprintf("%d goroutines, at the beginning %d", now.Goroutines, before.Goroutines))
	}
	if now.Heap > before.Heap*3/2+moreHeap {
		more = append(more, fmt.Sprintf("a heap of %d MiB, at the beginning %d", now.Heap>>20, before.Heap>>20))
	}
	if len(more) == 0 {
		return ""
	}
	return fmt.Sprintf("LEAK: %s has %s", program, strings.Join(more, " and "))
}

// some shortens a list for people.
func some(list []string, most int) string {
	text := strings.Join(list[:min(most, len(list))], "\n  ")
	if more := len(list) - most; more > 0 {
		text += fmt.Sprintf("\n  and %d more", more)
	}
	return text
}

// sortedKeys are those of a map.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
