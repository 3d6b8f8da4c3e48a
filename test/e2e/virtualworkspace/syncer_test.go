package virtualworkspace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// A syncer that may do nothing in kcp but serve its own SyncTarget does all of its work through the virtual workspace: it
// syncs down, claims, brings the status home, tells what is wrong, lets go of what is to leave and of what lost its label.
func TestA46SyncerWithNothingButItsView(t *testing.T) {
	t.Parallel()
	w := shared(t)
	home, tenant := w.newWorkspace(t, "home"), w.newWorkspace(t, "tenant")
	east, west := home.newTarget("east"), home.newTarget("west")
	account := home.account("syncer-east",
		rbacv1.PolicyRule{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, ResourceNames: []string{"east"}, Verbs: []string{"get", "list", "watch", "sync"}},
		rbacv1.PolicyRule{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets/status"}, ResourceNames: []string{"east"}, Verbs: []string{"patch"}})
	home.publish(east)
	tenant.create(namespaces, `{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: `+labels(east)+`}}`)
	tenant.add("web", "app", labels(east), "hello")
	tenant.add("web", "leaves", labels(east), "hello")
	tenant.add("web", "taken-away", labels(east), "hello")
	tenant.add("web", "not-here", labels(west), "hello")

	cluster := w.env.Cluster(clusterName)
	down := must(dynamic.NewForConfig(cluster.AdminConfig()))(t)
	b := &bringing{t: t, w: w, tenant: tenant, east: east, down: down}
	b.prepare()
	command := env.Command{
		Name: "syncer", Path: must(w.env.Build(t.Context(), "./cmd/workload-syncer"))(t),
		Args: []string{
			"--kcp-kubeconfig=" + must(w.env.Kubeconfig(w.trusting(account)))(t), "--cluster-kubeconfig=" + must(w.env.Kubeconfig(cluster.AdminConfig()))(t),
			"--sync-target-workspace=" + string(home.Cluster), "--sync-target-name=east", "--sync-target-uid=" + string(east.st.UID), "--feed=assigned",
			"--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0", "--leader-elect=false", "--heartbeat-period=5s",
			"--namespace-clean-delay=1s", "--orphan-grace-period=1s", "--resource-filters=deployments.apps,configmaps,secrets,services," + strings.Join(upsynced, ","), "-v=4",
		},
	}
	syncer := must(w.env.Start(t.Context(), command))(t)
	stop := func() {
		syncer.Signal(syscall.SIGTERM)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := syncer.Wait(ctx); err != nil {
			syncer.Kill()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the end of the syncer's log:\n%s\nof the server's:\n%s", syncer.Tail(60), w.server.Tail(40))
		}
	})
	namespace := workloadv1alpha1.NamespaceLocator{
		SyncTarget:  workloadv1alpha1.SyncTargetLocator{ClusterName: string(home.Cluster), Name: "east", UID: east.st.UID},
		ClusterName: string(tenant.Cluster), Namespace: "web",
	}.DownstreamNamespace()
	t.Cleanup(func() { _ = down.Resource(namespaces).Delete(context.Background(), namespace, metav1.DeleteOptions{}) })
	b.namespace = namespace

	await := func(check func(*unstructured.Unstructured) error, name string) {
		t.Helper()
		env.Eventually(t, soon, func() error { return check(tenant.get(deployments, "web", name)) })
	}
	await(func(u *unstructured.Unstructured) error {
		replicas, _, _ := unstructured.NestedInt64(u.Object, "status", "availableReplicas")
		if replicas != 3 || len(u.GetFinalizers()) != 1 {
			return fmt.Errorf("status %v, finalizers %v", u.Object["status"], u.GetFinalizers())
		}
		return nil
	}, "app")
	secret := must(down.Resource(secrets).Namespace(namespace).Get(t.Context(), "app", metav1.GetOptions{}))(t)
	if fmt.Sprint(secret.Object["data"]) != "map[value:aGVsbG8=]" {
		t.Errorf("the Secret's copy is %v", secret.Object)
	}
	if _, err := down.Resource(secrets).Namespace(namespace).Get(t.Context(), "not-here", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("another target's Secret is here, or: %v", err)
	}

	// What is wrong is told on the object and by an Event.
	must(down.Resource(configMaps).Namespace(namespace).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "taken"},
	}}, metav1.CreateOptions{}))(t)
	tenant.create(configMaps, `{apiVersion: v1, kind: ConfigMap, metadata: {name: taken, namespace: web, labels: `+labels(east)+`}, data: {a: b}}`)
	env.Eventually(t, soon, func() error {
		u := tenant.get(configMaps, "web", "taken")
		if !strings.Contains(u.GetAnnotations()[workloadv1alpha1.ConditionsAnnotation(east.key)], workloadv1alpha1.ReasonConflict) {
			return fmt.Errorf("no condition: %v", u.GetAnnotations())
		}
		for _, e := range must(tenant.of(events, "web").List(t.Context(), listAll))(t).Items {
			if e.Object["reason"] == workloadv1alpha1.ReasonConflict {
				return nil
			}
		}
		return fmt.Errorf("no Event")
	})

	// One is asked to leave, one loses its label, one gets another spec for this target.
	tenant.merge(deployments, "web", "leaves", fmt.Sprintf(`metadata: {annotations: {%s: "2030-01-01T00:00:00Z"}}`, workloadv1alpha1.DeletionAnnotation(east.key)))
	tenant.merge(deployments, "web", "taken-away", fmt.Sprintf(`metadata: {labels: {%s: null}}`, workloadv1alpha1.StateLabel(east.key)))
	tenant.merge(deployments, "web", "app", fmt.Sprintf(`metadata: {annotations: {%s: '[{"op":"replace","path":"/replicas","value":1}]'}}`, workloadv1alpha1.SpecDiffAnnotation(east.key)))
	for _, name := range []string{"leaves", "taken-away"} {
		await(func(u *unstructured.Unstructured) error {
			_, labelled := u.GetLabels()[workloadv1alpha1.StateLabel(east.key)]
			if len(u.GetFinalizers()) > 0 || labelled || u.GetAnnotations()[workloadv1alpha1.DeletionAnnotation(east.key)] != "" || u.GetDeletionTimestamp() != nil {
				return fmt.Errorf("%v", u.Object["metadata"])
			}
			return nil
		}, name)
		if _, err := down.Resource(deployments).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s was released while its copy is there, or: %v", name, err)
		}
	}
	env.Eventually(t, soon, func() error {
		u := must(down.Resource(deployments).Namespace(namespace).Get(t.Context(), "app", metav1.GetOptions{}))(t)
		if replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); replicas != 1 {
			return fmt.Errorf("%d replicas", replicas)
		}
		return nil
	})

	b.comesUp()
	b.summarizes(west)
	before := b.versions()
	stop()
	syncer = must(w.env.Start(t.Context(), command))(t)
	b.stays(before)
	b.goes()

	// Deleted upstream, an object goes when its copy has.
	if err := tenant.of(deployments, "web").Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, soon, func() error {
		_, err := tenant.of(deployments, "web").Get(t.Context(), "app", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
	if direct := w.metric(t, `workload_virtual_workspace_writes_total{view="syncer",way="direct"}`); direct == 0 {
		t.Error("no status came home by a single request")
	}
}

// publish writes the target's virtual workspaces to its status, as the manager does.
func (x *workspace) publish(t *target) {
	x.t.Helper()
	vw := workloadv1alpha1.VirtualWorkspacesOf(x.w.address, x.w.exports, string(x.Cluster), t.st.Name, t.st.UID)[0]
	x.merge(targets, "", t.st.Name, fmt.Sprintf(`{status: {virtualWorkspaces: [{syncerURL: %q, upsyncerURL: %q}]}}`, vw.SyncerURL, vw.UpsyncerURL), "status")
}
