package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
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
	// Why are the lines in which it told why it failed.
	Why []string `json:"-"`
}

type results []result

// read takes the results from what go test -json printed. Tests within tests count with the one that holds them.
func read(r io.Reader) (results, error) {
	var found results
	failedIn := map[string]bool{}
	said := map[test]*words{}
	for decoder := json.NewDecoder(r); ; {
		var event struct {
			result
			Output string
		}
		switch err := decoder.Decode(&event); {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return nil, fmt.Errorf("reading the tests' events: %w", err)
		}
		name, _, inner := strings.Cut(event.Test, "/")
		of := test{event.Package, name}
		if event.Action == "output" {
			if said[of] == nil {
				said[of] = &words{}
			}
			said[of].hear(event.Output)
		}
		ended := event.Action == "pass" || event.Action == "fail" || event.Action == "skip"
		if !ended || event.Package == "" || inner {
			continue
		}
		if event.Test != "" && event.Action == "fail" {
			failedIn[event.Package] = true
		}
		// A package that fails with a test of its own is told by the test; one that does not build, by itself.
		if event.Test == "" && event.Action == "fail" && !failedIn[event.Package] {
			found = append(found, result{Package: event.Package, Test: "(does not build or end)", Action: "fail", Elapsed: event.Elapsed, Why: said[of].last()})
		}
		if event.Test != "" && event.Action == "fail" {
			event.Why = said[of].failures()
		}
		delete(said, of)
		found = append(found, event.result)
	}
}

// test is one at the top, with all those in it, or the package itself.
type test struct{ Package, Test string }

// words are what a test has printed.
type words struct {
	lines []string
}

func (w *words) hear(output string) { w.lines = append(w.lines, strings.TrimRight(output, "\n")) }

// How much of a failed test's words is shown again at the end.
const (
	mostLines   = 20
	longestLine = 500
)

var (
	// told is a line of t.Error and the like; more are the lines that go on with it.
	told = regexp.MustCompile(`^ +[\w-]+\.go:\d+: `)
	more = regexp.MustCompile(`^ {8,}`)
	// logged is a line of a program's log among them.
	logged = regexp.MustCompile(`^ *[IWEF]\d{4} \d\d:\d\d:\d\d`)
)

// failures are the lines of the test's own messages, the last ones if there are many.
func (w *words) failures() []string {
	if w == nil {
		return nil
	}
	var own []string
	telling := false
	for _, line := range w.lines {
		telling = !logged.MatchString(line) && (told.MatchString(line) || telling && more.MatchString(line))
		if telling || strings.HasPrefix(line, "panic: ") {
			own = append(own, line)
		}
	}
	return shown(own)
}

// last are the last lines, whatever they are.
func (w *words) last() []string {
	if w == nil {
		return nil
	}
	return shown(w.lines)
}

func shown(lines []string) []string {
	lines = slices.Clone(lines[max(0, len(lines)-mostLines):])
	for i, line := range lines {
		if len(line) > longestLine {
			lines[i] = strings.ToValidUTF8(line[:longestLine], "") + "…"
		}
	}
	return lines
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
		for _, line := range test.Why {
			fmt.Fprintf(w, "      %s\n", strings.TrimLeft(line, " "))
		}
	}
}
