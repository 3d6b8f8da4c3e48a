package decide

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func TestWrite(t *testing.T) {
	drifted := func(corrections int, sinceLast time.Duration) Copy {
		return Copy{
			Exists: true, AppliedHash: "h", DesiredHash: "h", DriftedField: "spec.replicas",
			Corrections: corrections, LastCorrection: noon.Add(-sinceLast), Now: noon,
		}
	}
	held := func(corrections int, sinceLast, gap time.Duration) Copy {
		c := drifted(corrections, sinceLast)
		c.DriftedField, c.CorrectionGap = "", gap
		return c
	}
	for _, tc := range []struct {
		name string
		in   Copy
		want WriteDecision
	}{
		{"a missing copy is created", Copy{DesiredHash: "h"}, WriteDecision{Do: Create, Why: "no copy exists"}},
		{
			"but not twice, while the first is on its way to the cache",
			Copy{Unseen: true},
			WriteDecision{Do: Postpone, Why: "our last write is yet to be seen", After: time.Second},
		},
		{
			"what has run to its end does not run again because its copy was cleaned up",
			Copy{DesiredHash: "h", Finished: true},
			WriteDecision{Do: Keep, Why: "it has run to its end, and its copy was cleaned up"},
		},
		{
			"a cache that is behind our own write is no reason to write again",
			Copy{Exists: true, Stale: true, AppliedHash: "old", DesiredHash: "new"},
			WriteDecision{Do: Postpone, Why: "our last write is yet to be seen", After: time.Second},
		},
		{
			"what is as remembered is kept without a comparison",
			Copy{Exists: true, AsRemembered: true, AppliedHash: "h", DesiredHash: "h", DriftedField: "never asked"},
			WriteDecision{Do: Keep, Why: "unchanged since the last write"},
		},
		{
			"after a restart, the hash and the owned fields tell that nothing is to be done",
			Copy{Exists: true, AppliedHash: "h", DesiredHash: "h"},
			WriteDecision{Do: Keep, Why: "every owned field holds"},
		},
		{
			"a change upstream is written",
			Copy{Exists: true, AppliedHash: "old", DesiredHash: "new"},
			WriteDecision{Do: Update, Why: "the desired state changed"},
		},
		{"a change downstream is corrected at once", drifted(0, time.Hour), WriteDecision{Do: Correct, Why: "field spec.replicas was changed downstream"}},
		{"several times over", drifted(3, time.Second), WriteDecision{Do: Correct, Why: "field spec.replicas was changed downstream"}},
		{
			"a fight is slowed down",
			drifted(4, 100*time.Millisecond),
			WriteDecision{Do: Postpone, Why: "field spec.replicas was changed downstream again and again", After: 900 * time.Millisecond, Fight: true},
		},
		{
			"more and more",
			drifted(8, time.Second),
			WriteDecision{Do: Postpone, Why: "field spec.replicas was changed downstream again and again", After: 15 * time.Second, Fight: true},
		},
		{
			"but never given up",
			drifted(1000, 6*time.Minute),
			WriteDecision{Do: Correct, Why: "field spec.replicas was changed downstream again and again", Fight: true},
		},
		{"and forgotten after a quiet time", drifted(1000, 11*time.Minute), WriteDecision{Do: Correct, Why: "field spec.replicas was changed downstream"}},
		{
			"a change upstream is written in the middle of a fight",
			func() Copy { c := drifted(8, 0); c.DesiredHash = "new"; return c }(),
			WriteDecision{Do: Update, Why: "the desired state changed", Fight: true},
		},
		{
			"a fight is not over when the copy was just corrected",
			held(4, time.Second, 0),
			WriteDecision{Do: Keep, Why: "every owned field holds", After: 9 * time.Second, Fight: true},
		},
		{
			"nor while the pause lasts that the other writer makes",
			held(4, 40*time.Second, time.Minute),
			WriteDecision{Do: Keep, Why: "every owned field holds", After: 80 * time.Second, Fight: true},
		},
		{"but when the copy has held for longer", held(4, 121*time.Second, time.Minute), WriteDecision{Do: Keep, Why: "every owned field holds"}},
		{"single corrections are no fight", held(3, time.Second, time.Second), WriteDecision{Do: Keep, Why: "every owned field holds"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Write(tc.in)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestResolveConflict(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   Conflict
		want ConflictVerb
	}{
		{"our own copy is no conflict, whatever the policy", Conflict{Policy: workloadv1alpha1.ConflictFail, Ours: true, DifferingField: "spec"}, Retry},
		{"by default a stranger's object is left alone", Conflict{Policy: workloadv1alpha1.ConflictFail}, Refuse},
		{"an unknown policy is the default", Conflict{Policy: "Whatever"}, Refuse},
		{"IfNoDiff adopts what would not change", Conflict{Policy: workloadv1alpha1.ConflictIfNoDiff}, Adopt},
		{"IfNoDiff leaves alone what would", Conflict{Policy: workloadv1alpha1.ConflictIfNoDiff, DifferingField: "data.a"}, Refuse},
		{"Force adopts", Conflict{Policy: workloadv1alpha1.ConflictForce, DifferingField: "data.a"}, Adopt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, why := ResolveConflict(tc.in); got != tc.want || why == "" {
				t.Errorf("got %s because %q, want %s", got, why, tc.want)
			}
		})
	}
}
