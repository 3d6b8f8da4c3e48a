// Package upsync says what of the objects that a physical cluster makes by itself comes up into the tenants' workspaces, what
// they look like there, and what is to be done about one of them.
//
// Such an object is the target's own: what is upstream follows what is downstream, as a whole and in one direction. The package
// is pure: the same input gives the same output, and nothing but the input is looked at.
package upsync

import "time"

// Observed is everything that a decision about one object depends on.
type Observed struct {
	// Upstream is nil when the target's view has no such object, Downstream when the cluster has none that comes up.
	Upstream   *Upstream
	Downstream *Downstream

	// UpstreamSynced and DownstreamSynced: the caches have seen everything once. Before that, absence means nothing.
	UpstreamSynced, DownstreamSynced bool
	// Unseen: it was created upstream, and is yet to be seen there.
	Unseen bool

	// SinceWrite is how long ago it was last written upstream, and Window how long changes are collected after that.
	SinceWrite, Window time.Duration
}

// Upstream is what matters of the object in the workspace.
type Upstream struct {
	// Deleting: it has a deletion timestamp.
	Deleting bool
	// Claimed: it carries the finalizer of this target.
	Claimed bool
	// Stale: the cache holds an older version than the one that we wrote last.
	Stale bool
	// Version is the one of the cluster's object that it says it was made of.
	Version string
	// Contradiction is the first field that says something else than the cluster's object; empty if there is none.
	Contradiction string
}

// Downstream is what matters of the cluster's object.
type Downstream struct {
	// Version is its resourceVersion.
	Version string
	// Deleting: it has a deletion timestamp.
	Deleting bool
}

// Verb is what to do.
type Verb string

const (
	// Nothing is to be done.
	Nothing Verb = "Nothing"
	// Keep what is upstream: it is as it should be.
	Keep Verb = "Keep"
	// Wait for something that an event will tell, or look again after Decision.After.
	Wait Verb = "Wait"
	// Create it upstream, claimed.
	Create Verb = "Create"
	// Update what is upstream.
	Update Verb = "Update"
	// Release it upstream: take the claim off.
	Release Verb = "Release"
	// Remove it upstream: take the claim off and delete it.
	Remove Verb = "Remove"
)

// Decision is a verb and why.
type Decision struct {
	Do  Verb
	Why string
	// After says when to look again although nothing changes; zero for never.
	After time.Duration
}

const (
	// untilSynced is how often a wait for a cache is checked; a look costs no request.
	untilSynced = 2 * time.Second
	// untilSeen is how soon a write of ours should be in the cache.
	untilSeen = time.Second
)

// Next decides what to do about one object. Absence is judged last and only in synced caches.
func Next(o Observed) Decision {
	up, down := o.Upstream, o.Downstream
	switch {
	case !o.DownstreamSynced || !o.UpstreamSynced:
		return Decision{Do: Wait, Why: "not everything has been seen yet", After: untilSynced}
	case up == nil && down == nil:
		return Decision{Do: Nothing, Why: "gone on both sides"}
	case up == nil && o.Unseen:
		return Decision{Do: Wait, Why: "it was brought up and is yet to be seen there", After: untilSeen}
	case up == nil && down.Deleting:
		return Decision{Do: Nothing, Why: "it is about to go"}
	case up == nil:
		return Decision{Do: Create, Why: "it is not upstream yet"}
	case up.Stale:
		return Decision{Do: Wait, Why: "our last write is yet to be seen", After: untilSeen}
	case up.Deleting && up.Claimed:
		return Decision{Do: Release, Why: "deleted upstream; it is brought up anew while the cluster has it"}
	case up.Deleting:
		return Decision{Do: Wait, Why: "it is being deleted upstream, and others hold it"}
	case down == nil:
		return Decision{Do: Remove, Why: "the cluster has it no more"}
	default:
		return follow(o)
	}
}

// follow keeps what is upstream in step. The first change goes up at once, further ones together.
func follow(o Observed) Decision {
	var why string
	switch {
	case o.Upstream.Version != o.Downstream.Version:
		why = "it changed downstream"
	case !o.Upstream.Claimed:
		why = "the claim is missing"
	case o.Upstream.Contradiction != "":
		why = "field " + o.Upstream.Contradiction + " was changed upstream"
	default:
		return Decision{Do: Keep, Why: "it is as it should be"}
	}
	if left := o.Window - o.SinceWrite; left > 0 {
		return Decision{Do: Wait, Why: why + " a moment after it was written", After: left}
	}
	return Decision{Do: Update, Why: why}
}
