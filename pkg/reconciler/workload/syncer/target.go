package syncer

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// target is the SyncTarget that is served, as resolved at the start. It never changes.
type target struct {
	cluster logicalcluster.Name
	name    string
	uid     types.UID
	key     string
}

func newTarget(cluster logicalcluster.Name, name string, uid types.UID) target {
	return target{cluster: cluster, name: name, uid: uid, key: workloadv1alpha1.SyncTargetKey(string(cluster), name)}
}

// locate says where an upstream namespace comes from; an empty namespace stands for cluster-scoped objects.
func (t target) locate(cluster logicalcluster.Name, namespace string) workloadv1alpha1.NamespaceLocator {
	return workloadv1alpha1.NamespaceLocator{
		SyncTarget:  workloadv1alpha1.SyncTargetLocator{ClusterName: string(t.cluster), Name: t.name, UID: t.uid},
		ClusterName: string(cluster),
		Namespace:   namespace,
	}
}

// owns reports whether a locator is one of this very target. A SyncTarget that was deleted and made anew has the same
// key but another UID.
func (t target) owns(l workloadv1alpha1.NamespaceLocator) bool {
	return l.SyncTarget == workloadv1alpha1.SyncTargetLocator{ClusterName: string(t.cluster), Name: t.name, UID: t.uid}
}
