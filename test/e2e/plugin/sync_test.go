package plugin

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
	"github.com/kcp-dev/workload-syncer/test/installed"
)

const image = "registry.example.com/workload-syncer:test"

// A46: what `kubectl workload sync` makes is enough for a syncer, and no more. The manifest goes into a real API server, and the
// syncer runs with the credentials, the arguments and the environment that are in it.
func TestA46SyncerRunsByItsManifest(t *testing.T) {
	t.Parallel()
	e := env.For(t)
	workspaceConfig := boundWorkspace(t, "a46")
	admin, err := e.Kubeconfig(workspaceConfig)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "east.yaml")
	args := []string{
		"sync", "east", "--kubeconfig", admin, "--image", image, "--feed", "workspace", "--replicas", "2", "--labels", "region=eu",
		"--kcp-namespace", "syncers", "--qps", "50", "--feature-gates", "PublishAPIs=true", "-o", file,
	}
	dryRun, err := plugin(t, append(args, "--dry-run", "-o", "-")...)
	if err != nil || !strings.Contains(dryRun, "created    SyncTarget east (dry run)") || !strings.Contains(dryRun, base64.StdEncoding.EncodeToString([]byte("apiVersion"))[:12]) {
		t.Fatalf("dry run: %v\n%s", err, dryRun)
	}
	if _, err := client(t, workspaceConfig).Resource(syncTargets()).Get(t.Context(), "east", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the dry run made a SyncTarget, or: %v", err)
	}

	first, raw := syncTwice(t, args, file)
	if strings.Count(first, "created") != 8 {
		t.Errorf("the first run created other than 8 objects:\n%s", first)
	}
	m := parseManifest(t, raw)
	for _, object := range m.Objects {
		if rules, _, _ := unstructured.NestedSlice(object.Object, "rules"); strings.Contains(fmt.Sprint(rules), "*") {
			t.Errorf("%s grants more than is needed: %v", object.GetKind(), rules)
		}
	}
	cluster := e.Cluster("plain")
	install(t, cluster.AdminConfig(), m)

	s := startByManifest(t, cluster, m)
	s.awaitReady(t)
	workspaceClient := client(t, workspaceConfig)
	awaitCondition(t, workspaceClient.Resource(syncTargets()), "east", workloadv1alpha1.ConditionReady)
	awaitCondition(t, workspaceClient.Resource(syncTargets()), "east", workloadv1alpha1.ConditionAPIsReady) // nothing is forbidden

	runsEndToEnd(t, workspaceClient, admin)
	deniesEverythingElse(t, s)
	keepsToItsImports(t, s, "east")
	tokenIsRotated(t, args, file, s)
}

