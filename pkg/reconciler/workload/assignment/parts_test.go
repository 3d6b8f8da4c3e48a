package assignment

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
)

func TestAssignableTypes(t *testing.T) {
	verbs := []string{"get", "list", "watch", "patch"}
	groups := []*metav1.APIGroup{{Name: "apps", PreferredVersion: metav1.GroupVersionForDiscovery{GroupVersion: "apps/v1"}}, {PreferredVersion: metav1.GroupVersionForDiscovery{GroupVersion: "v1"}}}
	found := assignable(preferredFirst(groups, []*metav1.APIResourceList{
		{GroupVersion: "apps/v1beta1", APIResources: []metav1.APIResource{{Name: "deployments", Kind: "Deployment", Namespaced: true, Verbs: verbs}}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{
			{Name: "deployments", Kind: "Deployment", Namespaced: true, Verbs: verbs}, {Name: "deployments/status", Kind: "Deployment", Namespaced: true, Verbs: verbs},
		}},
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "configmaps", Kind: "ConfigMap", Namespaced: true, Verbs: verbs},
			{Name: "namespaces", Kind: "Namespace", Verbs: verbs},
			{Name: "events", Kind: "Event", Namespaced: true, Verbs: verbs},
			{Name: "persistentvolumes", Kind: "PersistentVolume", Verbs: verbs},
			{Name: "bindings", Kind: "Binding", Namespaced: true, Verbs: []string{"create"}},
		}},
	}), sets.New(workloadv1alpha1.ClusterMadeResources()...))
	want := []resourceType{
		{gvr: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, kind: "Deployment", status: true},
		{gvr: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, kind: "ConfigMap"},
		{gvr: schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}, kind: "PersistentVolume"},
		{gvr: schema.GroupVersionResource{Group: "apps", Version: "v1beta1", Resource: "deployments"}, kind: "Deployment"},
	}
	if !slices.Equal(found, want) {
		t.Errorf("got %+v", found)
	}
}

