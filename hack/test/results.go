package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// result is how a test or, if it names no test, a package ended.
type result struct {
	Package, Test string
	// Action is pass, fail or skip.
	Action  string
	Elapsed float64
}

type results []result

// read takes the results from what go test -json printed. Tests within tests count with the one that holds them.
func read(r io.Reader) (results, error) {
	var found results
	failedIn := map[string]bool{}
	for decoder := json.NewDecoder(r); ; {
		var event result
		switch err := decoder.Decode(&event); {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return nil, fmt.Errorf("reading the tests' events: %w", err)
		}
		ended := event.Action == "pass" || event.Action == "fail" || event.Action == "skip"
		if !ended || event.Package == "" || strings.Contains(event.Test, "/") {
			continue
		}
		if event.Test != "" && event.Action == "fail" {
			failedIn[event.Package] = true
		}
		// A package that fails with a test of its own is told by the test; one that does not build, by itself.
		if event.Test == "" && event.Action == "fail" && !failedIn[event.Package] {
			found = append(found, result{Package: event.Package, Test: "(does not build or end)", Action: "fail", Elapsed: event.Elapsed})
		}
		found = append(found, event)
	}
}

// tests returns those that ended so.
func (r results) tests(action string) results {
	return slices.DeleteFunc(slices.Clone(r), func(x result) bool { return x.Test == "" || x.Action != action })
}

func (r results) failed() int { return len(r.tests("fail")) }

// slowest is how many tests are worth naming for the time that they take.
const slowest = 5

// summarize tells of all tests. Its last line is the tally.
func (r results) summarize(w io.Writer, took time.Duration) {
	passed, failed, skipped := r.tests("pass"), r.tests("fail"), r.tests("skip")
	packages := slices.DeleteFunc(slices.Clone(r), func(x result) bool { return x.Test != "" || x.Action == "skip" })

	fmt.Fprintln(w)
	list(w, "Skipped:", skipped)
	timed := slices.SortedStableFunc(slices.Values(passed), func(a, b result) int { return int(1000 * (b.Elapsed - a.Elapsed)) })
	timed = slices.DeleteFunc(timed[:min(slowest, len(timed))], func(x result) bool { return x.Elapsed < 1 })
	list(w, "Slowest:", timed)
	list(w, "Failed:", failed)
	fmt.Fprintf(w, "%d packages, %d tests skipped, %s\n", len(packages), len(skipped), took.Round(time.Second))
	fmt.Fprintf(w, "%d passed, %d failed\n", len(passed), len(failed))
}

func list(w io.Writer, title string, tests results) {
	if len(tests) == 0 {
		return
	}
	fmt.Fprintln(w, title)
	for _, test := range tests {
		fmt.Fprintf(w, "  %s.%s (%.1fs)\n", test.Package, test.Test, test.Elapsed)
	}
}
