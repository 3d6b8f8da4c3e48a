package plugin

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

const (
	fleetProvider = "root:fleet"
	fleetTeam     = "root:fleet-team"
)

// The whole of it by the commands: a provider, two targets whose syncers run by their manifests and see no more than the virtual
// workspace shows them, a team that binds and applies, and a drain under its feet.
func TestFleetByItsCommands(t *testing.T) {
	t.Parallel()
	e := env.For(t)
	admin, err := e.Kubeconfig(e.KCP().AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	do := func(want string, args ...string) string {
		t.Helper()
		out, err := plugin(t, append(args, "--kubeconfig", admin)...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("kubectl workload %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	do("created    APIBinding scheduling.kcp.io", "init", "--workspace", fleetProvider)
	ca := startManager(t, admin)

	syncers := map[string]*manifestSyncer{}
	for _, name := range []string{"east", "west"} {
		file := filepath.Join(t.TempDir(), name+".yaml")
		do("created    SyncTarget "+name, "sync", name, "--workspace", fleetProvider, "--image", image, "--replicas", "2",
			"--virtual-workspace-ca-file", ca, "-o", file)
		m := parseManifest(t, read(t, file))
		install(t, e.Cluster("plain").AdminConfig(), m)
		syncers[name] = startByManifest(t, e.Cluster("plain"), m)
	}
	targets := client(t, e.KCP().WorkspaceConfig(env.Root.Join("fleet"))).Resource(syncTargets())
	for name, s := range syncers {
		s.awaitReady(t)
		awaitCondition(t, targets, name, "Ready")
	}
	deniesEverythingElse(t, syncers["east"])
	keepsToItsImports(t, syncers["east"], "east")
	if _, err := client(t, syncers["east"].kcp).Resource(corev1.SchemeGroupVersion.WithResource("secrets")).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the Secrets of the SyncTarget's workspace: got %v, want it forbidden", err)
	}

	team := client(t, e.KCP().WorkspaceConfig(newWorkspace(t, e.KCP(), "fleet-team")))
	do("scheduled  to ", "bind", fleetProvider, "--workspace", fleetTeam)
	deployments := deploy(t, team)
	awaitCondition(t, deployments, "web", "Available")
	from := chosen(t, team)
	to := map[string]string{"east": "west", "west": "east"}[from]
	do("synced to "+from, "explain", "deployment/web", "-n", "shop", "--workspace", fleetTeam)
	do("selected", "explain", "placement", "default", "--workspace", fleetTeam)
	do(from, "status", "--workspace", fleetTeam)

	unavailable := watchAvailability(t, deployments)
	out := do("nothing is on it any more", "drain", from, "--workspace", fleetProvider)
	if err := unavailable(); err != nil {
		t.Errorf("while its work moved: %v\n%s", err, out)
	}
	if now := chosen(t, team); now != to {
		t.Errorf("the Placement chose %s, not %s", now, to)
	}
	env.Eventually(t, soon, func() error {
		out, err := plugin(t, "explain", "deployment/web", "-n", "shop", "--workspace", fleetTeam, "--kubeconfig", admin)
		if err != nil || !strings.Contains(out, "synced to "+to+"\n") {
			return fmt.Errorf("explain: %w\n%s", err, out)
		}
		return nil
	})
	do("evicting", "status", "--workspace", fleetProvider)
	nowhereElse(t, do, to)
	do(from+" open again", "uncordon", from, "--workspace", fleetProvider)
	offersItsOwnType(t, "east") // last: without another kubectl workload sync, no syncer may bring the type down
}

// offersItsOwnType has a cluster offer a type of its own to tenants: all of it by the account that the command made.
func offersItsOwnType(t *testing.T, target string) {
	t.Helper()
	const group = "fleet-by-its-commands.example.com"
	cluster := client(t, env.For(t).Cluster("plain").AdminConfig())
	crds := cluster.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	create(t, crds, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gadgets.`+group+`"},"spec":{"group":"`+group+`","scope":"Namespaced",
		"names":{"plural":"gadgets","singular":"gadget","kind":"Gadget","listKind":"GadgetList"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"}}}}}}}]}}`)
	t.Cleanup(func() { _ = crds.Delete(context.Background(), "gadgets."+group, metav1.DeleteOptions{}) })
	provider := client(t, env.For(t).KCP().WorkspaceConfig(env.Root.Join("fleet")))
	patch(t, provider.Resource(syncTargets()), target, `{"spec":{"exportedResources":["gadgets.`+group+`"]}}`)
	imports := provider.Resource(apiresourcev1alpha1.SchemeGroupVersion.WithResource("apiresourceimports"))
	awaitCondition(t, imports, "deployments.v1.apps."+target, apiresourcev1alpha1.ImportCompatible)
	awaitCondition(t, imports, "gadgets.v1."+group+"."+target, apiresourcev1alpha1.ImportAvailable)
}

// nowhereElse drains the last target: the command says what stays, and why.
func nowhereElse(t *testing.T, do func(string, ...string) string, last string) {
	t.Helper()
	admin, err := env.For(t).Kubeconfig(env.For(t).KCP().AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	out, err := plugin(t, "drain", last, "--workspace", fleetProvider, "--timeout", "5s", "--kubeconfig", admin)
	for _, want := range []string{"--timeout", "left", "Placement ", "deployments.apps ", "|shop/web"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a drain that cannot end does not say %q: %v\n%s", want, err, out)
		}
	}
	do(last+" open again", "uncordon", last, "--workspace", fleetProvider)
}

var servingAt = regexp.MustCompile(`"Serving" server="virtual-workspace" address="([^"]+)"`)

// startManager starts a manager for the provider, and what serves the virtual workspaces. It gives the file with the authority that the
// latter's certificate is of.
func startManager(t *testing.T, kubeconfig string) (ca string) {
	t.Helper()
	e := env.For(t)
	certificate, err := e.NewServerCertificate("fleet")
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = certificate.CAFile(); err != nil {
		t.Fatal(err)
	}
	binary, err := e.Build(t.Context(), "./cmd/workload-manager")
	if err != nil {
		t.Fatal(err)
	}
	common := []string{"--kcp-kubeconfig=" + kubeconfig, "--provider-workspace=" + fleetProvider, "--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0"}
	start := func(name string, args ...string) *env.Process {
		p, err := e.Start(t.Context(), env.Command{Name: name, Path: binary, Args: args})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.Kill()
			if t.Failed() {
				t.Logf("the end of the log of %s:\n%s", name, p.Tail(40))
			}
		})
		return p
	}
	views := start("fleet-views", append([]string{"virtual-workspace", "--virtual-workspace-port=0", "--virtual-workspace-cert-file=" + certificate.CertFile, "--virtual-workspace-key-file=" + certificate.KeyFile}, common...)...)
	var url string
	env.Eventually(t, soon, func() error {
		match := servingAt.FindStringSubmatch(views.Output())
		if match == nil {
			return fmt.Errorf("no virtual workspace is served yet:\n%s", views.Tail(10))
		}
		url = "https://" + match[1]
		return nil
	})
	start("fleet-manager", append([]string{"--virtual-workspace-url=" + url}, common...)...)
	return ca
}

func deploy(t *testing.T, team dynamic.Interface) dynamic.ResourceInterface {
	t.Helper()
	create(t, team.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")), `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`)
	create(t, team.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace("shop"), `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"key"},"data":{"a":"Yg=="}}`)
	deployments := team.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace("shop")
	create(t, deployments, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},
		"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","envFrom":[{"secretRef":{"name":"key"}}]}]}}}}`)
	return deployments
}

// chosen is the one target that the team's Placement has selected.
func chosen(t *testing.T, team dynamic.Interface) string {
	t.Helper()
	placement := get(t, team.Resource(schedulingv1alpha1.SchemeGroupVersion.WithResource("placements")), "default")
	names, _, _ := unstructured.NestedString(placement.Object, "status", "targetNames")
	return names
}

// watchAvailability looks at the Deployment until the returned function is called, which tells if it was ever not Available.
func watchAvailability(t *testing.T, deployments dynamic.ResourceInterface) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w, err := deployments.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	var failure error
	var wg sync.WaitGroup
	wg.Go(func() {
		for event := range w.ResultChan() {
			object, ok := event.Object.(*unstructured.Unstructured)
			if !ok {
				continue
			}
			conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
			available := false
			for _, condition := range conditions {
				c, _ := condition.(map[string]any)
				available = available || c["type"] == "Available" && c["status"] == "True"
			}
			if !available && failure == nil {
				failure = fmt.Errorf("at %s it was not Available: %v", time.Now().Format(time.TimeOnly), object.Object["status"])
			}
		}
	})
	return func() error {
		w.Stop()
		cancel()
		wg.Wait()
		return failure
	}
}
