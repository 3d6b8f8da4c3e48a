package fleet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// ready checks the reason of a Placement's condition Ready, and words in its message.
func ready(reason string, words ...string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, one := range all {
			c, _ := one.(map[string]any)
			if c["type"] != "Ready" || c["reason"] != reason {
				continue
			}
			for _, word := range words {
				if !strings.Contains(fmt.Sprint(c["message"]), word) {
					return fmt.Errorf("%q is not said in %v", word, c)
				}
			}
			return nil
		}
		return fmt.Errorf("not Ready for %s: %v", reason, all)
	}
}

// placementSays waits for an Event about a Placement of the workspace, with these words.
func placementSays(ws *harness.Workspace, name, reason, words string) {
	ws.T.Helper()
	harness.Eventually(ws.T, func() error {
		events, err := ws.Typed.CoreV1().Events(metav1.NamespaceDefault).List(ws.T.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
		if err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.Reason == reason && strings.Contains(event.Message, words) {
				return nil
			}
		}
		return fmt.Errorf("of %d Events about %s none is %s with %q", len(events.Items), name, reason, words)
	})
}

// labelNodes has the nodes of a target's cluster carry a label, or not.
func labelNodes(tg *harness.Target, label string, on bool) {
	tg.T.Helper()
	value := "null"
	if on {
		value = `"yes"`
	}
	nodes, err := tg.Down.Typed.CoreV1().Nodes().List(tg.T.Context(), metav1.ListOptions{})
	if err != nil {
		tg.T.Fatal(err)
	}
	for _, node := range nodes.Items {
		tg.Down.Merge("Node", "", node.Name, fmt.Sprintf("metadata: {labels: {%s: %s}}", label, value))
	}
}

// evict has all work leave a target, or come back.
func evict(tg *harness.Target, away bool) {
	tg.T.Helper()
	spec := `spec: {unschedulable: false, evictAfter: null}`
	if away {
		spec = `spec: {unschedulable: true, evictAfter: "2026-01-01T00:00:00Z"}`
	}
	tg.Workspace.Merge(harness.SyncTargetKind, "", tg.Name, spec)
}

// Work that is not ready on the new cluster in time stays where it was, without a gap, and says why; when what was wrong is
// mended, it moves. Without recovery it leaves all the same.
func TestMoveThatFailsIsTakenBack(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	old := targets.NewTarget("old", east, "", "")
	team := p.NewTenant(t)
	manager := p.StartManager(t, "--move-timeout=20s")
	old.StartSyncer()
	place(team, targets, "")
	label := "example.com/" + targets.Path.Base()
	labelNodes(old, label, true)
	team.Create(strings.Replace(harness.Deployment("web", "hello", 2), "spec: {containers:", fmt.Sprintf(`spec: {nodeSelector: {%s: "yes"}, containers:`, label), 1))
	team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(old), harness.Has(2, "status", "availableReplicas")))
	next := targets.NewTarget("next", west, "", "")
	next.StartSyncer()

	var gaps atomic.Pointer[error]
	stop := harness.Repeat(t, func() error {
		if err := runsSomewhere(t.Context(), team, old); err != nil && t.Context().Err() == nil {
			gaps.CompareAndSwap(nil, &err)
		}
		return nil
	})
	evict(old, true)
	placementSays(team, "all", "MoveWaits", "deployments/hello is not ready on next yet")
	team.Eventually(placementKind, "", "all", ready("MoveRolledBack", "the work stays on old", "deployments/hello is not ready on next yet after 20s"))
	placementSays(team, "all", "MoveRolledBack", "deployments/hello is not ready on next")
	team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(old), harness.Has(2, "status", "availableReplicas")))
	next.Down.EventuallyGone(deploymentKind, next.NamespaceOf(team, "web"), "hello")
	stop()
	if err := gaps.Load(); err != nil {
		t.Errorf("there was a gap: %v", *err)
	}
	recovered(manager, "migration", "MigrationTimeout")

	// What the new cluster cannot run as it is fails before the time is over.
	diff := workloadv1alpha1.SpecDiffAnnotation(next.Key)
	team.Merge(deploymentKind, "web", "hello", fmt.Sprintf("metadata: {annotations: {%s: nonsense}}", diff))
	team.Merge(placementKind, "", "all", `spec: {tolerations: [{key: retry, operator: Exists}]}`)
	recovered(manager, "migration", "MigrationFailure")
	team.Eventually(placementKind, "", "all", ready("MoveRolledBack", "the work stays on old", "deployments/hello", diff))
	placementSays(team, "all", "MoveRolledBack", diff)
	team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(old), harness.Has(2, "status", "availableReplicas")))
	team.Merge(deploymentKind, "web", "hello", fmt.Sprintf("metadata: {annotations: {%s: null}}", diff))

	labelNodes(next, label, true) // what was wrong at first
	team.Merge(placementKind, "", "all", `spec: {tolerations: [{key: again, operator: Exists}]}`)
	team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(next), harness.Has(2, "status", "availableReplicas")))
	team.Eventually(placementKind, "", "all", ready("Placed"))

	evict(old, false) // nothing moves for that
	for name, spec := range map[string]string{"large": `resources: {requests: {cpu: "100000"}}`, "odd": `affinity: {required: [{matchLabels: {no: such}}]}`} {
		team.Create(fmt.Sprintf(`{apiVersion: scheduling.kcp.io/v1alpha1, kind: Placement, metadata: {name: %s}, spec: {locationWorkspace: %q, namespaceSelector: {}, %s}}`, name, targets.Path, spec))
	}
	for _, category := range []string{"PlacementCapacity", "PlacementConstraint"} {
		harness.Eventually(t, func() error {
			if n := harness.Sum(manager.Scrape(), "recovery_active", "strategy=placement", "category="+category); n != 1 {
				return fmt.Errorf("%v Placements are being recovered for %s", n, category)
			}
			return nil
		})
	}
	team.Delete(placementKind, "", "large")
	team.Delete(placementKind, "", "odd")
	manager.Terminate()

	labelNodes(old, label, false)
	manager = p.StartManager(t, "--move-timeout=3s", "--enable-tmc-recovery=false")
	evict(next, true)
	team.Eventually(deploymentKind, "web", "hello", onlyOn(old))
	if n := harness.Sum(manager.Scrape(), "recovery_attempts_total"); n != 0 {
		t.Errorf("%v attempts to recover", n)
	}
}

