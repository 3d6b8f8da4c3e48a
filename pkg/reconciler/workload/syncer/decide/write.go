package decide

import (
	"time"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Copy is what a downstream write depends on.
type Copy struct {
	// Exists: the downstream cache holds a copy that this target created.
	Exists bool
	// Stale: the cache holds an older version than the one that we wrote last.
	Stale bool
	// Unseen: a copy was created whose arrival in the cache is still awaited.
	Unseen bool
	// Finished: the object has run to its end, and a copy made anew would run once more.
	Finished bool
	// AsRemembered: the copy has the version, and the desired object the hash, of the last write that we remember.
	AsRemembered bool
	// AppliedHash is what the copy says was last applied to it, DesiredHash what should be.
	AppliedHash, DesiredHash string
	// DriftedField is the first field of ours that does not hold; empty if all do.
	DriftedField string
	// Corrections is how often drift of this copy was corrected lately; LastCorrection is when.
	Corrections    int
	LastCorrection time.Time
	// CorrectionGap is how long before the last correction the one before it was.
	CorrectionGap time.Duration
	// Now is the time of the pass.
	Now time.Time
}

// WriteVerb is how the copy is written.
type WriteVerb string

const (
	// Keep the copy as it is.
	Keep WriteVerb = "Keep"
	// Create the copy.
	Create WriteVerb = "Create"
	// Update the copy because the desired state changed.
	Update WriteVerb = "Update"
	// Correct the copy because somebody else changed it.
	Correct WriteVerb = "Correct"
	// Postpone the write until an event comes or WriteDecision.After has passed.
	Postpone WriteVerb = "Postpone"
)

// WriteDecision is how to write and why.
type WriteDecision struct {
	Do    WriteVerb
	Why   string
	After time.Duration
	// Fight: the same copy has been corrected so often that another writer must be at work, and has not held for long
	// enough since to say that it no longer is.
	Fight bool
}

// A fight is more than this many corrections, each within fightMemory of the one before.
const (
	patientCorrections = 4
	fightMemory        = 10 * time.Minute
	longestCorrection  = 5 * time.Minute
	shortestPeace      = 10 * time.Second
)

// Write decides how to bring the copy to its desired state with the fewest requests.
func Write(c Copy) WriteDecision {
	w := write(c)
	left := untilPeace(c)
	switch {
	case left > 0 && w.Do == Keep:
		w.Fight, w.After = true, left
	case left > 0 && w.Do == Update:
		w.Fight = true
	}
	return w
}

func write(c Copy) WriteDecision {
	switch {
	case !c.Exists && c.Unseen, c.Exists && c.Stale:
		return WriteDecision{Do: Postpone, Why: "our last write is yet to be seen", After: time.Second}
	case !c.Exists && c.Finished:
		return WriteDecision{Do: Keep, Why: "it has run to its end, and its copy was cleaned up"}
	case !c.Exists:
		return WriteDecision{Do: Create, Why: "no copy exists"}
	case c.AsRemembered:
		return WriteDecision{Do: Keep, Why: "unchanged since the last write"}
	case c.AppliedHash != c.DesiredHash:
		return WriteDecision{Do: Update, Why: "the desired state changed"}
	case c.DriftedField == "":
		return WriteDecision{Do: Keep, Why: "every owned field holds"}
	default:
		return correct(c)
	}
}

func correct(c Copy) WriteDecision {
	why := "field " + c.DriftedField + " was changed downstream"
	corrections := RecentCorrections(c.Corrections, c.Now.Sub(c.LastCorrection))
	if corrections < patientCorrections {
		return WriteDecision{Do: Correct, Why: why}
	}
	delay := min(time.Second<<min(corrections-patientCorrections, 16), longestCorrection)
	if left := delay - c.Now.Sub(c.LastCorrection); left > 0 {
		return WriteDecision{Do: Postpone, Why: why + " again and again", After: left, Fight: true}
	}
	return WriteDecision{Do: Correct, Why: why + " again and again", Fight: true}
}

// untilPeace is how much longer the copy must hold for a fight to count as over; zero if there is none. A writer that
// comes by now and then is given the time to do so twice, so that users are not told of war and peace in turns.
func untilPeace(c Copy) time.Duration {
	since := c.Now.Sub(c.LastCorrection)
	if RecentCorrections(c.Corrections, since) < patientCorrections {
		return 0
	}
	return min(max(2*c.CorrectionGap, shortestPeace), fightMemory) - since
}

// RecentCorrections is how many of the corrections still count when the last one is that long ago.
func RecentCorrections(corrections int, sinceLast time.Duration) int {
	if sinceLast > fightMemory {
		return 0
	}
	return corrections
}

// Conflict is what the answer to a taken name depends on.
type Conflict struct {
	Policy workloadv1alpha1.ConflictPolicy
	// Ours: the object turned out to carry our marks for this very upstream object; the cache is behind.
	Ours bool
	// DifferingField is the first field of the desired object that the stranger's object does not hold; empty if none.
	DifferingField string
}

// ConflictVerb is what to do about a stranger's object.
type ConflictVerb string

const (
	// Refuse to touch it.
	Refuse ConflictVerb = "Refuse"
	// Adopt it: take over the fields that the user set, and mark it as ours.
	Adopt ConflictVerb = "Adopt"
	// Retry because it is ours after all.
	Retry ConflictVerb = "Retry"
)

// ResolveConflict decides about an object that has the name of the copy.
func ResolveConflict(c Conflict) (ConflictVerb, string) {
	switch {
	case c.Ours:
		return Retry, "the copy exists already"
	case c.Policy == workloadv1alpha1.ConflictForce:
		return Adopt, "conflict policy Force"
	case c.Policy == workloadv1alpha1.ConflictIfNoDiff && c.DifferingField == "":
		return Adopt, "conflict policy IfNoDiff, and nothing would change"
	case c.Policy == workloadv1alpha1.ConflictIfNoDiff:
		return Refuse, "the name is taken by an object that this target did not create, and field " + c.DifferingField + " differs"
	default:
		return Refuse, "the name is taken by an object that this target did not create"
	}
}
