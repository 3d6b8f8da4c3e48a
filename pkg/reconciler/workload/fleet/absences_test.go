package fleet_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	testingclock "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/test/fakekcp"
)

const (
	export     = workloadv1alpha1.WorkloadExport
	synctarget = "workload.kcp.io/v1alpha1/synctargets"
	far        = "2far"
)

func target(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "workload.kcp.io/v1alpha1", "kind": "SyncTarget", "metadata": map[string]any{"name": name},
	}}
}

// world is a process that works with one fleet after another.
type world struct {
	*testing.T
	kcp      *fakekcp.KCP
	clock    *testingclock.FakeClock
	memory   *fleet.Memory
	registry *prometheus.Registry
	metrics  *fleet.Metrics
	absences *fleet.Absences
	targets  interface {
		Get(fleet.Key) (*workloadv1alpha1.SyncTarget, bool)
	}
	stop func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, kcp: fakekcp.New(t), clock: testingclock.NewFakeClock(time.Now()), memory: fleet.NewMemory(), registry: prometheus.NewRegistry()}
	w.metrics = fleet.NewMetrics(w.registry)
	w.kcp.Bind("one", "2near")
	w.kcp.Bind("two", far)
	return w
}

// serve has the manager work with these shards.
func (w *world) serve(shards ...string) {
	w.Helper()
	if w.stop != nil {
		w.stop()
	}
	urls := fleet.URLs{}
	for _, shard := range shards {
		urls[export] = append(urls[export], w.kcp.URL(shard, export))
	}
	f, err := fleet.New(fleet.Deps{Config: w.kcp.Config(), URLs: urls, Metrics: w.metrics, Memory: w.memory, Clock: w.clock})
	if err != nil {
		w.Fatal(err)
	}
	cache, err := fleet.SyncTargets(f)
	if err != nil {
		w.Fatal(err)
	}
	w.targets = cache
	if w.absences, err = f.Absences(); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.Run(ctx) // it has no error
	}()
	w.stop = func() {
		cancel()
		<-ended
	}
	w.Cleanup(cancel)
	if !fleet.Synced(ctx, cache) {
		w.Fatal("the cache is not filled")
	}
}

func (w *world) await(what string, shown bool) {
	w.Helper()
	err := wait.PollUntilContextTimeout(w.Context(), 5*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		_, found := w.targets.Get(fleet.Key{Cluster: far, Name: "east"})
		return found == shown, nil
	})
	if err != nil {
		w.Fatalf("%s: the cache shows it: not %t", what, shown)
	}
}

// gone asks as somebody does who knows where the SyncTarget was, or does not.
func (w *world) gone(what string, want bool, named ...fleet.Key) (again time.Duration) {
	w.Helper()
	got, again, err := w.absences.Gone(w.Context(), workloadv1alpha1.SyncTargetKey(far, "east"), named...)
	if err != nil || got != want {
		w.Errorf("%s: gone is %t (%v), want %t", what, got, err, want)
	}
	if !got && again <= 0 {
		w.Errorf("%s: nobody would ask again", what)
	}
	return again
}

func (w *world) unseen(what string, want int) {
	w.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "workload_manager_unseen_sync_targets" {
			if got := family.GetMetric()[0].GetGauge().GetValue(); int(got) != want {
				w.Errorf("%s: the metric says %v are unseen, want %d", what, got, want)
			}
			return
		}
	}
	w.Errorf("%s: there is no such metric", what)
}

// A kcp shard that is served no more takes its SyncTargets out of sight. They are not gone for that, however long it lasts.
func TestAShardThatLeavesTakesNothingAway(t *testing.T) {
	w := newWorld(t)
	w.kcp.Put("two", export, synctarget, far, target("east"))
	w.serve("one", "two")
	w.await("both shards are served", true)

	w.serve("one")
	named := fleet.Key{Cluster: far, Name: "east"}
	for range 10 {
		w.gone("its shard is served no more", false, named)
		w.clock.Step(time.Hour)
	}
	w.unseen("its shard is served no more", 1)
	w.serve("one", "two")
	w.await("the shard is back", true)
	w.unseen("the shard is back", 0)

	w.kcp.Unbind("two", far)
	w.kcp.Delete("two", export, synctarget, far, target("east")) // as a watch tells it
	w.await("it is deleted with its workspace", false)
	w.gone("it is deleted with its workspace", true)
	w.serve("one")
	w.gone("what was seen is remembered while its shard is not served", true)
}

