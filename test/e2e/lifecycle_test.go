package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

const syncTargetKind = "workload.kcp.io/v1alpha1 SyncTarget"

// putConfigMap makes a ConfigMap in the tenant's namespace web and waits for its copy.
func (tn *tenant) putConfigMap(name string) *unstructured.Unstructured {
	tn.t.Helper()
	tn.up.Create(fastConfigMap(name))
	return tn.copyOf("ConfigMap", name, has("fast", "data", "mode"))
}

func fastConfigMap(name string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: web}, data: {mode: fast}}`, name)
}

// claimed checks that the object waits for the target to let it go.
func (tn *tenant) claimed(u *unstructured.Unstructured) error {
	if finalizer := workloadv1alpha1.SyncerFinalizer(tn.key); !strings.Contains(fmt.Sprint(u.GetFinalizers()), finalizer) {
		return fmt.Errorf("%s %s has finalizers %v, not %s", u.GetKind(), u.GetName(), u.GetFinalizers(), finalizer)
	}
	return nil
}

// unharmed checks that an object still is the one that it was, and is not being deleted.
func (s *side) unharmed(was *unstructured.Unstructured) error {
	kind := was.GetAPIVersion() + " " + was.GetKind()
	is, err := s.Get(kind, was.GetNamespace(), was.GetName())
	switch {
	case err != nil:
		return err
	case is.GetUID() != was.GetUID() || is.GetDeletionTimestamp() != nil:
		return fmt.Errorf("%s %s was harmed: UID %s, was %s, deleted %v", kind, was.GetName(), is.GetUID(), was.GetUID(), is.GetDeletionTimestamp())
	default:
		return nil
	}
}

// condition checks a condition of a SyncTarget, and that its message has these words.
func condition(kind, status, reason string, words ...string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, one := range all {
			c := one.(map[string]any)
			if c["type"] != kind {
				continue
			}
			for _, word := range words {
				if !strings.Contains(fmt.Sprint(c["message"]), word) {
					return fmt.Errorf("%q is not said in condition %v", word, c)
				}
			}
			if c["status"] == status && c["reason"] == reason {
				return nil
			}
		}
		return fmt.Errorf("no condition %s is %s for %s in %v", kind, status, reason, all)
	}
}

// awaitTarget waits until the tenant's SyncTarget is as it should.
func (tn *tenant) awaitTarget(check func(*unstructured.Unstructured) error) {
	tn.t.Helper()
	tn.up.Eventually(syncTargetKind, "", tn.target.Name, check)
}

// awaitMetric waits until the sum of a metric's series meets a condition.
func (s *syncer) awaitMetric(meets func(float64) bool, name string, labels ...string) {
	s.T.Helper()
	env.Eventually(s.T, soon, func() error {
		if value := sum(s.Scrape(), name, labels...); !meets(value) {
			return fmt.Errorf("%s%v is %v", name, labels, value)
		}
		return nil
	})
}

func atLeast(least float64) func(float64) bool { return func(v float64) bool { return v >= least } }
func exactly(want float64) func(float64) bool  { return func(v float64) bool { return v == want } }

// A deletion while the syncer is down waits for it: the object stays until the copy is gone.
func TestA30DeletionWhileTheSyncerIsDown(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	tn.putConfigMap("kept")
	deleted := tn.putConfigMap("deleted")
	tn.up.Eventually("ConfigMap", "web", "deleted", tn.claimed)
	s.Terminate()

	tn.up.Delete("ConfigMap", "web", "deleted")
	remains(t, time.Second, func() error {
		_, err := tn.up.Get("ConfigMap", "web", "deleted")
		return err
	})
	if err := tn.down.unharmed(deleted); err != nil {
		t.Error(err)
	}
	tn.startSyncer()
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "deleted")
	tn.up.EventuallyGone("ConfigMap", "web", "deleted")
	tn.copyOf("ConfigMap", "kept", nil)
}

// Somebody in the physical cluster still needs the copy: the upstream object waits, and says for whom.
func TestA32BlockedDeletionSaysWhatBlocksIt(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	tn.putConfigMap("needed")
	tn.up.Eventually("ConfigMap", "web", "needed", tn.claimed)
	const finalizer = "example.com/backup"
	namespace := tn.downNamespace("web")
	tn.down.Merge("ConfigMap", namespace, "needed", `metadata: {finalizers: [`+finalizer+`]}`)

	tn.up.Delete("ConfigMap", "web", "needed")
	tn.up.Eventually("ConfigMap", "web", "needed", tn.says(workloadv1alpha1.ReasonDeleting, finalizer))
	tn.awaitEvent("web", "needed", workloadv1alpha1.ReasonDeleting)
	if u, err := tn.down.Get("ConfigMap", namespace, "needed"); err != nil || u.GetDeletionTimestamp() == nil {
		t.Errorf("the copy is not being deleted: %v, %v", u, err)
	}

	tn.down.Merge("ConfigMap", namespace, "needed", `metadata: {finalizers: null}`)
	tn.down.EventuallyGone("ConfigMap", namespace, "needed")
	tn.up.EventuallyGone("ConfigMap", "web", "needed")
}

// A namespace goes with its last reason to exist, but not while something of a stranger's is in it.
func TestA35NamespaceGoesWithItsLastReason(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	tn.putConfigMap("one")
	tn.putConfigMap("two")
	namespace := tn.down.MustGet("Namespace", "", tn.downNamespace("web"))
	strange := fmt.Sprintf(`{apiVersion: v1, kind: Secret, metadata: {name: strange, namespace: %s}}`, namespace.GetName())
	tn.down.Create(strange)

	tn.up.Delete("ConfigMap", "web", "one")
	tn.down.EventuallyGone("ConfigMap", namespace.GetName(), "one")
	tn.up.Delete("ConfigMap", "web", "two")
	tn.down.EventuallyGone("ConfigMap", namespace.GetName(), "two")
	env.Eventually(t, soon, func() error { // it was looked at
		if !strings.Contains(s.Output(), "Keeping a namespace of ours that holds something else") {
			return fmt.Errorf("the syncer does not say that it keeps the namespace")
		}
		return nil
	})
	remains(t, 3*time.Second, func() error { return tn.down.unharmed(namespace) })

	tn.down.Delete("Secret", namespace.GetName(), "strange")
	tn.down.EventuallyGone("Namespace", "", namespace.GetName())
	s.awaitMetric(exactly(1), "workload_syncer_namespaces_removed_total")
	tn.putConfigMap("three") // and comes again with the next one
}

// makeOrphan leaves a copy whose object is gone without the syncer's knowledge.
func (tn *tenant) makeOrphan(s *syncer, kind, document string) *unstructured.Unstructured {
	tn.t.Helper()
	u := tn.up.Create(document)
	orphan := tn.copyOf(kind, u.GetName(), nil)
	tn.up.Eventually(kind, "web", u.GetName(), tn.claimed)
	s.Terminate()
	tn.up.Merge(kind, "web", u.GetName(), `metadata: {finalizers: null}`)
	tn.up.Delete(kind, "web", u.GetName())
	tn.up.EventuallyGone(kind, "web", u.GetName())
	return orphan
}

// A copy without an object is swept after the grace period.
func TestA36OrphanIsSweptAfterItsGracePeriod(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	orphan := tn.makeOrphan(tn.startSyncer(), "ConfigMap", fastConfigMap("orphan"))
	const grace = 10 * time.Second
	began := time.Now()
	s := tn.startSyncer("--orphan-grace-period=" + grace.String())
	remains(t, grace-time.Since(began), func() error { return tn.down.unharmed(orphan) })
	tn.down.EventuallyGone("ConfigMap", orphan.GetNamespace(), "orphan")
	s.awaitMetric(exactly(1), "workload_syncer_orphans_swept_total", "resource=configmaps")
}

// An orphan is none before everything upstream has been seen once.
func TestA36NothingIsSweptBeforeTheFirstCompleteSync(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	orphan := tn.makeOrphan(tn.startSyncer(), "ConfigMap", fastConfigMap("orphan"))
	kcp := faulty(t, tn.fleet.kcp.AdminConfig())
	kcp.Break(refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, lists("configmaps")))
	tn.startSyncerWith(syncerOptions{kcp: kcp.Config(), flags: []string{"--orphan-grace-period=0s"}})
	env.Eventually(t, soon, met(3, kcp))
	remains(t, 4*time.Second, func() error { return tn.down.unharmed(orphan) })
	kcp.Break(nil)
	tn.down.EventuallyGone("ConfigMap", orphan.GetNamespace(), "orphan")
}

// A copy that is to be kept goes on running, stripped of our marks, when its object goes.
func TestA37RemovalPolicyOrphanKeepsTheCopyRunning(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	tn.up.Create(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: kept, namespace: web, annotations: {workload.kcp.io/removal-policy: Orphan}}
spec:
  replicas: 1
  selector: {matchLabels: {app: kept}}
  template:
    metadata: {labels: {app: kept}}
    spec: {containers: [{name: kept, image: "example.com/kept:1"}]}
`)
	const kind = "apps/v1 Deployment"
	running := tn.copyOf(kind, "kept", has(1, "status", "availableReplicas"))
	tn.up.Delete(kind, "web", "kept")
	tn.up.EventuallyGone(kind, "web", "kept")
	unmarked := func() error {
		is, err := tn.down.Get(kind, running.GetNamespace(), "kept")
		if err == nil {
			err = noMarksOfOurs(is)
		}
		return err
	}
	if err := unmarked(); err != nil {
		t.Error(err)
	}
	s.Terminate()
	tn.startSyncer("--orphan-grace-period=0s", "--namespace-clean-delay=0s")
	remains(t, 4*time.Second, func() error {
		if err := unmarked(); err != nil {
			return err
		}
		return tn.down.unharmed(running)
	})
	tn.copyOf(kind, "kept", has(1, "status", "availableReplicas"))
}

