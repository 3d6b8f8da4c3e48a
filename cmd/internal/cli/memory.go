package cli

import (
	"context"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"k8s.io/klog/v2"
)

// spareHeap is how much the heap may grow between two collections, in percent of what is alive. What is alive here is mostly
// text, which costs a collection nothing, so collecting twice as often as usual is cheaper than the memory. GOGC in the
// environment goes first.
const spareHeap = 50

func spareMemory(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(spareHeap)
	}
	limitMemory(ctx, memlimit.FromCgroup)
}

// limitMemory has the garbage collector work harder as the process comes near the limit of its container, which is a
// tenth more than what it aims at. Otherwise the heap may grow to twice what is alive, and a start with many objects be
// killed although they fit. GOMEMLIMIT in the environment goes first.
func limitMemory(ctx context.Context, of memlimit.Provider) {
	logger := klog.FromContext(ctx)
	limit, err := memlimit.Set(memlimit.WithProvider(of))
	switch {
	case err != nil:
		logger.V(2).Info("The memory limit of the container is not known", "why", err.Error())
	case limit != math.MaxInt64:
		logger.Info("Keeping the memory below the limit", "bytes", limit)
	}
}
