package cli

import (
	"context"
	"errors"
	"math"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestLimitMemory(t *testing.T) {
	const unlimited = math.MaxInt64
	t.Cleanup(func() { debug.SetMemoryLimit(unlimited) })
	for _, tc := range []struct {
		name     string
		provider memlimit.Provider
		want     int64
	}{
		{"a tenth of the container's memory is left for what is no heap", func() (uint64, error) { return 1000 << 20, nil }, 900 << 20},
		{"without a limit there is none", func() (uint64, error) { return 0, memlimit.ErrNoLimit }, unlimited},
		{"what cannot be found out changes nothing", func() (uint64, error) { return 0, errors.New("no cgroups") }, unlimited},
	} {
		t.Run(tc.name, func(t *testing.T) {
			debug.SetMemoryLimit(unlimited)
			limitMemory(context.Background(), tc.provider)
			if got := debug.SetMemoryLimit(-1); got != tc.want {
				t.Errorf("the limit is %d, want %d", got, tc.want)
			}
		})
	}
}

func TestEnvironmentGoesFirst(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before); debug.SetMemoryLimit(math.MaxInt64) })
	t.Setenv("GOMEMLIMIT", "1GiB") // keeps the limit of this machine out of the test

	t.Setenv("GOGC", "70") // read by the runtime at the start, so it stands for what that has set
	spareMemory(context.Background())
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GOGC of the environment was replaced by %d", got)
	}
	t.Setenv("GOGC", "")
	spareMemory(context.Background())
	if got := debug.SetGCPercent(100); got != spareHeap {
		t.Errorf("the heap may grow by %d %%, want %d", got, spareHeap)
	}
}
