package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/util/cert"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

const deploymentKind = "apps/v1 Deployment"

// place has the work of all namespaces of the team run on targets of the workspace.
func place(team, targets *harness.Workspace, spec string) {
	team.T.Helper()
	if spec != "" {
		spec = ", " + spec
	}
	open := harness.Parse(team.T, `{apiVersion: scheduling.kcp.io/v1alpha1, kind: Location, metadata: {name: open}, spec: {instanceSelector: {}, consumers: ["root"]}}`)
	if _, err := targets.Client(open).Create(team.T.Context(), open, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		team.T.Fatal(err)
	}
	team.Create(fmt.Sprintf(`{apiVersion: scheduling.kcp.io/v1alpha1, kind: Placement, metadata: {name: all}, spec: {locationWorkspace: %q, namespaceSelector: {}%s}}`, targets.Path, spec))
	team.T.Cleanup(func() {
		if team.T.Failed() {
			showAll(team.Side, placementKind)
			showAll(team.Side, deploymentKind)
			showAll(targets.Side, harness.SyncTargetKind)
		}
	})
}

// showAll logs the status of all objects of a kind, for people who look for the cause of a failure.
func showAll(side *harness.Side, kind string) {
	list, err := side.Of(kind, metav1.NamespaceAll).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		side.T.Log(err)
		return
	}
	for _, u := range list.Items {
		status, _ := json.Marshal([]any{u.GetLabels(), u.GetAnnotations(), u.GetFinalizers(), u.Object["status"]})
		side.T.Logf("%s %s: %s", kind, u.GetName(), status)
	}
}

