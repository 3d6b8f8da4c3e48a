package e2e

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// Every documented metric is seen to change while what it tells of happens, and none is exposed that is not documented.
func TestA51EveryDocumentedMetricChanges(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	l := tn.newLinks()
	l.kcp.Cut()
	file := harness.NewConfigFile(t, "SyncerConfiguration")
	s := tn.startSyncerWith(tn.through(l, onlyCore, "--config="+file.Path, "--orphan-grace-period=0s", "--workers=1", "--heartbeat-period=1s"))
	seen := s.Observe()
	s.says("connection refused")
	restore := func(link *env.Link) {
		if err := link.Restore(); err != nil {
			t.Fatal(err)
		}
	}
	restore(l.kcp)
	s.AwaitReady()
	s.Follows(file)
	ns := tn.prepareNamespace()

	tn.down.Create(configMap(ns, "taken", "of", "stranger")) // a conflict, and retries
	tn.up.Create(fastConfigMap("taken"))
	s.awaitMetric(atLeast(1), "workload_syncer_name_conflicts_total")
	tn.up.Delete("ConfigMap", "web", "taken")
	tn.up.EventuallyGone("ConfigMap", "web", "taken")
	tn.down.Delete("ConfigMap", ns, "taken")

	tn.putConfigMap("fought") // corrections, until it is a fight
	copies := tn.down.Of("ConfigMap", ns)
	stop := repeat(t, func() error {
		_, err := copies.Patch(t.Context(), "fought", types.MergePatchType, []byte(`{"data":{"mode":"slow"}}`), metav1.PatchOptions{})
		return err
	})
	s.awaitMetric(atLeast(1), "workload_syncer_drift_fights_total")
	stop()

	l.cluster.Cut() // a circuit, and work that waits
	for i := range 10 {
		tn.up.Create(fastConfigMap(fmt.Sprint("waiting-", i)))
	}
	s.awaitMetric(atLeast(1), "recovery_circuit_probes_total", "result=unanswered")
	restore(l.cluster)
	tn.copyOf("ConfigMap", "waiting-9", nil)
	s.awaitMetric(exactly(0), "recovery_circuit_state")

	tn.up.Eventually("ConfigMap", "web", "waiting-9", tn.claimed) // an orphan
	tn.up.Merge("ConfigMap", "web", "waiting-9", `metadata: {finalizers: null}`)
	tn.up.Delete("ConfigMap", "web", "waiting-9")
	s.awaitMetric(atLeast(1), "workload_syncer_orphans_swept_total")

	if err := tn.up.Of("ConfigMap", "web").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	tn.down.EventuallyGone("Namespace", "", ns)

	seen.NamesNone("waiting-9", "fought", ns, string(tn.ws.Cluster), tn.ws.Path.Base(), tn.key)
	seen.Changed("../../docs/reference/metrics.md", "workload-syncer")
}
