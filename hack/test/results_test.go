package main

import (
	"strings"
	"testing"
	"time"
)

const events = `
{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"--- PASS"}
{"Action":"pass","Package":"m/a","Test":"TestGood/part","Elapsed":1}
{"Action":"pass","Package":"m/a","Test":"TestGood","Elapsed":2.5}
{"Action":"skip","Package":"m/a","Test":"TestNotHere","Elapsed":0}
{"Action":"pass","Package":"m/a","Elapsed":3}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"m/b","Test":"TestBad/part","Output":"        I1126 00:35:26.201039   22010 reflector.go:418] noise\n"}
{"Action":"output","Package":"m/b","Test":"TestBad/part","Output":"    b_test.go:7: got 1,\n"}
{"Action":"output","Package":"m/b","Test":"TestBad/part","Output":"        want 2\n"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"--- FAIL: TestBad (0.10s)\n"}
{"Action":"fail","Package":"m/b","Test":"TestBad/part","Elapsed":0.1}
{"Action":"fail","Package":"m/b","Test":"TestBad","Elapsed":0.1}
{"Action":"fail","Package":"m/b","Elapsed":0.2}
{"Action":"skip","Package":"m/without/tests","Elapsed":0}
`

func TestSummary(t *testing.T) {
	found, err := read(strings.NewReader(events))
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	found.summarize(&told, spent{wall: 61 * time.Second, cpu: 90 * time.Second})
	want := `
Skipped:
  m/a.TestNotHere (0.0s)
Slowest:
  m/a.TestGood (2.5s)
Failed:
  m/b.TestBad (0.1s)
      b_test.go:7: got 1,
      want 2
2 packages, 1 tests skipped, 1m1s, 1m30s of CPU
1 passed, 1 failed
`
	if told.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", told.String(), want)
	}
}

func TestPhasesShareAllPackages(t *testing.T) {
	for path, servers := range map[string]bool{
		"m/pkg/a":         false,
		"m/test/layers":   false,
		"m/test/env":      true,
		"m/test/e2e":      true,
		"m/test/e2e/deep": true,
		"m/test/envelope": false,
	} {
		for _, p := range phases(true, machine{cores: 2}) {
			if got, want := p.packages(path), (p.name == "servers") == servers; got != want {
				t.Errorf("phase %s tests %s: %t, want %t", p.name, path, got, want)
			}
		}
	}
}

func TestLongestComesFirst(t *testing.T) {
	order := []string{"m/test/e2e/fleet", "m/test/e2e", "m/test/e2e/new", "m/test/chaos", "m/test/e2e/virtualworkspace", "m/test/e2e/plugin", "m/test/env", "m/pkg/a"}
	for i, path := range order[1:] {
		if before := order[i]; turn(before) > turn(path) {
			t.Errorf("%s comes before %s", path, before)
		}
	}
}

func TestHowMuchRunsTogether(t *testing.T) {
	for _, tc := range []struct {
		what            string
		on              machine
		packages, tests int
	}{
		{"a small machine runs two packages", machine{cores: 2, memory: 16 << 30}, 2, 3},
		{"a larger one more of their tests", machine{cores: 8, memory: 64 << 30}, 2, 8},
		{"without the memory for it they take turns", machine{cores: 2, memory: 6 << 30}, 1, 6},
		{"as where nobody knows", machine{cores: 16}, 1, 16},
	} {
		if packages, tests := tc.on.together(); packages != tc.packages || tests != tc.tests {
			t.Errorf("%s: got %d packages with %d tests", tc.what, packages, tests)
		}
	}
}
