package decide

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/coordination"
)

// Object is what matters of an object in a tenant's workspace.
type Object struct {
	Labels, Annotations map[string]string
	Finalizers          []string
	// Deleting: it has a deletion timestamp.
	Deleting bool
	// Finished: it has run to its end. It is not assigned to any other target, as it would run once more there.
	Finished bool
	// Workload: it runs pods, so that users are told when a target is silent.
	Workload bool
	// Shared: its replicas are shared by the targets that it is on.
	Shared   bool
	Replicas *int64
	// Made: it is of a resource that clusters bring up and that is assigned to none.
	Made bool
}

// Target is what is known of a target that the object, or the plan of its namespace, names.
type Target struct {
	// Deleted: its SyncTarget does not exist any more. That is certain.
	Deleted bool
	// Silent says since when nothing has been heard of it; empty while it is heard of, and when it was never heard of.
	Silent string
	// Claims: its syncer syncs the object's type, and so takes a claim off again.
	Claims bool
	// Forbids: the target may not bring up objects of the resource.
	Forbids bool
	// ByHand: no Placement ever chose it for the object's namespace. Whoever assigned the object there sees to it.
	ByHand bool
}

// Observed is everything that a decision about an object depends on.
type Observed struct {
	Object Object
	// Belongs: the object goes where its namespace goes. Why says why it does, or not.
	Belongs bool
	Why     string
	// Wanted are the keys of the targets that its namespace is to be on, After which others have to be left before that.
	Wanted []string
	After  map[string][]string
	// MayLeave says of a target that the object is on, and is not to be on, whether the time to leave has come.
	MayLeave func(key string) Verdict
	// Targets that the object or Wanted names. What is not in it is not known, and left alone.
	Targets map[string]Target

	Now time.Time
	// StraySince is when the object was first seen with a claim and without the label that belongs to it.
	StraySince time.Time
}

// Verb is what is done about an object on one target.
type Verb string

const (
	// Assign it.
	Assign Verb = "Assign"
	// Keep it there after all.
	Keep Verb = "Keep"
	// Depart from the target: ask its syncer to remove the copy.
	Depart Verb = "Depart"
	// Wait until it may leave.
	Wait Verb = "Wait"
	// Release it from a target that does not exist any more.
	Release Verb = "Release"
	// Return the label to an object that has only the claim left, so that the syncer sees it and can let it go.
	Return Verb = "Return"
	// Tell that the target is silent, or that it no longer is.
	Tell Verb = "Tell"
	// Remove the object, which a target has brought up.
	Remove Verb = "Remove"
	// Tidy up what has no meaning any more.
	Tidy Verb = "Tidy"
)

// Act is something done about one target, and why.
type Act struct {
	Key string
	Do  Verb
	Why string
}

// Decision is what to write on an object, all in one patch.
type Decision struct {
	Labels, Annotations map[string]any // nil removes
	// Finalizers replace those of the object unless nil.
	Finalizers []string
	// Remove: the object is to be deleted after that.
	Remove bool
	Acts   []Act
	// Staying are the targets that the object is on afterwards and is to be on, sorted; Moving that others are not left yet.
	Staying []string
	Moving  bool
	// After says when to look again although nothing changes; zero for never.
	After time.Duration
}

// Writes reports whether there is anything to write.
func (d *Decision) Writes() bool {
	return d.Remove || d.Patches()
}

// Patches reports whether there is anything to change of the object itself.
func (d *Decision) Patches() bool {
	return len(d.Labels) > 0 || len(d.Annotations) > 0 || d.Finalizers != nil
}

// OnlyTells reports whether nothing but what users are told would be written, which can wait.
func (d *Decision) OnlyTells() bool {
	return d.Writes() && !slices.ContainsFunc(d.Acts, func(a Act) bool { return a.Do != Tell && a.Do != Wait })
}

// Assigns reports whether the object would be assigned to a target.
func (d *Decision) Assigns() bool {
	return slices.ContainsFunc(d.Acts, func(a Act) bool { return a.Do == Assign })
}

// forSyncers are what a syncer has to do something about.
var forSyncers = []Verb{Assign, Keep, Depart, Return}

