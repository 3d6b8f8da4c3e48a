package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

// point is what so many objects over so many workspaces cost.
type point struct {
	Scenario   string `json:"scenario"`
	Objects    int    `json:"objects"`
	Workspaces int    `json:"workspaces"`
	// Copies per second while those that are new since the last point were made, and CPU for each.
	CopiesPerSecond float64 `json:"copiesPerSecond"`
	CPUPerCopy      float64 `json:"cpuPerCopyMilliseconds"`
	// Of a restart with all in place.
	ReadySeconds float64 `json:"readySeconds"`
	RestartCPU   float64 `json:"restartCPUSeconds"`
	LiveHeap     float64 `json:"liveHeapMiB"`
	Resident     float64 `json:"residentMiB"`
	MostResident float64 `json:"mostResidentMiB"`
}

// measureMemory takes the memory at one number of objects after the other.
func (b *bench) measureMemory(ctx context.Context) error {
	t, err := b.newLightTenant(ctx, "memory", 10)
	if err != nil {
		return err
	}
	empty, err := b.measureAt(ctx, t, 0)
	if err != nil {
		return err
	}
	b.add("live heap with nothing to sync", empty.LiveHeap, "MiB")
	for _, objects := range b.memory {
		p, err := b.measureAt(ctx, t, objects)
		if err != nil {
			return err
		}
		b.points = append(b.points, p)
		if err := b.writeHeap(ctx, b.syncer, fmt.Sprintf("memory-%d", objects)); err != nil {
			return err
		}
		up, down, err := b.jsonSize(ctx, t)
		if err != nil {
			return err
		}
		bytes := (p.LiveHeap - empty.LiveHeap) * (1 << 20) / float64(objects)
		of := fmt.Sprintf("%d objects of %d bytes of JSON upstream and %d downstream: ", objects, up, down)
		b.judge(of+"live heap per object against its JSON on both sides", bytes/float64(up+down), "times", atMost(3))
		b.add(of+"live heap", p.LiveHeap, "MiB")
		if objects == 10000 {
			b.judge(of+"resident memory", p.Resident, "MiB", atMost(100))
		} else {
			b.add(of+"resident memory", p.Resident, "MiB")
		}
		b.add(of+"most resident memory during a restart", p.MostResident, "MiB")
	}
	if err := b.measureForeign(ctx); err != nil {
		return err
	}
	return b.syncer.stop(ctx)
}

// measureForeign has others fill the cluster while the syncer runs.
func (b *bench) measureForeign(ctx context.Context) error {
	before, err := b.syncer.liveHeap(ctx)
	if err != nil {
		return err
	}
	if err := createNamespace(ctx, b.down, "foreign"); err != nil {
		return err
	}
	if _, err := (load{resource: configMaps, count: b.foreign, workers: 32, object: func(i int) (dynamic.Interface, *unstructured.Unstructured) {
		return b.down, configMap("foreign", fmt.Sprintf("foreign-%d", i))
	}}).create(ctx); err != nil {
		return err
	}
	after, err := b.syncer.liveHeap(ctx)
	b.judge(fmt.Sprintf("live heap more with %d foreign objects in the cluster", b.foreign), max(0, after-before)/(1<<20), "MiB", counted(atMost(5)))
	return err
}

// measureGrowth spreads the same objects over more and more workspaces.
func (b *bench) measureGrowth(ctx context.Context) error {
	for _, workspaces := range b.growthWorkspaces {
		t, err := b.newLightTenant(ctx, fmt.Sprintf("growth-%d", workspaces), workspaces)
		if err != nil {
			return err
		}
		p, err := b.measureAt(ctx, t, b.growthObjects)
		if err != nil {
			return err
		}
		b.points = append(b.points, p)
		of := fmt.Sprintf("%d objects over %d workspaces: ", b.growthObjects, workspaces)
		b.add(of+"copies", p.CopiesPerSecond, "per second")
		b.add(of+"CPU per copy", p.CPUPerCopy, "ms")
		b.add(of+"restart until ready", p.ReadySeconds, "s")
		b.add(of+"live heap", p.LiveHeap, "MiB")
		if err := b.syncer.stop(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measureAt fills the upstream while no syncer runs, starts one, and restarts it when all copies are there. It leaves it
// running.
func (b *bench) measureAt(ctx context.Context, t *lightTenant, objects int) (point, error) {
	p := point{Scenario: b.scenario, Objects: objects, Workspaces: t.spread}
	if b.syncer != nil {
		if err := b.syncer.stop(ctx); err != nil {
			return p, err
		}
	}
	had := t.filled
	if err := t.fillTo(ctx, objects); err != nil {
		return p, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	seen, err := watchNames(watching, b.cluster.AdminConfig(), configMaps, t.copies())
	if err != nil {
		return p, err
	}
	if err := seen.await(ctx, had); err != nil {
		return p, err
	}
	s, err := b.startSyncerAt(ctx, t.light.trusting(b.kcp.AdminConfig()), t.tenant)
	if err != nil {
		return p, err
	}
	if err := seen.await(ctx, objects); err != nil {
		return p, err
	}
	if _, last := seen.span(); objects > had {
		p.CopiesPerSecond = float64(objects-had) / last.Sub(s.began).Seconds()
		p.CPUPerCopy = s.cpuSeconds() / float64(objects-had) * 1000
	}
	if _, err := s.awaitReady(ctx); err != nil {
		return p, err
	}
	if _, err := s.awaitQuiet(ctx); err != nil {
		return p, err
	}
	err = b.restartAt(ctx, s, &p)
	return p, err
}

func (b *bench) restartAt(ctx context.Context, s *syncer, p *point) error {
	if err := s.restart(ctx); err != nil {
		return err
	}
	ready, err := s.awaitReady(ctx)
	if err != nil {
		return err
	}
	if err := s.awaitSynced(ctx, p.Objects); err != nil {
		return err
	}
	used, err := s.awaitQuiet(ctx)
	if err != nil {
		return err
	}
	heap, err := s.liveHeap(ctx)
	p.ReadySeconds, p.RestartCPU = ready.Seconds(), used.cpu
	p.LiveHeap, p.Resident, p.MostResident = heap/(1<<20), s.status("VmRSS"), s.status("VmHWM")
	return err
}
