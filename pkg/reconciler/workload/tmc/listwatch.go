package tmc

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Listable is what a dynamic, metadata or typed client offers of a resource; L is its list.
type Listable[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// ListWatch is how an informer lists and watches a resource. Narrow sets the selectors of every call, and told hears what
// came of it, unless it was given up by us. Both may be nil.
func ListWatch[L runtime.Object](resource Listable[L], narrow func(*metav1.ListOptions), told func(error)) cache.ListerWatcher {
	prepare := func(options metav1.ListOptions) metav1.ListOptions {
		if narrow != nil {
			narrow(&options)
		}
		return options
	}
	tell := func(err error) {
		if told != nil && !errors.Is(err, context.Canceled) {
			told(err)
		}
	}
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := resource.List(ctx, prepare(options))
			tell(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w, err := resource.Watch(ctx, prepare(options))
			tell(err)
			return w, err
		},
	}, resource)
}
