package fleet

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

// conditions checks those of a SyncTarget, written "type=status/reason", and that one has a message with these words.
func conditions(t *testing.T, wanted string, words ...string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		st := targetOf(t, u)
		var messages strings.Builder
		for _, text := range strings.Fields(wanted) {
			kind, value, _ := strings.Cut(text, "=")
			c := meta.FindStatusCondition(st.Status.Conditions, kind)
			if c == nil || string(c.Status)+"/"+c.Reason != value {
				return fmt.Errorf("SyncTarget %s: condition %s is %+v, want %s", st.Name, kind, c, value)
			}
			messages.WriteString(c.Message)
		}
		for _, w := range words {
			if !strings.Contains(messages.String(), w) {
				return fmt.Errorf("SyncTarget %s: %q does not say %q", st.Name, messages.String(), w)
			}
		}
		return nil
	}
}

func targetOf(t *testing.T, u *unstructured.Unstructured) *workloadv1alpha1.SyncTarget {
	t.Helper()
	st := &workloadv1alpha1.SyncTarget{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, st); err != nil {
		t.Fatal(err)
	}
	return st
}

// unreachable checks whether the SyncTarget has the manager's taint.
func unreachable(t *testing.T, want bool) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		found := false
		for _, taint := range targetOf(t, u).Spec.Taints {
			found = found || taint.Key == workloadv1alpha1.TaintUnreachable && taint.Effect == workloadv1alpha1.TaintNoExecute && taint.TimeAdded != nil
		}
		if found != want {
			return fmt.Errorf("SyncTarget %s: tainted: %t, want %t", u.GetName(), found, want)
		}
		return nil
	}
}

const (
	healthy = "Ready=True/Syncing SyncerReady=True/SyncerRunning HeartbeatHealthy=True/HeartbeatRecent"
	silent  = "Ready=Unknown/HeartbeatExpired SyncerReady=Unknown/SyncerUnknown HeartbeatHealthy=Unknown/HeartbeatExpired"
)

// A dead syncer's target turns Unknown, and is tainted after a while; the other one's stays as it is, and so does its own once
// its syncer is back. When all fall silent at once no work is taken away: that is no fault of the clusters. A manager that
// starts where all that has been told writes nothing.
func TestA41SilentSyncersTargetIsUnknownAndThenLeft(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	p.NewTenant(t) // binds compute, so that there is something to watch
	one, two := targets.NewTarget("one", east, "", ""), targets.NewTarget("two", west, "", "")
	flags := []string{"--heartbeat-grace=8s", "--unreachable-taint-after=3s", "--unreachable-taint-rate=5"}
	manager := p.StartManager(t, flags...)
	never := conditions(t, "Ready=Unknown/NeverConnected HeartbeatHealthy=Unknown/NeverConnected")
	one.Await(never)
	two.Await(never)
	dying, other := one.StartSyncer(), two.StartSyncer()
	one.Await(conditions(t, healthy))
	two.Await(conditions(t, healthy))

	dying.Kill()
	one.Await(harness.All(conditions(t, silent), unreachable(t, true)))
	awaitEvent(targets, "one", workloadv1alpha1.ReasonTargetUnreachable)
	two.Await(harness.All(conditions(t, healthy), unreachable(t, false)))
	one.StartSyncer().Kill()
	one.Await(unreachable(t, false))

	other.Kill()
	for _, target := range []*harness.Target{one, two} {
		target.Await(harness.All(conditions(t, silent, "workloads stay"), unreachable(t, false)))
	}
	harness.Eventually(t, func() error {
		return metric(manager, 2, "workload_manager_sync_targets", "state=silent")
	})

	if code := manager.Terminate(); code != 0 {
		t.Errorf("the manager ended with %d", code)
	}
	manager = p.StartManager(t, flags...)
	leads(manager)
	harness.Eventually(t, func() error { // it has looked at them
		return metric(manager, 2, "workload_manager_sync_targets", "state=silent")
	})
	harness.Remains(t, 10*time.Second, func() error {
		return errors.Join(metric(manager, 0, "workload_manager_writes_total", "reconciler=heartbeat"), metric(manager, 0, "workload_manager_writes_total", "reconciler=synctarget"))
	})
	for _, target := range []*harness.Target{one, two} {
		target.Await(harness.All(conditions(t, silent, "workloads stay"), unreachable(t, false)))
	}
}

// metric checks the sum of a metric's series that have these labels.
func metric(m *harness.Program, want float64, name string, labels ...string) error {
	if got := harness.Sum(m.Scrape(), name, labels...); got != want {
		return fmt.Errorf("%s %v is %v, want %v", name, labels, got, want)
	}
	return nil
}

// settledWrites gives how many writes a reconciler has made, once that number stands still: what a write does is seen before
// it is counted, and one that was made for a state that had just changed is made again.
func settledWrites(t *testing.T, m *harness.Program, reconciler string) float64 {
	t.Helper()
	writes, since := -1.0, time.Now()
	harness.Eventually(t, func() error {
		if now := harness.Sum(m.Scrape(), "workload_manager_writes_total", "reconciler="+reconciler); now != writes {
			writes, since = now, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return fmt.Errorf("%v writes of %s, and the last a moment ago", writes, reconciler)
		}
		return nil
	})
	return writes
}

