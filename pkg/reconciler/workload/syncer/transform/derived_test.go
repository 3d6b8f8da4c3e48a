package transform

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func TestWhatIsDerivedComesUp(t *testing.T) {
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	cronJobs := schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}
	services := schema.GroupVersionResource{Version: "v1", Resource: "services"}
	state := workloadv1alpha1.StateLabel("key")
	derived := func(name string) string { return workloadv1alpha1.DerivedLabel(schema.ParseGroupResource(name)) }
	const template = `{template: {metadata: {labels: {app: web}}}}`
	for _, tc := range []struct {
		what, annotation string
		gvr              schema.GroupVersionResource
		spec             string
		allowed          []schema.GroupResource
		path             []string
		want             map[string]any
	}{
		{"pods have the labels of their template", "pods", deployments, template, workloadv1alpha1.ClusterMadeResources(), []string{"spec", "template", "metadata", "labels"}, map[string]any{"app": "web", state: "Upsync", derived("pods"): ""}},
		{"also of one that has none yet, deep below", " pods , x", cronJobs, `{jobTemplate: {spec: {template: {spec: {}}}}}`, workloadv1alpha1.ClusterMadeResources(), []string{"spec", "jobTemplate", "spec", "template", "metadata", "labels"}, map[string]any{state: "Upsync", derived("pods"): ""}},
		{"endpoints have those of the Service, and what was not named is kept apart", "endpoints", services, `{}`, workloadv1alpha1.ClusterMadeResources(), []string{"metadata", "labels"}, map[string]any{"internal.workload.kcp.io/cluster": "key", state: "Upsync", derived("endpoints"): ""}},
		{"several", "endpoints,endpointslices.discovery.k8s.io", services, `{}`, workloadv1alpha1.ClusterMadeResources(), []string{"metadata", "labels"}, map[string]any{"internal.workload.kcp.io/cluster": "key", state: "Upsync", derived("endpoints"): "", derived("endpointslices.discovery.k8s.io"): ""}},
		{"what is not derived from a kind does not come up with it", "endpoints", deployments, template, workloadv1alpha1.ClusterMadeResources(), []string{"spec", "template", "metadata", "labels"}, map[string]any{"app": "web"}},
		{"nor what the SyncTarget does not allow", "pods", deployments, template, nil, []string{"spec", "template", "metadata", "labels"}, map[string]any{"app": "web"}},
		{"nor what nobody asked for", "", deployments, template, workloadv1alpha1.ClusterMadeResources(), []string{"spec", "template", "metadata", "labels"}, map[string]any{"app": "web"}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			text := `{metadata: {name: a, namespace: web, annotations: {` + workloadv1alpha1.UpsyncDerivedResourcesAnnotation + `: "` + tc.annotation + `"}}, spec: ` + tc.spec + `}`
			upstream, before := &unstructured.Unstructured{}, &unstructured.Unstructured{}
			for _, u := range []*unstructured.Unstructured{upstream, before} {
				if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Desired(Input{Upstream: upstream, GVR: tc.gvr, Key: "key", Namespace: "kcp-x", Upsynced: tc.allowed})
			if err != nil {
				t.Fatal(err)
			}
			labels, _, _ := unstructured.NestedMap(got.Object, tc.path...)
			if diff := cmp.Diff(tc.want, labels); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(before.Object, upstream.Object); diff != "" || strings.Contains(got.GetAnnotations()[workloadv1alpha1.UpsyncDerivedResourcesAnnotation], "x") {
				t.Errorf("the input was modified: %s", diff)
			}
		})
	}
}

func TestLeftToTheCluster(t *testing.T) {
	object := func(text string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		return u
	}
	shared := object(`{spec: {replicas: 3, paused: true, strategy: {type: x}}}`)
	desired := &unstructured.Unstructured{Object: clone(shared.Object)}
	left := LeaveOut(desired, [][]string{{"spec", "replicas"}, {"spec", "strategy", "type"}, {"spec", "missing"}})
	if diff := cmp.Diff(object(`{spec: {paused: true, strategy: {}}}`).Object, desired.Object); diff != "" {
		t.Errorf("left: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(object(`{spec: {replicas: 3, paused: true, strategy: {type: x}}}`).Object, shared.Object); diff != "" {
		t.Errorf("the input was modified: %s", diff)
	}
	for what, tc := range map[string]struct {
		copied *unstructured.Unstructured
		want   string
	}{
		"a new copy begins with what the user set":       {nil, `{spec: {replicas: 3, paused: true, strategy: {type: x}}}`},
		"an existing one keeps what it has":              {object(`{spec: {replicas: 7, strategy: {type: y}}}`), `{spec: {replicas: 7, paused: true, strategy: {type: y}}}`},
		"and does not get back what the cluster removed": {object(`{spec: {}}`), `{spec: {paused: true, strategy: {}}}`},
	} {
		got, err := left.PutBack(desired, tc.copied)
		if diff := cmp.Diff(object(tc.want).Object, got.Object); diff != "" || err != nil {
			t.Errorf("%s: %v, -want +got:\n%s", what, err, diff)
		}
	}
}
