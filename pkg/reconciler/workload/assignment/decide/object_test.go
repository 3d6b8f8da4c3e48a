package decide

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// long writes the names on the wire of a text in which they are short: state-a, deletion-a, claim-a, diff-a, status-a,
// condition-a, soft-a, for the target with the key a.
func long(text string) string {
	for _, key := range []string{"a", "b", "c"} {
		text = strings.NewReplacer(
			"state-"+key, workloadv1alpha1.StateLabel(key), "deletion-"+key, workloadv1alpha1.DeletionAnnotation(key),
			"claim-"+key, workloadv1alpha1.SyncerFinalizer(key), "diff-"+key, workloadv1alpha1.SpecDiffAnnotation(key),
			"status-"+key, workloadv1alpha1.StatusAnnotation(key), "condition-"+key, workloadv1alpha1.ConditionsAnnotation(key),
			"soft-"+key, workloadv1alpha1.SoftFinalizersAnnotation(key),
		).Replace(text)
	}
	return text
}

func objectOf(t *testing.T, text string) Object {
	t.Helper()
	var o Object
	if err := yaml.UnmarshalStrict([]byte(long("{"+text+"}")), &o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

var (
	yes = func(string) Verdict { return Verdict{Yes: true, Why: "ready"} }
	no  = func(string) Verdict { return Verdict{Why: "not ready yet", After: time.Minute} }
)

const silence = "nothing heard since noon"

func TestNext(t *testing.T) {
	unreachable := unreachable(silence, noon)
	for _, tc := range []struct {
		what   string
		object string
		change func(*Observed)
		want   string // the patch's metadata
		acts   string
		after  time.Duration
	}{
		{
			what: "a new object is assigned and claimed in one patch",
			want: `labels: {state-a: Sync}, finalizers: [claim-a]`, acts: "a Assign",
		},
		{
			what:   "other finalizers are kept",
			object: `finalizers: [mine], labels: {app: web}`,
			want:   `labels: {state-a: Sync}, finalizers: [mine, claim-a]`, acts: "a Assign",
		},
		{
			what:   "what is right costs nothing",
			object: `labels: {state-a: Sync}, finalizers: [claim-a]`,
		},
		{
			what:   "a claim that is missing is the syncer's to renew",
			object: `labels: {state-a: Sync}`,
		},
		{
			what:   "what waited for a coordinator waits no longer",
			object: `labels: {state-a: ""}`,
			want:   `labels: {state-a: Sync}, finalizers: [claim-a]`, acts: "a Assign",
		},
		{
			what:   "a target that does not sync the type would never take the claim off again",
			change: func(o *Observed) { o.Targets["a"] = Target{} },
			want:   `labels: {state-a: Sync}`, acts: "a Assign",
		},
		{
			what:   "several targets are one patch too",
			change: func(o *Observed) { o.Wanted = []string{"a", "b"} },
			want:   `labels: {state-a: Sync, state-b: Sync}, finalizers: [claim-a, claim-b]`, acts: "a Assign, b Assign",
		},
		{
			what:   "what does not belong is not assigned",
			change: func(o *Observed) { o.Belongs = false },
		},
		{
			what:   "a target that is not known is left alone",
			object: `labels: {state-c: Sync}, finalizers: [claim-c], annotations: {status-c: x}`,
			change: func(o *Observed) { o.Wanted = []string{"c"}; delete(o.Targets, "c") },
		},
		{
			what:   "what is being deleted is not assigned",
			object: `deleting: true, finalizers: [mine]`,
		},
		{
			what:   "and is the syncer's to finish where it is",
			object: `deleting: true, labels: {state-a: Sync, state-b: Sync}, finalizers: [claim-a, claim-b]`,
		},
		{
			what:   "what has run to its end does not run again elsewhere",
			object: `finished: true, labels: {state-b: Sync}, finalizers: [claim-b]`,
			want:   `annotations: {deletion-b: "2026-01-01T12:00:00Z"}`, acts: "b Depart",
		},
		// Moving.
		{
			what:   "a move begins with the new target",
			object: `labels: {state-b: Sync}, finalizers: [claim-b]`,
			change: func(o *Observed) { o.MayLeave = no },
			want:   `labels: {state-a: Sync}, finalizers: [claim-b, claim-a]`, acts: "a Assign, b Wait", after: time.Minute,
		},
		{
			what:   "goes on when the new one is ready, and what each target said for itself is not needed any more",
			object: `labels: {state-a: Sync, state-b: Sync}, finalizers: [claim-a, claim-b], annotations: {status-a: x, status-b: y}`,
			want:   `annotations: {deletion-b: "2026-01-01T12:00:00Z", status-a: null}`, acts: "b Depart",
		},
		{
			what:   "and is the syncer's to finish",
			object: `labels: {state-a: Sync, state-b: Sync}, finalizers: [claim-a, claim-b], annotations: {deletion-b: "2026-01-01T11:00:00Z"}`,
		},
		{
			what:   "who may not wait goes in the same patch",
			object: `labels: {state-b: Sync}, finalizers: [claim-b]`,
			want:   `labels: {state-a: Sync}, finalizers: [claim-b, claim-a], annotations: {deletion-b: "2026-01-01T12:00:00Z"}`, acts: "a Assign, b Depart",
		},
		{
			what:   "a target that is wanted again is not left after all",
			object: `labels: {state-a: Sync}, finalizers: [claim-a], annotations: {deletion-a: "2026-01-01T11:00:00Z"}`,
			want:   `annotations: {deletion-a: null}`, acts: "a Keep",
		},
		{
			what:   "what never got there needs nobody to remove it",
			object: `labels: {state-b: ""}`,
			change: func(o *Observed) { o.Belongs = false },
			want:   `labels: {state-b: null}`, acts: "b Release",
		},
		{
			what:   "what a target brought up is the target's",
			object: `labels: {state-b: Upsync}, finalizers: [claim-b]`,
			change: func(o *Observed) { o.Belongs = false },
		},
		{
			what:   "what remains of a target that was left is tidied up, but what may be there before is not",
			object: `annotations: {status-b: x, condition-b: y, soft-b: dns, diff-b: '[{"op":"remove","path":"/paused"}]'}, shared: true`,
			change: func(o *Observed) { o.Belongs = false },
			want:   `annotations: {status-b: null, condition-b: null}`, acts: "b Tidy",
		},
		{
			what:   "what must not run twice leaves first",
			object: `labels: {state-b: Sync}, finalizers: [claim-b]`,
			change: func(o *Observed) { o.After = map[string][]string{"a": {"b"}} },
			want:   `annotations: {deletion-b: "2026-01-01T12:00:00Z"}`, acts: "a Wait, b Depart",
		},
		{
			what:   "and goes on when it has left",
			change: func(o *Observed) { o.After = map[string][]string{"a": {"b"}} },
			want:   `labels: {state-a: Sync}, finalizers: [claim-a]`, acts: "a Assign",
		},
		{
			what:   "what was assigned by hand is left alone",
			object: `labels: {state-b: Sync}, finalizers: [claim-b]`,
			change: func(o *Observed) { o.Belongs, o.Targets["b"] = false, Target{ByHand: true} },
		},
		// Targets that are gone.
		{
			what:   "all that is said about a deleted target goes, the claim too",
			object: `labels: {state-b: Sync, app: web}, finalizers: [mine, claim-b], annotations: {deletion-b: x, soft-b: dns, diff-b: "[]", status-b: y, condition-b: z, other: o}`,
			change: func(o *Observed) { o.Belongs = false; o.Targets["b"] = Target{Deleted: true} },
			want:   `labels: {state-b: null}, finalizers: [mine], annotations: {deletion-b: null, soft-b: null, diff-b: null, status-b: null, condition-b: null}`, acts: "b Release",
		},
		{
			what:   "also of what is being deleted, which waits for that",
			object: `deleting: true, labels: {state-b: Sync}, finalizers: [claim-b]`,
			change: func(o *Observed) { o.Targets["b"] = Target{Deleted: true} },
			want:   `labels: {state-b: null}, finalizers: []`, acts: "b Release",
		},
		{
			what:   "also of what such a target brought up, or what has only the claim left",
			object: `labels: {state-b: Upsync}, finalizers: [claim-c, claim-b]`,
			change: func(o *Observed) {
				o.Belongs, o.Targets["b"], o.Targets["c"] = false, Target{Deleted: true}, Target{Deleted: true}
			},
			want: `labels: {state-b: null}, finalizers: []`, acts: "b Release, c Release",
		},
		{
			what:   "what such a target brought up of what clusters make is removed, and keeps the label until it is gone",
			object: `made: true, labels: {state-b: Upsync}, finalizers: [mine, claim-b]`,
			change: func(o *Observed) { o.Belongs, o.Targets["b"] = false, Target{Deleted: true} },
			want:   `finalizers: [mine]`, acts: "b Remove",
		},
		{
			what:   "so is what a target may not bring up any more",
			object: `made: true, labels: {state-b: Upsync}, finalizers: [claim-b]`,
			change: func(o *Observed) { o.Belongs, o.Targets["b"] = false, Target{Forbids: true} },
			want:   `finalizers: []`, acts: "b Remove",
		},
		{
			what:   "what it may bring up is left alone",
			object: `made: true, labels: {state-b: Upsync}, finalizers: [claim-b]`,
			change: func(o *Observed) { o.Belongs = false },
		},
		{
			what:   "and so is what only looks as if it had been brought up",
			object: `labels: {state-b: Upsync}, finalizers: [claim-b]`,
			change: func(o *Observed) { o.Belongs, o.Targets["b"] = false, Target{Forbids: true} },
		},
		{
			what:   "a deleted target is not assigned to, whoever still wants that",
			object: `labels: {state-a: Sync}, finalizers: [claim-a]`,
			change: func(o *Observed) { o.Wanted, o.Targets["a"] = []string{"a", "b"}, Target{Deleted: true} },
			want:   `labels: {state-a: null, state-b: Sync}, finalizers: [claim-b]`, acts: "a Release, b Assign",
		},
		// Labels removed by hand.
		{
			what:   "a label that was removed by hand comes back where the object is to be",
			object: `finalizers: [claim-a]`,
			want:   `labels: {state-a: Sync}`, acts: "a Assign",
		},
		{
			what:   "elsewhere the syncer has time to see to it",
			object: `finalizers: [claim-b]`,
			change: func(o *Observed) { o.Belongs, o.StraySince = false, noon.Add(-10*time.Second) },
			after:  20 * time.Second,
		},
		{
			what:   "and if it does not, is shown the object once more, to remove the copy and then the claim",
			object: `finalizers: [claim-b]`,
			change: func(o *Observed) { o.Belongs, o.StraySince = false, noon.Add(-30*time.Second) },
			want:   `labels: {state-b: Sync}, annotations: {deletion-b: "2026-01-01T12:00:00Z"}`, acts: "b Return",
		},
		{
			what:   "also when the object is being deleted, although it is to be there",
			object: `deleting: true, finalizers: [claim-a]`,
			change: func(o *Observed) { o.StraySince = noon.Add(-time.Hour) },
			want:   `labels: {state-a: Sync}, annotations: {deletion-a: "2026-01-01T12:00:00Z"}`, acts: "a Return",
		},
		// Silent targets.
		{
			what:   "a workload says when its target is silent",
			object: `workload: true, labels: {state-a: Sync}`,
			change: func(o *Observed) { o.Targets["a"] = Target{Silent: silence} },
			want:   `annotations: {condition-a: UNREACHABLE}`, acts: "a Tell",
		},
		{
			what:   "once, and instead of what the syncer said",
			object: `workload: true, labels: {state-a: Sync, state-b: Sync}, annotations: {condition-a: UNREACHABLE, condition-b: '[{"type":"Synced","reason":"Conflict"}]'}`,
			change: func(o *Observed) {
				o.Wanted, o.Targets["a"], o.Targets["b"] = []string{"a", "b"}, Target{Silent: "later"}, Target{Silent: silence}
			},
			want: `annotations: {condition-b: UNREACHABLE}`, acts: "b Tell",
		},
		{
			what:   "until it is heard of again",
			object: `workload: true, labels: {state-a: Sync}, annotations: {condition-a: UNREACHABLE}`,
			want:   `annotations: {condition-a: null}`, acts: "a Tell",
		},
		{
			what:   "what the syncer says stays",
			object: `workload: true, labels: {state-a: Sync}, annotations: {condition-a: '[{"type":"Synced","reason":"Conflict"}]'}`,
		},
		{
			what:   "other kinds say nothing, nor what leaves, nor what is being deleted",
			object: `labels: {state-a: Sync}`,
			change: func(o *Observed) { o.Targets["a"] = Target{Silent: silence} },
		},
		{
			what:   "nor what is leaving anyway",
			object: `workload: true, labels: {state-b: Sync}`,
			change: func(o *Observed) { o.Belongs, o.Targets["b"] = false, Target{Silent: silence} },
			want:   `annotations: {deletion-b: "2026-01-01T12:00:00Z"}`, acts: "b Depart",
		},
		// Several targets share the replicas.
		{
			what:   "the share comes with the assignment, so that nobody ever runs all of them",
			object: `shared: true, replicas: 5`,
			change: func(o *Observed) { o.Wanted = []string{"a", "b"} },
			want: `labels: {state-a: Sync, state-b: Sync}, finalizers: [claim-a, claim-b],
				annotations: {diff-a: '[{"op":"add","path":"/replicas","value":3}]', diff-b: '[{"op":"add","path":"/replicas","value":2}]'}`,
			acts: "a Assign, b Assign, a Assign, b Assign",
		},
		{
			what:   "and follows the number that the user wants",
			object: `shared: true, replicas: 2, labels: {state-a: Sync, state-b: Sync}, annotations: {diff-a: '[{"op":"add","path":"/replicas","value":3}]', diff-b: '[{"op":"add","path":"/replicas","value":1}]'}`,
			change: func(o *Observed) { o.Wanted = []string{"a", "b"} },
			want:   `annotations: {diff-a: '[{"op":"add","path":"/replicas","value":1}]'}`, acts: "a Assign",
		},
		{
			what:   "a target alone runs all of them",
			object: `shared: true, replicas: 2, labels: {state-a: Sync}, annotations: {diff-a: '[{"op":"add","path":"/replicas","value":1}]'}`,
			want:   `annotations: {diff-a: null}`, acts: "a Tidy",
		},
		{
			what:   "in a move the new target counts alone, and the old one keeps its share",
			object: `shared: true, replicas: 4, labels: {state-b: Sync, state-c: Sync}, annotations: {diff-b: '[{"op":"add","path":"/replicas","value":2}]', diff-c: '[{"op":"add","path":"/replicas","value":2}]'}`,
			change: func(o *Observed) { o.MayLeave, o.Wanted = no, []string{"a", "c"} },
			want:   `labels: {state-a: Sync}, finalizers: [claim-a], annotations: {diff-a: '[{"op":"add","path":"/replicas","value":2}]'}`, acts: "a Assign, b Wait, a Assign", after: time.Minute,
		},
		{
			what:   "other kinds are whole on each target",
			object: `replicas: 4, labels: {state-a: Sync, state-b: Sync}`,
			change: func(o *Observed) { o.Wanted = []string{"a", "b"} },
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			fill := func(text string) string {
				return strings.ReplaceAll(text, "UNREACHABLE", "'"+unreachable+"'")
			}
			o := Observed{
				Object: objectOf(t, fill(tc.object)), Belongs: true, Why: "compute", Wanted: []string{"a"}, MayLeave: yes, Now: noon,
				Targets: map[string]Target{"a": {Claims: true}, "b": {Claims: true}, "c": {Claims: true}},
			}
			if tc.change != nil {
				tc.change(&o)
			}
			d := Next(o)
			if diff := cmp.Diff(metadataOf(t, fill(tc.want)), patchOf(t, &d)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tc.acts, actsOf(d)); diff != "" {
				t.Errorf("acts: -want +got:\n%s", diff)
			}
			if d.After != tc.after {
				t.Errorf("looks again after %s, want %s", d.After, tc.after)
			}
			if diff := cmp.Diff(objectOf(t, fill(tc.object)), o.Object); diff != "" {
				t.Errorf("the object was modified:\n%s", diff)
			}
		})
	}
}

func metadataOf(t *testing.T, text string) map[string]any {
	t.Helper()
	metadata := map[string]any{}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\t", " "), "\n", " ")
	if err := yaml.Unmarshal([]byte(long("{"+text+"}")), &metadata); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return metadata
}

func patchOf(t *testing.T, d *Decision) map[string]any {
	t.Helper()
	raw, err := json.Marshal(d.Patch("uid", "7"))
	if err != nil {
		t.Fatal(err)
	}
	var patch struct{ Metadata map[string]any }
	if err := json.Unmarshal(raw, &patch); err != nil {
		t.Fatal(err)
	}
	if patch.Metadata["uid"] != "uid" || patch.Metadata["resourceVersion"] != "7" {
		t.Errorf("the patch holds for any version: %s", raw)
	}
	delete(patch.Metadata, "uid")
	delete(patch.Metadata, "resourceVersion")
	if (len(patch.Metadata) > 0) != d.Patches() {
		t.Errorf("says that it patches: %t", d.Patches())
	}
	return patch.Metadata
}

func actsOf(d Decision) string {
	var acts []string
	for _, act := range d.Acts {
		acts = append(acts, act.Key+" "+string(act.Do))
	}
	return strings.Join(acts, ", ")
}

func TestOnlyTells(t *testing.T) {
	for _, tc := range []struct {
		acts []Verb
		want bool
	}{{[]Verb{Tell}, true}, {[]Verb{Tell, Wait}, true}, {[]Verb{Tell, Assign}, false}, {[]Verb{Release}, false}} {
		d := Decision{Annotations: map[string]any{"x": nil}}
		for _, verb := range tc.acts {
			d.Acts = append(d.Acts, Act{Do: verb})
		}
		if got := d.OnlyTells(); got != tc.want {
			t.Errorf("%v: %t", tc.acts, got)
		}
	}
	if (&Decision{}).OnlyTells() {
		t.Error("nothing tells nothing")
	}
}

// FuzzNext checks what must hold for every object: a decision that was carried out leaves nothing to write, no claim is
// taken off but for a deleted target, nothing is assigned that does not belong, and nothing leaves before it may.
func FuzzNext(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed * 0x9E3779B97F4A7C15)
	}
	f.Fuzz(func(t *testing.T, bits uint64) {
		o := observationOf(bits)
		d := Next(o)
		checkDecision(t, o, d)
		o.Object = carriedOut(o.Object, d)
		if again := Next(o); again.Writes() && !d.Remove {
			t.Fatalf("after %+v the object %+v needs %+v", d, o.Object, again)
		}
	})
}

