package tmc

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Event is something that a user should read beside the object.
type Event struct {
	// About is the object; Kind its kind.
	About metav1.Object
	Kind  schema.GroupVersionKind
	// Type is corev1.EventTypeNormal or corev1.EventTypeWarning.
	Type            string
	Reason, Message string
	// Component is the program that says it, and Host which of them.
	Component, Host string
	// Now is the time of the event.
	Now time.Time
}

// longestMessage is what the API accepts in an Event's message.
const longestMessage = 1024

// Emit creates the Event beside the object; server reaches the object's workspace or cluster. Callers emit on transitions
// only, so their number is bounded by that of the condition changes.
func Emit(ctx context.Context, server dynamic.Interface, e Event) error {
	namespace := e.About.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where Events of cluster-scoped objects live
	}
	if len(e.Message) > longestMessage {
		e.Message = strings.ToValidUTF8(e.Message[:longestMessage], "")
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
		Source:         corev1.EventSource{Component: e.Component, Host: e.Host},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	})
	if err != nil {
		return err
	}
	_, err = server.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(namespace).
		Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{FieldManager: e.Component})
	return err
}