func noMarksOfOurs(u *unstructured.Unstructured) error {
	for _, marks := range []map[string]string{u.GetLabels(), u.GetAnnotations()} {
		for _, name := range []string{workloadv1alpha1.DownstreamClusterLabel, workloadv1alpha1.AppliedHashAnnotation, workloadv1alpha1.NamespaceLocatorAnnotation} {
			if value, ok := marks[name]; ok {
				return fmt.Errorf("%s %s still has %s=%s", u.GetKind(), u.GetName(), name, value)
			}
		}
	}
	return nil
}

// oneOfEachKind are objects of all kinds that the kubernetes APIExport has or claims.
var oneOfEachKind = []string{
	fastConfigMap("settings"),
	`{apiVersion: v1, kind: Secret, metadata: {name: password, namespace: web}, stringData: {password: p}}`,
	`{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: web}}`,
	`{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: reader, namespace: web}, rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]}`,
	`{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: reader, namespace: web}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}, subjects: [{kind: ServiceAccount, name: robot}]}`,
	`{apiVersion: v1, kind: Service, metadata: {name: front, namespace: web}, spec: {selector: {app: front}, ports: [{port: 80}]}}`,
	`{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: front, namespace: web}, spec: {rules: [{host: front.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: front, port: {number: 80}}}}]}}]}}`,
	`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed, namespace: web}, spec: {podSelector: {}}}`,
	`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: disk, namespace: web}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`,
	`{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: front, namespace: web}, spec: {maxUnavailable: 1, selector: {matchLabels: {app: front}}}}`,
	`{apiVersion: apps/v1, kind: Deployment, metadata: {name: front, namespace: web}, spec: {replicas: 2, selector: {matchLabels: {app: front}}, template: {metadata: {labels: {app: front}}, spec: {containers: [{name: a, image: "example.com/a:1"}]}}}}`,
	`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: base, namespace: web}, spec: {serviceName: base, selector: {matchLabels: {app: base}}, template: {metadata: {labels: {app: base}}, spec: {containers: [{name: a, image: "example.com/a:1"}]}}}}`,
	`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: agent, namespace: web}, spec: {selector: {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: a, image: "example.com/a:1"}]}}}}`,
	`{apiVersion: batch/v1, kind: Job, metadata: {name: once, namespace: web}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "example.com/a:1"}]}}}}`,
	`{apiVersion: batch/v1, kind: CronJob, metadata: {name: yearly, namespace: web}, spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "example.com/a:1"}]}}}}}}`,
	`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: base, namespace: web}, spec: {maxReplicas: 1, scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: absent}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}}`,
}

