package e2e

import (
	"fmt"
	"testing"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
)

// An object of the assigned feed whose state label is removed by hand leaves the cluster as well, stays in its workspace,
// and is let go.
func TestA53FeedLabelRemovedByHand(t *testing.T) {
	t.Parallel()
	one, two := newTenant(t), newTenant(t)
	one.startSyncer("--feed=assigned", "--feed-urls="+one.fleet.VirtualWorkspace(t, config.KubernetesExport), onlyCore)
	two.up.Create(fastConfigMap("kept"), fastConfigMap("unlabelled"))
	for _, name := range []string{"kept", "unlabelled"} {
		two.up.assign("ConfigMap", "web", name, one, workloadv1alpha1.StateSync)
		one.down.Eventually("ConfigMap", one.namespaceOf(two, "web"), name, nil)
		two.up.Eventually("ConfigMap", "web", name, one.claimed)
	}
	kept := one.down.MustGet("ConfigMap", one.namespaceOf(two, "web"), "kept")
	two.up.Merge("ConfigMap", "web", "unlabelled", fmt.Sprintf(`metadata: {labels: {%s: null}}`, workloadv1alpha1.StateLabel(one.key)))
	one.down.EventuallyGone("ConfigMap", one.namespaceOf(two, "web"), "unlabelled")
	two.up.Eventually("ConfigMap", "web", "unlabelled", one.released)
	if err := one.down.unharmed(kept); err != nil {
		t.Error(err)
	}
}

// A syncer of the assigned feed takes the URLs from its SyncTarget when it is given none, and follows them.
func TestA53FeedURLsOfTheSyncTarget(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.up.Create(fastConfigMap("settings"))
	tn.up.assign("ConfigMap", "web", "settings", tn, workloadv1alpha1.StateSync)
	s := tn.startSyncerWith(syncerOptions{flags: []string{"--feed=assigned"}, mayFail: true})
	eventually(t, func() error { return s.unready("[-]synctarget", "SyncTarget.status.virtualWorkspaces") })
	wrong := "https://127.0.0.1:1/services/wrong" // nobody is there
	tn.patchStatus(fmt.Sprintf(`{virtualWorkspaces: [{syncerURL: %q, upsyncerURL: %q}]}`, wrong, wrong))
	s.awaitMetric(atLeast(1), "recovery_attempts_total", "strategy=virtual-workspace", "category=Unreachable")
	url := tn.fleet.VirtualWorkspace(t, config.KubernetesExport)
	tn.patchStatus(fmt.Sprintf(`{virtualWorkspaces: [{syncerURL: %q, upsyncerURL: %q}]}`, url, url))
	tn.copyOf("ConfigMap", "settings", nil)
	s.AwaitReady()
	s.awaitMetric(atLeast(1), "recovery_outcomes_total", "strategy=virtual-workspace", "outcome=recovered")
}
