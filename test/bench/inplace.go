package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// measureDrain starts a syncer that finds everything still to be done, first with ConfigMaps, then with Deployments.
func (b *bench) measureDrain(ctx context.Context) error {
	t, err := b.drain(ctx, "drain", configMaps, b.objects)
	if err != nil {
		return err
	}
	b.full = t
	if err := b.syncer.stop(ctx); err != nil {
		return err
	}
	if _, err := b.drain(ctx, "drain-deployments", deployments, b.deployments); err != nil {
		return err
	}
	return b.syncer.stop(ctx)
}

// drain leaves the tenant in place and its syncer running.
func (b *bench) drain(ctx context.Context, tenantName string, resource schema.GroupVersionResource, count int) (*tenant, error) {
	raw, err := b.rateOf(ctx, resource, count)
	if err != nil {
		return nil, err
	}
	t, err := b.newTenant(ctx, tenantName, 1)
	if err != nil {
		return nil, err
	}
	if err := b.fill(ctx, t, resource, count); err != nil {
		return nil, err
	}
	copies, others := countIn(b.down, resource, t.downNamespace(t.workspaces[0])), 0
	if resource == configMaps {
		others = 1 // kube-root-ca.crt
	}
	before := cpuUsage()
	s, err := b.startSyncer(ctx, t)
	if err != nil {
		return nil, err
	}
	endServerProfile, err := b.startServerProfile(ctx, "drain-"+resource.Resource)
	if err != nil {
		return nil, err
	}
	endProfile := b.startProfile(ctx, s, "drain-"+resource.Resource)
	if err := copies.await(ctx, count+others); err != nil {
		return nil, err
	}
	cpu, all := s.cpuSeconds(), cpuUsage().since(before)
	if err := errors.Join(endProfile(), endServerProfile()); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d %s", count, resource.Resource)
	rate := copies.perSecond(count + others)
	b.add(what+": from the start of the process until the first copy", copies.first.Sub(s.began).Seconds(), "s")
	b.add(what+": copies", rate, "per second")
	b.judge(what+": copies against raw creates with 32 workers", rate/raw, "times", atLeast(.8))
	b.addUsage(what, all, count, copies.last.Sub(s.began))
	if rest := all.total() - cpu; rest > 0 {
		b.add(what+": what a syncer that costs no CPU could reach, if CPU is all used", b.rawCPU[resource.Resource]*float64(count)/rest, "times")
	}
	if err := s.awaitSynced(ctx, count); err != nil { // what the cluster's controllers say comes later
		return nil, err
	}
	used, err := s.awaitQuiet(ctx)
	if err != nil {
		return nil, err
	}
	if resource == configMaps {
		// Namespaces are counted too: there is one.
		b.judge(what+": writes downstream per object", (used.downWrites()-1)/float64(count), "", counted(atMost(1)))
	} else {
		b.add(what+": writes downstream per object", (used.downWrites()-1)/float64(count), "")
	}
	b.judge(what+": writes upstream per object", used.upWrites/float64(count), "", atMost(1))
	return t, nil
}

// fill creates objects upstream that look as if a syncer had claimed them already.
func (b *bench) fill(ctx context.Context, t *tenant, resource schema.GroupVersionResource, count int) error {
	of := objectOf(resource)
	made, err := load{resource: resource, count: count, workers: 16, object: func(i int) (dynamic.Interface, *unstructured.Unstructured) {
		u := of(namespace, fmt.Sprintf("object-%d", i))
		t.claimed(u)
		return t.home(), u
	}}.create(ctx)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("%d %s: creates into kcp, 16 workers", count, resource.Resource), made.perSecond(), "per second")
	return nil
}

// inPlace gives a tenant with many objects in place and its syncer at rest.
func (b *bench) inPlace(ctx context.Context) (*tenant, *syncer, error) {
	if b.full == nil {
		t, err := b.drain(ctx, "drain", configMaps, b.objects)
		if err != nil {
			return nil, nil, err
		}
		b.full = t
		_, err = b.syncer.awaitQuiet(ctx)
		return t, b.syncer, err
	}
	if err := b.syncer.stop(ctx); err != nil {
		return nil, nil, err
	}
	s, err := b.startSyncer(ctx, b.full)
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.awaitReady(ctx); err != nil {
		return nil, nil, err
	}
	_, err = s.awaitQuiet(ctx)
	return b.full, s, err
}

