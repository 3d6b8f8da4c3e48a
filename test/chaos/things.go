package chaos

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Namespace is where the things are, in each workspace.
const Namespace = "web"

// What marks a thing, upstream and down.
const (
	incarnationLabel = "chaos.example.com/incarnation"
	valueAnnotation  = "chaos.example.com/value"
)

// Resources are the kinds' types.
var Resources = map[Kind]schema.GroupVersionResource{
	ConfigMap:  {Version: "v1", Resource: "configmaps"},
	Secret:     {Version: "v1", Resource: "secrets"},
	Service:    {Version: "v1", Resource: "services"},
	Deployment: {Group: "apps", Version: "v1", Resource: "deployments"},
}

// kindOf is the kind of a resource; empty for others.
func kindOf(resource string) Kind {
	for kind, gvr := range Resources {
		if gvr.Resource == resource {
			return kind
		}
	}
	return ""
}

// Object is what a user applies for a thing.
func Object(slot Slot, thing Thing) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": Resources[slot.Kind].GroupVersion().String(), "kind": string(slot.Kind),
		"metadata": map[string]any{
			"name": slot.Name, "namespace": Namespace,
			"labels":      map[string]any{incarnationLabel: strconv.Itoa(thing.Incarnation), workloadv1alpha1.AssignLabel: "true"},
			"annotations": map[string]any{valueAnnotation: strconv.Itoa(thing.Value)},
		},
	}}
	for field, content := range Content(slot, thing) {
		u.Object[field] = content
	}
	return u
}

// Content is what depends on the thing's value, beside the annotation.
func Content(slot Slot, thing Thing) map[string]any {
	text := strconv.Itoa(thing.Value)
	app := map[string]any{"app": slot.Name}
	switch slot.Kind {
	case ConfigMap:
		return map[string]any{"data": map[string]any{"value": text}}
	case Secret:
		return map[string]any{"data": map[string]any{"value": base64.StdEncoding.EncodeToString([]byte(text))}}
	case Service:
		return map[string]any{"spec": map[string]any{"selector": app, "ports": []any{map[string]any{"port": port(thing), "protocol": "TCP"}}}}
	default:
		return map[string]any{"spec": map[string]any{
			"replicas": replicas(thing), "selector": map[string]any{"matchLabels": app},
			"template": map[string]any{
				"metadata": map[string]any{"labels": app},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "main", "image": image(thing)}}},
			},
		}}
	}
}

func port(thing Thing) int64     { return int64(1 + thing.Value%30000) }
func replicas(thing Thing) int64 { return int64(1 + thing.Value%2) }
func image(thing Thing) string   { return fmt.Sprintf("example.com/main:%d", thing.Value) }

// Spoiled is what a vandal makes of a copy's content, as a merge patch.
func Spoiled(kind Kind) map[string]any {
	switch kind {
	case ConfigMap:
		return map[string]any{"data": map[string]any{"value": "spoiled"}}
	case Secret:
		return map[string]any{"data": map[string]any{"value": base64.StdEncoding.EncodeToString([]byte("spoiled"))}}
	case Service:
		return map[string]any{"spec": map[string]any{"ports": []any{map[string]any{"port": int64(31999), "protocol": "TCP"}}}}
	default:
		return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "main", "image": "example.com/spoiled"}}}}}}
	}
}

// Read tells which thing an object is. The error says what in it does not fit together.
func Read(u *unstructured.Unstructured) (Thing, error) {
	incarnation, err := strconv.Atoi(u.GetLabels()[incarnationLabel])
	if err != nil {
		return Thing{}, errors.New("it is no thing of the script")
	}
	value, err := strconv.Atoi(u.GetAnnotations()[valueAnnotation])
	if err != nil {
		return Thing{}, fmt.Errorf("its annotation %s is %q", valueAnnotation, u.GetAnnotations()[valueAnnotation])
	}
	thing := Thing{incarnation, value}
	return thing, fits(u, thing)
}

// fits compares the fields that users set. A split of replicas between targets is none of them.
func fits(u *unstructured.Unstructured, thing Thing) error {
	kind := Kind(u.GetKind())
	var got, want any
	switch kind {
	case ConfigMap, Secret:
		got, _, _ = unstructured.NestedStringMap(u.Object, "data")
		text := strconv.Itoa(thing.Value)
		if kind == Secret {
			text = base64.StdEncoding.EncodeToString([]byte(text))
		}
		want = map[string]string{"value": text}
	case Service:
		ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
		var numbers []string
		for _, p := range ports {
			fields, _ := p.(map[string]any)
			numbers = append(numbers, fmt.Sprint(fields["port"]))
		}
		got, want = strings.Join(numbers, " "), strconv.FormatInt(port(thing), 10)
	default:
		containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		var images []string
		for _, c := range containers {
			fields, _ := c.(map[string]any)
			images = append(images, fmt.Sprint(fields["image"]))
		}
		got, want = strings.Join(images, " "), image(thing)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("its content is %v, want %v", got, want)
	}
	return nil
}
