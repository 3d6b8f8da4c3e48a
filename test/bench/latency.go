package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// measureLatency takes the way of one object at a time in both directions, at idle and with many objects in place.
func (b *bench) measureLatency(ctx context.Context) error {
	trivial, err := b.trivialLoop(ctx)
	if err != nil {
		return err
	}
	t, err := b.newTenant(ctx, "latency", 1)
	if err != nil {
		return err
	}
	s, err := b.startSyncer(ctx, t)
	if err != nil {
		return err
	}
	if _, err := s.awaitReady(ctx); err != nil {
		return err
	}
	down, up, err := b.bothWays(ctx, t, "at idle")
	if err != nil {
		return err
	}
	b.judge("down, p50 against the trivial loop", quantile(down, .5)/trivial, "times", atMost(2))
	b.judge("down, p99", quantile(down, .99), "ms", atMost(25))
	b.judge("home, p50", quantile(up, .5), "ms", atMost(15))
	if err := s.stop(ctx); err != nil {
		return err
	}

	if t, _, err = b.inPlace(ctx); err != nil {
		return err
	}
	under := fmt.Sprintf("with %d objects in place", b.objects)
	loadedDown, loadedUp, err := b.bothWays(ctx, t, under)
	if err != nil {
		return err
	}
	b.judge("down, p50 "+under+" against idle", quantile(loadedDown, .5)/quantile(down, .5), "times", atMost(1.5))
	b.judge("home, p50 "+under+" against idle", quantile(loadedUp, .5)/quantile(up, .5), "times", atMost(1.5))
	return nil
}

// bothWays takes the latency down of creations and home of statuses.
func (b *bench) bothWays(ctx context.Context, t *tenant, when string) (down, up []float64, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	seen, err := watchFor(ctx, b.down.Resource(configMaps), t.copies(), name)
	if err != nil {
		return nil, nil, err
	}
	if _, err := b.oneByOne(ctx, t, seen, "warm"); err != nil { // makes the namespace too
		return nil, nil, err
	}
	if _, err := b.syncer.awaitQuiet(ctx); err != nil {
		return nil, nil, err
	}
	if down, err = b.oneByOne(ctx, t, seen, "single"); err != nil {
		return nil, nil, err
	}
	b.addLatency("creation, acknowledged upstream to seen downstream, "+when, down)
	up, err = b.statusHome(ctx, t)
	b.addLatency("status, acknowledged downstream to seen upstream, "+when, up)
	return down, up, err
}

// oneByOne creates ConfigMaps upstream, each after the one before was seen downstream, and gives the milliseconds from
// the acknowledgement to the sight.
func (b *bench) oneByOne(ctx context.Context, t *tenant, seen *sightings, prefix string) (took []float64, err error) {
	for i := range b.singles {
		u := configMap(namespace, fmt.Sprintf("%s-%d", prefix, i))
		if _, err := t.home().Resource(configMaps).Namespace(namespace).Create(ctx, u, metav1.CreateOptions{}); err != nil {
			return took, err
		}
		acknowledged := time.Now()
		at, err := seen.awaitMark(ctx, u.GetName())
		if err != nil {
			return took, err
		}
		took = append(took, max(0, milliseconds(at.Sub(acknowledged))))
	}
	return took, nil
}

// statusHome changes the status of the copies of as many Ingresses, one after the other, so that the window in which
// changes of one object are taken together plays no role.
func (b *bench) statusHome(ctx context.Context, t *tenant) (took []float64, err error) {
	downNamespace := t.downNamespace(t.workspaces[0])
	copies, err := watchFor(ctx, b.down.Resource(ingresses), t.copies(), name)
	if err != nil {
		return nil, err
	}
	home, err := watchFor(ctx, t.home().Resource(ingresses).Namespace(namespace), "", addressOf)
	if err != nil {
		return nil, err
	}
	for i := range b.singles {
		of := fmt.Sprintf("status-%d", i)
		if _, err := t.home().Resource(ingresses).Namespace(namespace).Create(ctx, ingress(namespace, of), metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	if err := copies.await(ctx, b.singles); err != nil {
		return nil, err
	}
	if _, err := b.syncer.awaitQuiet(ctx); err != nil {
		return nil, err
	}
	for i := range b.singles {
		ip := fmt.Sprintf("10.0.%d.%d", i/250, i%250+1)
		patch := fmt.Appendf(nil, `{"status":{"loadBalancer":{"ingress":[{"ip":%q}]}}}`, ip)
		if _, err := b.down.Resource(ingresses).Namespace(downNamespace).Patch(ctx, fmt.Sprintf("status-%d", i), types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			return nil, err
		}
		acknowledged := time.Now()
		at, err := home.awaitMark(ctx, ip)
		if err != nil {
			return nil, err
		}
		took = append(took, max(0, milliseconds(at.Sub(acknowledged))))
	}
	return took, nil
}

// addressOf marks Ingresses by the address in their status.
func addressOf(u *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "loadBalancer", "ingress")
	if len(list) == 0 {
		return ""
	}
	address, _ := list[0].(map[string]any)
	ip, _ := address["ip"].(string)
	return ip
}