// versions are the resourceVersions of all that lives in a namespace, and of the namespace, by kind and name. Events are
// left out: a cluster talks to itself.
func (s *side) versions(namespace string) map[string]string {
	s.T.Helper()
	lists := must(s.Typed.Discovery().ServerPreferredNamespacedResources())(s.T)
	versions := map[string]string{"Namespace": s.MustGet("Namespace", "", namespace).GetResourceVersion()}
	for _, list := range lists {
		gv := must(schema.ParseGroupVersion(list.GroupVersion))(s.T)
		for _, r := range list.APIResources {
			if !strings.Contains(strings.Join(r.Verbs, ","), "list") || r.Name == "events" {
				continue
			}
			objects, err := s.Dynamic.Resource(gv.WithResource(r.Name)).Namespace(namespace).List(s.T.Context(), metav1.ListOptions{})
			if apierrors.IsMethodNotSupported(err) || apierrors.IsNotFound(err) {
				continue
			}
			for _, u := range must(objects, err)(s.T).Items {
				versions[r.Name+"/"+u.GetName()] = u.GetResourceVersion()
			}
		}
	}
	return versions
}

// standsStill waits until nothing in the tenant's namespace moves on either side, and gives the versions.
func (tn *tenant) standsStill() (up, down map[string]string) {
	tn.t.Helper()
	const quiet = 5
	same := 0
	env.Eventually(tn.t, 2*soon, func() error {
		upNow, downNow := tn.up.versions("web"), tn.down.versions(tn.downNamespace("web"))
		if !maps.Equal(up, upNow) || !maps.Equal(down, downNow) {
			up, down, same = upNow, downNow, 0
			return fmt.Errorf("objects are still moving")
		}
		same++
		if same < quiet {
			return fmt.Errorf("quiet for %d looks", same)
		}
		return nil
	})
	return up, down
}