func configMapObject(name string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: web, labels: {%s: "true"}}, data: {of: %[1]s}}`, name, workloadv1alpha1.AssignLabel)
}

func absent(side *harness.Side, kind, namespace string, names ...string) {
	side.T.Helper()
	for _, name := range names {
		if _, err := side.Get(kind, namespace, name); !apierrors.IsNotFound(err) {
			side.T.Errorf("%s %s exists, or: %v", kind, name, err)
		}
	}
}

// onlyOn checks that an object is assigned to the targets, claimed by each, and says nothing about any other.
func onlyOn(targets ...*harness.Target) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		said := map[string]bool{}
		for _, names := range [][]string{names(u.GetLabels()), names(u.GetAnnotations()), u.GetFinalizers()} {
			for _, name := range names {
				if key, ok := workloadv1alpha1.KeyOf(name); ok {
					said[key] = true
				}
			}
		}
		if len(said) != len(targets) {
			return fmt.Errorf("%s says something about %d targets, want %d: labels %v, annotations %v, finalizers %v",
				u.GetName(), len(said), len(targets), u.GetLabels(), u.GetAnnotations(), u.GetFinalizers())
		}
		for _, tg := range targets {
			claimed := u.GetKind() == "Namespace" || strings.Contains(strings.Join(u.GetFinalizers(), " "), workloadv1alpha1.SyncerFinalizer(tg.Key))
			if u.GetLabels()[workloadv1alpha1.StateLabel(tg.Key)] != string(workloadv1alpha1.StateSync) || !claimed {
				return fmt.Errorf("%s is not on %s: labels %v, finalizers %v", u.GetName(), tg.Name, u.GetLabels(), u.GetFinalizers())
			}
		}
		return nil
	}
}

func names(m map[string]string) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	return all
}

// Two teams apply the same names, label nothing, and both run, apart. What the pods need comes along; what nobody needs does
// not, least of all Secrets; and what is needed no more leaves.
func TestA45TeamsJustApply(t *testing.T) {
	t.Parallel()
	p := harness.Shared(t)
	targets := p.NewTargetWorkspace(t)
	one := targets.NewTarget("one", east, "", "")
	teams := []*harness.Workspace{p.NewTenant(t), p.NewTenant(t)}
	one.StartSyncer()
	for i, team := range teams {
		place(team, targets, "")
		team.Create(
			fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: web}, data: {team: team-%d}}`, i),
			configMapObject("wanted"),
			`{apiVersion: v1, kind: Secret, metadata: {name: needed, namespace: web}, stringData: {password: sesame}}`,
			`{apiVersion: v1, kind: Secret, metadata: {name: private, namespace: web}, stringData: {password: sesame}}`,
			`{apiVersion: v1, kind: Secret, metadata: {name: registry, namespace: web}, stringData: {password: sesame}}`,
			`{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: web}, imagePullSecrets: [{name: registry}]}`,
			`{apiVersion: v1, kind: ServiceAccount, metadata: {name: idle, namespace: web}}`,
			`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, namespace: web}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: hello, namespace: web}, spec: {selector: {matchLabels: {app: hello}}, template: {metadata: {labels: {app: hello}}, spec: {serviceAccountName: robot,
				containers: [{name: main, image: "example.com/hello:1", envFrom: [{configMapRef: {name: settings}}], env: [{name: P, valueFrom: {secretKeyRef: {name: needed, key: password}}}]}]}}}}`)
	}
	for i, team := range teams {
		team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(one), harness.Has(1, "status", "availableReplicas")))
		down := one.NamespaceOf(team, "web")
		one.Down.Eventually("ConfigMap", down, "settings", harness.Has(fmt.Sprint("team-", i), "data", "team"))
		for _, needed := range []struct{ kind, name string }{
			{"Secret", "needed"}, {"Secret", "registry"}, {"ServiceAccount", "robot"}, {"PersistentVolumeClaim", "data"}, {"ConfigMap", "wanted"},
		} {
			one.Down.Eventually(needed.kind, down, needed.name, nil)
		}
		absent(one.Down, "Secret", down, "private")
		absent(one.Down, "ServiceAccount", down, "idle")
	}
	team, down := teams[0], one.NamespaceOf(teams[0], "web")
	team.Delete(deploymentKind, "web", "hello")
	team.EventuallyGone(deploymentKind, "web", "hello")
	for _, secret := range []string{"needed", "registry"} {
		one.Down.EventuallyGone("Secret", down, secret)
		team.Eventually("Secret", "web", secret, onlyOn())
	}
	one.Down.Eventually("ConfigMap", down, "wanted", nil)

	// A label that is removed by hand comes back, and with it nothing is lost.
	other := teams[1]
	other.Merge(deploymentKind, "web", "hello", fmt.Sprintf(`metadata: {labels: {%s: null}}`, workloadv1alpha1.StateLabel(one.Key)))
	other.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(one), harness.Has(1, "status", "availableReplicas")))

	// Its pods are seen in the workspace when the team asks for them, and as long as the target may bring them up.
	other.Merge(deploymentKind, "web", "hello", podsComeUp)
	harness.Eventually(t, func() error { return seesPods(other, 1) })
	targets.Merge(harness.SyncTargetKind, "", "one", `{spec: {upsyncedResources: [endpoints]}}`)
	harness.Eventually(t, func() error { return seesPods(other, 0) })
	other.Eventually(deploymentKind, "web", "hello", harness.Has(1, "status", "availableReplicas"))
}

// podsComeUp is the patch that has a workload's pods come up.
const podsComeUp = `{metadata: {annotations: {` + workloadv1alpha1.UpsyncDerivedResourcesAnnotation + `: pods}}}`

// seesPods checks how many pods a team sees.
func seesPods(team *harness.Workspace, want int) error {
	list, err := team.Of("Pod", "web").List(team.T.Context(), metav1.ListOptions{})
	if err == nil && len(list.Items) != want {
		err = fmt.Errorf("%d pods are seen instead of %d", len(list.Items), want)
	}
	return err
}

