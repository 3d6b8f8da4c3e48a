package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figure is one measured value.
type figure struct {
	Scenario string  `json:"scenario"`
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit,omitempty"`
	// Goal says what the value should be, Missed that it is not.
	Goal   string `json:"goal,omitempty"`
	Missed bool   `json:"missed,omitempty"`
}

// goal is what a value should be.
type goal struct {
	bound   float64
	atLeast bool
	// counted: it does not depend on the machine, so that a miss is a failure of the run.
	counted bool
}

func atMost(bound float64) goal  { return goal{bound: bound} }
func atLeast(bound float64) goal { return goal{bound: bound, atLeast: true} }

func counted(g goal) goal {
	g.counted = true
	return g
}

func (g goal) String() string {
	if g.atLeast {
		return fmt.Sprintf("≥ %g", g.bound)
	}
	return fmt.Sprintf("≤ %g", g.bound)
}

func (g goal) missedBy(value float64) bool {
	const rounding = .005 // what the table does not show
	if g.atLeast {
		return value < g.bound-rounding
	}
	return value > g.bound+rounding
}

// add notes a figure.
func (b *bench) add(name string, value float64, unit string) {
	b.note(figure{Scenario: b.scenario, Name: name, Value: value, Unit: unit})
}

// judge notes a figure and compares it with its goal.
func (b *bench) judge(name string, value float64, unit string, g goal) {
	f := figure{Scenario: b.scenario, Name: name, Value: value, Unit: unit, Goal: g.String(), Missed: g.missedBy(value)}
	if f.Missed && g.counted {
		b.misses = append(b.misses, fmt.Errorf("%s: %s is %s, which should be %s on any machine", b.scenario, name, f.value(), g))
	}
	b.note(f)
}

// addLatency notes the quantiles of milliseconds and gives their median.
func (b *bench) addLatency(name string, took []float64) float64 {
	for _, q := range []float64{.5, .9, .99} {
		b.add(fmt.Sprintf("%s: p%.0f of %d", name, q*100, len(took)), quantile(took, q), "ms")
	}
	return quantile(took, .5)
}

// quantile of values; they are sorted in place.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

func (b *bench) note(f figure) {
	b.figures = append(b.figures, f)
	fmt.Fprintf(b.out, "%-90s %14s  %s\n", f.Name, f.value(), f.verdict())
}

func (f figure) value() string { return strings.TrimSpace(fmt.Sprintf("%.2f %s", f.Value, f.Unit)) }

func (f figure) verdict() string {
	switch {
	case f.Goal == "":
		return ""
	case f.Missed:
		return f.Goal + " missed"
	default:
		return f.Goal + " met"
	}
}

// record is what is kept of a run.
type record struct {
	Date    string   `json:"date"`
	CPU     string   `json:"cpu"`
	Cores   int      `json:"cores"`
	Load    string   `json:"loadAverageAtTheEnd"`
	Go      string   `json:"go"`
	Commit  string   `json:"commit"`
	Servers string   `json:"servers"`
	Figures []figure `json:"figures"`
	Growth  []point  `json:"growth,omitempty"`
}

// servers are the versions that hack/servers pins.
const servers = "kcp v0.28.1, kube-apiserver v1.36.1, etcd as these pin it, all on loopback and without fsync"

// report writes the figures of the run to the documentation.
func (b *bench) report(ctx context.Context) error {
	if b.docs == "" {
		return nil
	}
	r := record{
		Date: time.Now().UTC().Format(time.DateOnly), CPU: cpuModel(), Cores: runtime.NumCPU(), Load: loadAverage(), Go: runtime.Version(),
		Commit: commit(ctx), Servers: servers, Figures: b.figures, Growth: b.points,
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.MkdirAll(b.docs, 0o755),
		os.WriteFile(filepath.Join(b.docs, "benchmarks.json"), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(b.docs, "benchmarks.md"), []byte(r.markdown()), 0o644),
		drawGrowth(b.docs, b.points),
	)
}

const introduction = `# Benchmarks

Written by ` + "`make bench`" + `. Everything runs on one machine: kcp, the physical cluster, the syncer and the measuring program. The
raw limits of the same servers, taken in the same run, stand beside our figures, because only the ratio means something on
another machine.

Writes are what the syncer's own rest_client_requests_total counts as other than GET, without heartbeats and Lease. CPU is
user and system time of the syncer's process. A goal that is missed says so; goals in counts fail the run.

`

func (r record) markdown() string {
	var md strings.Builder
	md.WriteString(introduction)
	fmt.Fprintf(&md, "Measured on %s at commit %s with %d cores (%s), %s. Load average of the machine at the end: %s. Servers: %s.\n",
		r.Date, r.Commit, r.Cores, r.CPU, r.Go, r.Load, r.Servers)
	for _, s := range scenarios {
		writeScenario(&md, s, r.Figures)
	}
	writeGrowth(&md, r.Growth)
	return md.String()
}

func writeScenario(md *strings.Builder, s scenario, figures []figure) {
	figures = slices.DeleteFunc(slices.Clone(figures), func(f figure) bool { return f.Scenario != s.name })
	if len(figures) == 0 {
		return
	}
	fmt.Fprintf(md, "\n## %s\n\nHow: %s.\n\n| what | value | goal |\n|---|---|---|\n", s.name, s.about)
	for _, f := range figures {
		fmt.Fprintf(md, "| %s | %s | %s |\n", f.Name, f.value(), f.verdict())
	}
}

func writeGrowth(md *strings.Builder, points []point) {
	if len(points) == 0 {
		return
	}
	md.WriteString("\n## Growth in one table\n\n" +
		"Copies are those that are new since the row above with as many workspaces; the rest is of a restart with all in place.\n\n" +
		"| objects | workspaces | copies per second | CPU per copy, ms | restart until ready, s | CPU of the restart, s | live heap, MiB | resident, MiB | most resident, MiB |\n" +
		"|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range points {
		fmt.Fprintf(md, "| %d | %d | %.0f | %.2f | %.2f | %.2f | %.1f | %.1f | %.1f |\n",
			p.Objects, p.Workspaces, p.CopiesPerSecond, p.CPUPerCopy, p.ReadySeconds, p.RestartCPU, p.LiveHeap, p.Resident, p.MostResident)
	}
}

func cpuModel() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer func() { _ = file.Close() }()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if name, value, found := strings.Cut(scanner.Text(), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// loadAverage of one, five and fifteen minutes.
func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(raw))[:3], ", ")
}

func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
