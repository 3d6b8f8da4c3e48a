// Package fleet tests kcp's side on real servers: a kcp, two physical clusters, many workspaces, and the manager's and
// syncers' real binaries.
package fleet

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

// leads waits until the program says that it holds the Lease.
func leads(m *harness.Program) {
	m.T.Helper()
	harness.Eventually(m.T, func() error {
		if n := harness.Sum(m.Scrape(), "workload_manager_leader"); n != 1 {
			return fmt.Errorf("workload_manager_leader is %v", n)
		}
		return nil
	})
}

// A manager that is told to stop gives its Lease back, so that a standby takes over at once, and works on what it finds.
// One that starts where everything is in place writes nothing.
func TestA06StandbyManagerTakesOver(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	one := targets.NewTarget("one", east, "", "")
	const lease = "--leader-elect-lease-duration=5m"
	first := p.StartManager(t, lease, "--leader-elect-renew-deadline=4m")
	leads(first)
	one.Await(harness.Has(one.Key, "metadata", "labels", workloadv1alpha1.SyncTargetKeyLabel))
	file := harness.NewConfigFile(t, "ManagerConfiguration")
	standby := p.StartManager(t, lease, "--leader-elect-renew-deadline=4m", "--config="+file.Path)

	stopped := time.Now()
	if code := first.Terminate(); code != 0 {
		t.Errorf("the first manager ended with %d", code)
	}
	leads(standby)
	if took := time.Since(stopped); took > 4*time.Minute {
		t.Errorf("the standby took %s", took)
	}
	standby.Follows(file)
	if code, body := standby.Ask("metrics", "/configz"); code != http.StatusOK || !strings.Contains(body, `"flushFrequency": "3s"`) {
		t.Errorf("/configz: %d\n%s", code, body)
	}
	two := targets.NewTarget("two", east, "", "")
	two.Await(harness.Has(two.Key, "metadata", "labels", workloadv1alpha1.SyncTargetKeyLabel))
}
