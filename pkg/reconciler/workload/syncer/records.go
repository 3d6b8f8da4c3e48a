package syncer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// State is how an object is doing.
type State string

const (
	// StatePending means that something is still to be done, or waited for.
	StatePending State = "pending"
	// StateSynced means that the copy is as it should be and the status is home.
	StateSynced State = "synced"
	// StateFailed means that the last pass failed.
	StateFailed State = "failed"
	// StateQuarantined means that it failed too often to be tried again before it changes.
	StateQuarantined State = "quarantined"
)

// record is what a syncer remembers of an object between passes. All of it can be lost: it saves requests and makes
// fights visible, but nothing is decided wrongly without it.
type record struct {
	// cleanUp and cleanDown are the resourceVersions at which a pass found nothing left to do.
	cleanUp, cleanDown string
	// madeFrom is the version of the object after a pass that made its copy, if that left nothing to be done as soon as the
	// caches show both.
	madeFrom string
	// upWritten and downWritten are the resourceVersions of our last writes.
	upWritten, downWritten string
	// hash of what was last written down.
	hash string
	// made is when the copy was made. created is the same until it has been seen in the cache.
	made, created time.Time
	// finished is a copy that had run to its end before somebody else deleted it, until its status is home.
	finished    *object
	orphanSince time.Time

	corrections    int
	lastCorrection time.Time
	correctionGap  time.Duration
	lastStatus     time.Time
	// futileStatus is the hash of a status patch that kcp accepted and that changed nothing, e.g. because its schema does
	// not have the field. Sending it again would change nothing again.
	futileStatus uint64
	state        State
	// failures in a row for which the object itself is to blame, and conflicts in a row.
	failures, conflicts int
	quarantine          *quarantine
	// followed is the change that is being traced; nil for none.
	followed *followed

	// upSeen and downSeen are when a live change was first seen that is not yet worked off.
	upSeen, downSeen time.Time
	// behindSince is since when it has not been synced, whatever was tried.
	behindSince time.Time

	// What is small is together, because there is one of these for each object.

	// distrusted: the versions mean nothing any more; something else that the pass depends on has changed.
	distrusted bool
	// claimed: the last write upstream left our finalizer on the object.
	claimed bool
	// backlog: the copy was made of what was there at the start, and its status has not come home yet.
	backlog bool
	// remaking: we deleted the copy to make it anew.
	remaking bool
	// unselected: the copy was removed because the object, though alive, no longer selects this target; its claim is
	// still to be taken off.
	unselected bool
	// fighting: the recovery was told of a fight over the copy.
	fighting bool
}

// waitsSince is since when something is to be done about the object; zero if it is in sync and nothing has happened.
func (r *record) waitsSince() time.Time {
	return earliest(r.behindSince, earliest(r.upSeen, r.downSeen))
}

// records remembers every object of a type. It is safe for concurrent use; a single pass works on a copy of a record
// and stores it at the end, which is safe because one object is never in two passes.
type records struct {
	mu     sync.Mutex
	byKey  map[Key]*record
	counts map[State]int
	// waiting are those that wait for something; mostWaiting is how many there were at most.
	waiting     map[Key]*record
	mostWaiting int
}

func newRecords() *records {
	return &records{byKey: map[Key]*record{}, counts: map[State]int{}, waiting: map[Key]*record{}}
}

// load gives the record without its marks of changes: these are the pass's from now on.
func (r *records) load(key Key) record {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.byKey[key]
	if !ok {
		return record{}
	}
	taken := *found
	if taken.distrusted {
		taken.cleanUp, taken.cleanDown, taken.madeFrom = "", "", ""
	}
	found.upSeen, found.downSeen, found.distrusted, taken.distrusted = time.Time{}, time.Time{}, false, false
	found.finished = nil
	r.track(key, found)
	return taken
}

// store keeps the marks that came in during the pass, if they are all that there is, or puts back those unused.
func (r *records) store(key Key, changed record, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	current := r.entry(key)
	changed.upSeen = earliest(current.upSeen, changed.upSeen)
	changed.downSeen = earliest(current.downSeen, changed.downSeen)
	changed.distrusted = current.distrusted
	if current.finished != nil {
		changed.finished = current.finished
	}
	if changed.behindSince = current.behindSince; changed.state == StateSynced {
		changed.behindSince = time.Time{}
	} else if changed.behindSince.IsZero() {
		changed.behindSince = earliest(changed.upSeen, now)
	}
	r.count(current.state, changed.state)
	*current = changed
	r.track(key, current)
}

// track keeps what waits apart from what does not.
func (r *records) track(key Key, e *record) {
	if !e.waitsSince().IsZero() {
		r.waiting[key] = e
		return
	}
	delete(r.waiting, key)
	r.shrinkWaiting()
}

// shrinkWaiting gives up the room for those that waited at a start: maps do not shrink.
func (r *records) shrinkWaiting() {
	r.mostWaiting = max(r.mostWaiting, len(r.waiting)+1)
	if len(r.waiting) == 0 && r.mostWaiting > 1000 {
		r.waiting, r.mostWaiting = map[Key]*record{}, 0
	}
}

// oldest is since when the object has been waiting that has waited longest; zero if none does.
func (r *records) oldest() (since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.waiting {
		since = earliest(since, e.waitsSince())
	}
	return since
}

func (r *records) forget(key Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if current, ok := r.byKey[key]; ok {
		r.count(current.state, "")
		delete(r.byKey, key)
		delete(r.waiting, key)
	}
}

// longestBacklog is after how long a copy without a status is one like any other: it may never have one.
const longestBacklog = 10 * time.Minute

// inBacklog reports whether the object is one of those of which there were many at the start: their copies come first, their
// statuses then.
func (r *records) inBacklog(key Key, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.byKey[key]
	return ok && e.backlog && now.Sub(e.made) < longestBacklog
}

// markUpstream and markDownstream note when a live change came in.
func (r *records) markUpstream(key Key, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entry(key)
	e.upSeen = earliest(e.upSeen, now)
	r.track(key, e)
}

func (r *records) markDownstream(key Key, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entry(key)
	e.downSeen = earliest(e.downSeen, now)
	r.track(key, e)
}

// noteFinished keeps the last that was seen of a copy that had run to its end.
func (r *records) noteFinished(key Key, last *object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[key]; ok { // what is forgotten is of no use to an object of the same name
		e.finished = last
	}
}

func (r *records) entry(key Key) *record {
	e, ok := r.byKey[key]
	if !ok {
		e = &record{state: StatePending}
		r.byKey[key] = e
		r.count("", StatePending)
	}
	return e
}

func (r *records) count(from, to State) {
	if from != "" {
		r.counts[from]--
	}
	if to != "" {
		r.counts[to]++
	}
}

// numbers are how many objects are in each state.
func (r *records) numbers() map[State]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[State]int{StatePending: r.counts[StatePending], StateSynced: r.counts[StateSynced], StateFailed: r.counts[StateFailed], StateQuarantined: r.counts[StateQuarantined]}
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// older reports whether a resourceVersion is from before another one of the same object. Unknown versions are not.
func older(version, than string) bool {
	if version == "" || than == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}

// distrust has the next pass look at the object although its versions are those of the last one.
func (r *records) distrust(key Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[key]; ok {
		e.distrusted = true
	}
}

// lastWritten is the version that our last write upstream made; empty if there was none.
func (r *records) lastWritten(key Key) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[key]; ok {
		return e.upWritten
	}
	return ""
}