// Work leaves a cluster that is emptied when it is ready on another one, so that all the time it runs somewhere, and its
// workspace never shows anything else.
func TestWorkMovesAndStaysAvailable(t *testing.T) {
	t.Parallel()
	p := harness.Shared(t)
	targets := p.NewTargetWorkspace(t)
	old := targets.NewTarget("old", east, "", "")
	team := p.NewTenant(t)
	place(team, targets, "")
	team.Create(harness.Deployment("web", "hello", 2), configMapObject("settings"))
	waitsForTargets(team)
	old.StartSyncer()
	team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(old), harness.Has(2, "status", "availableReplicas")))
	next := targets.NewTarget("next", west, "", "")
	next.StartSyncer()

	var gaps atomic.Pointer[error]
	stop := harness.Repeat(t, func() error {
		if err := runsSomewhere(t.Context(), team, old, next); err != nil && t.Context().Err() == nil {
			gaps.CompareAndSwap(nil, &err)
		}
		return nil
	})
	targets.Merge(harness.SyncTargetKind, "", "old", `spec: {unschedulable: true, evictAfter: "2026-01-01T00:00:00Z"}`)
	team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(next), harness.Has(2, "status", "availableReplicas")))
	team.Eventually("ConfigMap", "web", "settings", onlyOn(next))
	team.Eventually("Namespace", "", "web", onlyOn(next))
	old.Down.EventuallyGone(deploymentKind, old.NamespaceOf(team, "web"), "hello")
	team.Eventually(placementKind, "", "all", func(u *unstructured.Unstructured) error {
		if selected, _, _ := unstructured.NestedSlice(u.Object, "status", "selectedTargets"); len(selected) != 1 {
			return fmt.Errorf("the Placement still names %v", selected)
		}
		return nil
	})
	stop()
	if err := gaps.Load(); err != nil {
		t.Errorf("there was a gap: %v", *err)
	}
}

// waitsForTargets checks what the Placement says before there is a target that is ready: what is made then is not forgotten.
func waitsForTargets(team *harness.Workspace) {
	team.T.Helper()
	team.Eventually(placementKind, "", "all", func(u *unstructured.Unstructured) error {
		if phase := harness.Field(u, "status", "phase"); phase != "Pending" {
			return fmt.Errorf("the Placement is %v", phase)
		}
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range conditions {
			if condition, _ := c.(map[string]any); condition["type"] == "Scheduled" && condition["reason"] == "TargetsNotReady" {
				return nil
			}
		}
		return fmt.Errorf("the Placement says %v", conditions)
	})
}