func TestTypesComeAndGo(t *testing.T) {
	typ := func(resource, version string) resourceType {
		return resourceType{gvr: schema.GroupVersionResource{Version: version, Resource: resource}}
	}
	wanted, running := []resourceType{typ("new", "v1"), typ("stays", "v1"), typ("moves", "v2")}, []resourceType{typ("stays", "v1"), typ("old", "v1"), typ("moves", "v1")}
	names := func(types []resourceType) string {
		var names []string
		for _, rt := range types {
			names = append(names, rt.gvr.Resource+"/"+rt.gvr.Version)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	start, stop := plan(wanted, running, nil)
	if names(start) != "moves/v2 new/v1" || names(stop) != "moves/v1 old/v1" {
		t.Errorf("starts %s, stops %s", names(start), names(stop))
	}
	if _, stop = plan(wanted, running, errors.New("a group does not answer")); names(stop) != "moves/v1" {
		t.Errorf("stops %s although it may only be unknown", names(stop))
	}
}

func TestSilence(t *testing.T) {
	for _, tc := range []struct {
		what, status, reason string
		want                 bool
	}{
		{"never heard of", "Unknown", workloadv1alpha1.ReasonNeverConnected, false},
		{"heard of", "True", workloadv1alpha1.ReasonHeartbeatRecent, false},
		{"not heard of any more", "Unknown", workloadv1alpha1.ReasonHeartbeatExpired, true},
	} {
		st := &workloadv1alpha1.SyncTarget{Status: workloadv1alpha1.SyncTargetStatus{Conditions: []metav1.Condition{
			{Type: workloadv1alpha1.ConditionHeartbeatHealthy, Status: metav1.ConditionStatus(tc.status), Reason: tc.reason},
		}}}
		if got := silence(st); (got != "") != tc.want {
			t.Errorf("%s: %q", tc.what, got)
		}
	}
	if silence(&workloadv1alpha1.SyncTarget{}) != "" {
		t.Error("a target without conditions is silent")
	}
}

func TestClaims(t *testing.T) {
	st := &workloadv1alpha1.SyncTarget{Status: workloadv1alpha1.SyncTargetStatus{SyncedResources: []workloadv1alpha1.SyncedResource{
		{Group: "apps", Resource: "deployments", State: workloadv1alpha1.ResourceAccepted},
		{Resource: "configmaps", State: workloadv1alpha1.ResourcePending},
		{Resource: "widgets", State: workloadv1alpha1.ResourceIncompatible},
	}}}
	for resource, want := range map[string]bool{"deployments.apps": true, "configmaps": true, "widgets": false, "secrets": false, "deployments": false} {
		if got := claims(st, schema.ParseGroupResource(resource)); got != want {
			t.Errorf("%s: %t", resource, got)
		}
	}
}

func TestPlacedBy(t *testing.T) {
	since := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	placement := func(policy schedulingv1alpha1.MovePolicy) *schedulingv1alpha1.Placement {
		return &schedulingv1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: schedulingv1alpha1.PlacementSpec{MovePolicy: policy}}
	}
	target := func(phase schedulingv1alpha1.TargetPhase, reason schedulingv1alpha1.TargetReason) schedulingv1alpha1.SelectedTarget {
		return schedulingv1alpha1.SelectedTarget{Key: "a", UID: "u", Phase: phase, Reason: reason, Since: since, Message: "m"}
	}
	leave := func(urgent bool, why, gone string) decide.Leave {
		return decide.Leave{Since: since.Time, Urgent: urgent, Why: why, Gone: gone, By: []string{"p"}}
	}
	back := leave(false, "Evicted: m", "")
	back.RollsBack = true
	proceeds := placement(schedulingv1alpha1.StartFirst)
	proceeds.Spec.MoveFailurePolicy = schedulingv1alpha1.Proceed
	for _, tc := range []struct {
		what      string
		placement *schedulingv1alpha1.Placement
		target    schedulingv1alpha1.SelectedTarget
		want      decide.Placed
	}{
		{"selected", placement(schedulingv1alpha1.StartFirst), target(schedulingv1alpha1.TargetSelected, schedulingv1alpha1.TargetChosen), decide.Placed{By: "p", Key: "a"}},
		{
			"evicted, there is time", placement(schedulingv1alpha1.StartFirst), target(schedulingv1alpha1.TargetLeaving, schedulingv1alpha1.TargetEvicted),
			decide.Placed{By: "p", Key: "a", Leaving: true, Leave: back},
		},
		{
			"evicted, and the Placement would rather go on than back", proceeds, target(schedulingv1alpha1.TargetLeaving, schedulingv1alpha1.TargetEvicted),
			decide.Placed{By: "p", Key: "a", Leaving: true, Leave: leave(false, "Evicted: m", "")},
		},
		{
			"a move that was taken back is not taken back once more", placement(schedulingv1alpha1.StartFirst), target(schedulingv1alpha1.TargetLeaving, schedulingv1alpha1.TargetMoveFailed),
			decide.Placed{By: "p", Key: "a", Leaving: true, Leave: leave(false, "MoveFailed: m", "")},
		},
		{
			"evicted, and must not run twice", placement(schedulingv1alpha1.StopFirst), target(schedulingv1alpha1.TargetLeaving, schedulingv1alpha1.TargetEvicted),
			decide.Placed{By: "p", Key: "a", StopFirst: true, Leaving: true, Leave: leave(true, "Evicted: m", "")},
		},
		{
			"gone", placement(schedulingv1alpha1.StartFirst), target(schedulingv1alpha1.TargetLeaving, schedulingv1alpha1.TargetDeleted),
			decide.Placed{By: "p", Key: "a", Leaving: true, Leave: leave(true, "TargetDeleted: m", "u")},
		},
	} {
		if diff := cmp.Diff(tc.want, placedBy(tc.placement, tc.target, true)); diff != "" {
			t.Errorf("%s: %s", tc.what, diff)
		}
	}
}

// Without recovery nothing is taken back.
func TestPlacedByWithoutRecovery(t *testing.T) {
	placement := &schedulingv1alpha1.Placement{}
	target := schedulingv1alpha1.SelectedTarget{Phase: schedulingv1alpha1.TargetLeaving, Reason: schedulingv1alpha1.TargetEvicted}
	if !placedBy(placement, target, true).RollsBack || placedBy(placement, target, false).RollsBack {
		t.Error("recovery decides")
	}
}

func TestSelects(t *testing.T) {
	labelled := map[string]string{"team": "a"}
	for _, tc := range []struct {
		what     string
		selector *metav1.LabelSelector
		want     bool
	}{
		{"no selector selects none", nil, false},
		{"an empty one selects all", &metav1.LabelSelector{}, true},
		{"labels", &metav1.LabelSelector{MatchLabels: labelled}, true},
		{"other labels", &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}, false},
		{"nonsense selects none", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Like"}}}, false},
	} {
		if got := selects(&schedulingv1alpha1.Placement{Spec: schedulingv1alpha1.PlacementSpec{NamespaceSelector: tc.selector}}, labelled); got != tc.want {
			t.Errorf("%s: %t", tc.what, got)
		}
	}
}

// Nobody is stopped by a webhook that knows nothing, and nonsense is no question.
func TestWebhookAnswersAlways(t *testing.T) {
	w := &Webhook{metrics: NewMetrics(prometheus.NewRegistry())}
	for _, tc := range []struct {
		what, body string
		code       int
	}{
		{"nonsense", "{", http.StatusBadRequest},
		{"no request", "{}", http.StatusBadRequest},
		{"a replica that does not lead", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"7","operation":"CREATE","object":{"metadata":{"name":"x"}}}}`, http.StatusOK},
	} {
		out := httptest.NewRecorder()
		w.serveHTTP(out, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tc.body)))
		if out.Code != tc.code {
			t.Errorf("%s: %d %s", tc.what, out.Code, out.Body)
		}
		if tc.code != http.StatusOK {
			continue
		}
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(out.Body.Bytes(), &review); err != nil || review.Kind != "AdmissionReview" || !review.Response.Allowed || review.Response.UID != "7" || review.Response.Patch != nil {
			t.Errorf("%s: %v %s", tc.what, err, out.Body)
		}
	}
}

func TestAsJSONPatch(t *testing.T) {
	u := parse(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: x, labels: {app: web}, finalizers: [mine]}}`)
	patch := asJSONPatch(u, decide.Decision{Labels: map[string]any{"a": "b"}, Annotations: map[string]any{"c": "d", "e": nil}, Finalizers: []string{"mine", "ours"}})
	const want = `[{"op":"add","path":"/metadata/labels","value":{"a":"b","app":"web"}},{"op":"add","path":"/metadata/annotations","value":{"c":"d"}},{"op":"add","path":"/metadata/finalizers","value":["mine","ours"]}]`
	if string(patch) != want {
		t.Errorf("got %s", patch)
	}
}

