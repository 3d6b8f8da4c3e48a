// Package apply brings objects into a workspace: what is missing is created, what differs is changed, and of each it is told
// which it was. Done again, it changes nothing.
package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// FieldManager owns what the plugin's commands write.
const FieldManager = "kubectl-workload"

// Outcome is what was done to an object.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
)

// Change is an object and what was done to it.
type Change struct {
	Kind, Name string
	Outcome    Outcome
}

// Run applies objects in one workspace, and keeps and tells the changes.
type Run struct {
	Client dynamic.Interface
	// Out receives a line for each change as it happens.
	Out io.Writer
	// DryRun asks the server what would happen, and changes nothing.
	DryRun bool

	Changes []Change
	// promised are namespaces that a dry run would have created: the server cannot be asked about what is in them.
	promised map[string]bool
}

// Note keeps and tells a change that was made otherwise.
func (r *Run) Note(kind, name string, outcome Outcome) {
	r.Changes = append(r.Changes, Change{Kind: kind, Name: name, Outcome: outcome})
	suffix := ""
	if r.DryRun {
		suffix = " (dry run)"
	}
	_, _ = fmt.Fprintf(r.Out, "%-9s  %s %s%s\n", outcome, kind, name, suffix)
}

// Apply creates the object if it is missing, and changes it if that is needed.
func (r *Run) Apply(ctx context.Context, resource schema.GroupVersionResource, object *unstructured.Unstructured) error {
	return r.apply(ctx, resource, object, true)
}

// Create creates the object if it is missing; what exists is left as it is.
func (r *Run) Create(ctx context.Context, resource schema.GroupVersionResource, object *unstructured.Unstructured) error {
	return r.apply(ctx, resource, object, false)
}

func (r *Run) apply(ctx context.Context, resource schema.GroupVersionResource, object *unstructured.Unstructured, change bool) error {
	outcome, err := r.put(ctx, resource, object, change)
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", object.GetKind(), NameOf(object), err)
	}
	r.Note(object.GetKind(), NameOf(object), outcome)
	return nil
}

func (r *Run) put(ctx context.Context, resource schema.GroupVersionResource, object *unstructured.Unstructured, change bool) (Outcome, error) {
	if r.promised[object.GetNamespace()] {
		return Created, nil
	}
	client := r.of(resource, object.GetNamespace())
	before, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	if err == nil && !change {
		return Unchanged, nil
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return "", err
	}
	force := true
	options := metav1.PatchOptions{FieldManager: FieldManager, Force: &force}
	if r.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	after, err := client.Patch(ctx, object.GetName(), types.ApplyPatchType, raw, options)
	if err != nil {
		return "", err
	}
	return r.compare(object, before, after), nil
}

func (r *Run) compare(object, before, after *unstructured.Unstructured) Outcome {
	switch {
	case before == nil:
		if r.DryRun && object.GetKind() == "Namespace" {
			r.promised = map[string]bool{object.GetName(): true}
		}
		return Created
	case sameContent(before, after):
		return Unchanged
	}
	return Updated
}

// sameContent compares what people wrote. The resourceVersion alone would not do: the first apply after a creation by apply is
// stored anew by kcp, as it is.
func sameContent(before, after *unstructured.Unstructured) bool {
	before, after = before.DeepCopy(), after.DeepCopy()
	for _, object := range []*unstructured.Unstructured{before, after} {
		object.SetResourceVersion("")
		object.SetManagedFields(nil)
	}
	return equality.Semantic.DeepEqual(before.Object, after.Object)
}

func (r *Run) of(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return r.Client.Resource(resource)
	}
	return r.Client.Resource(resource).Namespace(namespace)
}

// NameOf is the object's name for people, after its namespace if it has one.
func NameOf(object metav1.Object) string {
	if object.GetNamespace() == "" {
		return object.GetName()
	}
	return object.GetNamespace() + "/" + object.GetName()
}
