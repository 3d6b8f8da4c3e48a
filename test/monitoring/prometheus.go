package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// prometheusServer is a running Prometheus.
type prometheusServer struct {
	api     prometheus.API
	process *exec.Cmd
}

// scrapeConfig is for a story of a few minutes: everything is looked at far more often than in earnest.
const scrapeConfig = `
global: {scrape_interval: 1s, evaluation_interval: 1s, scrape_native_histograms: true, always_scrape_classic_histograms: true}
rule_files: [%q]
scrape_configs:
  - job_name: demo
    file_sd_configs: [{files: [%q], refresh_interval: 1s}]
`

func startPrometheus(ctx context.Context, dir, targets string) (*prometheusServer, error) {
	binary, err := exec.CommandContext(ctx, "hack/tools/tool", "prometheus", "prometheus").Output()
	if err != nil {
		return nil, fmt.Errorf("building prometheus: %w", err)
	}
	if err := copyRules(dir); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, scrapeConfig, dir+"/*.rules.yaml", targets), 0o600); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	_ = listener.Close()
	s := &prometheusServer{process: exec.CommandContext(ctx, strings.TrimSpace(string(binary)),
		"--config.file="+config, "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+address, "--log.level=warn")}
	s.process.Stderr = os.Stderr
	s.process.Cancel = func() error { return s.process.Process.Signal(syscall.SIGTERM) }
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	client, err := api.NewClient(api.Config{Address: "http://" + address})
	if err != nil {
		return nil, err
	}
	s.api = prometheus.NewAPI(client)
	if err := s.await(ctx, "http://"+address+"/-/ready"); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// copyRules takes the rules as they are, but for how often they are evaluated.
func copyRules(dir string) error {
	for _, name := range []string{"recording.rules.yaml", "alerts.rules.yaml"} {
		raw, err := os.ReadFile(filepath.Join(rulesFolder, name))
		if err != nil {
			return err
		}
		raw = regexp.MustCompile(`(?m)^ +interval: .*\n`).ReplaceAll(raw, nil)
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *prometheusServer) await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		response, err := (&http.Client{}).Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("prometheus does not get ready: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *prometheusServer) stop() error {
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = s.process.Wait() // it was told to
	return nil
}

// tellStory runs the demo to its end, and lets it run on for a while.
func tellStory(ctx context.Context, targets string, after time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	demo := exec.CommandContext(ctx, "bin/demo")
	demo.Env = append(os.Environ(), "DEMO_KEEP=1", "DEMO_PROMETHEUS="+targets)
	told := &told{written: os.Stdout, ended: make(chan struct{})}
	demo.Stdout, demo.Stderr = told, os.Stderr
	demo.Cancel = func() error { return demo.Process.Signal(syscall.SIGTERM) }
	demo.WaitDelay = time.Minute
	if err := demo.Start(); err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	failed := make(chan error, 1)
	go func() { failed <- demo.Wait() }()
	select {
	case err := <-failed:
		return fmt.Errorf("the demo ended before its story did: %w", err)
	case <-told.ended:
	}
	select {
	case err := <-failed:
		return fmt.Errorf("the demo ended: %w", err)
	case <-time.After(after):
	}
	cancel()
	if err := <-failed; err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// told passes on what the demo says, and notices the end of the story.
type told struct {
	written *os.File
	seen    bytes.Buffer
	ended   chan struct{}
	closed  bool
}

// Write implements io.Writer.
func (t *told) Write(p []byte) (int, error) {
	t.seen.Write(p)
	if !t.closed && bytes.Contains(t.seen.Bytes(), []byte("That was all")) {
		t.closed = true
		close(t.ended)
	}
	return t.written.Write(p)
}

// span is the time that is drawn, and the cluster whose syncer is.
type span struct {
	from, to time.Time
	cluster  string
}

const step = 2 * time.Second

// scraped is the part of the time in which there was something to scrape.
func (s *prometheusServer) scraped(ctx context.Context, since time.Time) (span, error) {
	now := time.Now()
	result, _, err := s.api.QueryRange(ctx, "count(up)", prometheus.Range{Start: since, End: now, Step: step})
	if err != nil {
		return span{}, err
	}
	if matrix, ok := result.(model.Matrix); ok && len(matrix) > 0 {
		since = matrix[0].Values[0].Timestamp.Time()
	}
	survivor, err := s.survivor(ctx, now)
	return span{from: since, to: now, cluster: survivor}, err
}

// survivor is the cluster that lives to the end of the story.
func (s *prometheusServer) survivor(ctx context.Context, at time.Time) (string, error) {
	result, _, err := s.api.Query(ctx, "workload_syncer_leader == 1", at)
	if err != nil {
		return "", err
	}
	living, ok := result.(model.Vector)
	if !ok || len(living) == 0 {
		return "", errors.New("no syncer works at the end of the story")
	}
	return string(living[0].Metric["cluster"]), nil
}

// series are the results of a panel's queries, each with its legend.
func (s *prometheusServer) series(ctx context.Context, p panel, in span) ([]curve, error) {
	var curves []curve
	for _, t := range p.Targets {
		query := t.query(in.cluster, "30s")
		result, _, err := s.api.QueryRange(ctx, query, prometheus.Range{Start: in.from, End: in.to, Step: step})
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", p.Title, query, err)
		}
		matrix, ok := result.(model.Matrix)
		if !ok {
			return nil, fmt.Errorf("%s: %s gives %s", p.Title, query, result.Type())
		}
		for _, stream := range matrix {
			curves = append(curves, curve{name: legend(t.LegendFormat, stream.Metric), points: stream.Values})
		}
	}
	slices.SortFunc(curves, func(a, b curve) int { return strings.Compare(a.name, b.name) })
	return curves, nil
}

var variable = regexp.MustCompile(`\{\{(\w+)\}\}`)

func legend(format string, metric model.Metric) string {
	text := variable.ReplaceAllStringFunc(format, func(found string) string {
		return string(metric[model.LabelName(strings.Trim(found, "{}"))])
	})
	return strings.Join(strings.Fields(text), " ")
}

// tellAlerts says which alerts fired or were about to.
func (s *prometheusServer) tellAlerts(ctx context.Context, in span) error {
	result, _, err := s.api.Query(ctx, fmt.Sprintf("count by (alertname, alertstate) (max_over_time(ALERTS[%ds]))", int(in.to.Sub(in.from).Seconds())), in.to)
	if err != nil {
		return err
	}
	fmt.Println("alerts during the story:")
	fmt.Println(result)
	return nil
}
