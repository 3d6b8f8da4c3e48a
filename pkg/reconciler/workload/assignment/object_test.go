package assignment

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/references"
)

var (
	deployments = schema.GroupResource{Group: "apps", Resource: "deployments"}
	jobs        = schema.GroupResource{Group: "batch", Resource: "jobs"}
)

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	raw, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(text, "\t", " ")))
	if err == nil {
		err = u.UnmarshalJSON(raw)
	}
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return u
}

// The caches hold what decisions read. Whatever else an object is, a Secret above all, is not kept.
func TestCompactKeepsNoContent(t *testing.T) {
	state, status := workloadv1alpha1.StateLabel("a"), workloadv1alpha1.StatusAnnotation("a")
	u := parse(t, fmt.Sprintf(`{apiVersion: v1, kind: Secret, type: Opaque, data: {password: c2VzYW1l}, stringData: {pin: "4711"}, metadata: {name: s, namespace: web, uid: u, resourceVersion: "3",
		labels: {app: sesame, %s: Sync, %s: "true"}, annotations: {note: sesame, kcp.io/cluster: c1, %s: "{}", %s: t}, finalizers: [mine]}}`, state, workloadv1alpha1.AssignLabel, status, workloadv1alpha1.TraceAnnotation))
	before := u.DeepCopy()
	o := compact(references.Secrets, u)
	if text := fmt.Sprintf("%+v", *o); strings.Contains(text, "sesame") || strings.Contains(text, "c2VzYW1l") || strings.Contains(text, "4711") {
		t.Errorf("the content is kept: %s", text)
	}
	if diff := cmp.Diff(map[string]string{state: "Sync", workloadv1alpha1.AssignLabel: "true"}, o.Labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"kcp.io/cluster": "c1", status: "{}", workloadv1alpha1.TraceAnnotation: "t"}, o.Annotations); diff != "" {
		t.Error(diff)
	}
	if o.token || o.workload != nil || !slices.Equal(o.Finalizers, []string{"mine"}) || o.ResourceVersion != "3" || !slices.Equal(o.keys(), []string{"a"}) {
		t.Errorf("got %+v", o)
	}
	if diff := cmp.Diff(before, u); diff != "" {
		t.Errorf("the object was modified: %s", diff)
	}
	token := compact(references.Secrets, parse(t, `{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: s}}`))
	if !token.token {
		t.Error("a token is not known as one")
	}
}

