package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// What the commands do to a SyncTarget, and what they make of what its syncer says; the test plays the syncer.
func TestTargetsAreCordonedAndDrained(t *testing.T) {
	t.Parallel()
	e := env.For(t)
	config := boundWorkspace(t, "drain")
	kubeconfig, err := e.Kubeconfig(config)
	if err != nil {
		t.Fatal(err)
	}
	targets := client(t, config).Resource(syncTargets())
	for _, name := range []string{"east", "west"} {
		create(t, targets, fmt.Sprintf(`{"apiVersion":"workload.kcp.io/v1alpha1","kind":"SyncTarget","metadata":{"name":%q}}`, name))
	}
	says := func(want string, args ...string) {
		t.Helper()
		out, err := plugin(t, append(args, "--kubeconfig", kubeconfig)...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	spec := func(name string) string {
		t.Helper()
		object := get(t, targets, name)
		unschedulable, _, _ := unstructured.NestedBool(object.Object, "spec", "unschedulable")
		_, evicted, _ := unstructured.NestedString(object.Object, "spec", "evictAfter")
		return fmt.Sprint(unschedulable, evicted)
	}

	says("SyncTarget east cordoned (dry run)", "cordon", "east", "--dry-run")
	if got := spec("east"); got != "false false" {
		t.Errorf("after the dry run: %s", got)
	}
	says("SyncTarget west cordoned", "cordon", "east", "west")
	says("SyncTarget east already cordoned", "cordon", "east")
	if got := spec("east"); got != "true false" {
		t.Errorf("after cordon: %s", got)
	}
	says("SyncTarget west open again", "uncordon", "west")
	says("SyncTarget west already open", "uncordon", "west")
	for _, command := range []string{"cordon", "uncordon", "drain"} {
		if _, err := plugin(t, command, "north", "--kubeconfig", kubeconfig); err == nil || !strings.Contains(err.Error(), "there is no SyncTarget north") {
			t.Errorf("%s of what is not there: %v", command, err)
		}
	}
	completes(t, kubeconfig)

	heartbeat := func(second, deployments int) {
		t.Helper()
		patch(t, targets, "east", fmt.Sprintf(`{"status":{"lastSyncerHeartbeatTime":"2026-01-02T03:04:%02dZ","syncedResources":[{"group":"apps","resource":"deployments","versions":["v1"],"state":"Accepted","objects":%d}]}}`, second, deployments), "status")
	}
	heartbeat(1, 2)
	says("and 2 objects (2 deployments.apps) would leave it (dry run)", "drain", "east", "--dry-run")
	out, err := plugin(t, "drain", "east", "--timeout", "5s", "--kubeconfig", kubeconfig)
	if err == nil || !strings.Contains(err.Error(), "--timeout") || !strings.Contains(err.Error(), "2 objects (2 deployments.apps) left") || !strings.Contains(err.Error(), "uncordon east") {
		t.Errorf("a drain that takes too long: %v\n%s", err, out)
	}
	if got := spec("east"); got != "true true" {
		t.Errorf("after drain: %s", got)
	}
	says("SyncTarget east open again", "uncordon", "east")
	if got := spec("east"); got != "false false" {
		t.Errorf("after uncordon: %s", got)
	}

	done := make(chan error, 1)
	var progress string
	go func() {
		var err error
		progress, err = plugin(t, "drain", "east", "--kubeconfig", kubeconfig)
		done <- err
	}()
	env.Eventually(t, soon, func() error {
		if spec("east") != "true true" {
			return errors.New("it is not evicted yet")
		}
		return nil
	})
	heartbeat(2, 1)
	select {
	case err := <-done:
		t.Fatalf("the drain ended while something was left: %v\n%s", err, progress)
	default:
	}
	heartbeat(3, 0)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	select {
	case err := <-done:
		if err != nil || !strings.Contains(progress, "nothing is on it any more") || !strings.Contains(progress, "kubectl delete synctarget east") {
			t.Errorf("drain: %v\n%s", err, progress)
		}
	case <-ctx.Done():
		t.Fatal("the drain does not end")
	}
	if _, err := targets.Get(t.Context(), "east", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// completes asks as the shell does.
func completes(t *testing.T, kubeconfig string) {
	t.Helper()
	out, err := plugin(t, "__complete", "cordon", "--kubeconfig", kubeconfig, "east", "")
	if err != nil || !strings.Contains(out, "west\n") || strings.Contains(out, "east\n") {
		t.Errorf("completion offers: %v\n%s", err, out)
	}
}
