package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func configMap(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"data":     map[string]any{"payload": strings.Repeat("x", 1024)},
	}}
}

// measureRaw finds the limits of the servers without us.
func (b *bench) measureRaw(ctx context.Context) error {
	for _, workers := range []int{1, 8, 32} {
		rate, err := createRate(ctx, b.down, fmt.Sprintf("raw-%d", workers), workers, 400*min(workers, 4))
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("raw creates into the cluster, %d workers", workers), rate, "per second")
	}
	for _, workers := range []int{1, 8} {
		rate, err := createRate(ctx, b.up, fmt.Sprintf("raw-%d", workers), workers, 100*min(workers, 4))
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("raw creates into kcp, %d workers", workers), rate, "per second")
	}
	// What was made must not be synced later.
	if err := b.up.Resource(configMaps).Namespace(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	return b.measureTrivialLoop(ctx)
}

func createRate(ctx context.Context, side dynamic.Interface, prefix string, workers, count int) (float64, error) {
	var group errgroup.Group
	group.SetLimit(workers)
	start := time.Now()
	for i := range count {
		group.Go(func() error {
			_, err := side.Resource(configMaps).Namespace(namespace).Create(ctx, configMap(fmt.Sprintf("%s-%d", prefix, i)), metav1.CreateOptions{})
			return err
		})
	}
	err := group.Wait()
	return float64(count) / time.Since(start).Seconds(), err
}

// measureTrivialLoop is the floor of any syncer's latency: a watch on kcp that does nothing but create the same in the cluster.
func (b *bench) measureTrivialLoop(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	from, err := b.up.Resource(configMaps).Namespace(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "trivial"})
	if err != nil {
		return err
	}
	defer from.Stop()
	go func() { // ends with the watch
		for event := range from.ResultChan() {
			if u, ok := event.Object.(*unstructured.Unstructured); ok && event.Type == watch.Added {
				_, _ = b.down.Resource(configMaps).Namespace(namespace).Create(ctx, configMap(u.GetName()), metav1.CreateOptions{})
			}
		}
	}()
	seen, err := watchNames(ctx, b.down, namespace)
	if err != nil {
		return err
	}
	took, err := b.oneByOne(ctx, "trivial", seen, func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{"trivial": "true"}) })
	b.addLatency("trivial watch-then-create loop, acknowledged upstream to seen downstream", took)
	return err
}

// watchNames tells of ConfigMaps as they appear in a namespace.
func watchNames(ctx context.Context, side dynamic.Interface, namespace string) (<-chan string, error) {
	w, err := side.Resource(configMaps).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	names := make(chan string, 1000)
	go func() { // ends with the watch
		for event := range w.ResultChan() {
			if u, ok := event.Object.(*unstructured.Unstructured); ok && event.Type == watch.Added {
				names <- u.GetName()
			}
		}
	}()
	return names, nil
}

// oneByOne creates objects upstream, each after the one before was seen downstream, and gives the milliseconds from the
// acknowledgement to the sight.
func (b *bench) oneByOne(ctx context.Context, prefix string, seen <-chan string, change func(*unstructured.Unstructured)) ([]float64, error) {
	var took []float64
	for i := range b.singles {
		u := configMap(fmt.Sprintf("%s-%d", prefix, i))
		change(u)
		if _, err := b.up.Resource(configMaps).Namespace(namespace).Create(ctx, u, metav1.CreateOptions{}); err != nil {
			return took, err
		}
		start := time.Now()
		if err := await(ctx, seen, u.GetName()); err != nil {
			return took, err
		}
		took = append(took, since(start))
	}
	return took, nil
}

func await(ctx context.Context, seen <-chan string, name string) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(30 * time.Second):
			return fmt.Errorf("%s did not appear within 30 s", name)
		case got := <-seen:
			if got == name {
				return nil
			}
		}
	}
}

