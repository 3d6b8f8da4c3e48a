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

// event is a line of what go test -json prints.
type event struct {
	result
	Output string
	// ImportPath is what is being built; it is no package's path alone.
	ImportPath string
	// FailedBuild is the ImportPath that a package failed for.
	FailedBuild string
}

// read takes the results from what go test -json printed. Tests within tests count with the one that holds them.
func read(r io.Reader) (results, error) {
	heard := hearing{packages: map[string]*course{}, builds: map[string]*words{}}
	for decoder := json.NewDecoder(r); ; {
		var e event
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			return heard.found, nil
		case err != nil:
			return nil, fmt.Errorf("reading the tests' events: %w", err)
		}
		heard.take(e)
	}
}

// hearing is what was read so far.
type hearing struct {
	found    results
	packages map[string]*course
	// builds are what the compiler said.
	builds map[string]*words
}

func (h *hearing) take(e event) {
	if e.Action == "build-output" {
		if h.builds[e.ImportPath] == nil {
			h.builds[e.ImportPath] = &words{}
		}
		h.builds[e.ImportPath].hear(e.Output)
	}
	if e.Package == "" {
		return
	}
	of := h.packages[e.Package]
	if of == nil {
		of = &course{path: e.Package, said: map[string]*words{}}
		h.packages[e.Package] = of
	}
	switch e.Action {
	case "output":
		of.hear(e.Test, e.Output)
	case "run", "cont":
		of.runs(e.Test)
	case "pause":
		of.rests(e.Test)
	case "pass", "fail", "skip":
		of.rests(e.Test)
		switch {
		case e.Test == "":
			if e.Action == "fail" {
				h.found = append(h.found, h.unnamed(of, e)...)
			}
			h.found = append(h.found, e.result)
			delete(h.packages, e.Package)
		case !strings.Contains(e.Test, "/"):
			h.found = append(h.found, of.ended(e.result))
		}
	}
}

// unnamed are the causes for which a package has failed and that are no test's failures.
func (h *hearing) unnamed(of *course, e event) (found results) {
	causes := of.causes()
	if e.FailedBuild != "" {
		causes = []cause{{"does not build", h.build(e.FailedBuild)}}
	}
	for _, c := range causes {
		found = append(found, result{Package: e.Package, Test: "(" + c.what + ")", Action: "fail", Elapsed: e.Elapsed, Why: c.why})
	}
	return found
}

// build is what the compiler said, once: many packages may fail for the same one.
func (h *hearing) build(path string) []string {
	said, ok := h.builds[path]
	switch {
	case !ok:
		return nil
	case said == nil:
		return []string{"because of " + path + ", see above"}
	}
	h.builds[path] = nil
	return first(slices.DeleteFunc(said.lines, func(line string) bool { return strings.HasPrefix(line, "# ") }), mostLines)
}

// words are what a test has printed.
type words struct {
	lines []string
}

func (w *words) hear(output string) { w.lines = append(w.lines, strings.TrimRight(output, "\n")) }

// How much of a failed test's words is shown again at the end, and of a stack.
const (
	mostLines   = 20
	mostStack   = 50
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
		if telling {
			own = append(own, strings.TrimLeft(line, " "))
		}
	}
	return last(own, mostLines)
}

func (w *words) contain(part string) bool {
	return w != nil && slices.ContainsFunc(w.lines, func(line string) bool { return strings.Contains(line, part) })
}

func last(lines []string, most int) []string { return cut(lines[max(0, len(lines)-most):]) }

// first says how many lines it leaves out.
func first(lines []string, most int) []string {
	if len(lines) <= most {
		return cut(lines)
	}
	return append(cut(lines[:most]), fmt.Sprintf("… and %d more lines", len(lines)-most))
}

// cut shortens lines that are too long.
func cut(lines []string) []string {
	lines = slices.Clone(lines)
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
const slowest = 10

// spent is the time of a run, and that of the processors for all that the tests have started. Processors do other things too.
type spent struct{ wall, cpu time.Duration }

func (s spent) String() string {
	return fmt.Sprintf("%s, %s of CPU", s.wall.Round(time.Second), s.cpu.Round(time.Second))
}

// summarize tells of all tests. Its last line is the tally.
func (r results) summarize(w io.Writer, took spent) {
	passed, failed, skipped := r.tests("pass"), r.tests("fail"), r.tests("skip")
	packages := slices.DeleteFunc(slices.Clone(r), func(x result) bool { return x.Test != "" || x.Action == "skip" })

	fmt.Fprintln(w)
	list(w, "Skipped:", skipped)
	timed := slices.SortedStableFunc(slices.Values(passed), func(a, b result) int { return int(1000 * (b.Elapsed - a.Elapsed)) })
	timed = slices.DeleteFunc(timed[:min(slowest, len(timed))], func(x result) bool { return x.Elapsed < 1 })
	list(w, "Slowest:", timed)
	list(w, "Failed:", failed)
	fmt.Fprintf(w, "%d packages, %d tests skipped, %s\n", len(packages), len(skipped), took)
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
			fmt.Fprintln(w, strings.TrimRight("      "+line, " "))
		}
	}
}
