package syncer

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// longestStart is after how long a start that does not come to rest counts as over: something may hold up a type for ever.
const longestStart = 10 * time.Minute

// giveBack returns to the system what a start took of memory beyond what it keeps, once everything has been looked at, and later
// what gathers while little happens. The runtime would let it grow by half, and take many minutes to return it.
func (e *Engine) giveBack(ctx context.Context) {
	_ = wait.PollUntilContextTimeout(ctx, time.Second, longestStart, false, func(context.Context) (bool, error) { return e.rests(), nil })
	for ctx.Err() == nil {
		debug.FreeOSMemory()
		_ = wait.PollUntilContextCancel(ctx, tidyPeriod, false, func(context.Context) (bool, error) { return e.rests() && untidy(memoryInUse()), nil })
	}
}

// tidyPeriod is how often memory is given back while all is at rest. It costs a garbage collection.
const tidyPeriod = time.Minute

// untidy: the heap holds so much more than what was alive at the last collection that giving it back is worth one.
func untidy(held, alive uint64) bool { return held > alive+max(alive/5, 8<<20) }

// memoryInUse is what the heap takes of the system's memory, and what of it was alive at the last garbage collection.
func memoryInUse() (held, alive uint64) {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64(), samples[2].Value.Uint64()
}

// rests reports whether all types are synced, and nothing waits to be worked on.
func (e *Engine) rests() bool {
	return e.discovered() == nil && !slices.ContainsFunc(e.controllers(), func(c *ResourceController) bool { return !c.synced() || c.waiting() > 0 })
}