// allSynced waits until every object that the syncer knows is as it should be, and there are so many.
func (s *syncer) allSynced(objects int) {
	s.T.Helper()
	env.Eventually(s.T, soon, func() error {
		families := s.Scrape()
		all := sum(families, "workload_syncer_objects")
		if synced := sum(families, "workload_syncer_objects", "state=synced"); synced != all || int(all) != objects {
			return fmt.Errorf("%v of %v objects are synced, want %d", synced, all, objects)
		}
		return nil
	})
}

// A restart with everything in place writes nothing but heartbeats, whatever the kind of object.
func TestA04RestartWritesNothing(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	tn.up.Create(oneOfEachKind...)
	tn.up.Eventually("apps/v1 Deployment", "web", "front", has(2, "status", "availableReplicas"))
	tn.up.Eventually("batch/v1 Job", "web", "once", has(1, "status", "succeeded"))
	tn.up.Eventually("autoscaling/v2 HorizontalPodAutoscaler", "web", "base", func(u *unstructured.Unstructured) error {
		if field(u, "status", "conditions") == nil {
			return fmt.Errorf("its controller has not looked at it")
		}
		return nil
	})
	s.allSynced(len(oneOfEachKind))
	tn.standsStill()
	s.Terminate()
	up, down := tn.standsStill()

	s = tn.startSyncer("--resync-period=2s")
	s.allSynced(len(oneOfEachKind))
	s.awaitMetric(atLeast(3), "workload_syncer_heartbeats_total", "result=success") // some resyncs later
	families := s.Scrape()
	if writes := sum(families, "workload_syncer_writes_total"); writes != 0 {
		t.Errorf("%v writes: %v", writes, families["workload_syncer_writes_total"])
	}
	notReads := func(server string) float64 {
		return sum(families, "rest_client_requests_total", "server="+server) - sum(families, "rest_client_requests_total", "server="+server, "method=GET")
	}
	if writes := notReads("cluster"); writes != 0 {
		t.Errorf("%v writes to the cluster: %v", writes, families["rest_client_requests_total"])
	}
	// Taking the SyncTarget is one more; a heartbeat under way may be counted on one side only.
	heartbeats := sum(families, "workload_syncer_heartbeats_total")
	if writes := notReads("kcp"); writes > heartbeats+2 {
		t.Errorf("%v writes to kcp with %v heartbeats: %v", writes, heartbeats, families["rest_client_requests_total"])
	}
	sameVersions(t, "kcp", up, tn.up.versions("web"))
	sameVersions(t, "the cluster", down, tn.down.versions(tn.downNamespace("web")))
}

func sameVersions(t *testing.T, where string, before, after map[string]string) {
	t.Helper()
	for name, version := range after {
		if before[name] != version {
			t.Errorf("%s of %s has version %s, had %q", name, where, version, before[name])
		}
	}
	if len(before) != len(after) {
		t.Errorf("%s had %d objects, has %d", where, len(before), len(after))
	}
}

