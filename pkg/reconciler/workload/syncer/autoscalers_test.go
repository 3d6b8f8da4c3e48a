package syncer

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"
)

// The replicas are the autoscaler's while there is one, or while nobody knows; and the question is asked seldom.
func TestAutoscalers(t *testing.T) {
	hpa := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": map[string]any{"name": "any", "namespace": "kcp-web"},
		"spec": map[string]any{"scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"}},
	}}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{autoscalersGVR: "HorizontalPodAutoscalerList"}, hpa)
	asked, failure := 0, error(nil)
	client.PrependReactor("list", "*", func(k8stesting.Action) (bool, runtime.Object, error) {
		asked++
		return failure != nil, nil, failure
	})
	clock := testingclock.NewFakeClock(time.Now())
	a := newAutoscalers(client, clock)
	deployments := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	expect := func(what string, gvk schema.GroupVersionKind, name string, scales bool, requests int) {
		t.Helper()
		if got := a.scale(t.Context(), "kcp-web", gvk, name); got != scales || asked != requests {
			t.Errorf("%s: scaled is %t after %d requests, want %t after %d", what, got, asked, scales, requests)
		}
	}
	expect("it is scaled", deployments, "scaled", true, 1)
	expect("that is remembered", deployments, "scaled", true, 1)
	expect("that something is not scaled is not", deployments, "other", false, 2)
	expect("another kind of that name is another", deployments.GroupVersion().WithKind("StatefulSet"), "scaled", false, 3)
	if err := client.Resource(autoscalersGVR).Namespace("kcp-web").Delete(t.Context(), "any", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("nobody has told that it is gone", deployments, "scaled", true, 3)
	failure = errors.New("forbidden")
	a.forget("kcp-web")
	expect("what cannot be listed is not gone", deployments, "scaled", true, 4)
	failure = nil
	clock.Step(autoscalersPeriod)
	expect("it is gone", deployments, "scaled", false, 5)
}
