// Package decide says what to do about one object, given what was seen of it on both sides.
//
// It is pure: no client, no clock, no logger. A fact that is not in [Observed] cannot influence a decision, and every
// decision carries its reason, which becomes the log line, the Event and the condition.
package decide

import (
	"strings"
	"time"
)

// Observed is everything that a decision depends on.
type Observed struct {
	// Upstream is nil when no synced upstream cache holds the object.
	Upstream *Upstream
	// Downstream is nil when the downstream cache holds no copy that this target created.
	Downstream *Downstream

	// UpstreamSynced and DownstreamSynced: the caches have seen everything once. Before that, absence means nothing.
	UpstreamSynced, DownstreamSynced bool
	// CopyUnseen: a copy was created whose arrival in the downstream cache is still awaited.
	CopyUnseen bool

	// Skip is the reason why an object of this nature is never synced; empty for all others.
	Skip string

	// Now is the time of the pass. OrphanSince is when the copy was first seen without an upstream object, zero for
	// never; it is kept for OrphanGrace after that.
	Now, OrphanSince time.Time
	OrphanGrace      time.Duration
}

// Upstream is what matters of the tenant's object.
type Upstream struct {
	// Deleting: it has a deletion timestamp.
	Deleting bool
	// Selected: the feed and the filters say that it belongs to this target.
	Selected bool
	// Leaving: it carries the deletion annotation of this target.
	Leaving bool
	// Claimed: it carries the finalizer of this target.
	Claimed bool
	// SoftFinalizers: coordinators that still need the copy.
	SoftFinalizers []string
	// Orphan: the copy shall outlive it.
	Orphan bool
}

// Downstream is what matters of the copy.
type Downstream struct {
	// Deleting: it has a deletion timestamp.
	Deleting bool
	// Finalizers that it carries; they explain why a deletion takes time.
	Finalizers []string
}

// Verb is what to do.
type Verb string

const (
	// Nothing is to be done.
	Nothing Verb = "Nothing"
	// Wait for something that an event will tell, or look again after Decision.After.
	Wait Verb = "Wait"
	// Sync means to make the copy what it should be, claim the object and bring the status home.
	Sync Verb = "Sync"
	// Delete the copy.
	Delete Verb = "Delete"
	// Orphan means to strip the copy of our marks and let it be.
	Orphan Verb = "Orphan"
	// Sweep means to read upstream live, and delete the copy only if that confirms that it has no reason to exist.
	Sweep Verb = "Sweep"
	// Release means to take the claim off the upstream object.
	Release Verb = "Release"
)

// Decision is a verb and why.
type Decision struct {
	Do  Verb
	Why string
	// After says when to look again although nothing changes; zero for never.
	After time.Duration
	// Blockers are what a Wait for a deletion waits for: finalizers of the copy, or soft finalizers.
	Blockers []string
}

// untilSynced is how often a wait for a cache is checked; a look costs no request.
const untilSynced = 2 * time.Second

// Next decides what to do about one object.
//
// The order of the cases is behaviour. Absence is judged first and only in synced caches: an object that is merely not
// visible is never a deleted one. The copy goes before the claim, so that a claim always covers a copy.
func Next(o Observed) Decision {
	switch {
	case !o.DownstreamSynced:
		return Decision{Do: Wait, Why: "the copies have not all been seen yet", After: untilSynced}
	case o.Upstream == nil && !o.UpstreamSynced:
		return Decision{Do: Wait, Why: "not seen upstream, where not everything has been seen yet", After: untilSynced}
	case o.Upstream == nil && o.Downstream == nil:
		return Decision{Do: Nothing, Why: "gone on both sides"}
	case o.Upstream == nil:
		return abandoned(o)
	case o.Skip != "" && !o.Upstream.Claimed && o.Downstream == nil:
		return Decision{Do: Nothing, Why: o.Skip}
	case reasonToLeave(o) != "":
		return leave(o, reasonToLeave(o))
	case o.Downstream != nil && o.Downstream.Deleting:
		return Decision{Do: Wait, Why: "the copy is being deleted and will be made anew", Blockers: o.Downstream.Finalizers}
	default:
		return Decision{Do: Sync, Why: "belongs to this target"}
	}
}

func abandoned(o Observed) Decision {
	if o.Downstream.Deleting {
		return Decision{Do: Wait, Why: "the copy is being deleted", Blockers: o.Downstream.Finalizers}
	}
	if o.OrphanSince.IsZero() && o.OrphanGrace > 0 {
		return Decision{Do: Wait, Why: "the copy has no upstream object; its grace period starts", After: o.OrphanGrace}
	}
	if left := o.OrphanGrace - o.Now.Sub(o.OrphanSince); left > 0 {
		return Decision{Do: Wait, Why: "the copy has no upstream object; its grace period runs", After: left}
	}
	return Decision{Do: Sweep, Why: "the copy has had no upstream object for longer than the grace period"}
}

func reasonToLeave(o Observed) string {
	switch up := o.Upstream; {
	case up.Deleting:
		return "deleted upstream"
	case up.Leaving:
		return "asked to leave this target"
	case !up.Selected:
		return "not selected for this target"
	case o.Skip != "":
		return o.Skip
	default:
		return ""
	}
}

func leave(o Observed, why string) Decision {
	switch up, down := o.Upstream, o.Downstream; {
	case down == nil && o.CopyUnseen:
		return Decision{Do: Wait, Why: why + "; a copy was made and is yet to be seen", After: time.Second}
	case down == nil && (up.Claimed || up.Leaving):
		return Decision{Do: Release, Why: why + "; nothing of ours is left downstream"}
	case down == nil:
		return Decision{Do: Nothing, Why: why}
	case down.Deleting:
		return Decision{Do: Wait, Why: why + "; the copy is being deleted", Blockers: down.Finalizers}
	case len(up.SoftFinalizers) > 0:
		return Decision{Do: Wait, Why: why + "; still needed by " + strings.Join(up.SoftFinalizers, ", "), Blockers: up.SoftFinalizers}
	case up.Orphan:
		return Decision{Do: Orphan, Why: why + "; its removal policy keeps the copy"}
	default:
		return Decision{Do: Delete, Why: why}
	}
}
