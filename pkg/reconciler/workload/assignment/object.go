package assignment

import (
	"encoding/json"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/references"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/coordination"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
)

// object is what the caches hold of a tenant's object: what a decision reads, and nothing of its content. The content of
// a Secret is not in the memory of this process for longer than it takes to read its type.
//
// An object is shared by all readers and never changed.
type object struct {
	// ObjectMeta has the names of the protocol only; all finalizers, as they are written as a whole.
	metav1.ObjectMeta

	// needs are the objects that it names.
	needs []references.Reference
	// token: it holds a token that is valid at this workspace's API server only.
	token bool
	// workload is set for objects that run pods.
	workload *workload
	// status is kept of objects that several targets report about.
	status map[string]any
}

// workload is what matters of an object that runs pods.
type workload struct {
	// ready: it does what it shall, by its status; readyOn the same by what each target says.
	ready    bool
	readyOn  map[string]bool
	finished bool
	replicas *int64
}

var _ fleet.Object = (*object)(nil)

// GetObjectKind answers with nothing: the cache that holds the object knows its kind.
func (o *object) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject copies the metadata and shares the rest, which nobody changes.
func (o *object) DeepCopyObject() runtime.Object {
	c := *o
	o.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

// decodeAs decodes objects of a resource.
func decodeAs(resource schema.GroupResource) fleet.Decode[*object] {
	return func(u *unstructured.Unstructured) (*object, error) { return compact(resource, u), nil }
}

func compact(resource schema.GroupResource, u *unstructured.Unstructured) *object {
	o := &object{ObjectMeta: metav1.ObjectMeta{
		Name: u.GetName(), Namespace: u.GetNamespace(), UID: u.GetUID(), ResourceVersion: u.GetResourceVersion(),
		CreationTimestamp: u.GetCreationTimestamp(), DeletionTimestamp: u.GetDeletionTimestamp(), Finalizers: u.GetFinalizers(),
		Labels: ofProtocol(u.GetLabels()), Annotations: ofProtocol(u.GetAnnotations()),
	}}
	o.needs = references.Of(resource, u.Object)
	o.token = resource == references.Secrets && u.Object["type"] == "kubernetes.io/service-account-token"
	if references.IsWorkload(resource) {
		o.workload = workloadOf(resource, u, o.Annotations)
	}
	if len(workloadv1alpha1.AssignedKeys(o.Labels)) > 1 {
		o.status, _ = u.Object["status"].(map[string]any)
	}
	return o
}

// alsoRead are names that are about no target.
var alsoRead = []string{workloadv1alpha1.AssignLabel, workloadv1alpha1.SummarizingAnnotation, workloadv1alpha1.TraceAnnotation, logicalcluster.AnnotationKey}

// ofProtocol are the labels or annotations that a decision reads.
func ofProtocol(names map[string]string) map[string]string {
	kept := map[string]string{}
	for name, value := range names {
		_, aboutTarget := workloadv1alpha1.KeyOf(name)
		if aboutTarget || slices.Contains(alsoRead, name) {
			kept[name] = value
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

func workloadOf(resource schema.GroupResource, u *unstructured.Unstructured, annotations map[string]string) *workload {
	w := &workload{ready: isReady(u), finished: isFinished(resource, u), readyOn: map[string]bool{}}
	if replicas, found, err := unstructured.NestedInt64(u.Object, "spec", "replicas"); found && err == nil {
		w.replicas = &replicas
	}
	for name := range annotations {
		key, _ := workloadv1alpha1.KeyOf(name)
		if reported := reportedBy(key, annotations); reported != nil {
			w.readyOn[key] = isReady(asSeenBy(u, reported, annotations[workloadv1alpha1.SpecDiffAnnotation(key)]))
		}
	}
	return w
}

// asSeenBy is the object as a target has it: with the status that it reports, and its share of the replicas.
func asSeenBy(u *unstructured.Unstructured, reported map[string]any, diff string) *unstructured.Unstructured {
	seen := &unstructured.Unstructured{Object: make(map[string]any, len(u.Object))}
	for field, value := range u.Object {
		seen.Object[field] = value
	}
	seen.Object["status"] = reported
	share, ok := coordination.ReplicasIn(diff)
	spec, isMap := u.Object["spec"].(map[string]any)
	if !ok || !isMap {
		return seen
	}
	shared := make(map[string]any, len(spec))
	for field, value := range spec {
		shared[field] = value
	}
	shared["replicas"] = share
	seen.Object["spec"] = shared
	return seen
}

// reportedBy is the status that a target reports for itself: in its annotation, or by the object's own rules in its syncer's view.
// It is nil if it reports none there.
func reportedBy(key string, annotations map[string]string) map[string]any {
	if text, ok := annotations[workloadv1alpha1.StatusAnnotation(key)]; ok {
		if reported := decoded(text); reported != nil {
			return reported
		}
		return map[string]any{}
	}
	view, err := workloadv1alpha1.ReadSyncerView(annotations[workloadv1alpha1.SyncerViewAnnotation(key)])
	if err != nil {
		return nil
	}
	reported, _ := view["status"].(map[string]any)
	return reported
}

// decoded is the status in an annotation; nil if it is none.
func decoded(text string) map[string]any {
	var decoded map[string]any
	if text == "" || utiljson.Unmarshal([]byte(text), &decoded) != nil {
		return nil
	}
	return decoded
}

// isReady asks the library that kubectl wait and Flux ask. An object without a status has not been seen by its controller.
func isReady(u *unstructured.Unstructured) bool {
	if reported, _ := u.Object["status"].(map[string]any); len(reported) == 0 {
		return false
	}
	result, err := status.Compute(u)
	return err == nil && result.Status == status.CurrentStatus
}

func isFinished(resource schema.GroupResource, u *unstructured.Unstructured) bool {
	if resource != (schema.GroupResource{Group: "batch", Resource: "jobs"}) {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return (condition["type"] == "Complete" || condition["type"] == "Failed") && condition["status"] == "True"
	})
}

// isReadyOn reports whether the object does what it shall on a target. Until a target says something for itself, the status
// speaks for those that the object was on before there were several.
func (o *object) isReadyOn(key string, leaving bool) bool {
	if said, ok := o.workload.readyOn[key]; ok {
		return said
	}
	alone := workloadv1alpha1.Targets(o.Labels, o.Annotations) == 1 && o.state(key) == workloadv1alpha1.StateSync
	return (alone || leaving) && o.workload.ready
}

// refusedBy is why a target cannot run the object before it changes; empty if it does not say so.
func (o *object) refusedBy(key string) string {
	var conditions []metav1.Condition
	if json.Unmarshal([]byte(o.Annotations[workloadv1alpha1.ConditionsAnnotation(key)]), &conditions) != nil ||
		!meta.IsStatusConditionTrue(conditions, workloadv1alpha1.ConditionQuarantined) {
		return ""
	}
	for _, c := range conditions {
		if c.Type == workloadv1alpha1.ConditionSynced {
			return c.Reason + ": " + c.Message
		}
	}
	return workloadv1alpha1.ConditionQuarantined
}

func (o *object) state(key string) workloadv1alpha1.State {
	state, ok := o.Labels[workloadv1alpha1.StateLabel(key)]
	if !ok {
		return "none"
	}
	return workloadv1alpha1.State(state)
}

// on reports whether the object is assigned to a target.
func (o *object) on(key string) bool {
	_, ok := o.Labels[workloadv1alpha1.StateLabel(key)]
	return ok
}

// keys are those of all targets that the object says something about.
func (o *object) keys() []string { return keysOn(o) }

func keysOn(o metav1.Object) []string {
	var keys []string
	note := func(name string) {
		if key, ok := workloadv1alpha1.KeyOf(name); ok && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for name := range o.GetLabels() {
		note(name)
	}
	for name := range o.GetAnnotations() {
		note(name)
	}
	for _, name := range o.GetFinalizers() {
		note(name)
	}
	return keys
}

// facts are what a decision reads of the object.
func (o *object) facts(resource schema.GroupResource) decide.Object {
	facts := decide.Object{
		Labels: o.Labels, Annotations: o.Annotations, Finalizers: o.Finalizers, Deleting: o.DeletionTimestamp != nil,
		Shared: coordination.Splits(resource),
	}
	if o.workload != nil {
		facts.Workload, facts.Finished, facts.Replicas = true, o.workload.finished, o.workload.replicas
	}
	return facts
}

// toJSON is for values that come from JSON.
func toJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // what was decoded can be encoded
	}
	return text
}
