package report

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Event is something that a user should read beside the object.
type Event struct {
	// About is the object; Kind its kind.
	About metav1.Object
	Kind  schema.GroupVersionKind
	// Type is corev1.EventTypeNormal or corev1.EventTypeWarning.
	Type            string
	Reason, Message string
	// Target is the name of the SyncTarget.
	Target string
	// Now is the time of the event.
	Now time.Time
}

// longestMessage is what the API accepts in an Event's message.
const longestMessage = 1024

// Emit creates the Event in the object's workspace. Callers emit on transitions only, so their number is bounded by
// that of the condition changes.
func Emit(ctx context.Context, workspace dynamic.Interface, e Event) error {
	namespace := e.About.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where Events of cluster-scoped objects live
	}
	if len(e.Message) > longestMessage {
		e.Message = e.Message[:longestMessage]
	}
	now := metav1.NewTime(e.Now)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: e.About.GetName() + ".", Namespace: namespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: e.Kind.GroupVersion().String(), Kind: e.Kind.Kind,
			Namespace: e.About.GetNamespace(), Name: e.About.GetName(), UID: e.About.GetUID(), ResourceVersion: e.About.GetResourceVersion(),
		},
		Type: e.Type, Reason: e.Reason, Message: e.Message,
		Source:         corev1.EventSource{Component: workloadv1alpha1.FieldManager, Host: e.Target},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	})
	if err != nil {
		return err
	}
	_, err = workspace.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(namespace).
		Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{FieldManager: workloadv1alpha1.FieldManager})
	return err
}
