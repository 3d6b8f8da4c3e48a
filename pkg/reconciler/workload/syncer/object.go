package syncer

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/tools/cache"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Key names one upstream object of a resource type, wherever it lives.
type Key struct {
	Cluster   logicalcluster.Name
	Namespace string
	Name      string
}

// String is for people: team-a|web/nginx.
func (k Key) String() string {
	if k.Namespace == "" {
		return string(k.Cluster) + "|" + k.Name
	}
	return string(k.Cluster) + "|" + k.Namespace + "/" + k.Name
}

// object is what the caches hold: the metadata decoded, because every pass reads it, and the whole object as JSON,
// which a pass decodes only when the metadata does not settle the matter. As map[string]any the same object takes
// several times the memory.
//
// An object is shared by all readers and never changed.
type object struct {
	metav1.ObjectMeta

	raw []byte

	// applied: our field manager has applied the object server-side; its managed fields need no migration.
	applied bool
	// autoscaled: a HorizontalPodAutoscaler has set spec.replicas.
	autoscaled bool
}

var _ runtime.Object = (*object)(nil)

// GetObjectKind answers with nothing: the cache that holds the object knows its kind.
func (o *object) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject copies the metadata and shares the JSON, which nobody changes.
func (o *object) DeepCopyObject() runtime.Object {
	c := *o
	o.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

// decode gives a copy that the caller may keep and change.
func (o *object) decode() (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(o.raw, &u.Object); err != nil {
		return nil, fmt.Errorf("decoding the cached %s/%s: %w", o.Namespace, o.Name, err)
	}
	return u, nil
}

// ours reports whether this target created the object. The label alone does not prove that: the EndpointSlice
// controller copies it from a Service to what it makes, but not the hash, and what a controller made has an owner.
func (o *object) ours() bool {
	return o.Annotations[workloadv1alpha1.AppliedHashAnnotation] != "" && metav1.GetControllerOfNoCopy(o) == nil
}

var _ cache.TransformFunc = compact

// compact turns what a watch delivers into an object, without what no step reads. It is idempotent, as informers ask.
func compact(in any) (any, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	o := &object{ObjectMeta: metav1.ObjectMeta{
		Name:              u.GetName(),
		Namespace:         u.GetNamespace(),
		UID:               u.GetUID(),
		ResourceVersion:   u.GetResourceVersion(),
		Generation:        u.GetGeneration(),
		DeletionTimestamp: u.GetDeletionTimestamp(),
		Finalizers:        u.GetFinalizers(),
		OwnerReferences:   u.GetOwnerReferences(),
	}}
	for _, entry := range u.GetManagedFields() {
		o.applied = o.applied || entry.Manager == workloadv1alpha1.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply
		o.autoscaled = o.autoscaled || entry.Subresource == "scale" && entry.Manager == autoscalerManager
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
	o.Labels, o.Annotations = u.GetLabels(), u.GetAnnotations()

	var err error
	o.raw, err = json.Marshal(u.Object)
	return o, err
}

// autoscalerManager is the field manager of the HorizontalPodAutoscaler controller.
const autoscalerManager = "kube-controller-manager"
