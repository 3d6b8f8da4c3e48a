package v1alpha1

import (
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// The parts of a virtual workspace's path: /shards/<shard>/services/<view>/<logical cluster>/<SyncTarget>/<uid>, to which
// clients add /clusters/{*|<logical cluster>}.
const (
	// ShardsPath begins the path: behind it is the ShardID of the kcp shard whose objects are shown.
	ShardsPath = "shards"
	// ServicesPath is what all virtual workspaces of kcp have in their path.
	ServicesPath = "services"
	// SyncerView shows what is synced down to the target.
	SyncerView = "syncer"
	// UpsyncerView shows what the target syncs up.
	UpsyncerView = "upsyncer"
)

// ShardID is the name by which a shard goes in the paths of the targets' virtual workspaces. Shards tell no name, so it
// comes from where the shard serves the virtual workspace of the APIExport.
func ShardID(exportURL string) string { return hashed(strings.TrimSuffix(exportURL, "/"), 36)[:10] }

// VirtualWorkspacesOf are the virtual workspaces of a SyncTarget, one per shard, as the workload manager writes them to
// its status. Base is where the virtual workspace server is reached; the exportURLs are those of the APIExport that holds
// the tenants' objects, on each shard.
func VirtualWorkspacesOf(base string, exportURLs []string, logicalCluster, name string, uid types.UID) []VirtualWorkspace {
	var all []VirtualWorkspace
	for _, exportURL := range exportURLs {
		shard := strings.TrimSuffix(base, "/") + "/" + ShardsPath + "/" + ShardID(exportURL) + "/" + ServicesPath + "/"
		target := "/" + url.PathEscape(logicalCluster) + "/" + url.PathEscape(name) + "/" + url.PathEscape(string(uid))
		all = append(all, VirtualWorkspace{SyncerURL: shard + SyncerView + target, UpsyncerURL: shard + UpsyncerView + target})
	}
	return all
}

// KeyOfStateLabel is the <key> of the target that a state label is about; ok is false for other labels.
func KeyOfStateLabel(name string) (key string, ok bool) {
	return strings.CutPrefix(name, stateLabelPrefix)
}

// KeyOfDeletionAnnotation is the <key> of the target that a deletion annotation is about; ok is false for other annotations.
func KeyOfDeletionAnnotation(name string) (key string, ok bool) {
	return strings.CutPrefix(name, deletionAnnotationPrefix)
}
