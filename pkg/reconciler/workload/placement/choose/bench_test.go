package choose

import (
	"fmt"
	"strconv"
	"testing"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// BenchmarkDecide tells what a decision costs in a fleet of 200 targets: for a new Placement, for one that is where it
// shall be, and for one that is spread over ten of them.
func BenchmarkDecide(b *testing.B) {
	var targets []Target
	for i := range 200 {
		targets = append(targets, target(fmt.Sprintf("t%03d", i), label("disk", "ssd"), cell("zone", strconv.Itoa(i%5))))
	}
	fresh := newWorld(targets...).asks(needs("1"), prefers(10, "zone", "1"))
	for name, o := range map[string]*Observed{
		"new":    fresh,
		"placed": newWorld(targets...).on("t007"),
		"spread": newWorld(targets...).asks(many(schedulingv1alpha1.Spread, 10), spreadOver("zone", 1, schedulingv1alpha1.DoNotSchedule)),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Decide(*o)
			}
		})
	}
}
