package choose

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// Observed is all that a decision is made from.
type Observed struct {
	Now time.Time
	// Placement is read only. Its status holds the choice so far.
	Placement *schedulingv1alpha1.Placement
	// Consumer is the Placement's workspace.
	Consumer Workspace
	// Provider is the workspace that holds the Locations; unknown while nothing is known of it.
	Provider Workspace
	// OffersToAll is true for the provider of the scheduling API, whose Locations are open to all unless they say otherwise.
	OffersToAll bool

	// Locations are those of the Provider.
	Locations []Location
	// Targets are those of the Provider, and others that this or the Others' Placements have chosen.
	Targets []Target
	// Requested is what other Placements, of any workspace, have requested of targets, by key.
	Requested map[string]corev1.ResourceList
	// Others are the other Placements of the same workspace.
	Others []Other

	// RollBacks are moves of this Placement that have failed, as those found who see to them.
	RollBacks []RollBack

	// Namespaces is how many namespaces match the Placement's selector.
	Namespaces int
	// Occupied are the keys of targets that those namespaces are still on, without those that other Placements want
	// them to be on.
	Occupied sets.Set[string]
}

// Workspace is a logical cluster and the path that users know it by. An unknown one has no Cluster.
type Workspace struct {
	Cluster, Path string
}

// String is the path if it is known.
func (w Workspace) String() string {
	if w.Path != "" {
		return w.Path
	}
	return w.Cluster
}

// Location is what placement knows of a Location.
type Location struct {
	Name             string
	Labels           map[string]string
	InstanceSelector *metav1.LabelSelector
	Consumers        []schedulingv1alpha1.WorkspacePath
}

// LocationOf reads a Location.
func LocationOf(location *schedulingv1alpha1.Location) Location {
	return Location{
		Name: location.Name, Labels: location.Labels,
		InstanceSelector: location.Spec.InstanceSelector, Consumers: location.Spec.Consumers,
	}
}

// openTo is true if Placements of the consumer may choose the Location.
func (l *Location) openTo(consumer, provider Workspace, offersToAll bool) bool {
	if consumer.Cluster == provider.Cluster {
		return true
	}
	if len(l.Consumers) == 0 {
		return offersToAll
	}
	for _, allowed := range l.Consumers {
		if consumer.within(string(allowed)) {
			return true
		}
	}
	return false
}

// within is true for the workspace with that path or logical cluster, and all below that path.
func (w Workspace) within(ancestor string) bool {
	return w.Cluster == ancestor || w.Path == ancestor || strings.HasPrefix(w.Path, ancestor+":")
}

// Other is another Placement of the same workspace.
type Other struct {
	Name   string
	Labels map[string]string
	Chosen []Chosen
}

// Chosen is a target that another Placement is on.
type Chosen struct {
	Key, Location string
}

// Decision is what shall be.
type Decision struct {
	Status schedulingv1alpha1.PlacementStatus
	// Moves are what changes for the targets.
	Moves []Move
	// Again is when to look again, if nothing happens before; zero if there is no need.
	Again time.Time
	// Against is the reason that stands against the targets that are missing; empty if none is.
	Against string
}

// Holds is true while the Placement must not go: its work is on targets.
func (d *Decision) Holds() bool { return len(d.Status.SelectedTargets) > 0 }

// Act is what happens to a target of a Placement.
type Act string

// The acts.
const (
	// Selects means: work shall run on it from now on.
	Selects Act = "TargetSelected"
	// Leaves means: work shall leave it from now on.
	Leaves Act = "TargetLeaving"
	// Returns means: work was leaving it, and stays after all.
	Returns Act = "TargetReturned"
	// RollsBack means: work was leaving it, was not ready elsewhere in time, and stays for now.
	RollsBack Act = "MoveRolledBack"
	// Forgets means: no work is left on it.
	Forgets Act = "TargetLeft"
)

// Move is a change for a target, and why.
type Move struct {
	Act    Act
	Target schedulingv1alpha1.SelectedTarget
}
