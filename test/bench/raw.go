package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// measureRaw finds the limits of the servers without us.
func (b *bench) measureRaw(ctx context.Context) error {
	t, err := b.newTenant(ctx, "raw", 1)
	if err != nil {
		return err
	}
	for _, workers := range []int{1, 8} {
		made, err := b.rawCreates(ctx, b.down, configMaps, workers, b.rawCount(workers))
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("creates into the cluster, %d workers", workers), made.perSecond(), "per second")
	}
	if _, err := b.rateOf(ctx, configMaps, b.objects); err != nil {
		return err
	}
	for _, workers := range []int{1, 8, 32} {
		made, err := b.rawCreates(ctx, t.home(), configMaps, workers, b.rawCount(workers))
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("creates into kcp, %d workers", workers), made.perSecond(), "per second")
	}
	_, err = b.trivialLoop(ctx)
	return err
}

// rawCount grows with the workers, so that the load lasts about as long.
func (b *bench) rawCount(workers int) int { return 5 * b.singles * min(workers, 4) / 2 }

// rateOf is how many objects of a type 32 workers create per second in the cluster, of as many as are drained. It is
// measured once.
func (b *bench) rateOf(ctx context.Context, resource schema.GroupVersionResource, count int) (float64, error) {
	if rate, known := b.rawRate[resource.Resource]; known {
		return rate, nil
	}
	endProfile, err := b.startServerProfile(ctx, "raw-"+resource.Resource)
	if err != nil {
		return 0, err
	}
	before := cpuUsage()
	made, err := b.rawCreates(ctx, b.down, resource, 32, count)
	if err != nil {
		return 0, err
	}
	used := cpuUsage().since(before)
	if err := endProfile(); err != nil {
		return 0, err
	}
	rate := made.perSecond()
	b.rawRate[resource.Resource] = rate
	what := fmt.Sprintf("raw creates of %d %s into the cluster, 32 workers", count, resource.Resource)
	b.add(what, rate, "per second")
	b.addUsage(what, used, count, made.took)
	b.rawCPU[resource.Resource] = used.total() / float64(count)
	return rate, nil
}

func (b *bench) rawCreates(ctx context.Context, side dynamic.Interface, resource schema.GroupVersionResource, workers, count int) (*created, error) {
	b.rawLoads++
	in := fmt.Sprintf("raw-%d", b.rawLoads)
	if err := createNamespace(ctx, side, in); err != nil {
		return nil, err
	}
	of := objectOf(resource)
	return load{
		resource: resource, count: count, workers: workers,
		object: func(i int) (dynamic.Interface, *unstructured.Unstructured) {
			return side, of(in, fmt.Sprintf("raw-%d", i))
		},
	}.create(ctx)
}

// trivialLoop is the floor of any syncer's latency: a watch on kcp that does nothing but create the same in the cluster.
// It is measured once, and gives the median in milliseconds.
func (b *bench) trivialLoop(ctx context.Context) (float64, error) {
	if b.trivial > 0 {
		return b.trivial, nil
	}
	t, err := b.newTenant(ctx, "trivial", 1)
	if err != nil {
		return 0, err
	}
	if err := createNamespace(ctx, b.down, "trivial"); err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	from, err := t.home().Resource(configMaps).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	go func() { // ends with the watch, which ends with ctx
		for event := range from.ResultChan() {
			if u, ok := event.Object.(*unstructured.Unstructured); ok && event.Type == watch.Added {
				_, _ = b.down.Resource(configMaps).Namespace("trivial").Create(ctx, configMap("trivial", u.GetName()), metav1.CreateOptions{})
			}
		}
	}()
	seen, err := watchFor(ctx, b.down.Resource(configMaps).Namespace("trivial"), "", name)
	if err != nil {
		return 0, err
	}
	took, err := b.oneByOne(ctx, t, seen, "trivial")
	b.trivial = b.addLatency("trivial watch-then-create loop, acknowledged upstream to seen downstream", took)
	return b.trivial, err
}
