// Package fleet is kcp as the workload manager sees it: the objects of all workspaces that are bound to the provider's
// APIExports, on all shards, behind the exports' virtual workspaces.
//
// [Endpoints] follows where those virtual workspaces are. A [Fleet] is made for one set of them and holds what all
// reconcilers share: a [Cache] for each resource, a [Writer] for each reconciler, which sends its requests to the shard
// that has the logical cluster, the paths of logical clusters, and the metrics of all that. When the set changes, the
// Fleet and everything that uses it are made anew.
//
// The paths come from the LogicalCluster objects themselves, which the exports claim: kcp writes the path there, as an
// annotation. Seen on kcp v0.28.1, a claim on logicalclusters.core.kcp.io shows every workspace its own, called "cluster".
//
// It decides nothing. It never reaches a physical cluster.
package fleet