// measureSingles takes the latency both ways, and counts the writes that each object costs.
func (b *bench) measureSingles(ctx context.Context) error {
	if err := b.awaitReady(ctx); err != nil {
		return err
	}
	if _, err := b.up.Resource(configMaps).Namespace(namespace).Create(ctx, configMap("first"), metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := b.awaitCopies(ctx, 1); err != nil {
		return err
	}
	downBefore, upBefore, err := b.writes(ctx)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	seen, err := watchNames(watching, b.down, b.downNamespace())
	if err != nil {
		return err
	}
	took, err := b.oneByOne(ctx, "single", seen, func(*unstructured.Unstructured) {})
	if err != nil {
		return err
	}
	b.addLatency("creation, acknowledged upstream to seen downstream", took)
	if err := b.awaitQuiet(ctx); err != nil {
		return err
	}
	down, up, err := b.writes(ctx)
	if err != nil {
		return err
	}
	b.add("writes downstream per object created", (down-downBefore)/float64(b.singles), "")
	b.add("writes upstream per object created (heartbeats of the time included)", (up-upBefore)/float64(b.singles), "")
	return b.measureStatus(ctx)
}

// awaitQuiet waits until two looks at the counters in a row say the same.
func (b *bench) awaitQuiet(ctx context.Context) error {
	last := -1.0
	return poll(ctx, 500*time.Millisecond, func() (bool, error) {
		down, up, err := b.writes(ctx)
		quiet := down+up == last
		last = down + up
		return quiet, err
	})
}

// measureStatus takes the way home: a status written in the cluster until it is seen in the workspace.
func (b *bench) measureStatus(ctx context.Context) error {
	ingress := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": map[string]any{"name": "status", "namespace": namespace},
		"spec": map[string]any{"defaultBackend": map[string]any{"service": map[string]any{"name": "x", "port": map[string]any{"number": int64(80)}}}},
	}}
	if _, err := b.up.Resource(ingresses).Namespace(namespace).Create(ctx, ingress, metav1.CreateOptions{}); err != nil {
		return err
	}
	copies := b.down.Resource(ingresses).Namespace(b.downNamespace())
	if err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		_, err := copies.Get(ctx, "status", metav1.GetOptions{})
		return err == nil, nil
	}); err != nil {
		return err
	}
	w, err := b.up.Resource(ingresses).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	var took []float64
	for i := range b.singles {
		ip := fmt.Sprintf("10.0.%d.%d", i/250, i%250+1)
		patch := fmt.Appendf(nil, `{"status":{"loadBalancer":{"ingress":[{"ip":%q}]}}}`, ip)
		if _, err := copies.Patch(ctx, "status", types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		start := time.Now()
		if err := awaitStatus(w, ip); err != nil {
			return err
		}
		took = append(took, since(start))
		time.Sleep(600 * time.Millisecond) // longer than the status window: each change is a first one
	}
	b.addLatency("status, acknowledged downstream to seen upstream", took)
	return nil
}

func awaitStatus(w watch.Interface, ip string) error {
	timeout := time.After(30 * time.Second)
	for {
		select {
		case <-timeout:
			return fmt.Errorf("status %s did not come home within 30 s", ip)
		case event := <-w.ResultChan():
			if u, ok := event.Object.(*unstructured.Unstructured); ok {
				list, _, _ := unstructured.NestedSlice(u.Object, "status", "loadBalancer", "ingress")
				if len(list) == 1 && list[0].(map[string]any)["ip"] == ip {
					return nil
				}
			}
		}
	}
}

func (b *bench) writes(ctx context.Context) (down, up float64, err error) {
	downstream, err := b.requests(ctx, "cluster")
	if err != nil {
		return 0, 0, err
	}
	upstream, err := b.requests(ctx, "kcp")
	return writesOf(downstream), writesOf(upstream), err
}

// measureMany puts many objects in place, as fast as kcp takes them.
func (b *bench) measureMany(ctx context.Context) error {
	start := time.Now()
	rate, err := createRate(ctx, b.up, "many", 8, b.many)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("creates into kcp beside the syncer, 8 workers, %d objects", b.many), rate, "per second")
	created := time.Now()
	if err := b.awaitCopies(ctx, b.many+b.singles+1); err != nil {
		return err
	}
	b.add("time from the last creation until all copies are there", since(created)/1000, "s")
	b.add("objects synced", float64(b.many)/time.Since(start).Seconds(), "per second")
	if err := b.awaitQuiet(ctx); err != nil {
		return err
	}
	b.add(fmt.Sprintf("resident memory with %d objects of 1 KiB", b.many), b.rss(), "MiB")
	return nil
}

func (b *bench) awaitCopies(ctx context.Context, wanted int) error {
	have := 0
	return poll(ctx, 50*time.Millisecond, func() (bool, error) {
		list, err := b.down.Resource(configMaps).Namespace(b.downNamespace()).List(ctx, metav1.ListOptions{LabelSelector: workloadv1alpha1.DownstreamClusterLabel, ResourceVersion: "0"})
		if err != nil {
			return false, nil //nolint:nilerr // the namespace may be missing yet
		}
		have = len(list.Items)
		return have >= wanted, nil
	})
}

// measureRestart stops the syncer and starts it with everything in place.
func (b *bench) measureRestart(ctx context.Context) error {
	took, err := b.restartSyncer(ctx)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("restart with %d objects: time to ready", b.many), took/1000, "s")
	if err := b.awaitQuiet(ctx); err != nil {
		return err
	}
	down, err := b.requests(ctx, "cluster")
	if err != nil {
		return err
	}
	up, err := b.requests(ctx, "kcp")
	if err != nil {
		return err
	}
	b.add("restart: writes downstream other than the Lease", writesOf(down)-leaseWrites(down), "")
	b.add("restart: writes upstream (SyncTarget status only)", writesOf(up), "")
	b.add("resident memory after the restart", b.rss(), "MiB")
	return nil
}

// leaseWrites: the Lease is the only thing that is PUT.
func leaseWrites(byMethod map[string]float64) float64 { return byMethod["PUT"] }

func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	deadline := time.After(10 * time.Minute)
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("not within 10 minutes")
		case <-ticker.C:
		}
	}
}

// quantile of values; they are sorted in place.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}
