package syncer

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// autoscalers tell whether a copy that a HorizontalPodAutoscaler has scaled is scaled by one still. The mark that scaling leaves on
// a copy stays there when the autoscaler goes; the replicas are the user's again then.
//
// The autoscaler need not be a copy of ours, so the cluster is asked about all of a namespace: only about namespaces with such marks,
// when one of our copies of autoscalers has changed there, and otherwise at most once per period. What cannot be listed is not gone.
type autoscalers struct {
	client dynamic.Interface
	clock  clock.PassiveClock

	mu    sync.Mutex
	known map[string]scaled
}

// scaled is what autoscalers scale in a namespace of the cluster, as of a time. No targets mean that it is not known.
type scaled struct {
	at      time.Time
	targets map[scaleTarget]bool
}

type scaleTarget struct{ group, kind, name string }

// autoscalersPeriod is for how long an answer is good while nothing is heard.
const autoscalersPeriod = 5 * time.Minute

var autoscalersGVR = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}

func newAutoscalers(client dynamic.Interface, c clock.PassiveClock) *autoscalers {
	return &autoscalers{client: client, clock: c, known: map[string]scaled{}}
}

// scale reports whether an autoscaler of the namespace scales the copy. While that is not known, it does.
func (a *autoscalers) scale(ctx context.Context, namespace string, gvk schema.GroupVersionKind, name string) bool {
	target := scaleTarget{gvk.Group, gvk.Kind, name}
	a.mu.Lock()
	known, ok := a.known[namespace]
	a.mu.Unlock()
	// That it is not scaled is never taken from memory: with the next write the mark goes, and one that is there again is news.
	if !ok || a.clock.Since(known.at) >= autoscalersPeriod || !known.mayScale(target) {
		known = a.ask(ctx, namespace)
	}
	return known.mayScale(target)
}

func (s scaled) mayScale(target scaleTarget) bool { return s.targets == nil || s.targets[target] }

// ask lists the autoscalers of the namespace.
func (a *autoscalers) ask(ctx context.Context, namespace string) scaled {
	answer := scaled{at: a.clock.Now()}
	list, err := a.client.Resource(autoscalersGVR).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		klog.FromContext(ctx).V(4).Info("It is not known what is autoscaled", "namespace", namespace, "why", err.Error())
	} else {
		answer.targets = targetsOf(list.Items)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[namespace] = answer
	return answer
}

func targetsOf(hpas []unstructured.Unstructured) map[scaleTarget]bool {
	targets := map[scaleTarget]bool{}
	for i := range hpas {
		ref, _, _ := unstructured.NestedStringMap(hpas[i].Object, "spec", "scaleTargetRef")
		gv, err := schema.ParseGroupVersion(ref["apiVersion"])
		if err == nil {
			targets[scaleTarget{gv.Group, ref["kind"], ref["name"]}] = true
		}
	}
	return targets
}

// forget has the cluster asked anew: an autoscaler of the namespace has changed, or is gone.
func (a *autoscalers) forget(namespace string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, namespace)
}
