package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// A token that a kubeconfig embeds expires, and the file gets another one: the syncer goes on without a restart.
func TestA43RotatedKubeconfigIsTakenUp(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	wrong := rest.CopyConfig(tn.fleet.kcp.AdminConfig())
	wrong.BearerToken = "expired"
	command := tn.syncerCommand(syncerOptions{kcp: wrong})
	s := &syncer{harness.Start(t, tn.fleet.env, command)}
	code, body := s.Ask("health", "/readyz?verbose")
	if code == 200 || !strings.Contains(body, "SyncTarget") {
		t.Errorf("with an expired token readyz answers %d:\n%s", code, body)
	}

	file := strings.TrimPrefix(command.Args[0], "--kcp-kubeconfig=")
	contexts := map[string]*rest.Config{"default": tn.fleet.kcp.AdminConfig()}
	if err := os.WriteFile(file, []byte("{half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := env.WriteKubeconfig(file, "default", contexts); err != nil {
		t.Fatal(err)
	}
	s.AwaitReady()
	s.awaitMetric(atLeast(1), "recovery_attempts_total", "strategy=authentication", "category=Authentication")
	s.awaitMetric(atLeast(1), "recovery_outcomes_total", "strategy=authentication", "outcome=recovered")
	tn.up.Create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: after, namespace: web}}`)
	tn.copyOf("ConfigMap", "after", nil)
	if s.PID() == 0 || strings.Count(s.Output(), `"Starting" version`) != 1 {
		t.Error("the process was restarted")
	}
}

// The certificate authority in a file that the kubeconfig names is replaced: nothing but the failing connection tells.
func TestA43RotatedCAFileIsTakenUp(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, tn.cluster.AdminConfig().CAData, 0o600); err != nil {
		t.Fatal(err)
	}
	right := tn.fleet.kcp.AdminConfig()
	byFile := rest.CopyConfig(right)
	byFile.CAData, byFile.CAFile = nil, ca
	s := tn.startSyncerWith(syncerOptions{kcp: byFile, mayFail: true})
	s.awaitMetric(atLeast(1), "recovery_attempts_total", "strategy=authentication", "category=Configuration")
	if err := os.WriteFile(ca, right.CAData, 0o600); err != nil {
		t.Fatal(err)
	}
	s.AwaitReady()
	s.awaitMetric(atLeast(1), "recovery_outcomes_total", "strategy=authentication", "outcome=recovered")
	tn.up.Create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: after, namespace: web}}`)
	tn.copyOf("ConfigMap", "after", nil)
}
