package placement

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
)

// TestLedger follows two Placements that want the same room.
func TestLedger(t *testing.T) {
	one, two := fleet.Key{Cluster: "2a", Name: "one"}, fleet.Key{Cluster: "2b", Name: "two"}
	on := func(cpu string, keys ...string) claim {
		return claim{keys: keys, requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}
	}
	l := newLedger()
	check := func(name string, asks fleet.Key, target, want string) {
		t.Helper()
		got := l.requested(asks, []string{target})[target][corev1.ResourceCPU]
		if got.Cmp(resource.MustParse(want)) != 0 {
			t.Errorf("%s: others request %s of %s, want %s", name, got.String(), target, want)
		}
	}
	freed := func(name string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: room became free is %t, want %t", name, got, want)
		}
	}

	check("at first", one, "x", "0")
	freed("a claim", l.assume(one, on("3", "x")), false)
	check("a decision counts at once", two, "x", "3")
	check("but not against itself", one, "x", "0")
	freed("an old state", l.see(one, claim{}), false)
	check("what the cache shows late does not undo it", two, "x", "3")
	freed("the new state", l.see(one, on("3", "x")), false)
	freed("another", l.see(two, on("2", "x", "y")), false)
	check("others are added up", fleet.Key{}, "x", "5")
	check("on each target", fleet.Key{}, "y", "2")
	freed("more is asked for", l.see(two, on("4", "x", "y")), false)
	check("and counts", one, "x", "4")
	freed("less is asked for", l.see(two, on("1", "x", "y")), true)
	freed("a move", l.assume(two, on("1", "z")), true)
	check("frees the old target", one, "x", "0")
	freed("it could not be written", l.drop(two), true)
	check("so it is there still", one, "x", "1")
	freed("it is gone", l.forget(two), true)
	freed("so is the other", l.forget(one), true)
	check("in the end", fleet.Key{}, "x", "0")
	if len(l.entries) > 0 || len(l.totals) > 0 {
		t.Errorf("something is kept: %v %v", l.entries, l.totals)
	}
}
