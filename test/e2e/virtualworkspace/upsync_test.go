package virtualworkspace

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

var (
	pods           = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	services       = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	endpoints      = schema.GroupVersionResource{Version: "v1", Resource: "endpoints"}
	volumes        = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
	endpointSlices = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	gadgets        = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "gadgets"}
	crds           = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// gadgets are a type that a physical cluster has for itself, with a status subresource on both sides.
const (
	gadgetsName   = "gadgets.example.com"
	gadgetsNames  = `{kind: Gadget, listKind: GadgetList, plural: gadgets, singular: gadget}`
	gadgetVersion = `{name: v1, served: true, storage: true, subresources: {status: {}}, schema: SCHEMA}`
	gadgetSchema  = `{type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}, status: {type: object, x-kubernetes-preserve-unknown-fields: true}}}`
)

var gadgetsServed sync.Once

// serveGadgets adds them to the provider's APIExport, for all tests.
func (w *world) serveGadgets(t *testing.T) {
	t.Helper()
	gadgetsServed.Do(func() {
		provider := must(dynamic.NewForConfig(w.kcp.WorkspaceConfig(w.provider)))(t)
		apis := schema.GroupVersion{Group: "apis.kcp.io", Version: "v1alpha1"}
		u := parsed(t, `{apiVersion: apis.kcp.io/v1alpha1, kind: APIResourceSchema, metadata: {name: test.`+gadgetsName+`},
		  spec: {group: example.com, names: `+gadgetsNames+`, scope: Namespaced, versions: [`+strings.Replace(gadgetVersion, "SCHEMA", gadgetSchema, 1)+`]}}`)
		must(provider.Resource(apis.WithResource("apiresourceschemas")).Create(t.Context(), u, metav1.CreateOptions{}))(t)
		exports := provider.Resource(schema.GroupVersionResource{Group: "apis.kcp.io", Version: "v1alpha2", Resource: "apiexports"})
		env.Eventually(t, soon, func() error {
			export := must(exports.Get(t.Context(), workloadv1alpha1.KubernetesExport, metav1.GetOptions{}))(t)
			resources, _, _ := unstructured.NestedSlice(export.Object, "spec", "resources")
			resources = append(resources, map[string]any{"group": "example.com", "name": "gadgets", "schema": "test." + gadgetsName, "storage": map[string]any{"crd": map[string]any{}}})
			if err := unstructured.SetNestedSlice(export.Object, resources, "spec", "resources"); err != nil {
				return err
			}
			_, err := exports.Update(t.Context(), export, metav1.UpdateOptions{})
			return err
		})
	})
}

// parsed reads an object of YAML.
func parsed(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return u
}

// bringsUp has the target bring up these types too.
func (t *target) bringsUp(names ...string) {
	t.ws.t.Helper()
	t.ws.merge(targets, "", t.st.Name, fmt.Sprintf(`{spec: {upsyncedResources: [%s]}}`, strings.Join(names, ", ")))
}

