package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Facts are all that an answer about an object depends on.
type Facts struct {
	Workspace string
	Now       time.Time
	Resource  schema.GroupResource
	Object    *unstructured.Unstructured
	// Namespace of the object; nil if it has none, or it cannot be read.
	Namespace *corev1.Namespace
	Bindings  []apisv1alpha2.APIBinding
	// Placements of the workspace. PlacementsServed is false where their API is not bound.
	Placements       []schedulingv1alpha1.Placement
	PlacementsServed bool
	// Targets are the SyncTargets that could be read, by key.
	Targets map[string]*workloadv1alpha1.SyncTarget
	// Feeders are the keys of SyncTargets of this workspace that sync everything in it.
	Feeders []string
	// Events about the object, oldest first.
	Events []corev1.Event
}

// Object follows an object to its targets and back.
func Object(f Facts) Report {
	r := Report{Object: fmt.Sprintf("%s %s", f.Object.GetKind(), nameOf(f.Object)), Workspace: f.Workspace}
	api, compute := f.api()
	r.Hops = append(r.Hops, api)
	if f.Object.GetDeletionTimestamp() != nil {
		r.Hops = append(r.Hops, pending("Deletion", fmt.Sprintf("asked for %s ago; it goes when its copies are gone", f.ago(f.Object.GetDeletionTimestamp()))))
	}
	selected, hops := f.placed(compute, api.State == OK)
	r.Hops = append(r.Hops, hops...)
	keys := f.keys(selected)
	several := workloadv1alpha1.Targets(f.Object.GetLabels(), f.Object.GetAnnotations()) > 1
	var staying, leaving []string
	for _, key := range keys {
		way := f.way(key, selected[key], several)
		if f.leaves(key, selected[key]) {
			leaving = append(leaving, f.targetName(key, selected[key]))
			way = aside(way)
		} else {
			staying = append(staying, f.targetName(key, selected[key]))
		}
		r.Hops = append(r.Hops, way)
	}
	if warning := f.warning(); warning != nil {
		r.Hops = append(r.Hops, *warning)
	}
	r.conclude(well(staying, leaving))
	return r
}

// leaves is true for a target that the object is to leave, or has left but for what is left there.
func (f Facts) leaves(key string, s *selection) bool {
	_, asked := f.Object.GetAnnotations()[workloadv1alpha1.DeletionAnnotation(key)]
	return asked || s != nil && s.target.Phase == schedulingv1alpha1.TargetLeaving
}

// aside is a way that the object no longer goes: what is wrong there is worth telling, but decides nothing.
func aside(way Hop) Hop {
	if way.State != OK {
		way.State = Info
	}
	for i := range way.Hops {
		way.Hops[i] = aside(way.Hops[i])
	}
	return way
}

// well is what is said when nothing is wrong.
func well(staying, leaving []string) string {
	switch {
	case len(staying)+len(leaving) == 0:
		return "it goes to no target, and need not"
	case len(leaving) == 0:
		return "synced to " + strings.Join(staying, ", ")
	case len(staying) == 0:
		return "leaving " + strings.Join(leaving, ", ")
	}
	return fmt.Sprintf("synced to %s, and leaving %s", strings.Join(staying, ", "), strings.Join(leaving, ", "))
}

// api tells how the workspace got the type. Compute types are those that an export provides itself; those that it claims are
// placed only together with a workload.
func (f Facts) api() (hop Hop, compute bool) {
	const name = "API"
	var rejected *apisv1alpha2.APIBinding
	for i := range f.Bindings {
		binding := &f.Bindings[i]
		if !f.isCompute(binding) {
			continue
		}
		for _, bound := range binding.Status.BoundResources {
			if bound.Group == f.Resource.Group && bound.Resource == f.Resource.Resource {
				return ok(name, fmt.Sprintf("%s is provided by %s", f.Resource, origin(binding))), true
			}
		}
		for _, claim := range binding.Spec.PermissionClaims {
			if claim.Group != f.Resource.Group || claim.Resource != f.Resource.Resource || !slices.Contains(claim.Verbs, "list") {
				continue
			}
			if claim.State == apisv1alpha2.ClaimAccepted {
				return ok(name, fmt.Sprintf("%s may be synced: %s has the permission", f.Resource, origin(binding))), false
			}
			rejected = binding
		}
	}
	if rejected != nil {
		return problem(name, fmt.Sprintf("%s claims %s, and this workspace rejects the claim", origin(rejected), f.Resource),
			fmt.Sprintf("Accept the claim in spec.permissionClaims of the APIBinding %s.", rejected.Name)), false
	}
	return problem(name, fmt.Sprintf("no bound APIExport for workloads provides %s or claims it", f.Resource),
		"Bind one that does: kubectl workload bind PROVIDER"), false
}