// measureRestart ends a syncer and starts it anew with everything in place, and edits an object as soon as it runs.
func (b *bench) measureRestart(ctx context.Context) error {
	t, s, err := b.inPlace(ctx)
	if err != nil {
		return err
	}
	plain, err := b.listBothSides(ctx, t)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("listing %d objects plainly on both sides at the same time", b.objects), plain.Seconds(), "s")
	watching, stop := context.WithCancel(ctx)
	defer stop()
	seen, err := watchFor(watching, b.down.Resource(configMaps), t.copies(), editOf)
	if err != nil {
		return err
	}
	if err := s.restart(ctx); err != nil {
		return err
	}
	if err := s.awaitServing(ctx); err != nil {
		return err
	}
	endProfile := b.startProfile(ctx, s, "restart")
	edited, err := b.edit(ctx, t, "made-during-the-restart")
	if err != nil {
		return err
	}
	ready, err := s.awaitReady(ctx)
	if err != nil {
		return err
	}
	cpu := s.cpuSeconds()
	at, err := seen.awaitMark(ctx, "made-during-the-restart")
	if err != nil {
		return err
	}
	used, err := s.awaitQuiet(ctx)
	if err != nil {
		return err
	}
	if err := endProfile(); err != nil {
		return err
	}
	b.add("from the start of the process until ready", ready.Seconds(), "s")
	b.judge("until ready, against plainly listing", ready.Seconds()/plain.Seconds(), "times", atMost(1.5))
	b.add("CPU until ready", cpu, "s")
	b.add("CPU until all was looked at", used.cpu, "s")
	b.judge("writes about objects other than the edited one, both sides", used.downWrites()+used.upWrites-editWrites, "", counted(atMost(0)))
	b.add("requests to the cluster, watches aside", used.cluster.total(), "")
	b.add("requests to kcp, watches aside", used.kcp.total(), "")
	b.judge("an edit made as soon as the process ran, until seen downstream", at.Sub(edited).Seconds(), "s", atMost(2))
	b.add("resident memory afterwards", s.status("VmRSS"), "MiB")
	b.add("most resident memory", s.status("VmHWM"), "MiB")
	return s.stop(ctx)
}

// editWrites is what the edit costs: the first update of a copy migrates its managed fields.
const editWrites = 2

// listBothSides is how long the objects take a bare client.
func (b *bench) listBothSides(ctx context.Context, t *tenant) (time.Duration, error) {
	var group errgroup.Group
	start := time.Now()
	group.Go(func() error {
		_, err := t.home().Resource(configMaps).List(ctx, metav1.ListOptions{})
		return err
	})
	group.Go(func() error {
		_, err := b.down.Resource(configMaps).List(ctx, metav1.ListOptions{LabelSelector: t.copies()})
		return err
	})
	err := group.Wait()
	return time.Since(start), err
}

// edit changes the last of the objects upstream and says when that was acknowledged.
func (b *bench) edit(ctx context.Context, t *tenant, value string) (time.Time, error) {
	patch := fmt.Appendf(nil, `{"data":{"edit":%q}}`, value)
	_, err := t.home().Resource(configMaps).Namespace(namespace).Patch(ctx, fmt.Sprintf("object-%d", b.objects-1), types.MergePatchType, patch, metav1.PatchOptions{})
	return time.Now(), err
}

// editOf marks ConfigMaps by the edit made to them.
func editOf(u *unstructured.Unstructured) string {
	value, _, _ := unstructured.NestedString(u.Object, "data", "edit")
	return value
}

// measureIdle looks at a syncer that has nothing to do.
func (b *bench) measureIdle(ctx context.Context) error {
	_, s, err := b.inPlace(ctx)
	if err != nil {
		return err
	}
	before, err := s.awaitIdle(ctx)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.idle):
	}
	after, err := s.sample(ctx)
	if err != nil {
		return err
	}
	minutes := after.at.Sub(before.at).Minutes()
	beats := after.heartbeats - before.heartbeats
	b.add("open watches", after.openWatches, "")
	b.add("heartbeats", beats/minutes, "per minute")
	b.judge("requests to kcp other than heartbeats and watches", (after.kcp.total()-before.kcp.total()-beats)/minutes, "per minute", counted(atMost(0)))
	b.judge("requests to the cluster other than watches", (after.cluster.total()-before.cluster.total())/minutes, "per minute", counted(atMost(0)))
	b.add("CPU", (after.cpu-before.cpu)/minutes*1000, "ms per minute")
	b.add("resident memory", s.status("VmRSS"), "MiB")
	heap, err := s.liveHeap(ctx)
	if err != nil {
		return err
	}
	b.add("live heap", heap/(1<<20), "MiB")
	return s.stop(ctx)
}
