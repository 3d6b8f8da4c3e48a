package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []float64
		q      float64
		want   float64
	}{
		{"of nothing", nil, .5, 0},
		{"the median", []float64{3, 1, 2}, .5, 2},
		{"the last, not one beyond", []float64{1, 2, 3}, 1, 3},
	} {
		if got := quantile(tc.values, tc.q); got != tc.want {
			t.Errorf("%s: %g, want %g", tc.name, got, tc.want)
		}
	}
}

func TestGoals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		goal   goal
		value  float64
		missed bool
	}{
		{"at most is met by the bound", atMost(2), 2, false},
		{"at most is met by what the table shows as the bound", atMost(2), 2.004, false},
		{"at most is missed above", atMost(2), 2.01, true},
		{"at least is met by the bound", atLeast(.8), .8, false},
		{"at least is missed below", atLeast(.8), .79, true},
	} {
		if got := tc.goal.missedBy(tc.value); got != tc.missed {
			t.Errorf("%s: missed %t", tc.name, got)
		}
	}
}

// Only goals in counts fail a run: times depend on the machine.
func TestMissesThatFailARun(t *testing.T) {
	b := &bench{out: t.Output()}
	b.judge("slow", 3, "s", atMost(2))
	b.judge("few writes", 1, "", counted(atMost(1)))
	if len(b.misses) != 0 {
		t.Errorf("a time or a goal that is met fails the run: %v", b.misses)
	}
	b.judge("many writes", 2, "", counted(atMost(1)))
	if len(b.misses) != 1 {
		t.Errorf("%d failures, want 1", len(b.misses))
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-quick", "-objects", "7", "-only", "f,drain", "-memory", "1,2"})
	if err != nil {
		t.Fatal(err)
	}
	if o.objects != 7 || o.singles != quick.singles || o.docs != "" || !slices.Equal(o.only, []string{"restart", "drain"}) || !slices.Equal(o.memory, []int{1, 2}) {
		t.Errorf("parsed as %+v", o)
	}
}

func TestLags(t *testing.T) {
	start := time.Now()
	made := &created{at: map[string]time.Time{"late": start, "early": start.Add(time.Second), "missing": start}}
	seen := &sightings{at: map[string]time.Time{"late": start.Add(20 * time.Millisecond), "early": start}}
	lags := seen.lags(made)
	slices.Sort(lags)
	if !slices.Equal(lags, []float64{0, 20}) {
		t.Errorf("lags are %v: none for what is missing, nothing below zero", lags)
	}
}

func TestGrowthIsDrawn(t *testing.T) {
	dir := t.TempDir()
	if err := drawGrowth(dir, []point{
		{Scenario: "memory", Objects: 1000, LiveHeap: 10, Resident: 50, ReadySeconds: .2},
		{Scenario: "memory", Objects: 10000, LiveHeap: 60, Resident: 120, ReadySeconds: 1},
		{Scenario: "growth", Objects: 1000, Workspaces: 1},
	}); err != nil {
		t.Fatal(err)
	}
	drawn, err := os.ReadFile(filepath.Join(dir, "growth-objects.svg"))
	if err != nil || !strings.Contains(string(drawn), "live heap") {
		t.Errorf("the picture does not name its curves: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "growth-workspaces.svg")); !os.IsNotExist(err) {
		t.Errorf("one point is no growth: %v", err)
	}
}

func TestProcessStat(t *testing.T) {
	const text = "4711 (odd) name) S 42 4711 4711 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 5 0"
	if got, ok := parseStat(text); !ok || got != (processStat{name: "odd) name", pid: 4711, parent: 42, cpu: 2}) {
		t.Errorf("read as %+v, %t", got, ok)
	}
	if _, ok := parseStat("4711 (cut"); ok {
		t.Error("read what is not whole")
	}
}

func TestUsageSince(t *testing.T) {
	used := cpuTime{"syncer": 3, "etcd": 1}.since(cpuTime{"etcd": 1})
	if len(used) != 1 || used["syncer"] != 3 || used.total() != 3 {
		t.Errorf("used %v, want what has grown", used)
	}
}