func TestRegistration(t *testing.T) {
	wanted := registration("https://manager:9443", []byte("ca"), []schema.GroupResource{{Group: "apps", Resource: "deployments"}, {Resource: "services"}})
	served := func(change func(map[string]any)) *unstructured.Unstructured {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wanted)
		if err != nil {
			t.Fatal(err)
		}
		webhooks, _, _ := unstructured.NestedSlice(content, "webhooks")
		webhook, _ := webhooks[0].(map[string]any)
		webhook["namespaceSelector"] = map[string]any{} // what the server fills in
		change(webhook)
		content["webhooks"] = webhooks
		return &unstructured.Unstructured{Object: content}
	}
	if !isRegistered(served(func(map[string]any) {}), wanted) {
		t.Error("what is right is written again")
	}
	for what, change := range map[string]func(map[string]any){
		"another URL": func(w map[string]any) { w["clientConfig"] = map[string]any{"url": "https://other", "caBundle": "Y2E="} },
		"another CA": func(w map[string]any) {
			w["clientConfig"] = map[string]any{"url": "https://manager:9443", "caBundle": "eA=="}
		},
		"fails closed":  func(w map[string]any) { w["failurePolicy"] = "Fail" },
		"a rule more":   func(w map[string]any) { rules, _ := w["rules"].([]any); w["rules"] = append(rules, rules[0]) },
		"another group": func(w map[string]any) { w["rules"] = []any{map[string]any{}, map[string]any{}} },
	} {
		if isRegistered(served(change), wanted) {
			t.Errorf("%s is taken for right", what)
		}
	}
	if rule := wanted.Webhooks[0].Rules[0]; len(rule.Operations) != 1 || rule.Operations[0] != "CREATE" || !bytes.Equal(wanted.Webhooks[0].ClientConfig.CABundle, []byte("ca")) {
		t.Errorf("got %+v", wanted)
	}
}
