package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// patience is how long a hop may take before the demo gives up.
const patience = time.Minute

// hop is something that follows from an act, at an object on one of the two sides.
type hop struct {
	says    string
	at      dynamic.ResourceInterface
	name    string
	reached func(object *unstructured.Unstructured) bool
}

// gone is reached when the object is deleted.
var gone func(*unstructured.Unstructured) bool

// journey acts, and tells when each hop is reached, counted from before the act. All hops are watched from before it, so
// that the times are those of the events and not those of a look.
func journey(ctx context.Context, s *screen, done string, act func(context.Context) error, hops ...hop) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	watches, err := watchAll(ctx, hops)
	if err != nil {
		return err
	}

	started := time.Now()
	for i, h := range hops {
		group.Go(func() error {
			if err := h.await(ctx, watches[i]); err != nil {
				return err
			}
			tell(s, started, h.says)
			return nil
		})
	}
	group.Go(func() error {
		if err := act(ctx); err != nil {
			return err
		}
		tell(s, started, done)
		return nil
	})
	return group.Wait()
}

// watchAll begins to watch each hop's object. The watches end with the context.
func watchAll(ctx context.Context, hops []hop) ([]watch.Interface, error) {
	watches := make([]watch.Interface, 0, len(hops))
	for _, h := range hops {
		w, err := h.at.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + h.name})
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", h.name, err)
		}
		watches = append(watches, w)
	}
	return watches, nil
}

func tell(s *screen, started time.Time, what string) {
	s.say("%+7d ms  %s", time.Since(started).Milliseconds(), what)
}

// await returns when the hop is reached.
func (h hop) await(ctx context.Context, w watch.Interface) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("this did not happen within %s: %s", patience, h.says)
		case event, open := <-w.ResultChan():
			if !open {
				return fmt.Errorf("the watch of %s ended", h.name)
			}
			object, ok := event.Object.(*unstructured.Unstructured)
			if !ok {
				return fmt.Errorf("watching %s: %w", h.name, apierrors.FromObject(event.Object))
			}
			if h.isReached(event.Type, object) {
				return nil
			}
		}
	}
}

func (h hop) isReached(event watch.EventType, object *unstructured.Unstructured) bool {
	if event == watch.Deleted {
		return h.reached == nil
	}
	return h.reached != nil && h.reached(object)
}

// exists is reached as soon as the object is there.
func exists(*unstructured.Unstructured) bool { return true }

// hasReplicas is reached when the Deployment asks for that many replicas.
func hasReplicas(want int64) func(*unstructured.Unstructured) bool {
	return func(deployment *unstructured.Unstructured) bool {
		return number(deployment, "spec", "replicas") == want
	}
}

// isAvailable is reached when the Deployment's status says so, for that many replicas, about its present spec.
func isAvailable(replicas int64) func(*unstructured.Unstructured) bool {
	return func(deployment *unstructured.Unstructured) bool {
		return number(deployment, "status", "observedGeneration") >= deployment.GetGeneration() &&
			number(deployment, "status", "availableReplicas") == replicas && hasCondition(deployment, "Available")
	}
}

// hasCondition tells whether a condition is True.
func hasCondition(object *unstructured.Unstructured, conditionType string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, condition := range conditions {
		if c, ok := condition.(map[string]any); ok && c["type"] == conditionType {
			return c["status"] == "True"
		}
	}
	return false
}

func number(object *unstructured.Unstructured, path ...string) int64 {
	value, _, _ := unstructured.NestedInt64(object.Object, path...)
	return value
}

func image(deployment *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	for _, container := range containers {
		if c, ok := container.(map[string]any); ok {
			text, _ := c["image"].(string)
			return text
		}
	}
	return ""
}
