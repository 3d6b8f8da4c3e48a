package decide

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestPlanOf(t *testing.T) {
	leave := func(minutes int, urgent bool, why string) Leave {
		return Leave{Since: noon.Add(-time.Duration(minutes) * time.Minute), Urgent: urgent, Why: why}
	}
	none := map[string][]string{}
	for _, tc := range []struct {
		what   string
		placed []Placed
		want   Plan
	}{
		{"nothing selects the namespace", nil, Plan{Leaving: map[string]Leave{}, After: none}},
		{
			"what several Placements choose comes together, each once",
			[]Placed{{Key: "b"}, {Key: "a"}, {Key: "b"}},
			Plan{Wanted: []string{"a", "b"}, Leaving: map[string]Leave{}, After: none},
		},
		{
			"what one gives up and another wants is wanted",
			[]Placed{{Key: "a", Leaving: true, Leave: leave(1, true, "taint")}, {Key: "a"}},
			Plan{Wanted: []string{"a"}, Leaving: map[string]Leave{}, After: none},
		},
		{
			"of two who give a target up, the first and the more urgent count",
			[]Placed{{Key: "a", Leaving: true, Leave: leave(1, false, "cordon")}, {Key: "a", Leaving: true, Leave: leave(5, true, "taint")}, {Key: "a", Leaving: true, Leave: leave(2, false, "x")}},
			Plan{Leaving: map[string]Leave{"a": leave(5, true, "taint")}, After: none},
		},
		{
			"that a SyncTarget is gone is known as soon as one says so",
			[]Placed{{Key: "a", Leaving: true}, {Key: "a", Leaving: true, Leave: Leave{Urgent: true, Why: "gone", Gone: "uid"}}},
			Plan{Leaving: map[string]Leave{"a": {Urgent: true, Why: "gone", Gone: "uid"}}, After: none},
		},
		{
			"what must not run twice goes nowhere before it has left",
			[]Placed{{By: "p", Key: "a", Leaving: true, StopFirst: true}, {By: "p", Key: "b", StopFirst: true}, {By: "q", Key: "c", Leaving: true}},
			Plan{Wanted: []string{"b"}, Leaving: map[string]Leave{"a": {}, "c": {}}, After: map[string][]string{"b": {"a"}}},
		},
		{
			"unless another Placement wants it there without asking for that",
			[]Placed{{By: "p", Key: "a", Leaving: true, StopFirst: true}, {By: "p", Key: "b", StopFirst: true}, {By: "q", Key: "b"}},
			Plan{Wanted: []string{"b"}, Leaving: map[string]Leave{"a": {}}, After: none},
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			got := PlanOf(tc.placed)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !got.Equal(tc.want) {
				t.Error("not equal")
			}
		})
	}
	if (Plan{Wanted: []string{"a"}}).Equal(Plan{}) || (Plan{Leaving: map[string]Leave{"a": {}}}).Equal(Plan{Leaving: map[string]Leave{"b": {}}}) ||
		(Plan{Leaving: map[string]Leave{"a": {}}}).Equal(Plan{Leaving: map[string]Leave{"a": {Urgent: true}}}) {
		t.Error("different plans are equal")
	}
}

