package fleet

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Object is what a cache may hold. What it holds is shared by all readers: nobody changes it.
type Object interface {
	metav1.Object
	runtime.Object
}

// Decode makes what a cache holds of what kcp returned, which it may change: managed fields and kubectl's annotation are
// gone already. It keeps the annotation kcp.io/cluster.
type Decode[T Object] func(*unstructured.Unstructured) (T, error)

// Typed decodes into an API type: Typed[workloadv1alpha1.SyncTarget].
func Typed[T any, P interface {
	*T
	Object
}](u *unstructured.Unstructured) (P, error) {
	object := P(new(T))
	return object, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, object)
}

// Metadata keeps just the metadata.
func Metadata(u *unstructured.Unstructured) (*metav1.PartialObjectMetadata, error) {
	object := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: u.GetAPIVersion(), Kind: u.GetKind()}}
	metadata, _, err := unstructured.NestedMap(u.Object, "metadata")
	if err != nil {
		return nil, err
	}
	return object, runtime.DefaultUnstructuredConverter.FromUnstructured(metadata, &object.ObjectMeta)
}

// Compact is an object of any type: its metadata, and the whole as JSON. As map[string]any the same object takes several
// times the memory.
type Compact struct {
	metav1.ObjectMeta

	kind schema.GroupVersionKind
	raw  []byte
}

// Compacted decodes into a Compact.
func Compacted(u *unstructured.Unstructured) (*Compact, error) {
	metadata, err := Metadata(u)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(u.Object)
	return &Compact{ObjectMeta: metadata.ObjectMeta, kind: u.GroupVersionKind(), raw: raw}, err
}

// GroupVersionKind is that of the object.
func (c *Compact) GroupVersionKind() schema.GroupVersionKind { return c.kind }

// GetObjectKind answers with nothing: see GroupVersionKind.
func (c *Compact) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject copies the metadata and shares the JSON, which nobody changes.
func (c *Compact) DeepCopyObject() runtime.Object {
	copied := *c
	c.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	return &copied
}

// Decode gives the whole object, as a copy that the caller may keep and change.
func (c *Compact) Decode() (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(c.raw, &u.Object); err != nil {
		return nil, fmt.Errorf("decoding the cached %s: %w", KeyOf(c), err)
	}
	return u, nil
}

// transform is what informers do with what a watch delivers. It is idempotent, as they ask.
func transform[T Object](decode Decode[T]) func(any) (any, error) {
	return func(in any) (any, error) {
		u, ok := in.(*unstructured.Unstructured)
		if !ok {
			return in, nil
		}
		unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
		unstructured.RemoveNestedField(u.Object, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
		object, err := decode(u)
		if err != nil {
			return nil, fmt.Errorf("decoding %s %s: %w", u.GetKind(), KeyOf(u), err)
		}
		return object, nil
	}
}