// isCompute is true for bindings to exports whose types go to targets: those that a SyncTarget accepts, which is this one unless it
// says something else.
func (f Facts) isCompute(binding *apisv1alpha2.APIBinding) bool {
	from := binding.Spec.Reference.Export
	if from == nil {
		return false
	}
	for _, target := range f.Targets {
		for _, export := range target.Spec.SupportedAPIExports {
			if export.Export == from.Name {
				return true
			}
		}
	}
	return from.Name == workloadv1alpha1.KubernetesExport
}

func origin(binding *apisv1alpha2.APIBinding) string {
	if from := binding.Spec.Reference.Export; from != nil {
		return fmt.Sprintf("the APIExport %s of %s", from.Name, from.Path)
	}
	return "the APIBinding " + binding.Name
}

// selection is a target that Placements chose for the object's namespace.
type selection struct {
	placement string
	target    schedulingv1alpha1.SelectedTarget
}

// placed tells which Placements are about the object's namespace, and gives the targets that they chose.
func (f Facts) placed(compute, served bool) (selected map[string]*selection, hops []Hop) {
	selected = map[string]*selection{}
	switch {
	case len(f.Feeders) > 0:
		return selected, []Hop{ok("Placement", "not needed: a SyncTarget of this workspace syncs everything in it")}
	case !f.PlacementsServed:
		return selected, []Hop{problem("Placement", "this workspace has no Placements", "Bind them and make one: kubectl workload bind PROVIDER")}
	case f.Object.GetNamespace() == "" && f.Object.GetKind() != "Namespace":
		return selected, []Hop{info("Placement", "the object is in no namespace, and Placements are about namespaces")}
	case f.Namespace == nil:
		return selected, []Hop{unknown("Namespace", fmt.Sprintf("namespace %s cannot be read", f.Object.GetNamespace()))}
	}
	var matching []*schedulingv1alpha1.Placement
	for i := range f.Placements {
		if matches(&f.Placements[i], f.Namespace) {
			matching = append(matching, &f.Placements[i])
		}
	}
	if len(matching) == 0 {
		return selected, []Hop{f.noPlacement()}
	}
	names := make([]string, 0, len(matching))
	for _, placement := range matching {
		names = append(names, placement.Name)
		hops = append(hops, scheduling(placement, f.Now, "See what it asks for: kubectl workload explain placement "+placement.Name))
		for _, target := range placement.Status.SelectedTargets {
			if old, known := selected[target.Key]; !known || old.target.Phase == schedulingv1alpha1.TargetLeaving {
				selected[target.Key] = &selection{placement.Name, target}
			}
		}
	}
	hops = append([]Hop{ok("Namespace", fmt.Sprintf("%s is selected by Placement %s", f.Namespace.Name, strings.Join(names, ", ")))}, hops...)
	if hop := f.choice(compute); hop != nil && served {
		hops = append(hops, *hop)
	}
	return selected, hops
}

func matches(placement *schedulingv1alpha1.Placement, namespace *corev1.Namespace) bool {
	if placement.Spec.NamespaceSelector == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(placement.Spec.NamespaceSelector)
	return err == nil && selector.Matches(labels.Set(namespace.Labels))
}

