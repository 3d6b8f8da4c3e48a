package syncer

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestUntilStatus(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tc := range []struct {
		name       string
		window     time.Duration
		made, last time.Time
		want       time.Duration
	}{
		{"the first change of a copy that was there before is told at once", time.Second, time.Time{}, time.Time{}, 0},
		{"what controllers say of a new copy is told in one write", time.Second, ago(100 * time.Millisecond), time.Time{}, 400 * time.Millisecond},
		{"a new copy is told of soon, however long the window", time.Hour, ago(time.Second), time.Time{}, 0},
		{"without a window nothing waits", 0, now, now, 0},
		{"after a write the window has to pass", time.Minute, time.Time{}, ago(20 * time.Second), 40 * time.Second},
		{"and then the next is told at once", time.Minute, time.Time{}, ago(2 * time.Minute), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &pass{c: &ResourceController{settings: newLive(settings{statusWindow: tc.window})}, now: now, record: record{made: tc.made, lastStatus: tc.last}}
			if got := max(0, p.untilStatus()); got != tc.want {
				t.Errorf("waits %s, want %s", got, tc.want)
			}
		})
	}
}

// What the controllers of the cluster are not done with stays there for a while, if there is much else to bring home.
func TestABacklogsStatusWaitsForTheEnd(t *testing.T) {
	deployment := func(observed int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"generation": int64(1)}, "spec": map[string]any{"replicas": int64(0)},
			"status": map[string]any{"observedGeneration": observed, "conditions": []any{
				map[string]any{"type": "Available", "status": "True"}, map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
			}},
		}}
	}
	for _, tc := range []struct {
		name    string
		backlog bool
		made    time.Duration // ago
		copied  *unstructured.Unstructured
		want    time.Duration
	}{
		{"its controllers have not come to it", true, 10 * time.Second, deployment(0), 20 * time.Second},
		{"they are done with it", true, 10 * time.Second, deployment(1), 0},
		{"they take too long", true, time.Minute, deployment(0), 0},
		{"there is no backlog", false, 10 * time.Second, deployment(0), 0},
		{"nothing tells whether they are done", true, 0, &unstructured.Unstructured{Object: map[string]any{"kind": "Widget", "status": map[string]any{}}}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			p := &pass{now: now, record: record{backlog: tc.backlog, made: now.Add(-tc.made)}, down: &object{}, downstream: tc.copied}
			if got := max(0, p.untilCalm()); got != tc.want {
				t.Errorf("waits for %s, want %s", got, tc.want)
			}
		})
	}
}