func TestMayLeave(t *testing.T) {
	web := func(change func(*Workload)) []Workload {
		w := Workload{Name: "web", On: []string{"old", "new"}, Ready: []string{"old"}}
		change(&w)
		return []Workload{w}
	}
	asIs := func(*Workload) {}
	for _, tc := range []struct {
		what string
		move Move
		want Verdict
	}{
		{
			"the old copy stays while the new one is not ready",
			Move{Leave: &Leave{}, Wanted: []string{"new"}, Workloads: web(asIs)},
			Verdict{Why: "web is not ready on new yet", After: 9 * time.Minute},
		},
		{
			"and goes when it is",
			Move{Leave: &Leave{}, Wanted: []string{"new"}, Workloads: web(func(w *Workload) { w.Ready = []string{"old", "new"} })},
			Verdict{Yes: true, Why: "everything is ready where it is to be"},
		},
		{
			"on all of them, if there are several",
			Move{Leave: &Leave{}, Wanted: []string{"new", "too"}, Workloads: web(func(w *Workload) { w.Ready = []string{"old", "new"} })},
			Verdict{Why: "web is not ready on too yet", After: 9 * time.Minute},
		},
		{
			"or when that takes too long",
			Move{Leave: &Leave{}, Since: noon.Add(-10 * time.Minute), Wanted: []string{"new"}, Workloads: web(asIs)},
			Verdict{Yes: true, Why: "waited for too long: web is not ready on new yet"},
		},
		{
			"unless the move is to be taken back then",
			Move{Leave: &Leave{RollsBack: true}, Since: noon.Add(-10 * time.Minute), Wanted: []string{"new"}, Workloads: web(asIs)},
			Verdict{Why: "web is not ready on new yet after 10m0s", Failed: TooLate, To: "new", After: askAgain},
		},
		{
			"which it is not as long as there is time",
			Move{Leave: &Leave{RollsBack: true}, Wanted: []string{"new"}, Workloads: web(asIs)},
			Verdict{Why: "web is not ready on new yet", After: 9 * time.Minute},
		},
		{
			"except that the new target says that it cannot run there",
			Move{Leave: &Leave{RollsBack: true}, Wanted: []string{"new"}, Workloads: web(func(w *Workload) { w.Refused = map[string]string{"new": "Validation"} })},
			Verdict{Why: "web cannot run on new: Validation", Failed: Refused, To: "new", After: askAgain},
		},
		{
			"which does not matter when it runs there all the same",
			Move{Leave: &Leave{RollsBack: true}, Wanted: []string{"new"}, Workloads: web(func(w *Workload) {
				w.Ready, w.Refused = []string{"old", "new"}, map[string]string{"new": "Validation"}
			})},
			Verdict{Yes: true, Why: "everything is ready where it is to be"},
		},
		{
			"targets are told by the names that people know",
			Move{Leave: &Leave{}, Wanted: []string{"new"}, Workloads: web(asIs), Name: strings.ToUpper},
			Verdict{Why: "web is not ready on NEW yet", After: 9 * time.Minute},
		},
		{
			"nobody waits when that is forbidden",
			Move{Leave: &Leave{Urgent: true, Why: "taint NoExecute"}, Wanted: []string{"new"}, Workloads: web(asIs)},
			Verdict{Yes: true, Why: "taint NoExecute"},
		},
		{
			"also when there is nowhere else to go",
			Move{Leave: &Leave{Urgent: true, Why: "taint NoExecute"}, Workloads: web(asIs)},
			Verdict{Yes: true, Why: "taint NoExecute"},
		},
		{
			"without another target nothing moves, however long it takes",
			Move{Leave: &Leave{}, Since: noon.Add(-time.Hour), Workloads: web(asIs)},
			Verdict{Why: "there is no other target to go to"},
		},
		{
			"when the Placement is gone there is nothing to wait for",
			Move{Workloads: web(asIs)},
			Verdict{Yes: true, Why: "no Placement wants it there"},
		},
		{
			"but when another one takes its place, that is a move like any other",
			Move{Wanted: []string{"new"}, Workloads: web(asIs)},
			Verdict{Why: "web is not ready on new yet", After: 9 * time.Minute},
		},
		{
			"what is not ready where it is has nothing to lose",
			Move{Leave: &Leave{}, Wanted: []string{"new"}, Workloads: web(func(w *Workload) { w.Ready = nil })},
			Verdict{Yes: true, Why: "everything is ready where it is to be"},
		},
		{
			"what has run to its end is not waited for",
			Move{Leave: &Leave{}, Wanted: []string{"new"}, Workloads: web(func(w *Workload) { w.Finished = true })},
			Verdict{Yes: true, Why: "everything is ready where it is to be"},
		},
		{
			"nor what is being deleted, or is not to go along",
			Move{Leave: &Leave{}, Wanted: []string{"new"}, Workloads: web(func(w *Workload) { w.Stays = true })},
			Verdict{Yes: true, Why: "everything is ready where it is to be"},
		},
		{
			"nor what never was there",
			Move{Leave: &Leave{}, Wanted: []string{"new"}, Workloads: web(func(w *Workload) { w.On = []string{"new"} })},
			Verdict{Yes: true, Why: "everything is ready where it is to be"},
		},
		{
			"a namespace without workloads leaves at once",
			Move{Leave: &Leave{}, Wanted: []string{"new"}},
			Verdict{Yes: true, Why: "everything is ready where it is to be"},
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			tc.move.Key, tc.move.Now, tc.move.Patience = "old", noon, 10*time.Minute
			if tc.move.Since.IsZero() {
				tc.move.Since = noon.Add(-time.Minute)
			}
			if diff := cmp.Diff(tc.want, MayLeave(tc.move)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