// Carry has the object carry the trace of this decision if a syncer is to go on with it. What it carried before is used, and
// goes with what is written anyway; traceparent is empty for a trace that nobody wants to hear of.
func (d *Decision) Carry(traceparent, before string) {
	goesOn := slices.ContainsFunc(d.Acts, func(a Act) bool { return slices.Contains(forSyncers, a.Do) })
	switch {
	case !d.Writes():
	case goesOn && traceparent != "":
		d.Annotations[workloadv1alpha1.TraceAnnotation] = traceparent
	case before != "":
		d.Annotations[workloadv1alpha1.TraceAnnotation] = nil
	}
}

// Next decides about one object.
func Next(o Observed) Decision {
	d := &draft{Observed: o, Decision: Decision{Labels: map[string]any{}, Annotations: map[string]any{}}}
	for _, key := range d.keys() {
		if target, known := o.Targets[key]; known {
			d.decide(key, target)
		}
	}
	d.share()
	d.tidyStatuses()
	return d.Decision
}

type draft struct {
	Observed
	Decision
}

// keys are those of all targets that anything is said about, sorted.
func (d *draft) keys() []string {
	found := map[string]bool{}
	for _, key := range d.Wanted {
		found[key] = true
	}
	note := func(name string) {
		if key, ok := workloadv1alpha1.KeyOf(name); ok {
			found[key] = true
		}
	}
	for name := range d.Object.Labels {
		note(name)
	}
	for name := range d.Object.Annotations {
		note(name)
	}
	for _, name := range d.Object.Finalizers {
		note(name)
	}
	return slices.Sorted(maps.Keys(found))
}

// straysFor is how long a claim may be without its label before the label is returned: a syncer that runs takes the claim
// off by itself.
const straysFor = 30 * time.Second

// decide what to do about one target. The order of the cases is behaviour.
func (d *draft) decide(key string, target Target) {
	state, assigned := d.Object.Labels[workloadv1alpha1.StateLabel(key)]
	_, leaving := d.Object.Annotations[workloadv1alpha1.DeletionAnnotation(key)]
	claimed := slices.Contains(d.Object.Finalizers, workloadv1alpha1.SyncerFinalizer(key))
	wanted := d.Belongs && slices.Contains(d.Wanted, key)

	switch {
	case d.Object.Made && state == string(workloadv1alpha1.StateUpsync) && target.Deleted:
		d.remove(key, "its SyncTarget does not exist any more")
	case d.Object.Made && state == string(workloadv1alpha1.StateUpsync) && target.Forbids:
		d.remove(key, "its SyncTarget may not bring up this resource any more")
	case target.Deleted:
		d.forget(key)
		d.did(key, Release, "its SyncTarget does not exist any more")
	case state == string(workloadv1alpha1.StateUpsync): // the target's own
	case claimed && !assigned && (!wanted || d.Object.Deleting || d.Object.Finished):
		d.returnLabel(key)
	case d.Object.Deleting: // the syncer's to finish
	case wanted && d.Object.Finished && (!assigned || leaving): // it would run once more
	case wanted && !assigned && d.mustLeaveFirst(key) != "":
		d.Moving = true
		d.did(key, Wait, "it must leave "+d.mustLeaveFirst(key)+" first")
	case wanted:
		d.stay(key, target, state, assigned, leaving, claimed)
	case assigned && (leaving || target.ByHand): // the syncer's to finish, and the user's
	case assigned && state == string(workloadv1alpha1.StatePending) && !claimed:
		d.forget(key)
		d.did(key, Release, "it never got there")
	case assigned:
		d.leave(key)
	default:
		d.tidy(key)
	}
	if !target.Deleted {
		d.tell(key, target)
	}
}

func (d *draft) did(key string, do Verb, why string) {
	d.Acts = append(d.Acts, Act{Key: key, Do: do, Why: why})
}

// stay has the object be on the target, and claimed for it from the start. A claim that is missing later is the syncer's to
// renew: it alone knows whether there is a copy.
func (d *draft) stay(key string, target Target, state string, assigned, leaving, claimed bool) {
	d.Staying = append(d.Staying, key)
	if leaving {
		d.Annotations[workloadv1alpha1.DeletionAnnotation(key)] = nil
		d.did(key, Keep, "it is wanted there again")
	}
	if assigned && state == string(workloadv1alpha1.StateSync) {
		return
	}
	d.Labels[workloadv1alpha1.StateLabel(key)] = string(workloadv1alpha1.StateSync)
	if target.Claims && !claimed {
		d.addFinalizer(workloadv1alpha1.SyncerFinalizer(key))
	}
	d.did(key, Assign, d.Why)
}

