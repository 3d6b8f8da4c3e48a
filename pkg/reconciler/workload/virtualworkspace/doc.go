// Package virtualworkspace serves each physical cluster what is assigned to it, and lets it write just that: a cluster may be
// hostile without harming others.
//
// Behind it are the virtual workspaces of the APIExport that holds the tenants' objects, one per kcp shard, with the
// manager's credentials. In front of it each SyncTarget has two views per shard: what is synced down to it, and what it
// syncs up. A [Server] keeps no state that matters: any replica answers any request.
//
// A request passes these stations, and each can only refuse or narrow it:
//
//   - path and query are taken apart by a strict parser; what it does not know is refused
//   - the caller is authenticated by kcp, and must be allowed the verb sync on the SyncTarget of that name and UID
//   - what is read is selected by the target's own state label, and shown without anything that belongs to others
//   - what is written is checked field by field, and sent with a condition that the object is still the target's
//
// Reads are passed on as a stream in which only the metadata is taken apart. It decides nothing about placement, and never
// reaches a physical cluster.
package virtualworkspace
