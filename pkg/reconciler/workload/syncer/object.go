package syncer

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"

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

// object is what the caches hold: the metadata decoded, because every pass reads it, and the rest as JSON, which a pass
// decodes only when the metadata does not settle the matter. As map[string]any the same object takes several times the
// memory.
//
// An object is shared by all readers and never changed.
type object struct {
	metav1.ObjectMeta

	content *content
	// appliedHash is the annotation of that name. Every copy has one of its own, and mostly no other: apart from the others it takes a
	// fifth of the memory.
	appliedHash string

	// applied: our field manager has applied the object server-side; its managed fields need no migration.
	applied bool
	// autoscaled: a HorizontalPodAutoscaler has set spec.replicas.
	autoscaled bool
	// hasStatus: there is a member of that name that says something. New objects have an empty one.
	hasStatus bool
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

// decode gives a copy that the caller may keep and change. Of the metadata it has what steps read.
func (o *object) decode(kind schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(o.content.json, &u.Object); err != nil {
		return nil, fmt.Errorf("decoding the cached %s/%s: %w", o.Namespace, o.Name, err)
	}
	u.SetGroupVersionKind(kind)
	u.SetName(o.Name)
	u.SetNamespace(o.Namespace)
	u.SetUID(o.UID)
	u.SetResourceVersion(o.ResourceVersion)
	u.SetGeneration(o.Generation)
	u.SetDeletionTimestamp(o.DeletionTimestamp)
	u.SetLabels(o.Labels)
	u.SetAnnotations(o.allAnnotations())
	u.SetFinalizers(o.Finalizers)
	u.SetOwnerReferences(o.OwnerReferences)
	return u, nil
}

func (o *object) allAnnotations() map[string]string {
	if o.appliedHash == "" {
		return o.Annotations
	}
	all := map[string]string{workloadv1alpha1.AppliedHashAnnotation: o.appliedHash}
	maps.Copy(all, o.Annotations)
	return all
}

// ours reports whether this target created the object. The label alone does not prove that: the EndpointSlice
// controller copies it from a Service to what it makes, but not the hash, and what a controller made has an owner.
func (o *object) ours() bool {
	return o.appliedHash != "" && metav1.GetControllerOfNoCopy(o) == nil
}

// wireMetadata is what is read of an object's metadata.
type wireMetadata struct {
	Name              string                  `json:"name"`
	Namespace         string                  `json:"namespace"`
	UID               types.UID               `json:"uid"`
	ResourceVersion   string                  `json:"resourceVersion"`
	Generation        int64                   `json:"generation"`
	DeletionTimestamp *metav1.Time            `json:"deletionTimestamp"`
	Labels            jsontext.Value          `json:"labels"`
	Annotations       jsontext.Value          `json:"annotations"`
	Finalizers        []string                `json:"finalizers"`
	OwnerReferences   []metav1.OwnerReference `json:"ownerReferences"`
	ManagedFields     []managedFields         `json:"managedFields"`
}

// managedFields says that somebody has written to the object. What they wrote is not kept.
type managedFields struct {
	Manager     string                            `json:"manager"`
	Operation   metav1.ManagedFieldsOperationType `json:"operation"`
	Subresource string                            `json:"subresource"`
}

// keepIn gives the object its metadata.
func (m *wireMetadata) keepIn(o *object, labels, annotations map[string]string) {
	o.ObjectMeta = metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		DeletionTimestamp: m.DeletionTimestamp, Labels: labels, Annotations: annotations, Finalizers: m.Finalizers,
		OwnerReferences: m.OwnerReferences,
	}
	for _, entry := range m.ManagedFields {
		o.applied = o.applied || entry.Manager == workloadv1alpha1.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply
		o.autoscaled = o.autoscaled || entry.Subresource == "scale" && entry.Manager == autoscalerManager
	}
}

// compact makes an object of one that was read live.
func compact(live *unstructured.Unstructured) (*object, error) {
	raw, err := live.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return newDecoder(bytes.NewReader(raw), nil).object()
}

// autoscalerManager is the field manager of the HorizontalPodAutoscaler controller.
const autoscalerManager = "kube-controller-manager"

// objectList is the answer to a list.
type objectList struct {
	metav1.ListMeta

	Items []*object
}

var _ runtime.Object = (*objectList)(nil)

// GetObjectKind answers with nothing, as that of an object does.
func (l *objectList) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject copies the list and shares the objects, which nobody changes.
func (l *objectList) DeepCopyObject() runtime.Object {
	return &objectList{ListMeta: *l.ListMeta.DeepCopy(), Items: slices.Clone(l.Items)}
}