// mustLeaveFirst is a target that the object is on and must not be on when it goes to another; empty if there is none.
func (d *draft) mustLeaveFirst(key string) string {
	for _, other := range d.Observed.After[key] {
		if _, there := d.Object.Labels[workloadv1alpha1.StateLabel(other)]; there && !d.Targets[other].Deleted {
			return other
		}
	}
	return ""
}

func (d *draft) leave(key string) {
	verdict := d.MayLeave(key)
	if !verdict.Yes {
		d.Moving = true
		d.lookAgain(verdict.After)
		d.did(key, Wait, verdict.Why)
		return
	}
	d.Annotations[workloadv1alpha1.DeletionAnnotation(key)] = d.Now.UTC().Format(time.RFC3339)
	d.did(key, Depart, verdict.Why)
}

// returnLabel has the syncer see an object again that lost its label in an unusual way, and remove what it made of it.
func (d *draft) returnLabel(key string) {
	if left := straysFor - d.Now.Sub(d.StraySince); left > 0 {
		d.lookAgain(left)
		return
	}
	d.Labels[workloadv1alpha1.StateLabel(key)] = string(workloadv1alpha1.StateSync)
	d.Annotations[workloadv1alpha1.DeletionAnnotation(key)] = d.Now.UTC().Format(time.RFC3339)
	d.did(key, Return, "the label was removed by hand, and a copy may exist")
}

// Stray reports whether the object carries a claim without the label that belongs to it.
func (o Object) Stray() bool {
	return slices.ContainsFunc(o.Finalizers, func(finalizer string) bool {
		key, ok := workloadv1alpha1.KeyOf(finalizer)
		_, assigned := o.Labels[workloadv1alpha1.StateLabel(key)]
		return ok && !assigned
	})
}

// forget removes all that is said about a target.
func (d *draft) forget(key string) {
	if _, ok := d.Object.Labels[workloadv1alpha1.StateLabel(key)]; ok {
		d.Labels[workloadv1alpha1.StateLabel(key)] = nil
	}
	d.drop(append(targetsOwn(key), workloadv1alpha1.SoftFinalizersAnnotation(key), workloadv1alpha1.SpecDiffAnnotation(key))...)
	d.dropClaim(key)
}

// targetsOwn are the annotations that have a meaning only while an object is on the target. Others may be there before.
func targetsOwn(key string) []string {
	return []string{
		workloadv1alpha1.DeletionAnnotation(key), workloadv1alpha1.StatusAnnotation(key), workloadv1alpha1.ConditionsAnnotation(key),
		workloadv1alpha1.SyncerViewAnnotation(key),
	}
}

// remove has an object deleted that a target brought up. It keeps the label, by which it is found again, until it is gone.
func (d *draft) remove(key, why string) {
	d.dropClaim(key)
	d.Remove = d.Remove || !d.Object.Deleting
	if d.Writes() {
		d.did(key, Remove, why)
	}
}

func (d *draft) dropClaim(key string) {
	if finalizer := workloadv1alpha1.SyncerFinalizer(key); slices.Contains(d.Object.Finalizers, finalizer) {
		d.Finalizers = slices.DeleteFunc(d.finalizers(), func(f string) bool { return f == finalizer })
	}
}

// tidy removes annotations that remained of a target that the object has left.
func (d *draft) tidy(key string) {
	dropped := d.drop(targetsOwn(key)...)
	if d.Object.Shared {
		diff := workloadv1alpha1.SpecDiffAnnotation(key)
		if rest, err := coordination.WithoutReplicas(d.Object.Annotations[diff]); err == nil && rest == "" {
			dropped = d.drop(diff) || dropped
		}
	}
	if dropped {
		d.did(key, Tidy, "it is not there any more")
	}
}

// drop removes annotations, and says whether there were any.
func (d *draft) drop(annotations ...string) (found bool) {
	for _, name := range annotations {
		if _, ok := d.Object.Annotations[name]; ok {
			d.Annotations[name] = nil
			found = true
		}
	}
	return found
}

func (d *draft) addFinalizer(finalizer string) { d.Finalizers = append(d.finalizers(), finalizer) }

// finalizers are those decided on so far. They are never nil.
func (d *draft) finalizers() []string {
	if d.Finalizers != nil {
		return d.Finalizers
	}
	return append(make([]string, 0, len(d.Object.Finalizers)+1), d.Object.Finalizers...)
}

