package transform_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/transform"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The workspace, target and namespace that the fixtures live in.
var (
	key     = workloadv1alpha1.SyncTargetKey("2gh3kmzl1vmmfs0i", "edge-1")
	locator = workloadv1alpha1.NamespaceLocator{
		SyncTarget: workloadv1alpha1.SyncTargetLocator{
			ClusterName: "2gh3kmzl1vmmfs0i", Name: "edge-1", UID: "c5a5b5c4-5f9f-4c53-a1f7-52d0b1d5a6a3",
		},
		ClusterName: "1r9xbl5xxw8kmj2o",
		Namespace:   "team",
	}
)

func core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

func apps(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resource}
}

func of(group, version, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
}

// fixtures are objects that a real API server returned. What kcp serves as custom resources, without defaults and
// allocation, holds what the user wrote; jobs and claims hold what a server that runs them made of it.
var fixtures = []struct {
	dir        string // below testdata, and what it shows
	gvr        schema.GroupVersionResource
	autoscaled bool
}{
	{dir: "autoscaler-of-two-metrics-with-behavior", gvr: of("autoscaling", "v2", "horizontalpodautoscalers")},
	{dir: "clusterrole", gvr: of("rbac.authorization.k8s.io", "v1", "clusterroles")},
	{dir: "clusterrole-put-together-from-others", gvr: of("rbac.authorization.k8s.io", "v1", "clusterroles")},
	{dir: "configmap", gvr: core("configmaps")},
	{dir: "cronjob", gvr: of("batch", "v1", "cronjobs")},
	{dir: "custom-resource", gvr: of("example.com", "v1", "widgets")},
	{dir: "daemonset", gvr: apps("daemonsets")},
	{dir: "deployment", gvr: apps("deployments")},
	{dir: "deployment-read-from-a-server-that-runs-it", gvr: apps("deployments")},
	{dir: "deployment-under-an-autoscaler", gvr: apps("deployments"), autoscaled: true},
	{dir: "deployment-with-a-spec-diff-for-this-target", gvr: apps("deployments")},
	{dir: "deployment-with-values-that-servers-rewrite", gvr: apps("deployments")},
	{dir: "endpoints-of-a-service-without-selector", gvr: core("endpoints")},
	{dir: "forged-marks", gvr: apps("deployments")},
	{dir: "horizontalpodautoscaler", gvr: of("autoscaling", "v2", "horizontalpodautoscalers")},
	{dir: "ingress", gvr: of("networking.k8s.io", "v1", "ingresses")},
	{dir: "job", gvr: of("batch", "v1", "jobs")},
	{dir: "job-with-its-own-selector", gvr: of("batch", "v1", "jobs")},
	{dir: "limitrange", gvr: core("limitranges")},
	{dir: "networkpolicy", gvr: of("networking.k8s.io", "v1", "networkpolicies")},
	{dir: "networkpolicy-without-policy-types", gvr: of("networking.k8s.io", "v1", "networkpolicies")},
	{dir: "persistentvolumeclaim", gvr: core("persistentvolumeclaims")},
	{dir: "pod", gvr: core("pods")},
	{dir: "poddisruptionbudget", gvr: of("policy", "v1", "poddisruptionbudgets")},
	{dir: "role", gvr: of("rbac.authorization.k8s.io", "v1", "roles")},
	{dir: "rolebinding", gvr: of("rbac.authorization.k8s.io", "v1", "rolebindings")},
	{dir: "secret", gvr: core("secrets")},
	{dir: "service", gvr: core("services")},
	{dir: "service-for-an-external-name", gvr: core("services")},
	{dir: "service-headless", gvr: core("services")},
	{dir: "service-with-load-balancer", gvr: core("services")},
	{dir: "service-with-node-ports", gvr: core("services")},
	{dir: "service-with-two-families", gvr: core("services")},
	{dir: "serviceaccount", gvr: core("serviceaccounts")},
	{dir: "statefulset", gvr: apps("statefulsets")},
}

