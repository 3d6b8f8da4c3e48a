package e2e

import (
	"os"
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
	tn.up.Create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: after, namespace: web}}`)
	tn.copyOf("ConfigMap", "after", nil)
	if s.PID() == 0 || strings.Count(s.Output(), `"Starting" version`) != 1 {
		t.Error("the process was restarted")
	}
}