// syncTwice runs the command twice: the second time nothing changes.
func syncTwice(t *testing.T, args []string, file string) (first string, raw []byte) {
	t.Helper()
	first, err := plugin(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	raw = read(t, file)
	second, err := plugin(t, args...)
	if err != nil || strings.Contains(second, "created") || strings.Contains(second, "updated") {
		t.Errorf("the second run: %v\n%s", err, second)
	}
	if again := read(t, file); !bytes.Equal(again, raw) {
		t.Error("the second run gave another manifest")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the manifest: %v, %v", info.Mode(), err)
	}
	return first, raw
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parseManifest(t *testing.T, raw []byte) *installed.Manifest {
	t.Helper()
	m, err := installed.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// install applies the manifest as kubectl does, after the server has found nothing wrong with it.
func install(t *testing.T, cluster *rest.Config, m *installed.Manifest) {
	t.Helper()
	c := client(t, cluster)
	t.Cleanup(func() {
		for _, object := range m.Objects {
			_ = installed.Client(c, object).Delete(context.Background(), object.GetName(), metav1.DeleteOptions{})
		}
	})
	if err := m.Apply(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	// Pods come to be only if Pod Security lets them, in a namespace that enforces "restricted".
	deployment := m.Of("Deployment")
	env.Eventually(t, soon, func() error {
		live, err := installed.Client(c, deployment).Get(t.Context(), deployment.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if available, _, _ := unstructured.NestedInt64(live.Object, "status", "availableReplicas"); available != 2 {
			return fmt.Errorf("%d of 2 pods are available: %v", available, live.Object["status"])
		}
		return nil
	})
}

// manifestSyncer is a syncer that runs by its manifest.
type manifestSyncer struct {
	*env.Process
	kcp, cluster *rest.Config
	kubeconfig   string
}

// startByManifest runs the syncer as the Deployment says, with the credentials that its pods would have.
func startByManifest(t *testing.T, cluster *env.Cluster, m *installed.Manifest) *manifestSyncer {
	t.Helper()
	e := env.For(t)
	s := &manifestSyncer{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	s.writeKubeconfig(t, m)
	var err error
	if s.cluster, err = m.Account(t.Context(), cluster.AdminConfig()); err != nil {
		t.Fatal(err)
	}
	inCluster, err := e.Kubeconfig(s.cluster)
	if err != nil {
		t.Fatal(err)
	}
	args, environment := m.Command(s.kubeconfig, inCluster)
	binary, err := e.Build(t.Context(), "./cmd/workload-syncer")
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, "--namespace-clean-delay=1s", "--heartbeat-period=2s")
	if s.Process, err = e.Start(t.Context(), env.Command{Name: m.Of("Deployment").GetName(), Path: binary, Args: args, Env: environment}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t) })
	return s
}

// writeKubeconfig is what the kubelet does with the Secret.
func (s *manifestSyncer) writeKubeconfig(t *testing.T, m *installed.Manifest) {
	t.Helper()
	raw, err := m.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.kubeconfig, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if s.kcp, err = clientcmd.RESTConfigFromKubeConfig(raw); err != nil {
		t.Fatal(err)
	}
}

func (s *manifestSyncer) stop(t *testing.T) {
	s.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := s.Wait(ctx); err != nil {
		s.Kill()
	}
	if t.Failed() {
		t.Logf("the end of the syncer's log:\n%s", s.Tail(60))
	}
}

var healthAddress = regexp.MustCompile(`"Serving" server="health" address="([^"]+)"`)

func (s *manifestSyncer) awaitReady(t *testing.T) {
	t.Helper()
	env.Eventually(t, soon, func() error {
		select {
		case <-s.Done():
			t.Fatalf("the syncer ended:\n%s", s.Tail(40))
		default:
		}
		match := healthAddress.FindStringSubmatch(s.Output())
		if match == nil {
			return errors.New("it serves no health yet")
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+match[1]+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		response, err := (&http.Client{}).Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", response.Status)
		}
		return nil
	})
}

func awaitCondition(t *testing.T, client dynamic.ResourceInterface, name, condition string) {
	t.Helper()
	env.Eventually(t, soon, func() error {
		object, err := client.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
		for _, c := range conditions {
			if c := c.(map[string]any); c["type"] == condition {
				if c["status"] == "True" {
					return nil
				}
				return fmt.Errorf("%v", c)
			}
		}
		return fmt.Errorf("no condition %s", condition)
	})
}

// runsEndToEnd takes a Deployment with what it needs down, and its status home; and takes it away again.
func runsEndToEnd(t *testing.T, workspace dynamic.Interface, kubeconfig string) {
	t.Helper()
	namespaces := workspace.Resource(corev1.SchemeGroupVersion.WithResource("namespaces"))
	create(t, namespaces, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`)
	create(t, workspace.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace("shop"), `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"key"},"data":{"a":"Yg=="}}`)
	deployments := workspace.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace("shop")
	create(t, deployments, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"selector":{"matchLabels":{"a":"b"}},
		"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","envFrom":[{"secretRef":{"name":"key"}}]}]}}}}`)
	awaitCondition(t, deployments, "web", "Available")
	explained, err := plugin(t, "explain", "deployment/web", "-n", "shop", "--kubeconfig", kubeconfig)
	if err != nil || !strings.Contains(explained, "Deployment shop/web in root:a46: synced to east") {
		t.Errorf("explain: %v\n%s", err, explained)
	}
	patch(t, deployments, "web", `{"spec":{"replicas":2}}`)
	env.Eventually(t, soon, func() error {
		if ready, _, _ := unstructured.NestedInt64(get(t, deployments, "web").Object, "status", "readyReplicas"); ready != 2 {
			return fmt.Errorf("%d of 2 replicas are ready", ready)
		}
		return nil
	})
	if err := deployments.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, soon, func() error {
		if _, err := deployments.Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Deployment is still there, or: %w", err)
		}
		return nil
	})
}

