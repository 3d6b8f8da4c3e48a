package assignment

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/test/fakekcp"
)

// Where the tests' SyncTarget and tenant are, each on a shard of its own.
const (
	providers = "2compute"
	tenants   = "2team"
)

var eastKey = workloadv1alpha1.SyncTargetKey(providers, "east")

// newEvidence is a controller that sees what those shards serve.
func newEvidence(t *testing.T, kcp *fakekcp.KCP, shards ...string) (*Controller, *testingclock.FakeClock) {
	t.Helper()
	clock, urls := testingclock.NewFakeClock(time.Now()), fleet.URLs{}
	for _, export := range []string{workloadv1alpha1.WorkloadExport, workloadv1alpha1.SchedulingExport, workloadv1alpha1.KubernetesExport} {
		for _, shard := range shards {
			urls[export] = append(urls[export], kcp.URL(shard, export))
		}
	}
	f, err := fleet.New(fleet.Deps{Config: kcp.Config(), URLs: urls, Metrics: fleet.NewMetrics(prometheus.NewRegistry()), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Deps{Fleet: f, Provider: logicalcluster.NewPath("root:compute"), Workers: 1, MoveTimeout: func() time.Duration { return time.Minute }, Metrics: NewMetrics(prometheus.NewRegistry())})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.Run(ctx) // it has no error
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	if !fleet.Synced(ctx, c.namespaces, c.placements, c.targets.cache) {
		t.Fatal("the caches are not filled")
	}
	return c, clock
}

func placementOn(t *testing.T, kcp *fakekcp.KCP) {
	t.Helper()
	kcp.Put("two", workloadv1alpha1.SchedulingExport, "scheduling.kcp.io/v1alpha1/placements", tenants, parse(t, fmt.Sprintf(
		`{apiVersion: scheduling.kcp.io/v1alpha1, kind: Placement, metadata: {name: all}, status: {selectedTargets: [{key: %s, cluster: %s, name: east, phase: Selected}]}}`, eastKey, providers)))
}

// What an object says about a target is given up only when the SyncTarget is known to be gone.
func TestFactsOfATargetThatIsNotSeen(t *testing.T) {
	for _, tc := range []struct {
		what           string
		shards         []string
		served, named  bool
		known, deleted bool
	}{
		{what: "its workspace does not have it, as the Placement that chose it tells where to ask", shards: []string{"one", "two"}, served: true, named: true, known: true, deleted: true},
		{what: "its shard is not served any more", shards: []string{"two"}, served: true, named: true},
		{what: "its workspace is not bound any more, or cannot be read", shards: []string{"one", "two"}, named: true},
		{what: "nobody tells where it was", shards: []string{"one", "two"}, served: true},
	} {
		t.Run(tc.what, func(t *testing.T) {
			kcp := fakekcp.New(t)
			kcp.Bind("two", tenants)
			if tc.served {
				kcp.Bind("one", providers)
			}
			if tc.named {
				placementOn(t, kcp)
			}
			c, clock := newEvidence(t, kcp, tc.shards...)
			facts := func() (decide.Target, bool, time.Duration) {
				facts, known, again, err := c.targets.facts(t.Context(), eastKey, "", schema.GroupResource{Resource: "configmaps"})
				if err != nil {
					t.Fatal(err)
				}
				return facts, known, again
			}
			if facts, known, again := facts(); known || facts.Deleted || again <= 0 {
				t.Errorf("at first sight it is known: %+v, looked at again after %s", facts, again)
			}
			clock.Step(time.Minute)
			if facts, known, _ := facts(); known != tc.known || facts.Deleted != tc.deleted {
				t.Errorf("known is %t, deleted %t", known, facts.Deleted)
			}
		})
	}
}

// What no Placement names may be left. That none is seen is not that.
func TestUnnamed(t *testing.T) {
	ns := namespaceKey{cluster: tenants, name: "web"}
	for _, tc := range []struct {
		what      string
		shards    []string
		bound     bool
		placement bool
		// named: a Placement that does not select the namespace names the target.
		named bool
		want  bool
	}{
		{what: "a Placement that does not select the namespace names it", shards: []string{"two"}, bound: true, placement: true, named: true, want: true},
		{what: "no Placement names it, as the workspace says itself", shards: []string{"two"}, bound: true, want: true},
		{what: "a Placement names it that the cache does not show", shards: []string{"two"}, bound: true, placement: true},
		{what: "the shard of the Placements is not served any more", shards: []string{"one"}, bound: true, placement: true},
		{what: "the workspace is not bound any more, or cannot be read", shards: []string{"two"}, placement: true},
	} {
		t.Run(tc.what, func(t *testing.T) {
			kcp := fakekcp.New(t)
			if tc.bound {
				kcp.Bind("two", tenants)
			}
			if tc.placement {
				placementOn(t, kcp)
			}
			c, clock := newEvidence(t, kcp, tc.shards...)
			since := clock.Now()
			unnamed := func() (bool, time.Duration) {
				p := &namespacePass{c: c, key: ns, now: clock.Now(), named: map[string]bool{eastKey: tc.named}, was: placedNamespace{since: map[string]time.Time{eastKey: since}}}
				certain, again, err := p.unnamed(t.Context(), eastKey)
				if err != nil {
					t.Fatal(err)
				}
				return certain, again
			}
			if certain, again := unnamed(); certain != tc.named || !certain && again <= 0 {
				t.Errorf("at first sight it is certain: %t; looked at again after %s", certain, again)
			}
			clock.Step(missingFor)
			if certain, again := unnamed(); certain != tc.want || !certain && again <= 0 {
				t.Errorf("certain is %t; looked at again after %s", certain, again)
			}
		})
	}
}
