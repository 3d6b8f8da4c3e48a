package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
)

// metrics is the reference of all metrics of our own. Those of the Go runtime and the process are known well enough.
func metrics() (string, error) {
	nowhere := &rest.Config{Host: "https://localhost"} // nothing listens, and no request is sent
	s, err := syncer.New(syncer.Config{KCP: nowhere, Cluster: nowhere})
	if err != nil {
		return "", err
	}
	m, err := manager.New(manager.Config{KCP: nowhere})
	if err != nil {
		return "", err
	}
	var page strings.Builder
	page.WriteString("# Metrics\n\n" +
		"On `/metrics` of `--metrics-port`, with those of the Go runtime (`go_…`) and of the process (`process_…`). Labels are bounded: no\n" +
		"object, namespace or workspace is ever one.\n")
	for _, program := range []struct {
		name    string
		metrics interface{ Describe(chan<- *prometheus.Desc) }
	}{{"workload-syncer", s}, {"workload-manager", m}} {
		rows, err := metricRows(program.metrics)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&page, "\n## %s\n\n| metric | labels | what it says |\n|---|---|---|\n%s", program.name, rows)
	}
	return page.String(), nil
}

func metricRows(of interface{ Describe(chan<- *prometheus.Desc) }) (string, error) {
	var rows []string
	for _, text := range describe(of) {
		row, err := metricRow(text)
		if err != nil {
			return "", err
		}
		rows = append(rows, row)
	}
	slices.Sort(rows)
	return strings.Join(rows, ""), nil
}

// describe gathers the descriptions, which the library hands out as text only.
func describe(s interface{ Describe(chan<- *prometheus.Desc) }) []string {
	out := make(chan *prometheus.Desc)
	go func() {
		defer close(out)
		s.Describe(out)
	}()
	var texts []string
	for desc := range out {
		if text := desc.String(); !strings.Contains(text, `fqName: "go_`) && !strings.Contains(text, `fqName: "process_`) {
			texts = append(texts, text)
		}
	}
	return texts
}

var description = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(.*)", constLabels: \{.*\}, variableLabels: \{(.*)\}\}$`)

func metricRow(described string) (string, error) {
	parts := description.FindStringSubmatch(described)
	if parts == nil {
		return "", fmt.Errorf("the library describes a metric in a new way: %s", described)
	}
	var labels []string
	for label := range strings.SplitSeq(parts[3], ",") {
		labels = append(labels, code(label))
	}
	return fmt.Sprintf("| %s | %s | %s |\n", code(parts[1]), strings.Join(labels, " "), text(parts[2])), nil
}
