package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// scenario is one thing that is measured. It makes its own tenant and stops its own syncer, so that any can run alone.
type scenario struct {
	letter, name string
	// about is how it is measured, for the documentation.
	about string
	run   func(*bench, context.Context) error
}

// scenarios in the order in which they run.
var scenarios = []scenario{
	{"a", "raw", "creates per second of a bare dynamic client, and the latency of a loop that watches kcp and does nothing but create the same in the cluster", (*bench).measureRaw},
	{"c", "drain", "objects that exist upstream, assigned and claimed, before the syncer starts, until all copies exist", (*bench).measureDrain},
	{"f", "restart", "a SIGTERM and a new process with everything in place, until /readyz says so; an edit is made as soon as the process runs", (*bench).measureRestart},
	{"h", "idle", "requests and CPU while nothing happens", (*bench).measureIdle},
	{"b", "latency", "one object at a time, from the acknowledgement of the write on one side to its watch event on the other", (*bench).measureLatency},
	{"d", "live", "objects created over many workspaces as fast as kcp takes them, from each acknowledgement until the copy is seen", (*bench).measureLive},
	{"e", "storm", "Deployments whose status changes again and again, until the last change is seen upstream", (*bench).measureStorm},
	{"g", "memory", "live heap after a garbage collection and resident memory; upstream is a kube-apiserver behind a proxy that takes /clusters/<name> off the path: it serves the same API, and its writes cost a fraction of kcp's", (*bench).measureMemory},
	{"v", "views", "the same requests through a target's virtual workspace and through the URL of the APIExport behind it, one after the other", (*bench).measureViews},
	{"m", "assignment", "the manager alone, with a target whose syncer is played: objects that are there before their namespaces are placed, then such as are created in placed namespaces, by patches and by the webhook; each until a watch shows the label", (*bench).measureAssignment},
	{"5", "growth", "the same objects over more and more workspaces, upstream as for memory", (*bench).measureGrowth},
}

// runScenarios goes on after one that failed: those after it do not depend on it.
func (b *bench) runScenarios(ctx context.Context) error {
	var failures []error
	for _, s := range scenarios {
		if len(b.only) > 0 && !slices.Contains(b.only, s.name) {
			continue
		}
		fmt.Fprintf(b.out, "\n== %s: %s\n", s.name, s.about)
		b.scenario = s.name
		if err := s.run(b, ctx); err != nil {
			failures = append(failures, fmt.Errorf("scenario %s: %w%s", s.name, err, b.lastWords()))
			fmt.Fprintf(b.out, "%s failed: %v\n", s.name, err)
			if b.syncer != nil {
				failures = append(failures, b.syncer.stop(ctx))
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failures...)
}