func (f Facts) noPlacement() Hop {
	if len(f.Placements) == 0 {
		return problem("Placement", "this workspace has no Placement, so nothing says where its work shall run", "Make one: kubectl workload bind PROVIDER")
	}
	selectors := make([]string, 0, len(f.Placements))
	for i := range f.Placements {
		selectors = append(selectors, fmt.Sprintf("%s (%s)", f.Placements[i].Name, namespacesOf(&f.Placements[i])))
	}
	return problem("Placement", fmt.Sprintf("none selects the labels of namespace %s: %s", f.Namespace.Name, strings.Join(selectors, ", ")),
		fmt.Sprintf("Label the namespace, or change the namespaceSelector of a Placement: kubectl label namespace %s KEY=VALUE", f.Namespace.Name))
}

// choice tells whether the object itself is for placement.
func (f Facts) choice(compute bool) *Hop {
	const name = "Choice"
	var hop Hop
	assigned := len(workloadv1alpha1.AssignedKeys(f.Object.GetLabels())) > 0
	switch chosen := f.Object.GetLabels()[workloadv1alpha1.AssignLabel]; {
	case chosen == "false":
		hop = info(name, fmt.Sprintf("its label %s: \"false\" keeps it here", workloadv1alpha1.AssignLabel))
	case chosen == "true":
		hop = ok(name, fmt.Sprintf("its label %s: \"true\" sends it along", workloadv1alpha1.AssignLabel))
	case compute || f.Object.GetKind() == "Namespace":
		return nil
	case assigned:
		hop = ok(name, "a workload of its namespace needs it")
	default:
		hop = info(name, fmt.Sprintf("no workload of its namespace names it, so it stays here; to send it along all the same, label it %s=true", workloadv1alpha1.AssignLabel))
	}
	return &hop
}

// keys are those of all targets that have to do with the object, in the order of their names.
func (f Facts) keys(selected map[string]*selection) []string {
	kept := f.stays()
	keys := workloadv1alpha1.AssignedKeys(f.Object.GetLabels())
	for _, finalizer := range f.Object.GetFinalizers() {
		if key, about := workloadv1alpha1.KeyOf(finalizer); about {
			keys = append(keys, key)
		}
	}
	keys = append(keys, f.Feeders...)
	for key, s := range selected {
		if !kept && s.target.Phase == schedulingv1alpha1.TargetSelected {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		return strings.Compare(f.targetName(a, selected[a])+a, f.targetName(b, selected[b])+b)
	})
	return slices.Compact(keys)
}

// stays is true for objects that no placement sends anywhere.
func (f Facts) stays() bool {
	_, compute := f.api()
	hop := f.choice(compute)
	return hop != nil && hop.State == Info
}

func (f Facts) targetName(key string, s *selection) string {
	switch {
	case s != nil:
		return s.target.Name
	case f.Targets[key] != nil:
		return f.Targets[key].Name
	}
	for i := range f.Placements {
		for _, target := range f.Placements[i].Status.SelectedTargets {
			if target.Key == key {
				return target.Name
			}
		}
	}
	return key
}

// way follows the object to one target and back.
func (f Facts) way(key string, s *selection, several bool) Hop {
	says := "no Placement of this workspace has chosen it"
	switch {
	case slices.Contains(f.Feeders, key):
		says = "syncs everything in this workspace"
	case s != nil:
		says = fmt.Sprintf("%s by Placement %s for %s: %s", strings.ToLower(string(s.target.Phase)), s.placement, f.ago(&s.target.Since), s.target.Reason)
	}
	way := Hop{Name: "Target " + f.targetName(key, s), Says: says}
	way.Hops = append(way.Hops, f.health(key))
	if !slices.Contains(f.Feeders, key) {
		way.Hops = append(way.Hops, f.assignment(key, s))
	}
	if f.Object.GetKind() != "Namespace" { // nothing is copied: its target makes one of its own
		way.Hops = append(way.Hops, f.claim(key), f.copy(key))
		if _, asked := f.Object.GetAnnotations()[workloadv1alpha1.DeletionAnnotation(key)]; !asked { // then its status no longer counts
			way.Hops = append(way.Hops, f.status(key, several))
		}
	}
	way.State = worst(way.Hops)
	return way
}

// worst is the state that counts for several hops.
func worst(hops []Hop) State {
	for _, state := range []State{Problem, Pending} {
		if slices.ContainsFunc(hops, func(h Hop) bool { return h.State == state }) {
			return state
		}
	}
	return OK
}

