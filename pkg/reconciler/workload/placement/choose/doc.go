// Package choose decides on which targets the work of a Placement runs. It is pure: what it says follows from what it is
// given, whatever the order of that.
//
// A choice is kept. Work leaves a target for one of these reasons only: the SyncTarget is gone, its evictAfter has come, it
// has a taint NoExecute (or has not been ready) that the Placement does not tolerate or no longer does, the Placement's
// Locations or required affinity no longer match it, fewer targets are wanted, or the Placement is deleted. Everything else
// (cordon, NoSchedule, anti-affinity, spread, free resources, scores, a target that would be better) decides about new
// targets only.
//
// New targets are taken one by one, each the one with the highest score among those that pass every filter. Equals are told
// apart by a hash of Placement and target, which spreads Placements over targets and is the same every time.
//
// A target that is left stays in the status, in phase Leaving, until none of the Placement's namespaces is on it.
package choose