// awaitEvent waits for an Event about a SyncTarget, or another object without a namespace.
func awaitEvent(w *harness.Workspace, name, reason string) {
	w.T.Helper()
	harness.Eventually(w.T, func() error {
		events, err := w.Typed.CoreV1().Events(metav1.NamespaceDefault).List(w.T.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Name == name && e.Reason == reason {
				return nil
			}
		}
		return fmt.Errorf("no Event %s about %s among %d", reason, name, len(events.Items))
	})
}

// A clock that is hours off is one condition, told once, however often the heartbeat comes; the target stays healthy, and
// the condition goes when the clock is right. The manager's patience can be changed while it works.
func TestA40ClockSkewIsOneCondition(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	file := harness.NewConfigFile(t, "ManagerConfiguration")
	file.Write("heartbeats: {grace: 10s}\n")
	manager := p.StartManager(t, "--config="+file.Path)
	target := targets.NewTarget("skewed", east, "", "")
	target.Await(conditions(t, "Ready=Unknown/NeverConnected"))
	beat := func(skew time.Duration) (stop func()) {
		client := targets.Of(harness.SyncTargetKind, "")
		return harness.Repeat(t, func() error {
			<-time.After(300 * time.Millisecond)
			body := fmt.Sprintf(`{"status":{"lastSyncerHeartbeatTime":%q}}`, time.Now().Add(skew).UTC().Format(time.RFC3339))
			_, err := client.Patch(t.Context(), target.Name, types.MergePatchType, []byte(body), metav1.PatchOptions{}, "status")
			return err
		})
	}
	now := metav1.Now().UTC().Format(time.RFC3339) // what a syncer says with its first heartbeat
	targets.Merge(harness.SyncTargetKind, "", target.Name, fmt.Sprintf(`status: {lastSyncerHeartbeatTime: %[1]q, conditions: [
		{type: HeartbeatHealthy, status: "True", reason: HeartbeatRecent, message: well, lastTransitionTime: %[1]q},
		{type: SyncerReady, status: "True", reason: SyncerRunning, message: well, lastTransitionTime: %[1]q},
		{type: Ready, status: "True", reason: Syncing, message: well, lastTransitionTime: %[1]q}]}`, now), "status")
	stop := beat(-7 * time.Hour)
	skewed := conditions(t, "HeartbeatHealthy=True/ClockSkew Ready=True/Syncing SyncerReady=True/SyncerRunning", "behind", "3 hours")
	target.Await(skewed)
	writes := settledWrites(t, manager, "heartbeat")
	harness.Remains(t, 15*time.Second, func() error { // longer than the grace
		return errors.Join(skewed(targets.MustGet(harness.SyncTargetKind, "", target.Name)), metric(manager, writes, "workload_manager_writes_total", "reconciler=heartbeat"))
	})
	stop()
	stop = beat(0)
	target.Await(conditions(t, healthy))

	file.Write("heartbeats: {grace: 10h}\n")
	harness.Eventually(t, func() error { return metric(manager, 2, "workload_config_reloads_total", "result=success") })
	stop()
	file.Write("heartbeats: {grace: 2s}\n") // it does not take the ten hours to look again
	target.Await(conditions(t, silent))
}

// A manager that cannot reach kcp is alive and not ready, says so soon, calls nobody silent for it, and is itself again
// when kcp is back. It ends quickly meanwhile.
func TestA50ManagersProbesTellTheTruth(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	p.NewTenant(t)
	target := targets.NewTarget("one", east, "", "")
	target.StartSyncer()
	link := harness.Must(p.KCP.NewLink())(t)
	t.Cleanup(link.Close)
	m := p.StartManagerThrough(t, link, "--heartbeat-grace=8s", "--leader-elect=false")
	target.Await(conditions(t, healthy))

	probe := func(path string, code int, words string) func() error {
		return func() error {
			if got, body := m.Ask("health", path+"?verbose"); got != code || !strings.Contains(body, words) {
				return fmt.Errorf("%s: %d, want %d and %q\n%s", path, got, code, words, body)
			}
			return nil
		}
	}
	link.Cut()
	harness.Eventually(t, probe("/readyz", http.StatusInternalServerError, "[-]kcp"))
	harness.Remains(t, 10*time.Second, probe("/livez", http.StatusOK, "[+]reconciler/heartbeat"))
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	m.AwaitReady()
	harness.Remains(t, 5*time.Second, func() error {
		return conditions(t, healthy)(targets.MustGet(harness.SyncTargetKind, "", target.Name))
	})
	link.Cut()
	harness.Eventually(t, probe("/readyz", http.StatusInternalServerError, "[-]kcp"))
	stopped := time.Now()
	if code := m.Terminate(); code != 0 {
		t.Errorf("without kcp it ended with %d", code)
	}
	if took := time.Since(stopped); took > 15*time.Second {
		t.Errorf("without kcp it took %s to end", took)
	}
}