func input(upstream *unstructured.Unstructured, gvr schema.GroupVersionResource) transform.Input {
	in := transform.Input{Upstream: upstream, GVR: gvr, Key: key, Locator: locator}
	if upstream.GetNamespace() == "" {
		in.Locator.Namespace = ""
	} else {
		in.Namespace = locator.DownstreamNamespace()
	}
	return in
}

func TestDesired(t *testing.T) {
	for _, fixture := range fixtures {
		t.Run(fixture.dir, func(t *testing.T) {
			upstream := read(t, fixture.dir, "upstream.yaml")
			before := upstream.DeepCopy()
			in := input(upstream, fixture.gvr)
			in.AutoscaledReplicas = fixture.autoscaled

			desired := mustDesired(t, in)
			if *update {
				write(t, desired, fixture.dir, "downstream.yaml")
			}
			mustEqual(t, "the copy", read(t, fixture.dir, "downstream.yaml"), desired)
			mustEqual(t, "the copy, made a second time", desired, mustDesired(t, in))
			in.Upstream = desired.DeepCopy()
			mustEqual(t, "the copy of the copy", desired, mustDesired(t, in))
			transform.SetAppliedHash(desired)
			mustEqual(t, "the input", before, upstream)
		})
	}
}

func TestDesiredRefuses(t *testing.T) {
	specDiff := workloadv1alpha1.SpecDiffAnnotation(key)
	for name, test := range map[string]struct {
		change func(upstream *unstructured.Unstructured)
		names  string // what the error names
	}{
		"an object without a name": {
			func(u *unstructured.Unstructured) { u.SetName("") }, "metadata.name",
		},
		"labels that are a list": {
			func(u *unstructured.Unstructured) { set(u, []any{"a"}, "metadata", "labels") }, "metadata.labels",
		},
		"an annotation that is a number": {
			func(u *unstructured.Unstructured) { set(u, int64(1), "metadata", "annotations", "a") }, "metadata.annotations[a]",
		},
		"a spec-diff that is not JSON": {
			func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{specDiff: "replicas: 1"}) }, specDiff,
		},
		"a spec-diff that is not a patch": {
			func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{specDiff: `{"replicas":1}`}) }, specDiff,
		},
		"a spec-diff of a field that is not there": {
			func(u *unstructured.Unstructured) {
				u.SetAnnotations(map[string]string{specDiff: `[{"op":"remove","path":"/nowhere/at/all"}]`})
			}, specDiff,
		},
		"a spec-diff that leaves no object": {
			func(u *unstructured.Unstructured) {
				u.SetAnnotations(map[string]string{specDiff: `[{"op":"replace","path":"","value":[1]}]`})
			}, specDiff,
		},
		"a spec-diff that grows without end": {
			func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{specDiff: doubling(40)}) }, specDiff,
		},
		"a spec-diff of an object without a spec": {
			func(u *unstructured.Unstructured) {
				u.SetAnnotations(map[string]string{specDiff: `[]`})
				delete(u.Object, "spec")
			}, specDiff,
		},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := read(t, "deployment", "upstream.yaml")
			test.change(upstream)
			_, err := transform.Desired(input(upstream, apps("deployments")))
			if err == nil || !strings.Contains(err.Error(), test.names) {
				t.Errorf("got %v, want an error that names %s", err, test.names)
			}
		})
	}
}

// doubling is a patch that makes the pod template twice as large with each of its operations.
func doubling(times int) string {
	operations := make([]string, times)
	for i := range operations {
		operations[i] = fmt.Sprintf(`{"op":"copy","from":"/template","path":"/template/copy%d"}`, i)
	}
	return "[" + strings.Join(operations, ",") + "]"
}