func (d *draft) lookAgain(after time.Duration) {
	if after > 0 && (d.Decision.After == 0 || after < d.Decision.After) {
		d.Decision.After = after
	}
}

// tell keeps the condition of a workload in step with whether its target is heard of. What the syncer says itself is
// replaced while it is silent, and is the syncer's to say again.
func (d *draft) tell(key string, target Target) {
	name := workloadv1alpha1.ConditionsAnnotation(key)
	if _, decided := d.Annotations[name]; decided || d.Object.Deleting {
		return
	}
	told := saysUnreachable(d.Object.Annotations[name])
	leaves := after(d.Object.Annotations, d.Annotations, workloadv1alpha1.DeletionAnnotation(key)) != ""
	synced := after(d.Object.Labels, d.Labels, workloadv1alpha1.StateLabel(key)) == string(workloadv1alpha1.StateSync)
	silent := target.Silent != "" && synced && !leaves && d.Object.Workload
	switch {
	case silent && !told:
		d.Annotations[name] = unreachable(target.Silent, d.Now)
		d.did(key, Tell, "the target is silent")
	case told && target.Silent == "":
		d.Annotations[name] = nil
		d.did(key, Tell, "the target is heard of again")
	}
}

// after is the value of a label or annotation after the changes.
func after(before map[string]string, changes map[string]any, name string) string {
	if value, changed := changes[name]; changed {
		text, _ := value.(string)
		return text
	}
	return before[name]
}

func saysUnreachable(text string) bool {
	var conditions []metav1.Condition
	return json.Unmarshal([]byte(text), &conditions) == nil && slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
		return c.Reason == workloadv1alpha1.ReasonTargetUnreachable
	})
}

func unreachable(why string, now time.Time) string {
	text, err := json.Marshal([]metav1.Condition{{
		Type: workloadv1alpha1.ConditionSynced, Status: metav1.ConditionUnknown,
		Reason: workloadv1alpha1.ReasonTargetUnreachable, Message: why, LastTransitionTime: metav1.NewTime(now.UTC()),
	}})
	if err != nil {
		panic(err) // a struct of strings always marshals
	}
	return string(text)
}

// share gives each target that the object stays on its part of the replicas. A target that is about to be left keeps what
// it has until then, and counts for nothing.
func (d *draft) share() {
	if !d.Object.Shared || d.Object.Deleting {
		return
	}
	var shares map[string]int64
	if len(d.Staying) > 1 {
		shares = coordination.Split(d.Object.Replicas, d.Staying)
	}
	for _, key := range d.Staying {
		d.shareOf(key, shares)
	}
}

func (d *draft) shareOf(key string, shares map[string]int64) {
	name := workloadv1alpha1.SpecDiffAnnotation(key)
	was, has := d.Object.Annotations[name]
	share, shared := shares[key]
	var patch string
	var err error
	if shared {
		patch, err = coordination.WithReplicas(was, share)
	} else {
		patch, err = coordination.WithoutReplicas(was)
	}
	switch {
	case err != nil: // not ours; the syncer tells what is wrong with it
	case patch == "" && has:
		d.Annotations[name] = nil
		d.did(key, Tidy, "it runs all replicas")
	case patch != was:
		d.Annotations[name] = patch
		d.did(key, Assign, fmt.Sprintf("it runs %d of the replicas", share))
	}
}

// tidyStatuses drops what targets said each for itself once there is only one left to speak, if there is a write anyway.
func (d *draft) tidyStatuses() {
	if !d.Writes() || len(d.Staying) != 1 || d.Moving {
		return
	}
	if name := workloadv1alpha1.StatusAnnotation(d.Staying[0]); d.Object.Annotations[name] != "" {
		d.Annotations[name] = nil
	}
}

// Patch is the decision as a JSON merge patch of exactly the version of the object that was decided about: finalizers are a
// list, and a blind patch would drop what others have added since.
func (d *Decision) Patch(uid, resourceVersion string) map[string]any {
	metadata := map[string]any{"uid": uid, "resourceVersion": resourceVersion}
	if len(d.Labels) > 0 {
		metadata["labels"] = d.Labels
	}
	if len(d.Annotations) > 0 {
		metadata["annotations"] = d.Annotations
	}
	if d.Finalizers != nil {
		metadata["finalizers"] = d.Finalizers
	}
	return map[string]any{"metadata": metadata}
}
