// Package apply is the only writer to the physical cluster's synced objects.
//
// It never touches what it was not shown to be ours: a creation is a POST, an update carries the UID of the copy, a
// deletion carries the UID too. What to write is decided elsewhere.
package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/csaupgrade"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Writer writes the copies of one resource type. It is safe for concurrent use.
type Writer struct {
	client   dynamic.NamespaceableResourceInterface
	rest     rest.Interface
	resource string
}

// NewWriter writes objects of that type through the client. What is written for every object goes by the REST client of the
// type's group and version: of the answer, which holds the whole object again, only the version is read.
func NewWriter(client dynamic.Interface, direct rest.Interface, gvr schema.GroupVersionResource) *Writer {
	return &Writer{client: client.Resource(gvr), rest: direct, resource: gvr.Resource}
}

// Create makes the copy. A name that is taken is an AlreadyExists error, never an overwrite.
func (w *Writer) Create(ctx context.Context, desired *unstructured.Unstructured) (resourceVersion string, err error) {
	return w.send(ctx, w.rest.Post(), desired.GetNamespace(), "", desired.Object)
}

// send sends an object, and gives the version that the server made of it.
func (w *Writer) send(ctx context.Context, request *rest.Request, namespace, name string, body map[string]any) (resourceVersion string, err error) {
	data, err := json.Marshal(body, json.FormatNilMapAsNull(true), json.FormatNilSliceAsNull(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return "", fmt.Errorf("encoding: %w", err)
	}
	request = request.NamespaceIfScoped(namespace, namespace != "").Resource(w.resource).Param("fieldManager", workloadv1alpha1.FieldManager)
	if name != "" {
		request = request.Name(name)
	}
	result := request.Body(data).Do(ctx)
	if err := result.Error(); err != nil {
		return "", err
	}
	raw, err := result.Raw()
	if err != nil {
		return "", err
	}
	var answer struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &answer, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return "", fmt.Errorf("decoding the answer: %w", err)
	}
	if answer.Metadata.ResourceVersion == "" {
		return "", errors.New("the answer is no object: it has no resourceVersion")
	}
	return answer.Metadata.ResourceVersion, nil
}

// Read reads an object live.
func (w *Writer) Read(ctx context.Context, namespace, name string) (*unstructured.Unstructured, error) {
	return w.client.Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Update makes the fields of desired hold in the object with that UID, and removes those that an earlier Update or
// Create set and that desired no longer has. Fields of others stay. applied tells that an Update went before;
// otherwise the ownership that Create recorded is migrated first, at the cost of a read and a small patch.
func (w *Writer) Update(ctx context.Context, desired *unstructured.Unstructured, uid types.UID, applied bool) (resourceVersion string, err error) {
	if !applied {
		if err := w.migrate(ctx, desired, uid); err != nil {
			return "", err
		}
	}
	// What we own is ours to correct; who else wants it is found in the managed fields.
	request := w.rest.Patch(types.ApplyPatchType).Param("force", "true")
	return w.send(ctx, request, desired.GetNamespace(), desired.GetName(), withUID(desired, uid))
}

// Displace is an Update after which the lists of desired hold its items and no others. It is for what a server refuses because of
// items that others have put beside ours.
func (w *Writer) Displace(ctx context.Context, desired *unstructured.Unstructured, uid types.UID) (resourceVersion string, err error) {
	body := withUID(desired, uid)
	body["metadata"] = map[string]any{"uid": string(uid)}
	if _, err := w.send(ctx, w.rest.Patch(types.MergePatchType), desired.GetNamespace(), desired.GetName(), body); err != nil {
		return "", err
	}
	return w.Update(ctx, desired, uid, false)
}

// withUID is a shallow copy of the object that demands that UID of what it is applied to.
func withUID(desired *unstructured.Unstructured, uid types.UID) map[string]any {
	body := make(map[string]any, len(desired.Object))
	for k, v := range desired.Object {
		body[k] = v
	}
	metadata := map[string]any{}
	if m, ok := body["metadata"].(map[string]any); ok {
		for k, v := range m {
			metadata[k] = v
		}
	}
	metadata["uid"] = string(uid)
	body["metadata"] = metadata
	return body
}

// migrate turns the ownership that a POST recorded (operation Update) into that of server-side apply. Without it a
// field that is dropped from desired would stay, still owned by the POST.
func (w *Writer) migrate(ctx context.Context, desired *unstructured.Unstructured, uid types.UID) error {
	live, err := w.Read(ctx, desired.GetNamespace(), desired.GetName())
	if err != nil {
		return err
	}
	if live.GetUID() != uid {
		return apierrors.NewConflict(schema.GroupResource{Resource: live.GetKind()}, live.GetName(), fmt.Errorf("the copy was replaced: UID %s instead of %s", live.GetUID(), uid))
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(workloadv1alpha1.FieldManager), workloadv1alpha1.FieldManager)
	if err != nil || patch == nil {
		return err
	}
	_, err = w.client.Namespace(live.GetNamespace()).Patch(ctx, live.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldManager})
	return err
}

// Delete deletes the object with that UID; its dependents go in the background. An object that is gone, or was
// replaced by another one, is not an error.
func (w *Writer) Delete(ctx context.Context, namespace, name string, uid types.UID) error {
	err := w.client.Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: &uid},
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground), // also for Jobs, whose default leaves the pods behind
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Disown strips the object with that UID of our marks and leaves it to whoever wants it.
func (w *Writer) Disown(ctx context.Context, namespace, name string, uid types.UID) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":    string(uid),
		"labels": map[string]any{workloadv1alpha1.DownstreamClusterLabel: nil},
		"annotations": map[string]any{
			workloadv1alpha1.AppliedHashAnnotation:      nil,
			workloadv1alpha1.NamespaceLocatorAnnotation: nil,
			workloadv1alpha1.RemovalPolicyAnnotation:    nil,
		},
	}})
	if err != nil {
		return err
	}
	_, err = w.client.Namespace(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