// quick is how long a syncer may take to stop.
const quick = 5 * time.Second

// stopsQuickly asks the syncer to end and checks that it does, in time and in order.
func (s *syncer) stopsQuickly() {
	s.T.Helper()
	began := time.Now()
	code := s.Terminate()
	if took := time.Since(began); took > quick || code != 0 {
		s.T.Errorf("SIGTERM: exit code %d after %s; the end of the log:\n%s", code, took, s.Tail(30))
	}
}

// says waits for words in the syncer's log.
func (s *syncer) says(words string) {
	s.T.Helper()
	env.Eventually(s.T, soon, func() error {
		if !strings.Contains(s.Output(), words) {
			return fmt.Errorf("the syncer did not say %q", words)
		}
		return nil
	})
}

// links are ways to both servers that a test may hurt.
type links struct{ kcp, cluster *env.Link }

func (tn *tenant) newLinks() links {
	tn.t.Helper()
	l := links{kcp: must(tn.fleet.kcp.NewLink())(tn.t), cluster: must(tn.cluster.NewLink())(tn.t)}
	tn.t.Cleanup(func() { l.kcp.Close(); l.cluster.Close() })
	return l
}

// through gives options for a syncer that takes the links.
func (tn *tenant) through(l links, flags ...string) syncerOptions {
	return syncerOptions{kcp: l.kcp.Config(tn.fleet.kcp.AdminConfig()), cluster: l.cluster.Config(tn.cluster.AdminConfig()), flags: flags, mayFail: true}
}

func (tn *tenant) elect(more ...string) []string {
	return append([]string{"--leader-elect", "--leader-elect-resource-namespace=default", "--leader-elect-resource-name=" + tn.leaseName()}, more...)
}

func (tn *tenant) leaseName() string { return "syncer-" + tn.ws.Path.Base() }

func (tn *tenant) removeLease() {
	err := tn.down.Typed.CoordinationV1().Leases("default").Delete(context.Background(), tn.leaseName(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		tn.t.Errorf("cleaning up: %v", err)
	}
}

// SIGTERM ends the syncer within seconds in every phase of its start, also if no server answers.
func TestA07StopsQuicklyWhileItStarts(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	t.Cleanup(tn.removeLease)
	hurts := map[string]func(*env.Link){"cut": (*env.Link).Cut, "hanging": (*env.Link).Hang}
	for hurt, do := range hurts {
		for _, phase := range []struct {
			name, says string
			flags      []string
			links      func(links) []*env.Link
		}{
			{"both servers from the start", `"Serving" server="health"`, nil, func(l links) []*env.Link { return []*env.Link{l.kcp, l.cluster} }},
			{"kcp from the start, with election", `"Serving" server="health"`, tn.elect(), func(l links) []*env.Link { return []*env.Link{l.kcp} }},
			{"the cluster while it identifies it", `"Serving a SyncTarget"`, nil, func(l links) []*env.Link { return []*env.Link{l.cluster} }},
			{"the cluster before the election", `"Serving a SyncTarget"`, tn.elect(), func(l links) []*env.Link { return []*env.Link{l.cluster} }},
		} {
			t.Run(phase.name+" "+hurt, func(t *testing.T) {
				l := tn.newLinks()
				for _, link := range phase.links(l) {
					do(link)
				}
				s := tn.startSyncerWith(tn.through(l, phase.flags...))
				s.T = t
				s.says(phase.says)
				s.stopsQuickly()
			})
		}
	}
	for _, phase := range []struct {
		says  string
		flags []string
	}{
		{`"Starting"`, nil},
		{`"Serving a SyncTarget"`, nil},
		{`"Elected"`, tn.elect()},
		{`"Starting to sync a type"`, nil},
		{`"Serving a SyncTarget"`, []string{"--feed=assigned"}},
	} {
		t.Run(fmt.Sprintf("after %s %v", phase.says, phase.flags), func(t *testing.T) {
			s := tn.startSyncerWith(syncerOptions{flags: phase.flags, mayFail: true})
			s.T = t
			s.says(phase.says)
			s.stopsQuickly()
		})
	}
}

// SIGTERM ends the syncer within seconds while it works, also when the servers have gone in the middle of its writes.
func TestA07StopsQuicklyAtWork(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	t.Cleanup(tn.removeLease)
	for name, hurt := range map[string]func(links){
		"with both servers there": func(links) {},
		"both cut":                func(l links) { l.kcp.Cut(); l.cluster.Cut() },
		"both hanging":            func(l links) { l.kcp.Hang(); l.cluster.Hang() },
		"kcp hanging":             func(l links) { l.kcp.Hang() },
		"the cluster hanging":     func(l links) { l.cluster.Hang() },
	} {
		t.Run(name, func(t *testing.T) {
			tn.removeLease() // of one that could not give it back
			l := tn.newLinks()
			s := tn.startSyncerWith(tn.through(l, tn.elect()...))
			s.T = t
			s.awaitMetric(exactly(1), "workload_syncer_leader")
			s.AwaitReady()
			for i := range 20 {
				tn.up.Create(strings.Replace(fastConfigMap("x"), "name: x", fmt.Sprintf("generateName: busy-%d-", i), 1))
			}
			hurt(l)
			s.stopsQuickly()
		})
	}
}

// A syncer that stops gives the lease back, so that a standby works within seconds, however long a lease lasts.
func TestA06StandbyTakesOverAtOnceAfterSIGTERM(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	t.Cleanup(tn.removeLease)
	flags := tn.elect("--leader-elect-lease-duration=5m", "--leader-elect-renew-deadline=4m", "--leader-elect-retry-period=1s")
	first := tn.startSyncer(flags...)
	first.awaitMetric(exactly(1), "workload_syncer_leader")
	second := tn.startSyncer(flags...) // a standby is ready
	second.awaitMetric(exactly(0), "workload_syncer_leader")
	tn.putConfigMap("before")

	first.stopsQuickly()
	began := time.Now()
	second.awaitMetric(exactly(1), "workload_syncer_leader")
	tn.putConfigMap("after")
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("the standby worked %s after the leader had stopped", took)
	}
}