func TestDesiredNeedsATarget(t *testing.T) {
	for name, in := range map[string]transform.Input{
		"no object": {Key: key},
		"no key":    {Upstream: &unstructured.Unstructured{}},
	} {
		if _, err := transform.Desired(in); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestReferencesToOtherNamespaces(t *testing.T) {
	other := locator
	other.Namespace = "web"
	for name, test := range map[string]struct {
		locator workloadv1alpha1.NamespaceLocator
		want    string
	}{
		"are followed within the workspace":        {locator, other.DownstreamNamespace()},
		"stay as they are in an unknown workspace": {workloadv1alpha1.NamespaceLocator{}, "web"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(read(t, "rolebinding", "upstream.yaml"), of("rbac.authorization.k8s.io", "v1", "rolebindings"))
			in.Locator = test.locator
			subjects, _, err := unstructured.NestedSlice(mustDesired(t, in).Object, "subjects")
			if err != nil {
				t.Fatal(err)
			}
			if got := subjects[1].(map[string]any)["namespace"]; got != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
		})
	}
}

func TestNamespacesOfPreferredAffinity(t *testing.T) {
	upstream := read(t, "deployment", "upstream.yaml")
	set(upstream, map[string]any{"podAffinity": map[string]any{
		"preferredDuringSchedulingIgnoredDuringExecution": []any{map[string]any{"weight": int64(1), "podAffinityTerm": map[string]any{
			"namespaces":        []any{"team"},
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": "team"}},
		}}},
	}}, "spec", "template", "spec", "affinity")
	before := upstream.DeepCopy()

	desired := mustDesired(t, input(upstream, apps("deployments")))
	text := mustJSON(t, desired.Object["spec"])
	if got := strings.Count(text, locator.DownstreamNamespace()); got != 2 || strings.Contains(text, `"team"`) {
		t.Errorf("%d references were followed, want 2:\n%s", got, text)
	}
	mustEqual(t, "the input", before, upstream)
}

func TestSkip(t *testing.T) {
	controlled := func(kind string) map[string]any {
		return map[string]any{"metadata": map[string]any{"name": "a", "ownerReferences": []any{
			map[string]any{"apiVersion": "v1", "kind": kind, "name": "b", "uid": "c", "controller": true},
		}}}
	}
	named := func(namespace, name string) map[string]any {
		return map[string]any{"metadata": map[string]any{"namespace": namespace, "name": name}}
	}
	for name, test := range map[string]struct {
		gvr    schema.GroupVersionResource
		object map[string]any
		want   bool
	}{
		"the cluster's CA is skipped":                 {core("configmaps"), named("team", "kube-root-ca.crt"), true},
		"a Secret of that name is not":                {core("secrets"), named("team", "kube-root-ca.crt"), false},
		"the default ServiceAccount is skipped":       {core("serviceaccounts"), named("team", "default"), true},
		"a user's ServiceAccount is not":              {core("serviceaccounts"), named("team", "builder"), false},
		"a user's object called default is not":       {core("configmaps"), named("team", "default"), false},
		"an account's token is skipped":               {core("secrets"), map[string]any{"type": "kubernetes.io/service-account-token"}, true},
		"a user's Secret is not":                      {core("secrets"), map[string]any{"type": "Opaque"}, false},
		"the API server's Service is skipped":         {core("services"), named("default", "kubernetes"), true},
		"a Service of that name elsewhere is not":     {core("services"), named("team", "kubernetes"), false},
		"a Deployment's ReplicaSet is skipped":        {apps("replicasets"), controlled("Deployment"), true},
		"a ReplicaSet of a custom resource is not":    {apps("replicasets"), controlled("Rollout"), false},
		"a CronJob's Job is skipped":                  {of("batch", "v1", "jobs"), controlled("CronJob"), true},
		"a user's Job is not":                         {of("batch", "v1", "jobs"), named("team", "migrate"), false},
		"a Service's EndpointSlice is skipped":        {of("discovery.k8s.io", "v1", "endpointslices"), controlled("Service"), true},
		"a Deployment of a custom resource is not":    {apps("deployments"), controlled("App"), false},
		"an object without metadata is not":           {apps("deployments"), map[string]any{}, false},
		"an object with nonsense for metadata is not": {apps("replicasets"), map[string]any{"metadata": "x"}, false},
		"a default ClusterRole is skipped": {
			of("rbac.authorization.k8s.io", "v1", "clusterroles"),
			map[string]any{"metadata": map[string]any{"labels": map[string]any{"kubernetes.io/bootstrapping": "rbac-defaults"}}},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			why, skip := transform.Skip(test.gvr, &unstructured.Unstructured{Object: test.object})
			if skip != test.want || skip != (why != "") {
				t.Errorf("got %t because %q, want %t", skip, why, test.want)
			}
		})
	}
}

