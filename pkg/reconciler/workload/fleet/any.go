package fleet

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Any asks whether some workspace that is bound to the export has an object of the resource. It sends a request to every shard
// until one has; who needs to know of every change watches instead.
func (f *Fleet) Any(ctx context.Context, export string, gvr schema.GroupVersionResource) (bool, error) {
	for _, s := range f.sources[export] {
		found, err := s.client.Resource(gvr).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return false, tmc.Classify(fmt.Errorf("looking for %s in %s: %w", gvr.GroupResource(), s.url, err))
		}
		if len(found.Items) > 0 {
			return true, nil
		}
	}
	return false, nil
}