// deniesEverythingElse asks, with the syncer's credentials, for what is none of its business.
func deniesEverythingElse(t *testing.T, s *manifestSyncer) {
	t.Helper()
	kcp, cluster := client(t, s.kcp), client(t, s.cluster)
	elsewhere := rest.CopyConfig(s.kcp)
	elsewhere.Host = env.For(t).KCP().WorkspaceConfig(env.Root).Host
	targets := kcp.Resource(syncTargets())
	for name, ask := range map[string]func() error{
		"another SyncTarget": func() error {
			_, err := targets.Get(t.Context(), "west", metav1.GetOptions{})
			return err
		},
		"the spec of its SyncTarget": func() error {
			_, err := targets.Patch(t.Context(), "east", "application/merge-patch+json", []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
			return err
		},
		"the deletion of its SyncTarget": func() error { return targets.Delete(t.Context(), "east", metav1.DeleteOptions{}) },
		"roles in kcp": func() error {
			_, err := kcp.Resource(rbac("clusterroles")).List(t.Context(), metav1.ListOptions{})
			return err
		},
		"another workspace": func() error {
			_, err := client(t, elsewhere).Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).List(t.Context(), metav1.ListOptions{})
			return err
		},
		"pods of the cluster, which it reads to bring them up": func() error {
			return cluster.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace("default").Delete(t.Context(), "any", metav1.DeleteOptions{})
		},
		"the cluster's roles": func() error {
			_, err := cluster.Resource(rbac("clusterroles")).List(t.Context(), metav1.ListOptions{})
			return err
		},
		"Leases of others": func() error {
			_, err := cluster.Resource(schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}).Namespace("kube-system").List(t.Context(), metav1.ListOptions{})
			return err
		},
	} {
		if err := ask(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: got %v, want it forbidden", name, err)
		}
	}
}

// keepsToItsImports: with the syncer's credentials an import can be made of its own SyncTarget, and of no other.
func keepsToItsImports(t *testing.T, s *manifestSyncer, own string) {
	t.Helper()
	imports := client(t, s.kcp).Resource(apiresourcev1alpha1.SchemeGroupVersion.WithResource("apiresourceimports"))
	of := func(target, suffix string) string {
		return fmt.Sprintf(`{"apiVersion":"apiresource.kcp.io/v1alpha1","kind":"APIResourceImport","metadata":{"name":"probes.v1.example.com.%[1]s%[2]s"},
			"spec":{"syncTarget":%[1]q,"group":"example.com","version":"v1","resource":"probes","scope":"Namespaced","names":{"plural":"probes","singular":"probe","kind":"Probe","listKind":"ProbeList"},"schema":{"type":"object"}}}`, target, suffix)
	}
	tries := 0
	env.Eventually(t, soon, func() error { // kcp takes a moment to heed a policy
		tries++
		other := &unstructured.Unstructured{}
		if err := other.UnmarshalJSON([]byte(of("other", fmt.Sprint("-", tries)))); err != nil {
			t.Fatal(err)
		}
		_, err := imports.Create(t.Context(), other, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "imports of SyncTarget "+own+" only") {
			return fmt.Errorf("an import of another SyncTarget: got %w, want it forbidden", err)
		}
		return nil
	})
	create(t, imports, of(own, ""))
	if _, err := imports.Patch(t.Context(), "probes.v1.example.com."+own, types.MergePatchType, []byte(`{"spec":{"syncTarget":"other"}}`), metav1.PatchOptions{}); err == nil {
		t.Error("an import of its own was given to another SyncTarget")
	}
	if err := imports.Delete(t.Context(), "probes.v1.example.com."+own, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// tokenIsRotated makes a second token, has the running syncer take it up, and revokes the first.
func tokenIsRotated(t *testing.T, args []string, file string, s *manifestSyncer) {
	t.Helper()
	old := s.kcp
	out, err := plugin(t, append(args, "--rotate-token")...)
	if err != nil || strings.Count(out, "created") != 1 || !strings.Contains(out, "delete secret") {
		t.Fatalf("rotating: %v\n%s", err, out)
	}
	s.writeKubeconfig(t, parseManifest(t, read(t, file)))
	if s.kcp.BearerToken == old.BearerToken {
		t.Fatal("the token is the same")
	}
	name := regexp.MustCompile(`delete secret (\S+)`).FindStringSubmatch(out)[1]
	admin := env.For(t).KCP().WorkspaceConfig(env.Root.Join("a46"))
	if err := client(t, admin).Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace("syncers").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, soon, func() error {
		if _, err := client(t, old).Resource(syncTargets()).Get(t.Context(), "east", metav1.GetOptions{}); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("the old token: got %w", err)
		}
		return nil
	})
	before := get(t, client(t, admin).Resource(syncTargets()), "east")
	env.Eventually(t, soon, func() error { // heartbeats go on
		now := get(t, client(t, admin).Resource(syncTargets()), "east")
		if beat := func(o *unstructured.Unstructured) any {
			value, _, _ := unstructured.NestedString(o.Object, "status", "lastSyncerHeartbeatTime")
			return value
		}; beat(before) == beat(now) {
			return errors.New("no heartbeat with the new token")
		}
		return nil
	})
	out, err = plugin(t, args...)
	if err != nil || strings.Contains(out, "created") || strings.Contains(out, "delete secret") {
		t.Errorf("after the rotation: %v\n%s", err, out)
	}
}