func TestAppliedHash(t *testing.T) {
	desired := func() *unstructured.Unstructured {
		return mustDesired(t, input(read(t, "deployment", "upstream.yaml"), apps("deployments")))
	}
	first := transform.SetAppliedHash(desired())
	for name, test := range map[string]struct {
		change func(u *unstructured.Unstructured)
		same   bool
	}{
		"the same object":             {func(*unstructured.Unstructured) {}, true},
		"an object that has its hash": {func(u *unstructured.Unstructured) { transform.SetAppliedHash(u) }, true},
		"a number as a float":         {func(u *unstructured.Unstructured) { set(u, float64(3), "spec", "replicas") }, true},
		"another number":              {func(u *unstructured.Unstructured) { set(u, int64(4), "spec", "replicas") }, false},
		"a number as a string":        {func(u *unstructured.Unstructured) { set(u, "3", "spec", "replicas") }, false},
		"a field less":                {func(u *unstructured.Unstructured) { delete(u.Object["spec"].(map[string]any), "replicas") }, false},
		"a null more":                 {func(u *unstructured.Unstructured) { set(u, nil, "spec", "paused") }, false},
		"an annotation more":          {func(u *unstructured.Unstructured) { set(u, "b", "metadata", "annotations", "a") }, false},
		"a label moved to the annotations": {func(u *unstructured.Unstructured) {
			set(u, "nginx", "metadata", "annotations", "app")
			delete(u.Object["metadata"].(map[string]any)["labels"].(map[string]any), "app")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			object := desired()
			test.change(object)
			hash := transform.SetAppliedHash(object)
			if got := object.GetAnnotations()[workloadv1alpha1.AppliedHashAnnotation]; got != hash || len(hash) != 32 {
				t.Errorf("the annotation is %q, the hash %q", got, hash)
			}
			if (hash == first) != test.same {
				t.Errorf("%s and %s: want the same: %t", hash, first, test.same)
			}
		})
	}
}

// set changes a copy of the path to the field, as what Desired returns may be shared.
func set(object *unstructured.Unstructured, value any, path ...string) {
	*object = *object.DeepCopy()
	m := object.Object
	for _, name := range path[:len(path)-1] {
		next, ok := m[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[name] = next
		}
		m = next
	}
	m[path[len(path)-1]] = value
}

func mustDesired(t testing.TB, in transform.Input) *unstructured.Unstructured {
	t.Helper()
	desired, err := transform.Desired(in)
	if err != nil {
		t.Fatal(err)
	}
	return desired
}

func mustEqual(t testing.TB, what string, want, got *unstructured.Unstructured) {
	t.Helper()
	if diff := cmp.Diff(want.Object, got.Object); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

func read(t testing.TB, path ...string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

// parse decodes as a client does: whole numbers are int64.
func parse(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := object.UnmarshalJSON(asJSON); err != nil {
		t.Fatal(err)
	}
	return object
}

func write(t testing.TB, object *unstructured.Unstructured, path ...string) {
	t.Helper()
	text, err := yaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(append([]string{"testdata"}, path...)...), text, 0o600); err != nil {
		t.Fatal(err)
	}
}
