package fleet

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kcp-dev/logicalcluster/v3"
	"github.com/kcp-dev/sdk/apis/core"
	corev1alpha1 "github.com/kcp-dev/sdk/apis/core/v1alpha1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var logicalClusters = corev1alpha1.SchemeGroupVersion.WithResource("logicalclusters")

// exportsThatClaimPaths claim logicalclusters. A workspace that is bound to one of them has a path that is known.
var exportsThatClaimPaths = []string{workloadv1alpha1.WorkloadExport, workloadv1alpha1.SchedulingExport}

// paths maps paths of workspaces to logical clusters, and back. Several exports show the same logical cluster.
type paths struct {
	lock      sync.RWMutex
	byCluster map[logicalcluster.Name]logicalcluster.Path
	byPath    map[logicalcluster.Path]logicalcluster.Name
	// shown is by how many exports.
	shown map[logicalcluster.Name]int
	heard []func(logicalcluster.Name)
}

func newPaths(f *Fleet) (*paths, error) {
	p := &paths{
		byCluster: map[logicalcluster.Name]logicalcluster.Path{}, byPath: map[logicalcluster.Path]logicalcluster.Name{},
		shown: map[logicalcluster.Name]int{},
	}
	for _, export := range exportsThatClaimPaths {
		c, err := Watch(f, export, logicalClusters, Metadata)
		if err != nil {
			return nil, err
		}
		if err := c.OnChange(p.see); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *paths) see(change Change[*metav1.PartialObjectMetadata]) {
	cluster := logicalcluster.From(change.Object)
	path := logicalcluster.NewPath(change.Object.Annotations[core.LogicalClusterPathAnnotationKey])
	if p.take(cluster, path, change) {
		for _, heard := range p.listeners() {
			heard(cluster)
		}
	}
}

func (p *paths) take(cluster logicalcluster.Name, path logicalcluster.Path, change Change[*metav1.PartialObjectMetadata]) (changed bool) {
	p.lock.Lock()
	defer p.lock.Unlock()
	switch {
	case change.Deleted:
		p.shown[cluster]--
	case change.Before == nil:
		p.shown[cluster]++
	}
	was := p.byCluster[cluster]
	if p.shown[cluster] <= 0 {
		delete(p.shown, cluster)
		delete(p.byCluster, cluster)
		path = logicalcluster.Path{}
	} else if !path.Empty() {
		p.byCluster[cluster], p.byPath[path] = path, cluster
	}
	if was != path && p.byPath[was] == cluster {
		delete(p.byPath, was)
	}
	return was != path
}

func (p *paths) listeners() []func(logicalcluster.Name) {
	p.lock.RLock()
	defer p.lock.RUnlock()
	return p.heard
}

// OnPath has heard called whenever the path of a logical cluster becomes known, or is known no more.
func (f *Fleet) OnPath(heard func(logicalcluster.Name)) {
	f.paths.lock.Lock()
	defer f.paths.lock.Unlock()
	f.paths.heard = append(f.paths.heard, heard)
}

// ClusterOf is the logical cluster of the workspace with that path, which may also be the logical cluster itself. It is
// known of workspaces that are bound to workload.kcp.io or scheduling.kcp.io and accept their claim on logicalclusters.
func (f *Fleet) ClusterOf(path logicalcluster.Path) (logicalcluster.Name, bool) {
	f.paths.lock.RLock()
	defer f.paths.lock.RUnlock()
	if cluster, ok := f.paths.byPath[path]; ok {
		return cluster, true
	}
	cluster, isName := path.Name()
	_, known := f.paths.shown[cluster]
	return cluster, isName && known
}

// PathOf is the path of a logical cluster's workspace, of the same workspaces.
func (f *Fleet) PathOf(cluster logicalcluster.Name) (logicalcluster.Path, bool) {
	f.paths.lock.RLock()
	defer f.paths.lock.RUnlock()
	path, ok := f.paths.byCluster[cluster]
	return path, ok
}
