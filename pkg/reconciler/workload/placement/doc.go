// Package placement is the reconciler of Placements and Locations. What it decides is in package choose; here is what that
// is decided from, who is woken by what, and the writes.
//
// # What is written
//
// A Placement's status, in one patch for each real change, and an Event for each target that is selected, left or forgotten.
// Its finalizer, before the first target is selected: a deleted Placement stays until its work has left. Then all its
// targets go to phase Leaving; the assignment reconciler takes the work away in order, and the namespaces' state labels tell
// when that is done. When the namespaceSelector ceases to match a namespace, the Placement itself does not change: the
// assignment sees that no Placement wants the namespace on that target.
//
// A Location's status, and once in each workspace with SyncTargets the default Location. That this was done is marked on the
// SyncTargets, which outlive the Location: a workspace keeps the memory for as long as it has one of them.
//
// # Who is woken
//
// A change of a SyncTarget that placement does not look at, such as a heartbeat, wakes nobody. Another one wakes the
// Placements that are on the target, and those that are hungry: that lack targets, or take every one that fits. A Placement
// that has what it wants is not woken by targets that it is not on, so a fleet of thousands costs nothing while nothing
// happens to it.
//
// # Requests
//
// What Placements have requested of each target is kept in a ledger, which knows of a choice before the cache does: two
// Placements that are decided about at the same time do not both take the last room.
package placement
