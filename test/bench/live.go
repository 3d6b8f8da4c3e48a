package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// measureLive creates objects over many workspaces while a syncer runs that takes what is assigned to it.
func (b *bench) measureLive(ctx context.Context) error {
	t, err := b.newTenant(ctx, "live", b.workspaces)
	if err != nil {
		return err
	}
	address, err := b.virtualWorkspace(ctx)
	if err != nil {
		return err
	}
	t.flags = []string{"--feed=assigned", "--feed-urls=" + address}
	s, err := b.startSyncer(ctx, t)
	if err != nil {
		return err
	}
	if _, err := s.awaitReady(ctx); err != nil {
		return err
	}
	if err := b.liveLoad(ctx, t, "objects that the syncer has to claim", "live-", b.workspaces, func(*unstructured.Unstructured) {}); err != nil {
		return err
	}
	if err := b.liveLoad(ctx, t, "objects that were claimed with their assignment, as by the manager", "claimed-", 0, t.claimed); err != nil {
		return err
	}
	return s.stop(ctx)
}

// liveLoad creates objects with that prefix, and waits until their copies are there, in so many new namespaces.
func (b *bench) liveLoad(ctx context.Context, t *tenant, what, prefix string, newNamespaces int, prepare func(*unstructured.Unstructured)) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	seen, err := watchFor(watching, b.down.Resource(configMaps), t.copies(), func(u *unstructured.Unstructured) string {
		if !strings.HasPrefix(u.GetName(), prefix) {
			return ""
		}
		return u.GetName()
	})
	if err != nil {
		return err
	}
	before, err := b.syncer.awaitQuiet(ctx)
	if err != nil {
		return err
	}
	made, err := load{resource: configMaps, count: b.live, workers: 16, object: func(i int) (dynamic.Interface, *unstructured.Unstructured) {
		u := configMap(namespace, fmt.Sprintf("%s%d", prefix, i))
		t.assigned(u)
		prepare(u)
		return t.workspaces[i%len(t.workspaces)].objects, u
	}}.create(ctx)
	if err != nil {
		return err
	}
	ended := time.Now()
	if err := seen.await(ctx, b.live); err != nil {
		return err
	}
	_, last := seen.span()
	used, err := b.syncer.awaitQuiet(ctx)
	if err != nil {
		return err
	}
	lags := seen.lags(made)
	b.add(fmt.Sprintf("%s: creates into kcp beside the syncer, 16 workers, %d over %d workspaces", what, b.live, b.workspaces), made.perSecond(), "per second")
	b.add(what+": lag from acknowledged upstream to seen downstream: p50", quantile(lags, .5), "ms")
	b.judge(what+": lag from acknowledged upstream to seen downstream: p99", quantile(lags, .99), "ms", atMost(1000))
	b.judge(what+": from the last creation until all copies are there", max(0, last.Sub(ended).Seconds()), "s", atMost(1))
	b.judge(what+": writes downstream per object", (used.downWrites()-before.downWrites()-float64(newNamespaces))/float64(b.live), "", counted(atMost(1)))
	b.judge(what+": writes upstream per object", (used.upWrites-before.upWrites)/float64(b.live), "", counted(atMost(1)))
	b.add(what+": CPU of the syncer per object", (used.cpu-before.cpu)/float64(b.live)*1000, "ms")
	return nil
}

// virtualWorkspace is the URL at which the kubernetes APIExport shows the objects of all workspaces that are bound to it.
func (b *bench) virtualWorkspace(ctx context.Context) (address string, err error) {
	exporter, err := unlimited(b.kcp.WorkspaceConfig(provider))
	if err != nil {
		return "", err
	}
	err = env.Poll(ctx, func(ctx context.Context) error {
		slice, err := exporter.Resource(endpointSlices).Get(ctx, config.KubernetesExport, metav1.GetOptions{})
		if err != nil {
			return err
		}
		endpoints, _, _ := unstructured.NestedSlice(slice.Object, "status", "endpoints")
		if len(endpoints) == 0 {
			return fmt.Errorf("the APIExport has no virtual workspace yet")
		}
		address, _ = endpoints[0].(map[string]any)["url"].(string)
		return nil
	})
	return address, err
}

// measureStorm changes the status of many Deployments many times within ten seconds, or as fast as the cluster takes it.
func (b *bench) measureStorm(ctx context.Context) error {
	t, err := b.newTenant(ctx, "storm", 1)
	if err != nil {
		return err
	}
	if err := b.fill(ctx, t, deployments, b.storm); err != nil {
		return err
	}
	s, err := b.startSyncer(ctx, t)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	home, err := watchFor(watching, t.home().Resource(deployments), "", func(u *unstructured.Unstructured) string { return b.stormOf(u) })
	if err != nil {
		return err
	}
	copies, err := watchFor(watching, b.down.Resource(deployments), t.copies(), name)
	if err != nil {
		return err
	}
	if err := copies.await(ctx, b.storm); err != nil {
		return err
	}
	before, err := s.awaitQuiet(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	last, err := b.changeStatuses(ctx, t)
	if err != nil {
		return err
	}
	if err := home.await(ctx, b.storm); err != nil {
		return err
	}
	_, arrived := home.span()
	after, err := s.awaitQuiet(ctx)
	if err != nil {
		return err
	}
	writes := (after.statusWrites - before.statusWrites) / float64(b.storm)
	windows := arrived.Sub(start).Seconds() / statusWindow.Seconds()
	b.add(fmt.Sprintf("%d statuses changed %d times each, in", b.storm, b.changes), last.Sub(start).Seconds(), "s")
	b.judge("status writes upstream per object", writes, "", counted(atMost(float64(b.changes))))
	b.judge("status writes upstream per object and window", writes/windows, "", counted(atMost(2)))
	b.add("lag of the last status", max(0, arrived.Sub(last).Seconds()), "s")
	b.add("CPU per change", (after.cpu-before.cpu)/float64(b.storm*b.changes)*1000, "ms")
	return s.stop(ctx)
}

// statusWindow is the default of --status-window.
const statusWindow = 500 * time.Millisecond

// changeStatuses writes a condition that no controller of the cluster knows, and leaves the others alone. It says when the
// last change was acknowledged.
func (b *bench) changeStatuses(ctx context.Context, t *tenant) (time.Time, error) {
	copies := b.down.Resource(deployments).Namespace(t.downNamespace(t.workspaces[0]))
	var writing errgroup.Group
	writing.SetLimit(32)
	rate := time.NewTicker(10 * time.Second / time.Duration(b.storm*b.changes))
	defer rate.Stop()
	for change := range b.changes {
		patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":%q,"status":"True","reason":"Change%d","message":""}]}}`, stormCondition, change+1)
		for i := range b.storm {
			<-rate.C
			writing.Go(func() error {
				_, err := copies.Patch(ctx, fmt.Sprintf("object-%d", i), types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
				return err
			})
		}
	}
	err := writing.Wait()
	return time.Now(), err
}

const stormCondition = "Storm"

// stormOf marks Deployments that show the last change.
func (b *bench) stormOf(u *unstructured.Unstructured) string {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if condition["type"] == stormCondition && condition["reason"] == fmt.Sprintf("Change%d", b.changes) {
			return u.GetName()
		}
	}
	return ""
}
