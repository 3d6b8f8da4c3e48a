package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// figure is one measured value.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

func (b *bench) add(name string, value float64, unit string) {
	b.figures = append(b.figures, figure{name, value, unit})
	fmt.Fprintf(b.out, "%-80s %10.2f %s\n", name, value, unit)
}

func (b *bench) addLatency(name string, took []float64) {
	for _, q := range []float64{.5, .9, .99} {
		b.add(fmt.Sprintf("%s: p%.0f of %d", name, q*100, len(took)), quantile(took, q), "ms")
	}
}

// record is what is kept of a run.
type record struct {
	Date    string   `json:"date"`
	CPU     string   `json:"cpu"`
	Cores   int      `json:"cores"`
	Go      string   `json:"go"`
	Figures []figure `json:"figures"`
}

// report writes the figures of the run to the documentation.
func (b *bench) report(context.Context) error {
	if b.docs == "" {
		return nil
	}
	r := record{Date: time.Now().UTC().Format(time.DateOnly), CPU: cpuModel(), Cores: runtime.NumCPU(), Go: runtime.Version(), Figures: b.figures}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.docs, "benchmarks.json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.docs, "benchmarks.md"), []byte(r.markdown()), 0o644)
}

func (r record) markdown() string {
	var md strings.Builder
	fmt.Fprintf(&md, `# Benchmarks

Written by make bench. Everything runs on one machine: kcp, the physical cluster, the syncer and the measuring program. The
raw limits of the same servers, taken in the same run, stand beside our figures, because only the ratio means something on
another machine.

* **Raw creates** are those of a bare dynamic client with that many workers.
* **The trivial loop** is a watch on kcp that does nothing but create the same object in the cluster: the floor of any syncer.
* **Latency** is taken one object at a time, from the acknowledgement of the write on one side to its watch event on the other.
* **Writes** are what the syncer's own rest_client_requests_total counts as other than GET.
* **Restart** is a SIGTERM and a new process with everything in place; ready is when /readyz says so.

Measured on %s with %d cores (%s), %s.

| what | value |
|---|---|
`, r.Date, r.Cores, r.CPU, r.Go)
	for _, f := range r.Figures {
		fmt.Fprintf(&md, "| %s | %s |\n", f.Name, strings.TrimSpace(fmt.Sprintf("%.2f %s", f.Value, f.Unit)))
	}
	return md.String()
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