// recovered waits until a recovery has ended well, and checks that it is shown.
func recovered(p *harness.Program, strategy, category string) {
	p.T.Helper()
	harness.Eventually(p.T, func() error {
		if n := harness.Sum(p.Scrape(), "recovery_outcomes_total", "strategy="+strategy, "category="+category, "outcome=recovered"); n < 1 {
			return fmt.Errorf("%v recoveries by %s", n, strategy)
		}
		return nil
	})
	code, body := p.Ask("metrics", "/debug/recovery")
	var page struct {
		Recent []struct{ Strategy, Category, State, Subject string }
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil || code != 200 {
		p.T.Fatalf("/debug/recovery: %d %v\n%s", code, err, body)
	}
	for _, r := range page.Recent {
		if r.Strategy == strategy && r.Category == category && r.State == "Recovered" {
			return
		}
	}
	p.T.Errorf("/debug/recovery does not show it: %s", body)
}

// A manager that lost kcp stops asking, says so, and goes on by itself: when the way is back; with other credentials, when its
// own are not taken any more, or kcp's authority is another one; and when what it knows of the virtual workspaces is of no use.
func TestManagerRecoversByItself(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	link := harness.Must(p.KCP.NewLink())(t)
	t.Cleanup(link.Close)
	right := link.Config(p.ManagerAccount(t))
	file := harness.Must(p.Env.Kubeconfig(right))(t)
	manager := p.StartManager(t, "--kcp-kubeconfig="+file, "--leader-elect=false")
	works := func(name string) {
		t.Helper()
		target := targets.NewTarget(name, east, "", "")
		target.Await(harness.Has(target.Key, "metadata", "labels", workloadv1alpha1.SyncTargetKeyLabel))
		manager.AwaitReady()
	}
	unready := func(words string) {
		t.Helper()
		harness.Eventually(t, func() error {
			if code, body := manager.Ask("health", "/readyz?verbose"); code != http.StatusInternalServerError || !strings.Contains(body, words) {
				return fmt.Errorf("/readyz: %d, want 500 and %q\n%s", code, words, body)
			}
			return nil
		})
	}
	metric := func(want float64, name string, labels ...string) {
		t.Helper()
		harness.Eventually(t, func() error {
			if got := harness.Sum(manager.Scrape(), name, labels...); got < want {
				return fmt.Errorf("%s%v is %v, want at least %v", name, labels, got, want)
			}
			return nil
		})
	}
	works("one")

	link.Cut()
	metric(1, "recovery_circuit_state", "server=kcp")
	unready("[-]kcp")
	harness.Eventually(t, func() error {
		if _, body := manager.Ask("metrics", "/debug/recovery"); !strings.Contains(body, `"strategy": "connectivity"`) {
			return fmt.Errorf("/debug/recovery: %s", body)
		}
		return nil
	})
	metric(2, "recovery_circuit_probes_total", "server=kcp", "result=unanswered")
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	metric(1, "recovery_outcomes_total", "strategy=connectivity", "outcome=recovered")
	works("two")

	// Every answer says that the credentials are no good, until there are others in the file.
	proxy := harness.Must(p.Env.NewFaultProxy())(t)
	proxy.Inject(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "Bearer "+right.BearerToken {
			return false
		}
		env.Refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
		return true
	})
	trusted := rest.CopyConfig(right)
	trusted.CAData = append(append([]byte{}, right.CAData...), proxy.CA()...)
	link.Through(proxy)
	metric(1, "recovery_attempts_total", "strategy=authentication", "category=Configuration") // whose authority is that?
	unready("[-]kcp")
	rewrite := func(config *rest.Config) {
		t.Helper()
		if err := env.WriteKubeconfig(file, "default", map[string]*rest.Config{"default": config}); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(trusted)
	metric(1, "recovery_attempts_total", "strategy=authentication", "category=Authentication")
	renewed := rest.CopyConfig(trusted)
	renewed.BearerToken = p.KCP.AdminConfig().BearerToken
	rewrite(renewed)
	metric(1, "recovery_outcomes_total", "strategy=authentication", "outcome=recovered")
	works("three")

	// The virtual workspaces cannot be read for a while, and then at once when they can be.
	proxy.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/apiexportendpointslices") {
			return false
		}
		env.Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden)
		return true
	})
	metric(1, "recovery_attempts_total", "strategy=virtual-workspace", "category=Permission")
	unready("[-]endpoints")
	proxy.Inject(nil)
	metric(1, "recovery_outcomes_total", "strategy=virtual-workspace", "outcome=recovered")
	works("four")
	if strings.Count(manager.Output(), `"Starting" version`) != 1 {
		t.Error("the process was restarted")
	}
}
