package fleet

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Writer writes to workspaces through one export, for one reconciler. Its errors are sorted and say what was done to what;
// its requests are counted. It is safe for concurrent use.
type Writer struct {
	fleet      *Fleet
	reconciler string
	export     string
}

// Writer is for the reconciler of that name.
func (f *Fleet) Writer(reconciler, export string) *Writer {
	return &Writer{fleet: f, reconciler: reconciler, export: export}
}

// Patch sends a JSON merge patch. With metadata.resourceVersion in it, it holds for that version only and is a conflict
// otherwise; a list, such as the finalizers, is replaced as a whole and needs that.
func (w *Writer) Patch(ctx context.Context, gvr schema.GroupVersionResource, key Key, patch map[string]any, subresources ...string) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return w.send("patch", gvr, key, func(client dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return client.Patch(ctx, key.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: workloadv1alpha1.ManagerFieldManager}, subresources...)
	})
}

// Create makes an object.
func (w *Writer) Create(ctx context.Context, gvr schema.GroupVersionResource, cluster logicalcluster.Name, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	key := Key{Cluster: cluster, Namespace: object.GetNamespace(), Name: object.GetName()}
	return w.send("create", gvr, key, func(client dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return client.Create(ctx, object, metav1.CreateOptions{FieldManager: workloadv1alpha1.ManagerFieldManager})
	})
}

// Delete deletes the object of that UID.
func (w *Writer) Delete(ctx context.Context, gvr schema.GroupVersionResource, key Key, uid types.UID) error {
	_, err := w.send("delete", gvr, key, func(client dynamic.ResourceInterface) (*unstructured.Unstructured, error) {
		return nil, client.Delete(ctx, key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(uid))})
	})
	return err
}

// Emit creates an Event beside the object that it is about, in its workspace.
func (w *Writer) Emit(ctx context.Context, event tmc.Event) error {
	cluster := logicalcluster.From(event.About)
	source, err := w.fleet.sourceFor(w.export, cluster)
	if err != nil {
		return err
	}
	event.Component, event.Host = workloadv1alpha1.ManagerFieldManager, w.reconciler
	if event.Now.IsZero() {
		event.Now = w.fleet.deps.Clock.Now()
	}
	err = tmc.Classify(tmc.Emit(ctx, source.client.Cluster(cluster.Path()), event))
	w.fleet.deps.Metrics.written(w.reconciler, schema.GroupResource{Resource: "events"}, "create", err)
	return err
}

func (w *Writer) send(verb string, gvr schema.GroupVersionResource, key Key, request func(dynamic.ResourceInterface) (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error) {
	source, err := w.fleet.sourceFor(w.export, key.Cluster)
	if err != nil {
		return nil, err
	}
	answer, err := request(source.client.Cluster(key.Cluster.Path()).Resource(gvr).Namespace(key.Namespace))
	err = tmc.WithContext(err, tmc.Context{
		Operation: verb, Cluster: string(key.Cluster), Resource: gvr.GroupResource(), Namespace: key.Namespace, Name: key.Name,
	})
	w.fleet.deps.Metrics.written(w.reconciler, gvr.GroupResource(), verb, err)
	return answer, err
}