func observationOf(bits uint64) Observed {
	bit := func() bool { b := bits&1 == 1; bits >>= 1; return b }
	o := Observed{Belongs: bit(), Why: "why", MayLeave: no, Now: noon, Targets: map[string]Target{}}
	if bit() {
		o.MayLeave = yes
	}
	if bit() {
		o.StraySince = noon
	}
	o.Object = Object{
		Labels: map[string]string{}, Annotations: map[string]string{}, Deleting: bit(), Finished: bit(), Workload: bit(), Shared: bit(), Made: bit(), Replicas: new(int64(bits & 7)),
	}
	for _, key := range []string{"a", "b", "c"} {
		if bit() {
			o.Wanted = append(o.Wanted, key)
		}
		if bits&3 != 0 {
			target := Target{Deleted: bits&15 == 1, Claims: bit(), Forbids: bit()}
			if bit() {
				target.Silent = silence
			}
			o.Targets[key] = target
		}
		if bit() {
			o.Object.Labels[workloadv1alpha1.StateLabel(key)] = []string{"Sync", "Sync", "", "Upsync"}[bits&3]
			bits >>= 2
		}
		for _, name := range []string{
			workloadv1alpha1.DeletionAnnotation(key), workloadv1alpha1.StatusAnnotation(key), workloadv1alpha1.SpecDiffAnnotation(key), workloadv1alpha1.ConditionsAnnotation(key),
		} {
			if bit() {
				o.Object.Annotations[name] = []string{"x", "[]", unreachable(silence, noon), `[{"op":"add","path":"/replicas","value":1}]`}[bits&3]
			}
		}
		if bit() {
			o.Object.Finalizers = append(o.Object.Finalizers, workloadv1alpha1.SyncerFinalizer(key))
		}
	}
	return o
}

