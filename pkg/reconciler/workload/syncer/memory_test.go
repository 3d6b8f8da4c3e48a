package syncer

import "testing"

func TestUntidy(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		name        string
		held, alive uint64
		want        bool
	}{
		{"right after a collection", 50 * mib, 50 * mib, false},
		{"a little is not worth another one", 57 * mib, 50 * mib, false},
		{"a fifth is", 61 * mib, 50 * mib, true},
		{"for a small heap that is still little", 17 * mib, 10 * mib, false},
		{"but not for ever", 19 * mib, 10 * mib, true},
		{"for a large one a fifth is more", 590 * mib, 500 * mib, false},
	} {
		if got := untidy(tc.held, tc.alive); got != tc.want {
			t.Errorf("%s: %t", tc.name, got)
		}
	}
}

// The names of the runtime's metrics are text: a wrong one would read as zero or panic.
func TestMemoryInUse(t *testing.T) {
	if held, alive := memoryInUse(); held == 0 || held < alive/2 {
		t.Errorf("held %d, alive %d", held, alive)
	}
}
