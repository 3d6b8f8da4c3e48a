// Package plugin tests the kubectl plugin, and the APIs that it gives to a kcp, on real servers.
package plugin

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"sigs.k8s.io/yaml"

	"github.com/kcp-dev/logicalcluster/v3"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/apply"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// soon is how long anything may take on a busy machine before a test gives up on it.
const soon = 4 * time.Minute

func TestMain(m *testing.M) {
	os.Exit(env.Main(m, env.WithKCP(), env.WithCluster("plain")))
}

func TestInitTwiceChangesNothingTheSecondTime(t *testing.T) {
	kcp := env.For(t).KCP()
	path := logicalcluster.NewPath("root:platform:twice")

	first := initialize(t, kcp.AdminConfig(), path)
	for _, change := range first {
		if change.Outcome != apply.Created {
			t.Errorf("first run: %+v, want it created", change)
		}
	}
	for _, made := range []string{"root:platform", "root:platform:twice"} {
		if !slices.Contains(first, apply.Change{Kind: "Workspace", Name: made, Outcome: apply.Created}) {
			t.Errorf("first run: workspace %s was not created: %+v", made, first)
		}
	}
	for _, change := range initialize(t, kcp.AdminConfig(), path) {
		if change.Outcome != apply.Unchanged {
			t.Errorf("second run: %+v, want it unchanged", change)
		}
	}
}

func TestInitRepairsTheExportAndLeavesTheBindersAlone(t *testing.T) {
	kcp := env.For(t).KCP()
	path := logicalcluster.NewPath("root:repaired")
	initialize(t, kcp.AdminConfig(), path)

	client := client(t, kcp.WorkspaceConfig(path))
	patch(t, client.Resource(apis("apiexports")), config.KubernetesExport, `{"spec":{"permissionClaims":[]}}`)
	patch(t, client.Resource(rbac("clusterrolebindings")), "workload.kcp.io:bind", `{"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"tenants"}]}`)

	for _, change := range initialize(t, kcp.AdminConfig(), path) {
		want := apply.Unchanged
		if change.Kind == "APIExport" && change.Name == config.KubernetesExport {
			want = apply.Updated
		}
		if change.Outcome != want {
			t.Errorf("%+v, want it %s", change, want)
		}
	}
	binding := get(t, client.Resource(rbac("clusterrolebindings")), "workload.kcp.io:bind")
	if subjects, _, _ := unstructured.NestedSlice(binding.Object, "subjects"); len(subjects) != 1 || subjects[0].(map[string]any)["name"] != "tenants" {
		t.Errorf("the subjects were changed: %v", subjects)
	}
}