// After SIGKILL the standby works when the lease has run out.
func TestA06StandbyTakesOverWithinTheLeaseDurationAfterSIGKILL(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	t.Cleanup(tn.removeLease)
	const lease = 15 * time.Second
	flags := tn.elect("--leader-elect-lease-duration="+lease.String(), "--leader-elect-renew-deadline=10s", "--leader-elect-retry-period=1s")
	first := tn.startSyncer(flags...)
	first.awaitMetric(exactly(1), "workload_syncer_leader")
	second := tn.startSyncer(flags...)
	first.Signal(syscall.SIGKILL)
	first.ExitCode()
	began := time.Now()
	second.awaitMetric(exactly(1), "workload_syncer_leader")
	if took := time.Since(began); took > lease+4*quick {
		t.Errorf("the standby took the lease after %s", took)
	}
	tn.putConfigMap("after")
}

// While the cluster's API is away for a minute things drift apart; when it is back they are corrected, without a restart.
func TestA14DriftDuringAnOutageIsCorrected(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	l := tn.newLinks()
	s := tn.startSyncerWith(tn.through(l))
	s.AwaitReady()
	for _, name := range []string{"edited", "removed", "changed", "deleted"} {
		tn.putConfigMap(name)
	}
	l.cluster.Cut()
	tn.awaitTarget(condition("SyncerReady", "False", "ClusterUnreachable", "physical cluster"))
	ns := tn.downNamespace("web")
	tn.down.Merge("ConfigMap", ns, "edited", `data: {mode: slow}`)
	tn.down.Delete("ConfigMap", ns, "removed")
	tn.up.Merge("ConfigMap", "web", "changed", `data: {mode: faster}`)
	tn.up.Delete("ConfigMap", "web", "deleted")
	tn.up.Create(fastConfigMap("created"))
	remains(t, time.Minute, func() error { return has("slow", "data", "mode")(tn.down.MustGet("ConfigMap", ns, "edited")) })

	if err := l.cluster.Restore(); err != nil {
		t.Fatal(err)
	}
	tn.copyOf("ConfigMap", "edited", has("fast", "data", "mode"))
	tn.copyOf("ConfigMap", "removed", has("fast", "data", "mode"))
	tn.copyOf("ConfigMap", "changed", has("faster", "data", "mode"))
	tn.copyOf("ConfigMap", "created", has("fast", "data", "mode"))
	tn.down.EventuallyGone("ConfigMap", ns, "deleted")
	tn.up.EventuallyGone("ConfigMap", "web", "deleted")
	tn.awaitTarget(condition("Ready", "True", "Syncing"))
}
