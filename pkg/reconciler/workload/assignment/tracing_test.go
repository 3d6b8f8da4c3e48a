package assignment

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func TestWhatAChangeCarries(t *testing.T) {
	const trace = workloadv1alpha1.TraceAnnotation
	state, leaving := workloadv1alpha1.StateLabel("a"), workloadv1alpha1.DeletionAnnotation("a")
	of := func(labels, annotations map[string]string) *object {
		return &object{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations}}
	}
	type names = map[string]string
	for _, tc := range []struct {
		what   string
		change fleet.Change[*object]
		want   string
	}{
		{"a new object carries the trace of its creation", fleet.Change[*object]{Object: of(nil, names{trace: "t"})}, "t"},
		{"unless it was assigned with it", fleet.Change[*object]{Object: of(names{state: "Sync"}, names{trace: "t"})}, ""},
		{"a change of what is assigned does too", fleet.Change[*object]{Before: of(names{state: "Sync"}, nil), Object: of(names{state: "Sync"}, names{trace: "t"})}, "t"},
		{"another one begins another trace", fleet.Change[*object]{Before: of(nil, names{trace: "t"}), Object: of(nil, names{trace: "u"})}, "u"},
		{"one that stays is used", fleet.Change[*object]{Before: of(nil, names{trace: "t"}), Object: of(nil, names{trace: "t"})}, ""},
		{"so is one that comes with the assignment", fleet.Change[*object]{Before: of(nil, nil), Object: of(names{state: "Sync"}, names{trace: "t"})}, ""},
		{"or with the wish that it leaves", fleet.Change[*object]{Before: of(names{state: "Sync"}, nil), Object: of(names{state: "Sync"}, names{trace: "t", leaving: "now"})}, ""},
		{"what was there at the start is no change", fleet.Change[*object]{Object: of(nil, names{trace: "t"}), Priority: tmc.PriorityBacklog}, ""},
		{"nor is what goes", fleet.Change[*object]{Object: of(nil, names{trace: "t"}), Deleted: true}, ""},
	} {
		if got := carriedBy(tc.change); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.what, got, tc.want)
		}
	}
}
