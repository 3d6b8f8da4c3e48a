// Package report is the only writer to the tenants' objects: the claim, the status, the conditions of what cannot be
// synced, and Events. It never writes a spec, but of the objects that the target itself brings up. What to write is decided
// elsewhere.
//
// A write to kcp costs some fifteen times a write to a kube-apiserver, so every function here sends one request or none.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/dynamic"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Writer writes to objects of one type in one workspace. It is safe for concurrent use.
type Writer struct {
	// Client reaches the type, in the object's workspace.
	Client dynamic.NamespaceableResourceInterface
	// Key of the target.
	Key string
	// TakesTraces: what is written to the metadata takes off the trace that the object carries, which is used by then.
	TakesTraces bool
}

// Claim adds the target's finalizer. It is refused as a conflict when the object is no longer the one that was seen.
func (w *Writer) Claim(ctx context.Context, seen metav1.Object) (resourceVersion string, err error) {
	finalizers := append(slices.Clone(seen.GetFinalizers()), workloadv1alpha1.SyncerFinalizer(w.Key))
	return w.patchSeen(ctx, seen, map[string]any{"finalizers": finalizers})
}

// Release removes the target's finalizer and all that the target wrote on the object; when the object leaves this
// target only, also the request to leave and the state label. An object that is gone needs no release.
func (w *Writer) Release(ctx context.Context, seen metav1.Object) error {
	finalizer := workloadv1alpha1.SyncerFinalizer(w.Key)
	finalizers := slices.DeleteFunc(slices.Clone(seen.GetFinalizers()), func(f string) bool { return f == finalizer })
	changes := map[string]any{"finalizers": finalizers}
	if seen.GetDeletionTimestamp() == nil {
		w.forget(seen, changes)
	}
	_, err := w.patchSeen(ctx, seen, changes)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (w *Writer) forget(seen metav1.Object, changes map[string]any) {
	names := []string{workloadv1alpha1.DeletionAnnotation(w.Key), workloadv1alpha1.StatusAnnotation(w.Key), workloadv1alpha1.ConditionsAnnotation(w.Key), workloadv1alpha1.SyncerViewAnnotation(w.Key)}
	if _, leaving := seen.GetAnnotations()[workloadv1alpha1.DeletionAnnotation(w.Key)]; leaving {
		names = append(names, workloadv1alpha1.SpecDiffAnnotation(w.Key))
		changes["labels"] = map[string]any{workloadv1alpha1.StateLabel(w.Key): nil}
	}
	annotations := map[string]any{}
	for _, name := range names {
		if _, ok := seen.GetAnnotations()[name]; ok {
			annotations[name] = nil
		}
	}
	if len(annotations) > 0 {
		changes["annotations"] = annotations
	}
}

// patchSeen merges changes into the metadata of exactly the version that was seen: finalizers are a list, and a blind
// patch would drop what others have added since.
func (w *Writer) patchSeen(ctx context.Context, seen metav1.Object, changes map[string]any) (string, error) {
	changes["resourceVersion"] = seen.GetResourceVersion()
	changes["uid"] = string(seen.GetUID())
	patched, err := w.patch(ctx, seen, map[string]any{"metadata": changes})
	if err != nil {
		return "", err
	}
	return patched.GetResourceVersion(), nil
}

// Status sends a JSON merge patch of .status, or of the annotation that stands for it, to the subresource that holds it;
// empty for the object itself. It names no version, so it cannot conflict.
func (w *Writer) Status(ctx context.Context, seen metav1.Object, patch []byte, subresource string) (resourceVersion string, err error) {
	return w.status(ctx, seen, types.MergePatchType, patch, subresource)
}

func (w *Writer) status(ctx context.Context, seen metav1.Object, kind types.PatchType, patch []byte, subresource string) (resourceVersion string, err error) {
	if subresource == "" && kind == types.MergePatchType && w.carriesTrace(seen) { // else the metadata is not written
		if patch, err = withoutTrace(patch); err != nil {
			return "", err
		}
	}
	var subresources []string
	if subresource != "" {
		subresources = []string{subresource}
	}
	patched, err := w.Client.Namespace(seen.GetNamespace()).Patch(ctx, seen.GetName(), kind, patch, patchOptions(), subresources...)
	if err != nil {
		return "", err
	}
	return patched.GetResourceVersion(), nil
}

// WholeStatus replaces .status by what it shall be, through a view that shows the target its own objects. The view sends
// this on in one request, as it need not know what the status was.
func (w *Writer) WholeStatus(ctx context.Context, seen metav1.Object, status map[string]any, subresource string) (resourceVersion string, err error) {
	patch, err := json.Marshal([]any{map[string]any{"op": "add", "path": "/status", "value": status}})
	if err != nil {
		return "", fmt.Errorf("encoding: %w", err)
	}
	return w.status(ctx, seen, types.JSONPatchType, patch, subresource)
}

// Annotate sets annotations, or removes those whose value is nil.
func (w *Writer) Annotate(ctx context.Context, seen metav1.Object, annotations map[string]any) (resourceVersion string, err error) {
	patched, err := w.patch(ctx, seen, map[string]any{"metadata": map[string]any{"uid": string(seen.GetUID()), "annotations": annotations}})
	if err != nil {
		return "", err
	}
	return patched.GetResourceVersion(), nil
}

// Read reads the object live.
func (w *Writer) Read(ctx context.Context, namespace, name string) (*unstructured.Unstructured, error) {
	return w.Client.Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// carriesTrace: the object has a trace to be taken off.
func (w *Writer) carriesTrace(seen metav1.Object) bool {
	_, carries := seen.GetAnnotations()[workloadv1alpha1.TraceAnnotation]
	return carries && w.TakesTraces
}

// withoutTrace adds to a merge patch that the trace goes.
func withoutTrace(patch []byte) ([]byte, error) {
	var body map[string]any
	if err := utiljson.Unmarshal(patch, &body); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	takeTrace(body)
	return json.Marshal(body)
}

func takeTrace(body map[string]any) {
	inner(inner(body, "metadata"), "annotations")[workloadv1alpha1.TraceAnnotation] = nil
}

// inner is a field of an object, made if it is not there.
func inner(of map[string]any, field string) map[string]any {
	found, ok := of[field].(map[string]any)
	if !ok {
		found = map[string]any{}
		of[field] = found
	}
	return found
}

func (w *Writer) patch(ctx context.Context, seen metav1.Object, body map[string]any) (*unstructured.Unstructured, error) {
	if w.carriesTrace(seen) {
		takeTrace(body)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return w.Client.Namespace(seen.GetNamespace()).Patch(ctx, seen.GetName(), types.MergePatchType, data, patchOptions())
}

func patchOptions() metav1.PatchOptions {
	return metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldManager}
}
