package fleet

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Any asks whether some workspace that is bound to the export has an object of the resource. It sends a request to every shard
// until one has; who needs to know of every change watches instead. That none has is only said when every shard was asked on which
// a workspace is bound.
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
	return false, f.complete(ctx, export)
}

// complete is nil if the shards that this fleet asks are all that there are.
func (f *Fleet) complete(ctx context.Context, export string) error {
	if f.deps.Complete == nil {
		return nil
	}
	return f.deps.Complete(ctx, export, f.deps.URLs[export])
}

// List gives all objects of the resource in the workspaces that are bound to the export, by a request to every shard. An error
// of one is an error, and so is a shard that is not asked: what is not seen is not known.
func (f *Fleet) List(ctx context.Context, export string, gvr schema.GroupVersionResource) (found []unstructured.Unstructured, err error) {
	for _, s := range f.sources[export] {
		list, err := s.client.Resource(gvr).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, tmc.Classify(fmt.Errorf("listing %s in %s: %w", gvr.GroupResource(), s.url, err))
		}
		found = append(found, list.Items...)
	}
	return found, f.complete(ctx, export)
}