// A manager that did not see the deletion asks the logical cluster.
func TestADeletionThatNobodySaw(t *testing.T) {
	w := newWorld(t)
	w.serve("one", "two")
	named := fleet.Key{Cluster: far, Name: "east"}
	again := w.gone("it may be about to be seen", false, named)
	w.gone("nobody says where it was", false)
	w.clock.Step(again)
	asked := w.kcp.Lists()
	w.gone("nobody says where it was", false)
	w.gone("a tenant lies about it", false, fleet.Key{Cluster: "2near", Name: "none"})
	if w.kcp.Lists() != asked {
		t.Error("a logical cluster was asked about a SyncTarget that it cannot have")
	}
	w.gone("its logical cluster does not have it", true, named)
	w.gone("which is remembered", true)

	w.kcp.Put("two", export, synctarget, far, target("east"))
	w.await("there is one of that name again", true)
	w.kcp.Delete("two", export, synctarget, far, target("east"))
	w.await("it was seen to be deleted", false)
	if again := w.gone("it was seen to be deleted", true); again != 0 {
		t.Errorf("asked again after %s", again)
	}
}

func TestAWorkspaceThatCannotBeReadIsNotGone(t *testing.T) {
	w := newWorld(t)
	w.kcp.Unbind("two", far)
	w.serve("one", "two")
	named := fleet.Key{Cluster: far, Name: "east"}
	for range 5 {
		w.gone("kcp denies that there is such a workspace", false, named)
		w.clock.Step(time.Minute)
	}
	if asked := w.kcp.Lists(); asked > 2*5 {
		t.Errorf("it was asked %d times", asked)
	}
	w.kcp.Bind("two", far)
	w.clock.Step(time.Minute)
	w.gone("now it says", true, named)
}

// That nothing is answered at all is an error, which is tried again by its category.
func TestAShardThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	w.serve("one", "two")
	w.gone("not yet", false, fleet.Key{Cluster: far, Name: "east"})
	w.clock.Step(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone, _, err := w.absences.Gone(ctx, workloadv1alpha1.SyncTargetKey(far, "east"), fleet.Key{Cluster: far, Name: "east"})
	if gone || err == nil {
		t.Errorf("gone is %t, %v", gone, err)
	}
}

// Who did not see the SyncTarget, and is told by nobody where it was, asks its logical cluster all the same if a manager before
// has left word of it. That is no evidence by itself.
func TestWhatAnotherManagerSaw(t *testing.T) {
	w := newWorld(t)
	w.kcp.Put("two", export, synctarget, far, target("east"))
	w.serve("one", "two")
	w.await("it is there", true)
	left := w.memory.Names()
	if east := (fleet.Key{Cluster: far, Name: "east"}); len(left) != 1 || left[0] != east {
		t.Fatalf("got %v", left)
	}
	select {
	case <-w.memory.Learned():
	default:
		t.Error("nobody is told that a name has come")
	}

	w.memory = fleet.NewMemory()
	w.memory.Recall(left)
	w.serve("one")
	w.gone("its shard is not served", false)
	w.clock.Step(time.Minute)
	w.gone("its shard is not served", false)
	w.kcp.Delete("two", export, synctarget, far, target("east"))
	w.serve("one", "two")
	w.gone("nobody was asked yet", false)
	w.clock.Step(time.Minute)
	w.gone("its logical cluster does not have it", true)

	if dropped := w.memory.Forget(w.clock.Now().Add(-time.Hour)); dropped != 0 {
		t.Error("what was asked for a moment ago is forgotten")
	}
	w.clock.Step(2 * time.Hour)
	if dropped := w.memory.Forget(w.clock.Now().Add(-time.Hour)); dropped != 1 || len(w.memory.Names()) != 0 {
		t.Errorf("%d are forgotten, %v are left", dropped, w.memory.Names())
	}
}

// Tenants can name targets that never were, as many as they like. None is remembered for longer than it is named.
func TestWhatNobodyNamesAnyMoreIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.serve("one", "two")
	for i := range 100 {
		_, _, _ = w.absences.Gone(t.Context(), fmt.Sprintf("made-up-%d", i)) // what it says is tested above
	}
	w.unseen("they are named", 100)
	w.clock.Step(time.Hour)
	_, _, _ = w.absences.Gone(t.Context(), "another")
	w.unseen("only the last one is named", 1)
}

// A logical cluster that does not answer delays nobody who asks about a SyncTarget of another one, and who waits for it no longer
// than the pass may last.
func TestAClusterThatHangsDelaysNoOther(t *testing.T) {
	w := newWorld(t)
	w.serve("one", "two")
	hung, other := fleet.Key{Cluster: far, Name: "east"}, fleet.Key{Cluster: "2near", Name: "west"}
	otherKey := workloadv1alpha1.SyncTargetKey("2near", "west")
	w.gone("not yet", false, hung)
	if gone, _, err := w.absences.Gone(t.Context(), otherKey, other); gone || err != nil {
		t.Fatal(gone, err)
	}
	w.clock.Step(time.Minute)
	w.kcp.Hang(far)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, _, err := w.absences.Gone(ctx, workloadv1alpha1.SyncTargetKey(far, "east"), hung)
			ended <- err
		}()
	}
	if gone, _, err := w.absences.Gone(t.Context(), otherKey, other); !gone || err != nil {
		t.Errorf("the other is gone: %t, %v", gone, err)
	}
	cancel()
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("it is known although nobody answered")
		}
	}
}
