package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// documentedMetrics are the names in the reference.
func documentedMetrics(t *testing.T) []string {
	t.Helper()
	return harness.DocumentedMetrics(t, "../../docs/reference/metrics.md", "workload-syncer")
}

// observer scrapes a syncer over and over, and remembers which values each metric has had.
type observer struct {
	mu     sync.Mutex
	values map[string]map[string]bool
}

// observe starts to scrape, until the test ends.
func (s *syncer) observe() *observer {
	o := &observer{values: map[string]map[string]bool{}}
	url := s.URL("metrics", "/metrics")
	repeat(s.T, func() error {
		_, body, err := ask(s.T.Context(), url)
		if err != nil {
			return err
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(body))
		o.note(families)
		return err
	})
	return o
}

func (o *observer) note(families map[string]*dto.MetricFamily) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, family := range families {
		if o.values[name] == nil {
			o.values[name] = map[string]bool{}
		}
		o.values[name][fmt.Sprint(family.GetMetric())] = true
	}
}

// unchanged are those of the metrics that have not been seen with two values.
func (o *observer) unchanged(names []string) (unchanged []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		if len(o.values[name]) < 2 {
			unchanged = append(unchanged, name)
		}
	}
	return unchanged
}

// undocumented are the exposed metrics that the names do not hold.
func (o *observer) undocumented(names []string) (undocumented []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := strings.Join(names, "|")
	for name := range o.values {
		if !regexp.MustCompile("^(go|process|promhttp)_").MatchString(name) && !regexp.MustCompile("^("+known+")$").MatchString(name) {
			undocumented = append(undocumented, name)
		}
	}
	return undocumented
}

// Every documented metric is seen to change while what it tells of happens, and none is exposed that is not documented.
func TestA51EveryDocumentedMetricChanges(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	l := tn.newLinks()
	l.kcp.Cut()
	s := tn.startSyncerWith(tn.through(l, onlyCore, "--orphan-grace-period=0s", "--workers=1", "--heartbeat-period=1s"))
	seen := s.observe()
	s.says("connection refused")
	restore := func(link *env.Link) {
		if err := link.Restore(); err != nil {
			t.Fatal(err)
		}
	}
	restore(l.kcp)
	s.AwaitReady()
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

	names := documentedMetrics(t)
	env.Eventually(t, soon, func() error {
		var missing []string
		for _, name := range seen.unchanged(names) {
			if name != "workload_build_info" { // always 1
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("never seen to change: %s", strings.Join(missing, ", "))
		}
		return nil
	})
	if unknown := seen.undocumented(names); len(unknown) > 0 {
		t.Errorf("exposed but not documented: %s; run make generate", strings.Join(unknown, ", "))
	}
	if len(names) < 20 {
		t.Errorf("the reference names %v", names)
	}
	if sum(s.Scrape(), "workload_build_info", "program=workload-syncer") != 1 {
		t.Error("workload_build_info is not 1")
	}
}