func runsSomewhere(ctx context.Context, team *harness.Workspace, targets ...*harness.Target) error {
	up, err := team.Of(deploymentKind, "web").Get(ctx, "hello", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := harness.Has(2, "status", "availableReplicas")(up); err != nil {
		return fmt.Errorf("in the workspace: %w", err)
	}
	var gaps []error
	for _, tg := range targets {
		copied, err := tg.Down.Of(deploymentKind, tg.NamespaceOf(team, "web")).Get(ctx, "hello", metav1.GetOptions{})
		if err == nil {
			err = harness.Has(2, "status", "availableReplicas")(copied)
		}
		if err == nil {
			return nil
		}
		gaps = append(gaps, fmt.Errorf("on %s: %w", tg.Name, err))
	}
	return errors.Join(gaps...)
}

// A cluster is gone for good: deleting its SyncTarget lets go of all that was there, in all workspaces, also of what is being
// deleted and waited for it.
func TestA31DeletedTargetReleasesItsObjects(t *testing.T) {
	t.Parallel()
	p := harness.Shared(t)
	targets := p.NewTargetWorkspace(t)
	lost := targets.NewTarget("lost", east, "", "")
	teams := []*harness.Workspace{p.NewTenant(t), p.NewTenant(t)}
	syncer := lost.StartSyncer()
	for _, team := range teams {
		place(team, targets, "")
		team.Create(harness.Deployment("web", "hello", 1), harness.Deployment("web", "doomed", 1), configMapObject("settings"))
	}
	for _, team := range teams {
		team.Eventually(deploymentKind, "web", "doomed", harness.All(onlyOn(lost), harness.Has(1, "status", "availableReplicas")))
		team.Eventually("ConfigMap", "web", "settings", onlyOn(lost))
	}
	teams[1].Merge(deploymentKind, "web", "hello", podsComeUp)
	harness.Eventually(t, func() error { return seesPods(teams[1], 1) })
	syncer.Kill()
	teams[0].Delete(deploymentKind, "web", "doomed")
	harness.Remains(t, 2*time.Second, func() error {
		_, err := teams[0].Get(deploymentKind, "web", "doomed")
		return err
	})
	targets.Delete(harness.SyncTargetKind, "", "lost")
	teams[0].EventuallyGone(deploymentKind, "web", "doomed")
	for _, team := range teams {
		team.Eventually(deploymentKind, "web", "hello", onlyOn())
		team.Eventually("ConfigMap", "web", "settings", onlyOn())
		team.Eventually("Namespace", "", "web", onlyOn())
	}
	harness.Eventually(t, func() error { return seesPods(teams[1], 0) })
}

// The SyncTarget was deleted while no manager ran, and no Placement says where it was: what was assigned to it by hand is let go of
// all the same, since a manager before has seen it. What is assigned to others stays, also where nobody knows whose that is.
func TestA31TargetDeletedWhileNoManagerRan(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	lost, stays := targets.NewTarget("lost", east, "", ""), targets.NewTarget("stays", east, "", "")
	team := p.NewTenant(t)
	byHand := func(name, key string) {
		t.Helper()
		team.Create(fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: web, labels: {%q: Sync}, finalizers: [%s]}}`,
			name, workloadv1alpha1.StateLabel(key), workloadv1alpha1.SyncerFinalizer(key)))
	}
	unknown := workloadv1alpha1.SyncTargetKey("2unknown", "lost")
	byHand("lost", lost.Key)
	byHand("stays", stays.Key)
	byHand("unknown", unknown)
	provider := harness.NewSide(t, p.KCP.WorkspaceConfig(p.Path))
	manager := p.StartManager(t)
	provider.Eventually("ConfigMap", "default", "workload-manager-synctargets", func(u *unstructured.Unstructured) error {
		if kept := fmt.Sprint(harness.Field(u, "data", "synctargets")); !strings.Contains(kept, "/lost\n") || !strings.Contains(kept, "/stays\n") {
			return fmt.Errorf("kept is %q", kept)
		}
		return nil
	})
	if code := manager.Terminate(); code != 0 {
		t.Errorf("the manager ended with %d", code)
	}
	for _, name := range []string{"lost", "stays", "unknown"} {
		team.Delete("ConfigMap", "web", name)
	}
	targets.Delete(harness.SyncTargetKind, "", "lost")

	p.StartManager(t)
	team.EventuallyGone("ConfigMap", "web", "lost")
	for name, key := range map[string]string{"stays": stays.Key, "unknown": unknown} {
		claimed := team.MustGet("ConfigMap", "web", name).GetFinalizers()
		if !slices.Contains(claimed, workloadv1alpha1.SyncerFinalizer(key)) {
			t.Errorf("the claim on %s is taken off: %v", name, claimed)
		}
		team.Merge("ConfigMap", "web", name, `metadata: {finalizers: null}`)
	}
}

// A workload that runs on two targets is split between them from the first moment on, tells what both report as one, and is
// whole again when it is on one.
func TestTargetsShareReplicas(t *testing.T) {
	t.Parallel()
	p := harness.Shared(t)
	targets := p.NewTargetWorkspace(t)
	both := []*harness.Target{targets.NewTarget("one", east, "", ""), targets.NewTarget("two", west, "", "")}
	team := p.NewTenant(t)
	for _, tg := range both {
		tg.StartSyncer()
	}
	var most atomic.Int64
	stop := harness.Repeat(t, func() error {
		for _, tg := range both {
			copied, err := tg.Down.Of(deploymentKind, tg.NamespaceOf(team, "web")).Get(t.Context(), "hello", metav1.GetOptions{})
			if err != nil {
				continue
			}
			if replicas, _, _ := unstructured.NestedInt64(copied.Object, "spec", "replicas"); replicas > most.Load() {
				most.Store(replicas)
			}
		}
		return nil
	})
	place(team, targets, "strategy: Spread, numberOfTargets: 2")
	team.Eventually(placementKind, "", "all", func(u *unstructured.Unstructured) error {
		if selected, _, _ := unstructured.NestedSlice(u.Object, "status", "selectedTargets"); len(selected) != 2 {
			return fmt.Errorf("the Placement names %v", selected)
		}
		return nil
	})
	team.Create(harness.Deployment("web", "hello", 5))
	team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(both...), harness.Has(5, "status", "availableReplicas"), harness.Has(5, "status", "replicas")))
	shares := map[any]bool{}
	for _, tg := range both {
		copied := tg.Down.MustGet(deploymentKind, tg.NamespaceOf(team, "web"), "hello")
		shares[harness.Field(copied, "spec", "replicas")] = true
	}
	if !shares[int64(3)] || !shares[int64(2)] || most.Load() != 3 {
		t.Errorf("the targets run %v replicas, at most %d", shares, most.Load())
	}
	stop()

	team.Merge(deploymentKind, "web", "hello", "spec: {replicas: 2}")
	team.Eventually(deploymentKind, "web", "hello", harness.All(harness.Has(2, "status", "availableReplicas"), harness.Has(2, "status", "replicas")))
	team.Merge(placementKind, "", "all", "spec: {numberOfTargets: 1}")
	u := team.Eventually(deploymentKind, "web", "hello", func(u *unstructured.Unstructured) error {
		return errors.Join(harness.Has(2, "status", "availableReplicas")(u), anyOf(onlyOn(both[0]), onlyOn(both[1]))(u))
	})
	for _, tg := range both {
		if onlyOn(tg)(u) == nil {
			tg.Down.Eventually(deploymentKind, tg.NamespaceOf(team, "web"), "hello", harness.Has(2, "spec", "replicas"))
		} else {
			tg.Down.EventuallyGone(deploymentKind, tg.NamespaceOf(team, "web"), "hello")
		}
	}
}

func anyOf(checks ...func(*unstructured.Unstructured) error) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		var errs []error
		for _, check := range checks {
			err := check(u)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}

// A manager that is killed again and again while it assigns leaves nothing half done; one that starts where everything is
// right writes nothing; and what happened while none ran is caught up with.
func TestA04ManagerKilledAtRandom(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	one := targets.NewTarget("one", east, "", "")
	team := p.NewTenant(t)
	manager := p.StartManager(t)
	syncer := one.StartSyncer()
	place(team, targets, "")
	const objects = 100
	client := team.Of("ConfigMap", "web")
	for i := range objects {
		if i%25 == 12 {
			manager.Kill()
			manager = harness.Start(t, p.Env, p.ManagerCommand(t))
			<-time.After(time.Duration(rand.IntnRange(0, 1500)) * time.Millisecond)
		}
		u := harness.Parse(t, configMapObject(fmt.Sprint("object-", i)))
		harness.Must(client.Create(t.Context(), u, metav1.CreateOptions{}))(t)
	}
	allAre := func(check func(*unstructured.Unstructured) error) {
		t.Helper()
		harness.Eventually(t, func() error {
			list, err := client.List(t.Context(), metav1.ListOptions{LabelSelector: workloadv1alpha1.AssignLabel})
			if err != nil || len(list.Items) != objects {
				return fmt.Errorf("%d objects, %w", len(list.Items), err)
			}
			for i := range list.Items {
				if err := check(&list.Items[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	allAre(onlyOn(one))

	if code := manager.Terminate(); code != 0 {
		t.Errorf("the manager ended with %d", code)
	}
	manager = p.StartManager(t)
	leads(manager)
	harness.Eventually(t, func() error {
		families := manager.Scrape()
		if seen := harness.Sum(families, "workload_manager_objects", "resource=configmaps"); seen < objects {
			return fmt.Errorf("%v objects are seen", seen)
		}
		return idle(families)
	})
	harness.Remains(t, 2*time.Second, func() error {
		if written := harness.Sum(manager.Scrape(), "workload_manager_writes_total", "reconciler=assignment"); written != 0 {
			return fmt.Errorf("%v writes after a restart where everything is right", written)
		}
		return nil
	})

	manager.Kill()
	syncer.Kill()
	targets.Delete(harness.SyncTargetKind, "", "one")
	p.StartManager(t)
	allAre(onlyOn())
}

// The webhook assigns objects while kcp creates them: not one write follows. Without it, in the end they are the same.
func TestWebhookAssignsAtCreation(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	one := targets.NewTarget("one", east, "", "")
	team := p.NewTenant(t)
	flags := webhookFlags(t)
	manager := p.StartManager(t, flags...)
	one.StartSyncer()
	place(team, targets, "")
	team.Eventually("Namespace", "", "web", onlyOn(one))
	provider := harness.NewSide(t, p.KCP.WorkspaceConfig(p.Path))
	const registration = "admissionregistration.k8s.io/v1 MutatingWebhookConfiguration"
	provider.Eventually(registration, "", workloadv1alpha1.AssignmentWebhook, nil)

	// kcp learns of the registration in its own time.
	tries := 0
	harness.Eventually(t, func() error {
		tries++
		return onlyOn(one)(team.Create(service(fmt.Sprint("try-", tries))))
	})
	for i := range tries {
		team.Eventually("Service", "web", fmt.Sprint("try-", i+1), onlyOn(one))
	}
	before := harness.Sum(manager.Scrape(), "workload_manager_writes_total", "reconciler=assignment")
	for i := range 10 {
		if err := onlyOn(one)(team.Create(service(fmt.Sprint("service-", i)))); err != nil {
			t.Error(err)
		}
	}
	one.Down.Eventually("Service", one.NamespaceOf(team, "web"), "service-9", nil)
	families := manager.Scrape()
	if written := harness.Sum(families, "workload_manager_writes_total", "reconciler=assignment") - before; written != 0 {
		t.Errorf("%v writes followed", written)
	}
	if asked := harness.Sum(families, "workload_manager_assignment_reviews_total", "result=assigned"); asked < 11 {
		t.Errorf("the webhook assigned %v objects", asked)
	}

	manager.Kill()
	team.Create(service("meanwhile"))
	p.StartManager(t)
	team.Eventually("Service", "web", "meanwhile", onlyOn(one))
	provider.EventuallyGone(registration, "", workloadv1alpha1.AssignmentWebhook)
}

func service(name string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: web}, spec: {ports: [{port: 80}]}}`, name)
}

// webhookFlags are for a webhook on the loopback interface, with a certificate of its own.
func webhookFlags(t *testing.T) []string {
	t.Helper()
	listener := harness.Must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	address := listener.Addr().String()
	_ = listener.Close()
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, content := range map[string][]byte{certFile: certificate, keyFile: key} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(address)
	return []string{
		"--assignment-webhook-url=https://" + address, "--assignment-webhook-port=" + port, "--assignment-webhook-ca-file=" + certFile,
		"--assignment-webhook-cert-file=" + certFile, "--assignment-webhook-key-file=" + keyFile,
	}
}

// idle checks that the assignment has nothing to do.
func idle(families map[string]*dto.MetricFamily) error {
	if waiting := harness.Sum(families, "workqueue_depth", "name=assignment"); waiting > 0 {
		return fmt.Errorf("%v objects wait to be looked at", waiting)
	}
	return nil
}
