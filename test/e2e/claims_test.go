package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// claiming are changes of finalizers of ConfigMaps: claims, and releases.
func claiming(r *http.Request) bool {
	if !changes(r) {
		return false
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && bytes.Contains(body, []byte(`"finalizers"`))
}

// No copy waits for a claim: all are there while kcp holds the first claims, and the others wait in a queue that everybody sees. What
// is deleted meanwhile goes at once, and its copy with it. A syncer that is killed then has lost nothing: the next one claims the rest.
func TestCopiesDoNotWaitForClaims(t *testing.T) {
	t.Parallel()
	const objects, atOnce = 40, 16
	tn := newTenant(t)
	kcp := faulty(t, tn.fleet.kcp.AdminConfig())
	g := &gate{when: claiming, open: make(chan struct{})}
	t.Cleanup(func() { close(g.open) }) // kcp's stand-in does not end before its requests
	kcp.Inject(g.hold)
	s := tn.startSyncerWith(syncerOptions{kcp: kcp.Config(), flags: []string{onlyCore, "--workers=2"}})
	tn.up.createMany("web", "new", objects)
	copies := tn.down.awaitMany(tn.downNamespace("web"), objects, nil)
	atOnceUnderWay := func() error {
		if held := g.held.Load(); held != atOnce {
			return fmt.Errorf("%d claims are under way, want %d", held, atOnce)
		}
		return nil
	}
	eventually(t, atOnceUnderWay)
	s.awaitMetric(func(waiting float64) bool { return waiting > 0 && waiting <= objects-atOnce }, "workqueue_depth", "name=configmaps claims")
	if synced := sum(s.Scrape(), "workload_syncer_objects", "resource=configmaps", "state=synced"); synced != 0 {
		t.Errorf("%v count as synced, although they are not claimed", synced)
	}
	const deleted = "new-7"
	tn.up.Delete("ConfigMap", "web", deleted)
	tn.up.EventuallyGone("ConfigMap", "web", deleted)
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), deleted)
	delete(copies, deleted)
	eventually(t, atOnceUnderWay)

	s.Signal(syscall.SIGKILL)
	s.ExitCode()
	s = tn.startSyncer(onlyCore)
	tn.up.awaitMany("web", objects-1, tn.claimed)
	s.awaitMetric(exactly(objects-1), "workload_syncer_writes_total", "direction=up", "verb=claim")
	s.awaitMetric(exactly(objects-1), "workload_syncer_objects", "resource=configmaps", "state=synced")
	for name, u := range tn.down.awaitMany(tn.downNamespace("web"), objects-1, nil) {
		if was, ok := copies[name]; !ok || was.GetUID() != u.GetUID() {
			t.Errorf("%s is another copy", name)
		}
	}
	if n := s.Writes("cluster"); n != 0 {
		t.Errorf("%v writes to the cluster for copies that were there", n)
	}
}

// awaitMany waits until a namespace has so many of the ConfigMaps that createMany has made, each as it should.
func (s *side) awaitMany(namespace string, count int, check func(*unstructured.Unstructured) error) (found map[string]*unstructured.Unstructured) {
	s.T.Helper()
	eventually(s.T, func() error {
		list, err := s.Of("ConfigMap", namespace).List(s.T.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		found = map[string]*unstructured.Unstructured{}
		for i := range list.Items {
			if u := &list.Items[i]; strings.HasPrefix(u.GetName(), "new-") && (check == nil || check(u) == nil) {
				found[u.GetName()] = u
			}
		}
		if len(found) != count {
			return fmt.Errorf("%d of %d", len(found), count)
		}
		return nil
	})
	return found
}

// A claim that lands when the object is no longer wanted here, and its copy is gone, is taken off again.
func TestAClaimThatLandsTooLateIsTakenOff(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	kcp := faulty(t, tn.fleet.kcp.AdminConfig())
	g := &gate{when: claiming, open: make(chan struct{})}
	kcp.Inject(g.hold)
	tn.up.Merge("Namespace", "", "web", `metadata: {labels: {stage: prod}}`)
	s := tn.startSyncerWith(syncerOptions{kcp: kcp.Config(), flags: []string{onlyCore, "--namespace-selectors=stage=prod"}})
	tn.putConfigMap("late")
	eventually(t, func() error {
		if g.held.Load() != 1 {
			return errors.New("no claim is under way")
		}
		return nil
	})
	tn.up.Merge("Namespace", "", "web", `metadata: {labels: {stage: test}}`) // which leaves the object as the claim has seen it
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "late")
	close(g.open)
	s.awaitMetric(exactly(1), "workload_syncer_writes_total", "direction=up", "verb=claim", "result=success")
	s.awaitMetric(exactly(1), "workload_syncer_writes_total", "direction=up", "verb=release", "result=success")
	tn.up.Eventually("ConfigMap", "web", "late", tn.released)
}

// Claims that are refused are failures like any other: the object says why, and so does the type; they are tried again with patience;
// and when they are taken, all of that is taken back.
func TestClaimsThatAreRefused(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	kcp := faulty(t, tn.fleet.kcp.AdminConfig())
	kcp.Inject(refuse(http.StatusForbidden, metav1.StatusReasonForbidden, claiming))
	s := tn.startSyncerWith(syncerOptions{kcp: kcp.Config(), flags: []string{onlyCore}})
	tn.putConfigMap("refused")
	tn.up.Eventually("ConfigMap", "web", "refused", tn.says(workloadv1alpha1.ReasonForbidden, "claiming"))
	tn.awaitTarget(resourceState("configmaps", "Degraded"))
	s.awaitMetric(atLeast(2), "workload_syncer_retries_total", "resource=configmaps", "category=Permission")
	s.awaitMetric(exactly(1), "workload_syncer_objects", "resource=configmaps", "state=failed")
	refused, told := kcp.Hits(), sum(s.Scrape(), "workload_syncer_writes_total", "verb=condition")
	if failures := sum(s.Scrape(), "workload_syncer_retries_total", "resource=configmaps"); float64(refused) > failures+1 || told != 1 {
		t.Errorf("%d claims for %v failures, and %v conditions", refused, failures, told)
	}
	kcp.Inject(nil)
	tn.up.Merge("ConfigMap", "web", "refused", `data: {mode: slow}`) // does not wait for the next retry
	tn.up.Eventually("ConfigMap", "web", "refused", all(tn.claimed, tn.saysNothing))
	tn.awaitTarget(resourceState("configmaps", "Accepted"))
	s.awaitMetric(exactly(1), "workload_syncer_objects", "resource=configmaps", "state=synced")
}