func (f Facts) health(key string) Hop {
	const name = "Health"
	target := f.Targets[key]
	if target == nil {
		return unknown(name, "its SyncTarget cannot be read from here")
	}
	heard := "never heard of"
	if !target.Status.LastSyncerHeartbeatTime.IsZero() {
		heard = fmt.Sprintf("heard of %s ago", f.ago(target.Status.LastSyncerHeartbeatTime))
	}
	ready := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady)
	switch {
	case ready == nil:
		return problem(name, "no syncer has served it yet", "Ask its operator: kubectl workload status")
	case ready.Status != metav1.ConditionTrue:
		return problem(name, fmt.Sprintf("%s: %s: %s (%s)", ready.Status, ready.Reason, ready.Message, heard), "Ask its operator: kubectl workload status")
	}
	if problem := f.unsyncedType(target); problem != nil {
		return *problem
	}
	return ok(name, "ready, "+heard)
}

// unsyncedType tells if the target does not sync the object's type.
func (f Facts) unsyncedType(target *workloadv1alpha1.SyncTarget) *Hop {
	for _, synced := range target.Status.SyncedResources {
		if synced.Group == f.Resource.Group && synced.Resource == f.Resource.Resource && synced.State != workloadv1alpha1.ResourceAccepted {
			hop := problem("Health", fmt.Sprintf("ready, but it does not sync %s: %s: %s", f.Resource, synced.State, synced.Message), "Ask its operator: kubectl workload status")
			return &hop
		}
	}
	return nil
}

func (f Facts) assignment(key string, s *selection) Hop {
	const name = "Assigned"
	state, labelled := f.Object.GetLabels()[workloadv1alpha1.StateLabel(key)]
	if since, leaving := f.Object.GetAnnotations()[workloadv1alpha1.DeletionAnnotation(key)]; leaving {
		return pending(name, fmt.Sprintf("asked to leave this target at %s; its copy there is on its way out", since))
	}
	switch {
	case !labelled && (s == nil || s.target.Phase == schedulingv1alpha1.TargetLeaving):
		return pending(name, "no longer; what is left there is on its way out")
	case !labelled:
		return pending(name, "not yet: the workload manager has not written the label "+workloadv1alpha1.StateLabel(key))
	case state == string(workloadv1alpha1.StatePending):
		return pending(name, "a coordinator has yet to release it to this target")
	case state == string(workloadv1alpha1.StateUpsync):
		return ok(name, "owned by the target, and synced up from there")
	case s != nil && s.target.Phase == schedulingv1alpha1.TargetLeaving:
		return pending(name, fmt.Sprintf("still, until its work is ready elsewhere: %s", s.target.Message))
	}
	return ok(name, "to be synced down")
}

func (f Facts) claim(key string) Hop {
	if slices.Contains(f.Object.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(key)) {
		return ok("Claimed", "its finalizer keeps it until the copy is gone")
	}
	return pending("Claimed", "not yet")
}

func (f Facts) copy(key string) Hop {
	const name = "Copy"
	var conditions []metav1.Condition
	raw := f.Object.GetAnnotations()[workloadv1alpha1.ConditionsAnnotation(key)]
	if raw != "" && json.Unmarshal([]byte(raw), &conditions) != nil {
		return unknown(name, "the syncer's condition cannot be read: "+raw)
	}
	for _, condition := range conditions {
		if condition.Status != metav1.ConditionTrue {
			what, remedy := fmt.Sprintf("%s for %s: %s", condition.Reason, f.ago(&condition.LastTransitionTime), condition.Message), remedyFor(condition.Reason)
			if held := meta.FindStatusCondition(conditions, workloadv1alpha1.ConditionQuarantined); held != nil {
				what, remedy = what+"; in quarantine: "+held.Message, "Change the object as the message says: that is taken up at once."
			}
			return problem(name, what, remedy)
		}
	}
	if !slices.Contains(f.Object.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(key)) {
		return pending(name, "not yet")
	}
	return ok(name, "the syncer has nothing to complain about")
}