// What a physical cluster makes by itself comes up: into namespaces that it serves, marked as its own, and with nothing of
// others on it. It is in nobody's view of what to sync down.
func TestA47Upsync(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	s.w.serveGadgets(t)
	s.east.bringsUp("pods", gadgetsName)
	upsynced := workloadv1alpha1.StateLabel(s.east.key) + `: Upsync`
	pod := func(name, labels, more string) string {
		return string(must(yaml.YAMLToJSON([]byte(fmt.Sprintf(`{apiVersion: example.com/v1, kind: Gadget, metadata: {name: %s, labels: {%s}%s}, spec: {nodeName: n}}`, name, labels, more))))(t))
	}
	c, up := s.east.client(t), s.east.url("upsyncer")+string(s.tenant.Cluster)+"/apis/example.com/v1/namespaces/"
	create := func(namespace, body string) reply {
		return c.do(http.MethodPost, up+namespace+"/gadgets", "application/json", body)
	}
	env.Eventually(t, until, func() error { // kcp takes the type up in every bound workspace
		if r := create("web", pod("own", upsynced, ", annotations: {workload.kcp.io/rv: '5'}")); r.code != 201 {
			return fmt.Errorf("an upsynced pod is answered %d %s", r.code, r.body)
		}
		return nil
	})
	for what, tc := range map[string]struct {
		namespace, body string
		code            int
	}{
		"without the label":                  {"web", pod("x", "a: b", ""), 400},
		"with another state":                 {"web", pod("x", strings.Replace(upsynced, "Upsync", "Sync", 1), ""), 400},
		"assigned to another target":         {"web", pod("x", upsynced+", "+workloadv1alpha1.StateLabel(s.west.key)+": Sync", ""), 403},
		"with a label of kcp":                {"web", pod("x", upsynced+", internal.kcp.io/a: b", ""), 403},
		"with an annotation of kcp":          {"web", pod("x", upsynced, ", annotations: {"+workloadv1alpha1.DeletionAnnotation(s.west.key)+": x}"), 403},
		"with a finalizer":                   {"web", pod("x", upsynced, ", finalizers: [a.example.com/b]"), 403},
		"with an owner":                      {"web", pod("x", upsynced, ", ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b}]"), 403},
		"in a namespace that is not its":     {"hidden", pod("x", upsynced, ""), 403},
		"in a namespace that does not exist": {"missing", pod("x", upsynced, ""), 403},
		"of another name than its path":      {"web", strings.Replace(pod("x", upsynced, ""), `"metadata":{`, `"metadata":{"namespace":"hidden",`, 1), 400},
		"without a name":                     {"web", pod(`""`, upsynced, ""), 400},
		"that is none":                       {"web", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`, 400},
		"that exists":                        {"web", pod("own", upsynced, ""), 409},
	} {
		if r := create(tc.namespace, tc.body); r.code != tc.code {
			t.Errorf("a pod %s is answered %d %s", what, r.code, r.body)
		}
	}
	if r := c.do(http.MethodPost, s.east.url("upsyncer")+string(s.tenant.Cluster)+"/api/v1/namespaces/web/secrets", "application/json", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","labels":{`+`"`+workloadv1alpha1.StateLabel(s.east.key)+`":"Upsync"}}}`); r.code != 404 {
		t.Errorf("a Secret is answered %d %s", r.code, r.body)
	}

	// Others put something on it, which the target neither sees nor takes off.
	s.tenant.merge(gadgets, "web", "own", `metadata: {finalizers: [keep.example.com/x], annotations: {`+workloadv1alpha1.SummarizingAnnotation+`: "x"}, labels: {internal.kcp.io/mark: a}}`)
	own := up + "web/gadgets/own"
	shown := c.get(own).shownAs()
	if len(shown.GetFinalizers()) > 0 || len(shown.GetLabels()) != 1 {
		t.Errorf("the target sees %v", shown.Object["metadata"])
	}
	if r := c.do(http.MethodPut, own, "application/json", pod("own", upsynced+", app: web", ", annotations: {workload.kcp.io/rv: '6'}")); r.code != 200 {
		t.Errorf("an update is answered %d %s", r.code, r.body)
	}
	if r := c.patch(own+"/status", `{status: {phase: Running}}`); r.code != 200 {
		t.Errorf("a status is answered %d %s", r.code, r.body)
	}
	if r := c.patch(own, `{metadata: {labels: {`+workloadv1alpha1.StateLabel(s.east.key)+`: null}}}`); r.code != 400 {
		t.Errorf("an object without the label is answered %d %s", r.code, r.body)
	}
	if r := c.do(http.MethodPut, own, "application/json", strings.Replace(pod("own", upsynced, ""), `"metadata":{`, `"metadata":{"resourceVersion":"1",`, 1)); r.code != 409 {
		t.Errorf("an old version is answered %d %s", r.code, r.body)
	}
	stored := s.tenant.get(gadgets, "web", "own")
	phase, _, _ := nested(stored.Object, "status", "phase")
	if phase != "Running" || stored.GetLabels()["app"] != "web" || stored.GetLabels()["internal.kcp.io/mark"] != "a" || len(stored.GetFinalizers()) != 1 ||
		stored.GetAnnotations()[workloadv1alpha1.SummarizingAnnotation] != "x" || stored.GetAnnotations()[workloadv1alpha1.UpsyncedVersionAnnotation] != "6" {
		t.Errorf("it is stored as %v", stored.Object)
	}

	// A SyncTarget that does not allow the type has no such view, and neither has one that allows what the operator does not.
	if r := s.west.client(t).do(http.MethodPost, s.west.url("upsyncer")+string(s.tenant.Cluster)+"/apis/example.com/v1/namespaces/web/gadgets", "application/json",
		pod("x", workloadv1alpha1.StateLabel(s.west.key)+": Upsync", "")); r.code != 404 {
		t.Errorf("what its SyncTarget does not allow is answered %d %s", r.code, r.body)
	}
	greedy := s.home.newTarget("wants-secrets")
	greedy.bringsUp("secrets", "deployments.apps")
	if r := greedy.client(t).get(greedy.url("upsyncer") + "*/api/v1/secrets"); r.code != 404 {
		t.Errorf("what the operator does not allow is answered %d %s", r.code, r.body)
	}
	for what, r := range map[string]reply{
		"another target's view of it":     s.west.client(t).get(s.west.url("upsyncer") + string(s.tenant.Cluster) + "/apis/example.com/v1/namespaces/web/gadgets/own"),
		"a deletion by another target":    s.west.client(t).do(http.MethodDelete, s.west.url("upsyncer")+string(s.tenant.Cluster)+"/apis/example.com/v1/namespaces/web/gadgets/own", "", ""),
		"the down-sync view of it":        c.get(s.east.url("syncer") + string(s.tenant.Cluster) + "/apis/example.com/v1/namespaces/web/gadgets/own"),
		"a down-synced object, from here": c.get(s.east.url("upsyncer") + string(s.tenant.Cluster) + "/api/v1/namespaces/web/secrets/for-east"),
	} {
		if r.code != 404 {
			t.Errorf("%s is answered %d %s", what, r.code, r.body)
		}
	}
	if r := c.get(s.east.url("upsyncer") + "*/apis/example.com/v1/gadgets"); r.code != 200 || len(r.names()) != 1 {
		t.Errorf("the list is %d %v", r.code, r.names())
	}
	s.tenant.merge(gadgets, "web", "own", `metadata: {finalizers: null}`)
	if r := c.do(http.MethodDelete, own, "application/json", `{"preconditions":{"uid":"other"}}`); r.code != 409 {
		t.Errorf("a deletion of another one is answered %d %s", r.code, r.body)
	}
	if r := c.do(http.MethodDelete, own, "", ""); r.code != 200 {
		t.Errorf("the deletion is answered %d %s", r.code, r.body)
	}
	if _, err := s.tenant.of(gadgets, "web").Get(context.Background(), "own", metav1.GetOptions{}); err == nil {
		t.Error("it is still there")
	}
}