func checkDecision(t *testing.T, o Observed, d Decision) {
	t.Helper()
	for _, act := range d.Acts {
		if act.Why == "" {
			t.Fatalf("%+v without a reason", act)
		}
	}
	for key := range map[string]bool{"a": true, "b": true, "c": true} {
		target, known := o.Targets[key]
		claim := workloadv1alpha1.SyncerFinalizer(key)
		if slices.Contains(o.Object.Finalizers, claim) && d.Finalizers != nil && !slices.Contains(d.Finalizers, claim) && !target.Deleted && (!o.Object.Made || !target.Forbids) {
			t.Fatalf("the claim of %s was taken off: %+v %+v", key, o, d)
		}
		label, set := d.Labels[workloadv1alpha1.StateLabel(key)]
		_, was := o.Object.Labels[workloadv1alpha1.StateLabel(key)]
		when, leaves := d.Annotations[workloadv1alpha1.DeletionAnnotation(key)]
		leaves = leaves && when != nil
		assigns := set && label != nil && !was && !leaves
		switch {
		case !known && (set || leaves):
			t.Fatalf("%s is not known: %+v %+v", key, o, d)
		case assigns && (!o.Belongs || !slices.Contains(o.Wanted, key) || target.Deleted || o.Object.Deleting || o.Object.Finished):
			t.Fatalf("assigned to %s: %+v %+v", key, o, d)
		case leaves && was && !o.MayLeave(key).Yes:
			t.Fatalf("leaves %s too early: %+v %+v", key, o, d)
		}
	}
}