// TestTenantBinds is a user with rights in one workspace only, and goes through the commands themselves.
func TestTenantBinds(t *testing.T) {
	e := env.For(t)
	provider := logicalcluster.NewPath("root:compute")
	initialize(t, e.KCP().AdminConfig(), provider)
	team := newWorkspace(t, e.KCP(), "tenant-binds")
	tenant, err := e.KCP().ServiceAccount(t.Context(), team, env.ServiceAccount{
		Namespace: metav1.NamespaceDefault, Name: "tenant",
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
			{NonResourceURLs: []string{"/"}, Verbs: []string{"access"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := e.Kubeconfig(tenant)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := plugin(t, "status", "--kubeconfig", kubeconfig); err == nil || !strings.Contains(err.Error(), "kubectl workload bind") {
		t.Errorf("status before bind: got %v, want the remedy", err)
	}
	everything := []string{"bind", "--kubeconfig", kubeconfig, "--export", config.KubernetesExport + "," + config.WorkloadExport}
	out, err := plugin(t, everything...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"created    APIBinding kubernetes", "created    APIBinding workload.kcp.io", "may create events"} {
		if !strings.Contains(out, want) {
			t.Errorf("bind does not say %q:\n%s", want, out)
		}
	}
	out, err = plugin(t, everything...)
	if err != nil || strings.Count(out, "unchanged") != 2 || strings.Contains(out, "accepted") || strings.Contains(out, "Placement") {
		t.Errorf("second bind: %v\n%s", err, out)
	}
	if _, err := plugin(t, append(everything, "--name", "x")...); err == nil || !strings.Contains(err.Error(), "--name") {
		t.Errorf("a Placement without its API: got %v", err)
	}

	placed, err := plugin(t, "bind", "--kubeconfig", kubeconfig, "--wait", "20s", "--location-selectors", "region=eu", "--namespace-selector", "tier!=test")
	if err == nil || !strings.Contains(placed, "created    Placement default") || !strings.Contains(err.Error(), "no workload manager") || !strings.Contains(err.Error(), "--wait=20s") {
		t.Errorf("bind without a manager: %v\n%s", err, placed)
	}
	placement := get(t, client(t, tenant).Resource(schedulingv1alpha1.SchemeGroupVersion.WithResource("placements")), "default")
	if selector, _, _ := unstructured.NestedMap(placement.Object, "spec", "namespaceSelector"); fmt.Sprint(selector) != "map[matchExpressions:[map[key:tier operator:NotIn values:[test]]]]" {
		t.Errorf("the Placement selects other namespaces: %v", selector)
	}
	placed, err = plugin(t, "bind", "--kubeconfig", kubeconfig, "--wait", "5s", "--namespace-selector", "")
	if err == nil || !strings.Contains(placed, "updated    Placement default") {
		t.Errorf("another selector: %v\n%s", err, placed)
	}

	create(t, client(t, tenant).Resource(syncTargets()), `{"apiVersion":"workload.kcp.io/v1alpha1","kind":"SyncTarget","metadata":{"name":"east"}}`)
	out, err = plugin(t, "status", "--kubeconfig", kubeconfig)
	if err != nil || !strings.Contains(out, "east") || !strings.Contains(out, workloadv1alpha1.ReasonNeverConnected) {
		t.Errorf("status: %v\n%s", err, out)
	}
	if _, err := plugin(t, "init", "--kubeconfig", kubeconfig, "--workspace", "root:elsewhere"); err == nil || !strings.Contains(err.Error(), "may not create it") {
		t.Errorf("init of a stranger: got %v", err)
	}
}

func TestCommandsSayWhatIsWrong(t *testing.T) {
	e := env.For(t)
	kcp, err := e.Kubeconfig(e.KCP().AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	kubernetes, err := e.Kubeconfig(e.Cluster("plain").AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	nobody := e.KCP().AdminConfig()
	nobody.Host = "https://127.0.0.1:1"
	nowhere, err := e.Kubeconfig(nobody)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"not a kcp", []string{"init", "--kubeconfig", kubernetes}, []string{"is this a kcp"}},
		{"nobody answers", []string{"init", "--kubeconfig", nowhere}, []string{"https://127.0.0.1:1 cannot be reached"}},
		{"a workspace that does not exist", []string{"status", "--kubeconfig", kcp, "--workspace", "root:gone"}, []string{"root:gone", "does not exist"}},
		{"a malformed path", []string{"init", "--kubeconfig", kcp, "--workspace", "Root/x"}, []string{"--workspace", "root:compute"}},
		{"no workspace", []string{"status", "--kubeconfig", kcp}, []string{"names no workspace", "--workspace"}},
		{"two mistakes at once", []string{"status", "--kubeconfig", kcp, "-o", "xml"}, []string{"--output=xml", "names no workspace"}},
		{"an export that does not exist", []string{"bind", "root:gone", "--kubeconfig", kcp, "--workspace", "root"}, []string{"APIExport kubernetes of root:gone", `verb "bind"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := plugin(t, test.args...)
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

func TestSyncTargetValidation(t *testing.T) {
	validates(t, "validation", "workload.kcp.io/v1alpha1", "SyncTarget", []validation{
		{"an empty spec takes the kubernetes export", `{}`, ""},
		{"all fields", `{"workloadCluster":{"name":"prod","endpoint":"https://prod.example.com:6443"},"supportedAPIExports":[{"path":"root:compute","export":"kubernetes"},{"export":"kubernetes"}],
			"unschedulable":true,"evictAfter":"2026-01-02T03:04:05Z","cells":{"region":"eu","topology.example.com/zone":"a"},
			"taints":[{"key":"a","effect":"NoSchedule"},{"key":"a","effect":"NoExecute","value":"x"}]}`, ""},
		{"an endpoint without TLS", `{"workloadCluster":{"endpoint":"http://prod"}}`, "spec.workloadCluster.endpoint"},
		{"an endpoint that is no URL", `{"workloadCluster":{"endpoint":"prod:6443"}}`, "must be an https URL with a host"},
		{"no APIs at all", `{"supportedAPIExports":[]}`, "spec.supportedAPIExports"},
		{"the same export twice", `{"supportedAPIExports":[{"export":"a"},{"path":"","export":"a"}]}`, "spec.supportedAPIExports[1]"},
		{"an export without a name", `{"supportedAPIExports":[{"path":"root"}]}`, "spec.supportedAPIExports[0].export"},
		{"a path that is none", `{"supportedAPIExports":[{"path":"Root:a","export":"a"}]}`, "must be a workspace path"},
		{"the same taint twice", `{"taints":[{"key":"a","effect":"NoSchedule"},{"key":"a","effect":"NoSchedule","value":"b"}]}`, "spec.taints[1]"},
		{"an unknown effect", `{"taints":[{"key":"a","effect":"Never"}]}`, "spec.taints[0].effect"},
		{"a cell key with a blank", `{"cells":{"a b":"c"}}`, "must have keys of at most 63"},
		{"a time that is none", `{"evictAfter":"tomorrow"}`, "spec.evictAfter"},
	})
}

func TestLocationValidation(t *testing.T) {
	validates(t, "validation-location", "scheduling.kcp.io/v1alpha1", "Location", []validation{
		{"an empty spec is of SyncTargets", `{}`, ""},
		{"all fields", `{"resource":{"group":"workload.kcp.io","version":"v1alpha1","resource":"synctargets"},"description":"Frankfurt","consumers":["root:teams"],
			"availableSelectorLabels":[{"key":"region","values":["eu"],"description":"where"}],"instanceSelector":{"matchLabels":{"region":"eu"},"matchExpressions":[{"key":"gpu","operator":"Exists"}]}}`, ""},
		{"of something else", `{"resource":{"version":"v1","resource":"nodes"}}`, "must be synctargets of workload.kcp.io"},
		{"an unknown operator", `{"instanceSelector":{"matchExpressions":[{"key":"gpu","operator":"Has"}]}}`, "must have operators In, NotIn, Exists or DoesNotExist"},
		{"a label twice", `{"availableSelectorLabels":[{"key":"region"},{"key":"region"}]}`, "spec.availableSelectorLabels[1]"},
		{"a consumer that is no path", `{"consumers":["Root/teams"]}`, "spec.consumers[0]"},
	})
}

func TestPlacementValidation(t *testing.T) {
	validates(t, "validation-placement", "scheduling.kcp.io/v1alpha1", "Placement", []validation{
		{"an empty spec takes any target", `{}`, ""},
		{"all fields", `{"locationSelectors":[{"matchLabels":{"region":"eu"}},{}],"namespaceSelector":{},"locationWorkspace":"root:compute","strategy":"Spread","numberOfTargets":3,
			"tolerations":[{"key":"a","value":"b","effect":"NoExecute","tolerationSeconds":60},{"operator":"Exists"}],
			"affinity":{"required":[{"matchLabels":{"gpu":"yes"}}],"preferred":[{"weight":100,"selector":{"matchExpressions":[{"key":"disk","operator":"In","values":["ssd"]}]}}]},
			"antiAffinity":{"required":[{"placementSelector":{"matchLabels":{"app":"db"}}}],"preferred":[{"weight":1,"placementSelector":{},"topologyKey":"region"}]},
			"topologySpreadConstraints":[{"topologyKey":"region","maxSkew":2,"whenUnsatisfiable":"ScheduleAnyway"}],"resources":{"requests":{"cpu":"4","memory":"8Gi"}},"movePolicy":"StopFirst"}`, ""},
		{"no selector at all", `{"locationSelectors":[]}`, "spec.locationSelectors"},
		{"one of many", `{"numberOfTargets":1}`, ""},
		{"several of one", `{"numberOfTargets":2}`, "must have numberOfTargets 1"},
		{"one that is spread", `{"topologySpreadConstraints":[{"topologyKey":"region"}]}`, "a single target cannot be spread"},
		{"no targets", `{"strategy":"OneToMany","numberOfTargets":0}`, "spec.numberOfTargets"},
		{"an unknown strategy", `{"strategy":"Some"}`, "spec.strategy"},
		{"a toleration of every key with a value", `{"tolerations":[{"operator":"Exists","value":"a"}]}`, "must have no value with operator Exists"},
		{"a toleration of no key", `{"tolerations":[{"value":"a"}]}`, "must have a key with operator Equal"},
		{"a toleration of NoSchedule for some time", `{"tolerations":[{"key":"a","effect":"NoSchedule","tolerationSeconds":1}]}`, "must have effect NoExecute with tolerationSeconds"},
		{"a weight too large", `{"affinity":{"preferred":[{"weight":101,"selector":{}}]}}`, "spec.affinity.preferred[0].weight"},
		{"the same topology twice", `{"strategy":"Spread","topologySpreadConstraints":[{"topologyKey":"region"},{"topologyKey":"region"}]}`, "spec.topologySpreadConstraints[1]"},
		{"a quantity that is none", `{"resources":{"requests":{"cpu":"many"}}}`, "spec.resources.requests"},
		{"an unknown operator", `{"namespaceSelector":{"matchExpressions":[{"key":"a","operator":"Has"}]}}`, "must have operators In, NotIn, Exists or DoesNotExist"},
	})
}

// validation is a spec, and what the answer must contain; nothing if it must be accepted.
type validation struct{ name, spec, want string }

func validates(t *testing.T, workspace, apiVersion, kind string, tests []validation) {
	t.Helper()
	resource := schema.FromAPIVersionAndKind(apiVersion, kind).GroupVersion().WithResource(strings.ToLower(kind) + "s")
	objects := client(t, boundWorkspace(t, workspace)).Resource(resource)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			object := parse(t, `{"apiVersion":"`+apiVersion+`","kind":"`+kind+`","metadata":{"generateName":"t-"},"spec":`+test.spec+`}`)
			_, err := objects.Create(t.Context(), object, metav1.CreateOptions{})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestSyncTargetStatusIsAPart(t *testing.T) {
	targets := client(t, boundWorkspace(t, "status")).Resource(syncTargets())
	create(t, targets, `{"apiVersion":"workload.kcp.io/v1alpha1","kind":"SyncTarget","metadata":{"name":"east"},"status":{"feed":"workspace"}}`)
	if _, found, _ := unstructured.NestedString(get(t, targets, "east").Object, "status", "feed"); found {
		t.Error("a write of the object wrote the status")
	}
	status := `{"status":{"feed":"assigned","lastSyncerHeartbeatTime":"2026-01-02T03:04:05Z","capacity":{"cpu":"64","memory":"256Gi"},
		"syncedResources":[{"resource":"configmaps","state":"Accepted","versions":["v1"],"objects":3},{"group":"apps","resource":"deployments","state":"Degraded","message":"no"}],
		"virtualWorkspaces":[{"syncerURL":"https://kcp/services/a"}],
		"conditions":[{"type":"Ready","status":"True","reason":"Syncing","message":"","lastTransitionTime":"2026-01-02T03:04:05Z"}]}}`
	patch(t, targets, "east", status, "status")
	patch(t, targets, "east", `{"spec":{"unschedulable":true}}`)
	got := get(t, targets, "east")
	if feed, _, _ := unstructured.NestedString(got.Object, "status", "feed"); feed != "assigned" {
		t.Errorf("the status is lost: %v", got.Object["status"])
	}
	_, err := targets.Patch(t.Context(), "east", types.MergePatchType, []byte(`{"status":{"feed":"elsewhere"}}`), metav1.PatchOptions{}, "status")
	if err == nil || !strings.Contains(err.Error(), "status.feed") {
		t.Errorf("an unknown feed: got %v", err)
	}
}

// TestObjectsAreAsKubernetesHasThem gives the same objects to kcp and to a Kubernetes API server. What kcp fills in must be what
// Kubernetes fills in; and what the user wrote must come back.
func TestObjectsAreAsKubernetesHasThem(t *testing.T) {
	kcp := client(t, boundWorkspace(t, "as-kubernetes"))
	kubernetes := client(t, env.For(t).Cluster("plain").AdminConfig())
	raw, err := os.ReadFile("testdata/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, document := range strings.Split(string(raw), "\n---\n") {
		content, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		given := parse(t, string(content))
		resource := resourceOf(given)
		seen[resource.Resource] = true
		t.Run(given.GetKind()+" "+given.GetName(), func(t *testing.T) {
			served := createIn(t, kcp, resource, given)
			reference := createIn(t, kubernetes, resource, given)
			contained(t, "written by the user, but not served by kcp", "spec", given.Object["spec"], served.Object["spec"])
			contained(t, "served by kcp, but not by Kubernetes", "spec", served.Object["spec"], reference.Object["spec"])
		})
	}
	if len(seen) != 11 {
		t.Errorf("testdata has %v, want all 11 resources of the export", slices.Sorted(maps.Keys(seen)))
	}
}

func TestScale(t *testing.T) {
	deployments := client(t, boundWorkspace(t, "scale")).Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace(metav1.NamespaceDefault)
	create(t, deployments, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"selector":{"matchLabels":{"a":"b"}},
		"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`)
	scale, err := deployments.Get(t.Context(), "web", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if replicas, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas"); replicas != 1 {
		t.Errorf("scale says %d replicas, want 1", replicas)
	}
	patch(t, deployments, "web", `{"spec":{"replicas":3}}`, "scale")
	if replicas, _, _ := unstructured.NestedInt64(get(t, deployments, "web").Object, "spec", "replicas"); replicas != 3 {
		t.Errorf("the Deployment has %d replicas, want 3", replicas)
	}
}

// TestApplyMergesListsByKey is why the schemas have list types: two appliers own one container each.
func TestApplyMergesListsByKey(t *testing.T) {
	deployments := client(t, boundWorkspace(t, "apply")).Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace(metav1.NamespaceDefault)
	for manager, container := range map[string]string{"one": "a", "two": "b"} {
		_, err := deployments.Apply(t.Context(), "web", parse(t, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"selector":{"matchLabels":{"a":"b"}},
			"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"`+container+`","image":"i"}]}}}}`), metav1.ApplyOptions{FieldManager: manager})
		if err != nil {
			t.Fatal(err)
		}
	}
	containers, _, _ := unstructured.NestedSlice(get(t, deployments, "web").Object, "spec", "template", "spec", "containers")
	if len(containers) != 2 {
		t.Errorf("got %v, want both containers", containers)
	}
}

// initialize applies config/ as `kubectl workload init` does.
func initialize(t *testing.T, kcp *rest.Config, path logicalcluster.Path) []apply.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	changes, err := setup.Apply(ctx, kcp, path, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// boundWorkspace makes a workspace with the APIs of all exports.
func boundWorkspace(t *testing.T, name string) *rest.Config {
	t.Helper()
	kcp := env.For(t).KCP()
	provider := logicalcluster.NewPath("root:compute")
	initialize(t, kcp.AdminConfig(), provider)
	path := newWorkspace(t, kcp, name)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := bind.Bind(ctx, kcp.AdminConfig(), path, provider, config.Exports(), t.Output()); err != nil {
		t.Fatal(err)
	}
	return kcp.WorkspaceConfig(path)
}

func newWorkspace(t *testing.T, kcp *env.KCP, name string) logicalcluster.Path {
	t.Helper()
	if _, err := kcp.CreateWorkspace(t.Context(), env.Root, name); err != nil {
		t.Fatal(err)
	}
	return env.Root.Join(name)
}

// plugin runs the command in this process.
func plugin(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd := cliplugins.NewCommand(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out})
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// contained checks that everything in part is in whole too.
func contained(t *testing.T, complaint, path string, part, whole any) {
	t.Helper()
	switch p := part.(type) {
	case map[string]any:
		w, _ := whole.(map[string]any)
		for key, value := range p {
			contained(t, complaint, path+"."+key, value, w[key])
		}
	case []any:
		w, _ := whole.([]any)
		if len(p) != len(w) {
			t.Errorf("%s: %s: %v and %v", complaint, path, part, whole)
			return
		}
		for i := range p {
			contained(t, complaint, path+"[]", p[i], w[i])
		}
	default:
		if part != whole {
			t.Errorf("%s: %s: %v and %v", complaint, path, part, whole)
		}
	}
}

func resourceOf(object *unstructured.Unstructured) schema.GroupVersionResource {
	gvk := object.GroupVersionKind()
	plural := strings.ToLower(gvk.Kind) + "s"
	if stem, ok := strings.CutSuffix(plural, "ys"); ok {
		plural = stem + "ies"
	} else if stem, ok := strings.CutSuffix(plural, "sss"); ok {
		plural = stem + "sses"
	}
	return gvk.GroupVersion().WithResource(plural)
}

func createIn(t *testing.T, client dynamic.Interface, resource schema.GroupVersionResource, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	created, err := client.Resource(resource).Namespace(corev1.NamespaceDefault).Create(t.Context(), object.DeepCopy(), metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func create(t *testing.T, client dynamic.ResourceInterface, object string) {
	t.Helper()
	if _, err := client.Create(t.Context(), parse(t, object), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, client dynamic.ResourceInterface, name string) *unstructured.Unstructured {
	t.Helper()
	object, err := client.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return object
}

func patch(t *testing.T, client dynamic.ResourceInterface, name, change string, subresources ...string) {
	t.Helper()
	if _, err := client.Patch(t.Context(), name, types.MergePatchType, []byte(change), metav1.PatchOptions{}, subresources...); err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, raw string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal([]byte(raw), &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

func client(t *testing.T, at *rest.Config) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(at)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func syncTargets() schema.GroupVersionResource {
	return workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")
}

func apis(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apis.kcp.io", Version: "v1alpha2", Resource: resource}
}

func rbac(resource string) schema.GroupVersionResource {
	return rbacv1.SchemeGroupVersion.WithResource(resource)
}
