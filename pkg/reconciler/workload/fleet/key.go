package fleet

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kcpcache "github.com/kcp-dev/apimachinery/v2/pkg/cache"
	"github.com/kcp-dev/logicalcluster/v3"
)

// Key names one object of a resource, wherever it lives.
type Key struct {
	Cluster   logicalcluster.Name
	Namespace string
	Name      string
}

// KeyOf is the key of an object that kcp returned.
func KeyOf(o metav1.Object) Key {
	return Key{Cluster: logicalcluster.From(o), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// String is for people: 2x4jqf|web/nginx.
func (k Key) String() string {
	if k.Namespace == "" {
		return string(k.Cluster) + "|" + k.Name
	}
	return string(k.Cluster) + "|" + k.Namespace + "/" + k.Name
}

// cached is the key by which informers store the object.
func (k Key) cached() string {
	return kcpcache.ToClusterAwareKey(string(k.Cluster), k.Namespace, k.Name)
}
