package virtualworkspace

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

const (
	longestEventMessage = 1024
	// longestGeneratedName is what the API accepts before the part that it makes.
	longestGeneratedName = 200
)

var eventReason = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,127}$`)

// readEvent reads what a target wants to tell the users of an object. Just the reason, the message and the type are its
// own words.
func readEvent(body []byte, namespace string) (corev1.Event, error) {
	var event corev1.Event
	if err := json.Unmarshal(body, &event); err != nil {
		return event, malformed(reasonBody, "the body is not an Event")
	}
	about := event.InvolvedObject
	home := about.Namespace
	if home == "" {
		home = metav1.NamespaceDefault // where Events of cluster-scoped objects live
	}
	switch {
	case event.Kind != "" && (event.Kind != "Event" || event.APIVersion != "v1"):
		return event, malformed(reasonBody, "the body is not an Event")
	case home != namespace:
		return event, denied(reasonField, "an Event lives in the namespace of the object that it is about")
	case about.Kind == "" || about.Name == "" || about.UID == "":
		return event, denied(reasonField, "an Event names kind, name and uid of the object that it is about")
	case !nameSegment.MatchString(about.Name) || about.Name == "." || about.Name == "..":
		return event, denied(reasonField, "the name of the object that the Event is about is none")
	case !eventReason.MatchString(event.Reason):
		return event, denied(reasonField, "the reason of an Event is one word")
	case event.Type != corev1.EventTypeNormal && event.Type != corev1.EventTypeWarning:
		return event, denied(reasonField, "the type of an Event is Normal or Warning")
	}
	return event, nil
}

// eventFor is the Event that is created: about an object that was found to be the target's, and from nobody else.
func eventFor(said corev1.Event, about facts, target TargetRef, namespace string, now time.Time) corev1.Event {
	message := strings.ToValidUTF8(said.Message, "?")
	if len(message) > longestEventMessage {
		message = strings.ToValidUTF8(message[:longestEventMessage], "")
	}
	name := about.name
	if len(name) > longestGeneratedName {
		name = name[:longestGeneratedName]
	}
	return corev1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: name + ".", Namespace: namespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: said.InvolvedObject.APIVersion, Kind: said.InvolvedObject.Kind,
			Namespace: about.namespace, Name: about.name, UID: said.InvolvedObject.UID, ResourceVersion: about.resourceVersion,
		},
		Type: said.Type, Reason: said.Reason, Message: message,
		Source:         corev1.EventSource{Component: workloadv1alpha1.FieldManager, Host: target.Name},
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now), Count: 1,
	}
}
