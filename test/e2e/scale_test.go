package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// createMany makes as many ConfigMaps called prefix-0, prefix-1, … side by side.
func (s *side) createMany(namespace, prefix string, count int) {
	s.T.Helper()
	config := rest.CopyConfig(s.Config)
	config.QPS, config.ContentType = -1, runtime.ContentTypeProtobuf
	client := must(kubernetes.NewForConfig(config))(s.T)
	var group errgroup.Group
	group.SetLimit(16)
	for i := range count {
		group.Go(func() error {
			_, err := client.CoreV1().ConfigMaps(namespace).Create(s.T.Context(), &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", prefix, i)}, Data: map[string]string{"key": "value"},
			}, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.T.Fatal(err)
	}
}

// liveHeap is what a garbage collection leaves, in bytes.
func (s *syncer) liveHeap() float64 {
	s.T.Helper()
	if code, body := s.Ask("metrics", "/debug/pprof/heap?gc=1"); code != http.StatusOK {
		s.T.Fatalf("heap: %d\n%s", code, body)
	}
	return sum(s.Scrape(), "go_memstats_heap_alloc_bytes")
}

// What others have in the cluster costs the agent nothing: each of its watches selects on our label.
func TestA01ForeignObjectsCostNoMemory(t *testing.T) {
	t.Parallel()
	const foreign, mebibyte = 20000, 1 << 20
	tn := newTenant(t)
	tn.up.Create(fastConfigMap("settings"))
	s := tn.startSyncer("--enable-profiling")
	tn.copyOf("ConfigMap", "settings", nil)
	namespace := "foreign-" + tn.ws.Path.Base() // it goes with the cluster, at the end of all tests: to remove them takes as long as to make them
	tn.down.Create(fmt.Sprintf(`{apiVersion: v1, kind: Namespace, metadata: {name: %s}}`, namespace))

	before := s.liveHeap()
	tn.down.createMany(namespace, "foreign", foreign)
	tn.up.Create(fastConfigMap("later"))
	tn.copyOf("ConfigMap", "later", nil) // whatever the watches bring has arrived
	if grown := (s.liveHeap() - before) / mebibyte; grown > 5 {
		t.Errorf("%d foreign ConfigMaps cost %.1f MiB of live heap", foreign, grown)
	}
}

// names tells the names of a namespace's ConfigMaps in the order in which they appear.
func (s *side) names(namespace string) <-chan string {
	s.T.Helper()
	w := must(s.Typed.CoreV1().ConfigMaps(namespace).Watch(s.T.Context(), metav1.ListOptions{LabelSelector: workloadv1alpha1.DownstreamClusterLabel}))(s.T)
	names := make(chan string)
	go func() { // ends with the test's context
		defer close(names)
		for event := range w.ResultChan() {
			if object, ok := event.Object.(*corev1.ConfigMap); ok && event.Type == watch.Added {
				names <- object.Name
			}
		}
	}()
	return names
}

// A syncer that starts with a backlog works on what changes meanwhile first. The cluster is held back until all of the
// backlog and the changes wait in the queue; then the order of the copies tells.
func TestA03LiveChangesOvertakeTheBacklog(t *testing.T) {
	t.Parallel()
	const backlog, workers = 500, 4
	tn := newTenant(t)
	tn.up.createMany("web", "backlog", backlog)
	cluster := faulty(t, tn.cluster.AdminConfig())
	g := &gate{when: creations, open: make(chan struct{})}
	cluster.Break(g.hold)
	s := tn.startSyncerWith(syncerOptions{cluster: cluster.Config(), flags: []string{onlyCore, fmt.Sprint("--workers=", workers)}})
	s.awaitMetric(atLeast(backlog-workers), "workqueue_depth", "name=configmaps")
	waiting := sum(s.Scrape(), "workqueue_depth", "name=configmaps")

	// The edit of an object that waits already is seen before the creation that follows it.
	edited, created := fmt.Sprint("backlog-", backlog/2), "created-live"
	tn.up.Merge("ConfigMap", "web", edited, `data: {key: edited}`)
	tn.up.Create(fastConfigMap(created))
	s.awaitMetric(atLeast(waiting+1), "workqueue_depth", "name=configmaps")

	appear := tn.down.names(tn.downNamespace("web"))
	close(g.open)
	missing, copies := map[string]bool{edited: true, created: true}, 0
	for len(missing) > 0 {
		select {
		case name, ok := <-appear:
			if !ok {
				t.Fatal("the watch has ended")
			}
			copies++
			delete(missing, name)
		case <-time.After(soon):
			t.Fatalf("%v did not appear after %d copies", missing, copies)
		}
	}
	if most := 3*workers + 2; copies > most {
		t.Errorf("the live changes were not there before %d of %d copies; those under way at %d workers may go first", copies, backlog, workers)
	}
	tn.copyOf("ConfigMap", edited, has("edited", "data", "key"))
}

// traffic is what a syncer has sent so far.
type traffic struct{ toKCP, heartbeats, toCluster, leases, watches float64 }

func (s *syncer) traffic() traffic {
	s.T.Helper()
	families := s.Scrape()
	return traffic{
		toKCP:      sum(families, "rest_client_requests_total", "server=kcp"),
		heartbeats: sum(families, "workload_syncer_heartbeats_total"),
		toCluster:  sum(families, "rest_client_requests_total", "server=cluster"),
		leases:     sum(families, "rest_client_requests_total", "server=cluster", "method=PUT"),
		watches:    sum(families, "rest_client_watches_total"),
	}
}

// unasked are the requests that are neither a heartbeat nor the Lease. A heartbeat under way may be counted on one side only.
func (now traffic) unasked(before traffic) error {
	toKCP := now.toKCP - before.toKCP - (now.heartbeats - before.heartbeats)
	toCluster := now.toCluster - before.toCluster - (now.leases - before.leases)
	if toKCP > 1 || toCluster > 0 || now.watches > before.watches {
		return fmt.Errorf("idle, it sent %v to kcp beside heartbeats, %v to the cluster beside the Lease, and opened %v watches", toKCP, toCluster, now.watches-before.watches)
	}
	return nil
}

// A syncer that has nothing to do keeps its watches open, its Lease and its heartbeat, and asks for nothing.
func TestA05IdleSendsOnlyHeartbeatAndLease(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.up.Create(fastConfigMap("settings"), deployment("web", "front", 1))
	s := tn.startSyncer("--leader-elect", "--leader-elect-resource-namespace=default", "--heartbeat-period=2s")
	tn.up.Eventually("apps/v1 Deployment", "web", "front", has(1, "status", "availableReplicas"))

	// The types are looked at for some seconds after the start. From then on, beat after beat brings nothing else.
	const beats = 4
	var before traffic
	eventually(t, func() error {
		now := s.traffic()
		if err := now.unasked(before); err != nil {
			before = now
			return err
		}
		if now.heartbeats-before.heartbeats < beats || now.leases-before.leases < beats {
			return errors.New("too few heartbeats or Leases so far to tell")
		}
		return nil
	})
}