func TestReadiness(t *testing.T) {
	const (
		ready = `{"observedGeneration":1,"replicas":%[1]d,"updatedReplicas":%[1]d,"readyReplicas":%[1]d,"availableReplicas":%[1]d,"conditions":[{"type":"Available","status":"True"}]}`
		none  = "{}"
	)
	on := func(keys ...string) string {
		var labels []string
		for _, key := range keys {
			labels = append(labels, workloadv1alpha1.StateLabel(key)+": Sync")
		}
		return strings.Join(labels, ", ")
	}
	says := func(key, text string) string {
		return fmt.Sprintf("%s: '%s'", workloadv1alpha1.StatusAnnotation(key), text)
	}
	for _, tc := range []struct {
		what, labels, annotations, status string
		key                               string
		leaving, want                     bool
	}{
		{what: "alone on a target, the status speaks for it", labels: on("a"), status: fmt.Sprintf(ready, 2), key: "a", want: true},
		{what: "and says so when it is not", labels: on("a"), status: fmt.Sprintf(ready, 1), key: "a"},
		{what: "without a status nothing is ready", labels: on("a"), status: none, key: "a"},
		{what: "of several, each speaks for itself", labels: on("a", "b"), annotations: says("b", fmt.Sprintf(ready, 2)), status: none, key: "b", want: true},
		{what: "one that has said nothing is not ready", labels: on("a", "b"), status: fmt.Sprintf(ready, 2), key: "b"},
		{what: "but where the object was before, the status still holds", labels: on("a", "b"), status: fmt.Sprintf(ready, 2), key: "a", leaving: true, want: true},
		{what: "until that target says something else", labels: on("a", "b"), annotations: says("a", none), status: fmt.Sprintf(ready, 2), key: "a", leaving: true},
		{
			what: "a target is ready with its share of the replicas", labels: on("a", "b"), status: none, key: "a", want: true,
			annotations: says("a", fmt.Sprintf(ready, 1)) + fmt.Sprintf(`, %s: '[{"op":"add","path":"/replicas","value":1}]'`, workloadv1alpha1.SpecDiffAnnotation("a")),
		},
		{what: "a target that is asked to leave counts no more", labels: on("a", "b"), annotations: workloadv1alpha1.DeletionAnnotation("a") + ": now", status: fmt.Sprintf(ready, 2), key: "b", want: true},
	} {
		t.Run(tc.what, func(t *testing.T) {
			u := parse(t, fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, generation: 1, labels: {%s}, annotations: {%s}}, spec: {replicas: 2}, status: %s}`, tc.labels, tc.annotations, tc.status))
			o := compact(deployments, u)
			if got := o.isReadyOn(tc.key, tc.leaving); got != tc.want {
				t.Errorf("got %t: %+v", got, o.workload)
			}
		})
	}
}

func TestFinished(t *testing.T) {
	for status, want := range map[string]bool{
		"{}": false, "{active: 1}": false, "{conditions: [{type: Complete, status: 'False'}]}": false,
		"{conditions: [{type: Suspended, status: 'True'}, {type: Complete, status: 'True'}]}": true, "{conditions: [{type: Failed, status: 'True'}]}": true,
	} {
		o := compact(jobs, parse(t, "{apiVersion: batch/v1, kind: Job, metadata: {name: j}, status: "+status+"}"))
		if o.workload.finished != want {
			t.Errorf("%s: %t", status, o.workload.finished)
		}
	}
}

func TestEveryCluster(t *testing.T) {
	for _, tc := range []struct {
		resource, namespace, name string
		want                      bool
	}{
		{"configmaps", "web", "kube-root-ca.crt", true},
		{"configmaps", "web", "settings", false},
		{"serviceaccounts", "web", "default", true},
		{"serviceaccounts", "web", "robot", false},
		{"services", "default", "kubernetes", true},
		{"services", "web", "kubernetes", false},
		{"deployments.apps", "web", "default", false},
	} {
		o := &object{}
		o.Namespace, o.Name = tc.namespace, tc.name
		if got := everyCluster(schema.ParseGroupResource(tc.resource), o); (got != "") != tc.want {
			t.Errorf("%s %s/%s: %q", tc.resource, tc.namespace, tc.name, got)
		}
	}
}

func TestStatusPatch(t *testing.T) {
	for _, tc := range []struct{ what, from, to, want string }{
		{"only what differs is sent", `{"replicas":1,"readyReplicas":1}`, `{"replicas":3,"readyReplicas":1}`, `{"status":{"replicas":3}}`},
		{"what nobody says any more goes", `{"replicas":1,"unavailableReplicas":1}`, `{"replicas":1}`, `{"status":{"unavailableReplicas":null}}`},
		{"what is right costs nothing", `{"replicas":1}`, `{"replicas":1}`, `null`},
		{"who says nothing takes nothing away", `{"replicas":1}`, `{}`, `null`},
		{"the first status", `null`, `{"replicas":1}`, `{"status":{"replicas":1}}`},
	} {
		t.Run(tc.what, func(t *testing.T) {
			patch, err := statusPatch(decoded(tc.from), decoded(tc.to))
			if got := string(toJSON(patch)); got != tc.want || err != nil {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

// FuzzCompact: no object makes the caches fail, and the same object is decoded the same each time.
func FuzzCompact(f *testing.F) {
	f.Add("deployments.apps", `{"metadata":{"labels":{"state.workload.kcp.io/a":"Sync","state.workload.kcp.io/b":""},"annotations":{"experimental.status.workload.kcp.io/a":"{\"replicas\":1}","experimental.spec-diff.workload.kcp.io/a":"[{}]"}},"spec":{"replicas":"x"},"status":{"conditions":[1]}}`)
	f.Add("jobs.batch", `{"status":{"conditions":[{"type":"Complete","status":"True"},null]},"spec":null}`)
	f.Add("statefulsets.apps", `{"spec":{"replicas":-1,"updateStrategy":7},"status":{"replicas":1e400}}`)
	f.Add("pods", `{"spec":[],"status":"x","metadata":7}`)
	f.Fuzz(func(t *testing.T, resource, text string) {
		u := &unstructured.Unstructured{}
		if json.Unmarshal([]byte(text), &u.Object) != nil {
			return
		}
		gr := schema.ParseGroupResource(resource)
		o := compact(gr, u)
		if again := compact(gr, u); fmt.Sprintf("%+v", o.facts(gr)) == "" || !slices.Equal(again.needs, o.needs) {
			t.Fatal("decoded differently")
		}
	})
}
