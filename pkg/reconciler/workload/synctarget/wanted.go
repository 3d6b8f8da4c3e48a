package synctarget

import (
	"slices"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// wanted are the merge patches of the metadata and of the status that make the SyncTarget right; nil where it is. Base is
// where the virtual workspace server is reached, empty if there is none; shards are where the tenants' objects are.
func wanted(st *workloadv1alpha1.SyncTarget, base string, shards []string) (metadata, status map[string]any) {
	cluster := string(logicalcluster.From(st))
	if key := workloadv1alpha1.SyncTargetKey(cluster, st.Name); st.Labels[workloadv1alpha1.SyncTargetKeyLabel] != key {
		metadata = map[string]any{"labels": map[string]any{workloadv1alpha1.SyncTargetKeyLabel: key}}
	}
	if base == "" {
		return metadata, nil
	}
	urls := workloadv1alpha1.VirtualWorkspacesOf(base, shards, cluster, st.Name, st.UID)
	if !slices.Equal(urls, st.Status.VirtualWorkspaces) {
		if urls == nil {
			urls = []workloadv1alpha1.VirtualWorkspace{} // null would remove the field, which reads the same but is not
		}
		status = map[string]any{"virtualWorkspaces": urls}
	}
	return metadata, status
}
