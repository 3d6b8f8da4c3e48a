package report

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Create brings an object up. A name that is taken is an AlreadyExists error, never an overwrite.
func (w *Writer) Create(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return w.Client.Namespace(object.GetNamespace()).Create(ctx, object, metav1.CreateOptions{FieldManager: workloadv1alpha1.FieldManager})
}

// Change sends a JSON merge patch of an object that the target brought up, to the subresource; empty for the object itself.
func (w *Writer) Change(ctx context.Context, seen metav1.Object, patch []byte, subresource string) (resourceVersion string, err error) {
	return w.status(ctx, seen, types.MergePatchType, patch, subresource)
}

// LetGo takes the target's claim off an object that the target brought up, and off it alone. An object that is gone has none.
func (w *Writer) LetGo(ctx context.Context, seen metav1.Object) error {
	finalizer := workloadv1alpha1.SyncerFinalizer(w.Key)
	finalizers := slices.DeleteFunc(slices.Clone(seen.GetFinalizers()), func(f string) bool { return f == finalizer })
	_, err := w.patchSeen(ctx, seen, map[string]any{"finalizers": finalizers})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Delete deletes the object with the UID that was seen. One that is gone, or was replaced by another one, is not an error.
func (w *Writer) Delete(ctx context.Context, seen metav1.Object) error {
	err := w.Client.Namespace(seen.GetNamespace()).Delete(ctx, seen.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: ptr.To(seen.GetUID())},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