// remedyFor is what docs/troubleshooting.md says, in short.
func remedyFor(reason string) string {
	switch reason {
	case workloadv1alpha1.ReasonConflict:
		return fmt.Sprintf("Rename the object, or choose what happens with the annotation %s: IfNoDiff or Force.", workloadv1alpha1.ConflictPolicyAnnotation)
	case workloadv1alpha1.ReasonImmutableField:
		return fmt.Sprintf("Undo the change, delete and create the object, or let the syncer do so with the annotation %s: %s.", workloadv1alpha1.ImmutablePolicyAnnotation, workloadv1alpha1.ImmutableRecreate)
	case workloadv1alpha1.ReasonInvalid, workloadv1alpha1.ReasonRejected, workloadv1alpha1.ReasonInvalidAnnotation, workloadv1alpha1.ReasonStatusUnreadable:
		return "Change the object as the message says."
	case workloadv1alpha1.ReasonForbidden:
		return "Ask the operator of the target to extend its syncer's role."
	case workloadv1alpha1.ReasonDriftFight:
		return "Drop the field that the message names, or have the operator of the target look after the other writer."
	case workloadv1alpha1.ReasonDeleting:
		return "Ask the operator of the target to look after what blocks the deletion there."
	case workloadv1alpha1.ReasonTargetUnreachable:
		return "Nothing, if it may wait: the workload may well be running. Placements move it after a time."
	}
	return "Wait; the syncer tries again by itself."
}

func (f Facts) status(key string, several bool) Hop {
	const name = "Status"
	if several {
		raw, home := f.Object.GetAnnotations()[workloadv1alpha1.StatusAnnotation(key)]
		if !home {
			return pending(name, "nothing has come home from this target yet")
		}
		var status map[string]any
		if utiljson.Unmarshal([]byte(raw), &status) != nil { // whose numbers are those of objects
			return unknown(name, "what came home cannot be read")
		}
		return ok(name, "home: "+brief(status))
	}
	status, found, _ := unstructured.NestedMap(f.Object.Object, "status")
	if !found || len(status) == 0 {
		if _, hasSpec := f.Object.Object["spec"]; !hasSpec {
			return info(name, "its kind has none")
		}
		return pending(name, "nothing has come home yet")
	}
	if observed, says, _ := unstructured.NestedInt64(status, "observedGeneration"); says && observed < f.Object.GetGeneration() {
		return pending(name, fmt.Sprintf("about generation %d, and the object is at %d: %s", observed, f.Object.GetGeneration(), brief(status)))
	}
	return ok(name, "home: "+brief(status))
}

// brief is a status in a few words: its replicas, and its conditions that are not as they should be, or else the main one.
func brief(status map[string]any) string {
	var parts []string
	if replicas, counted, _ := unstructured.NestedInt64(status, "replicas"); counted {
		ready, _, _ := unstructured.NestedInt64(status, "readyReplicas")
		parts = append(parts, fmt.Sprintf("%d of %d replicas are ready", ready, replicas))
	}
	conditions, _, _ := unstructured.NestedSlice(status, "conditions")
	for _, condition := range conditions {
		if c, isMap := condition.(map[string]any); isMap && c["type"] != nil {
			parts = append(parts, fmt.Sprintf("%v %v", c["type"], c["status"]))
		}
	}
	if len(parts) == 0 {
		return "there is one"
	}
	return strings.Join(parts, ", ")
}

// warning is the last that anybody warned of.
func (f Facts) warning() *Hop {
	for _, event := range slices.Backward(f.Events) {
		if event.Type == corev1.EventTypeWarning {
			hop := info("Event", fmt.Sprintf("%s ago: %s: %s", f.ago(&event.LastTimestamp), event.Reason, event.Message))
			return &hop
		}
	}
	return nil
}

func (f Facts) ago(when *metav1.Time) string { return ago(when, f.Now) }

func ago(when *metav1.Time, now time.Time) string {
	if when.IsZero() {
		return "an unknown time"
	}
	return duration.HumanDuration(max(now.Sub(when.Time), 0))
}

func nameOf(object metav1.Object) string {
	if object.GetNamespace() == "" {
		return object.GetName()
	}
	return object.GetNamespace() + "/" + object.GetName()
}
