package fleet

import (
	"errors"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Components of the manager whose failures are recovered from, besides its loops.
const (
	// MoveComponent is the moves of work from one target to another. The subject of its failures is a [Move].
	MoveComponent = "move"
	// PlacementComponent is the choice of targets. The subject of its failures is the [Key] of a Placement.
	PlacementComponent = "placement-decision"
)

// Move is the work of a Placement on its way from one target to another, both named by their keys.
type Move struct {
	Placement Key
	From, To  string
}

// String is for people.
func (m Move) String() string { return m.Placement.String() + " from " + m.From + " to " + m.To }

// Lost reports whether something is not watched because kcp did not answer.
func (f *Fleet) Lost() bool {
	f.lock.Lock()
	defer f.lock.Unlock()
	for _, entry := range f.caches {
		for _, shard := range entry.shards {
			switch tmc.CategoryOf(shard.problem()) {
			case tmc.Unreachable, tmc.Network, tmc.Timeout:
				return true
			}
		}
	}
	return false
}

// Recovery is told of failures; nil for none.
func (f *Fleet) Recovery() *tmc.Recovery { return f.deps.Recovery }

// FailMove reports that a move has failed, so that it is taken back.
func (f *Fleet) FailMove(m Move, category tmc.Category, namespace, why string) {
	err := tmc.WithContext(tmc.As(category, errors.New(why)), tmc.Context{
		Component: "assignment", Operation: "moving", Target: m.To, Cluster: string(m.Placement.Cluster), Name: namespace,
	})
	f.deps.Recovery.Failed(tmc.Incident{Component: MoveComponent, Subject: m, Err: err})
}