func carriedOut(o Object, d Decision) Object {
	change := func(m map[string]string, changes map[string]any) {
		for name, value := range changes {
			if value == nil {
				delete(m, name)
			} else {
				m[name] = fmt.Sprint(value)
			}
		}
	}
	change(o.Labels, d.Labels)
	change(o.Annotations, d.Annotations)
	if d.Finalizers != nil {
		o.Finalizers = d.Finalizers
	}
	return o
}

func TestCarry(t *testing.T) {
	const trace = workloadv1alpha1.TraceAnnotation
	for _, tc := range []struct {
		what                string
		acts                []Act
		labels, annotations map[string]any
		traceparent, before string
		want                any // of the annotation
		written             bool
	}{
		{what: "what is assigned carries the trace", acts: []Act{{Do: Assign}}, labels: map[string]any{"a": "b"}, traceparent: "now", want: "now", written: true},
		{what: "in the place of the one that led here", acts: []Act{{Do: Depart}}, labels: map[string]any{"a": "b"}, traceparent: "now", before: "then", want: "now", written: true},
		{what: "one that nobody wants to hear of is not carried", acts: []Act{{Do: Assign}}, labels: map[string]any{"a": "b"}},
		{what: "and takes off the one before", acts: []Act{{Do: Assign}}, labels: map[string]any{"a": "b"}, before: "then", written: true},
		{what: "when a syncer has nothing to do, the trace ends", acts: []Act{{Do: Tell}, {Do: Release}}, annotations: map[string]any{"a": "b"}, traceparent: "now", before: "then", written: true},
		{what: "none is taken off where none is", acts: []Act{{Do: Tidy}}, annotations: map[string]any{"a": "b"}, traceparent: "now"},
		{what: "for a trace alone nothing is written", acts: []Act{{Do: Wait}}, traceparent: "now", before: "then"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			d := Decision{Labels: tc.labels, Annotations: map[string]any{}, Acts: tc.acts}
			for name, value := range tc.annotations {
				d.Annotations[name] = value
			}
			writes := d.Writes()
			d.Carry(tc.traceparent, tc.before)
			got, written := d.Annotations[trace]
			if got != tc.want || written != tc.written || d.Writes() != writes {
				t.Errorf("got %v, written %t, want %v, %t; writes %t, before %t", got, written, tc.want, tc.written, d.Writes(), writes)
			}
		})
	}
}
