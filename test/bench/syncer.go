package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// syncer is a running workload-syncer, the real program.
type syncer struct {
	process *env.Process
	http    http.Client
	// began is when the process was started last, and earlier the length of what it had logged by then.
	began   time.Time
	earlier int
}

// startSyncer starts one for the tenant and does not wait until it is ready.
func (b *bench) startSyncer(ctx context.Context, t *tenant) (*syncer, error) {
	return b.startSyncerAt(ctx, b.kcp.AdminConfig(), t)
}

func (b *bench) startSyncerAt(ctx context.Context, kcp *rest.Config, t *tenant) (*syncer, error) {
	kcpFile, err := b.env.Kubeconfig(kcp)
	if err != nil {
		return nil, err
	}
	clusterFile, err := b.env.Kubeconfig(b.cluster.AdminConfig())
	if err != nil {
		return nil, err
	}
	args := []string{
		"--kcp-kubeconfig=" + kcpFile, "--cluster-kubeconfig=" + clusterFile, "--sync-target-workspace=" + t.workspaces[0].Path.String(),
		"--sync-target-name=" + t.name, "--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0", "--enable-profiling",
	}
	if b.verbose {
		args = append(args, "-v=2")
	}
	s := &syncer{began: time.Now()}
	s.process, err = b.env.Start(ctx, env.Command{Name: "syncer-" + t.name, Path: b.binary, Args: slices.Concat(args, t.flags, b.syncerFlags)})
	b.syncer = s
	return s, err
}

// stop ends the syncer in an orderly manner.
func (s *syncer) stop(ctx context.Context) error {
	s.process.Signal(syscall.SIGTERM)
	_, err := s.process.Wait(ctx)
	return err
}

// restart stops the syncer and starts it anew, without waiting until it is ready.
func (s *syncer) restart(ctx context.Context) error {
	if err := s.stop(ctx); err != nil {
		return err
	}
	s.began, s.earlier = time.Now(), len(s.process.Output())
	return s.process.Restart(ctx)
}

var serving = regexp.MustCompile(`"Serving" server="(\w+)" address="([^"]+)"`)

// address is where the current run serves; empty before it does.
func (s *syncer) address(server string) string {
	for _, match := range serving.FindAllStringSubmatch(s.process.Output()[s.earlier:], -1) {
		if match[1] == server {
			return match[2]
		}
	}
	return ""
}

// ask reads a page of one of the syncer's servers.
func (s *syncer) ask(ctx context.Context, server, path string) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address(server)+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// awaitServing waits until the metrics can be asked for, which is right after the start.
func (s *syncer) awaitServing(ctx context.Context) error {
	return env.Poll(ctx, func(context.Context) error {
		if s.address("metrics") == "" {
			return fmt.Errorf("the syncer does not serve its metrics")
		}
		return nil
	})
}

// awaitReady waits until all is listed and at work, and says how long that took since the start. Before it leads, a syncer is ready to
// stand by, which does not count.
func (s *syncer) awaitReady(ctx context.Context) (time.Duration, error) {
	leads := false
	err := poll(ctx, 5*time.Millisecond, func() (bool, error) {
		select {
		case <-s.process.Done():
			return false, fmt.Errorf("the syncer ended")
		default:
		}
		if leads = leads || s.leads(ctx); !leads {
			return false, nil
		}
		code, _, err := s.ask(ctx, "health", "/readyz")
		return err == nil && code == http.StatusOK, nil
	})
	return time.Since(s.began), err
}

func (s *syncer) leads(ctx context.Context) bool {
	families, err := s.metrics(ctx)
	for _, metric := range families["workload_syncer_leader"].GetMetric() {
		return err == nil && metric.GetGauge().GetValue() == 1
	}
	return false
}

// metrics are the syncer's own, by name.
func (s *syncer) metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	_, body, err := s.ask(ctx, "metrics", "/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(string(body)))
}

// requests are what was sent to a server since the start, by method.
type requests map[string]float64

func requestsTo(families map[string]*dto.MetricFamily, server string) requests {
	byMethod := requests{}
	for _, metric := range families["rest_client_requests_total"].GetMetric() {
		if label(metric, "server") == server {
			byMethod[label(metric, "method")] += metric.GetCounter().GetValue()
		}
	}
	return byMethod
}

func label(metric *dto.Metric, name string) string {
	for _, l := range metric.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func (r requests) total() float64 {
	total := 0.0
	for _, n := range r {
		total += n
	}
	return total
}

func (r requests) writes() float64 { return r.total() - r[http.MethodGet] }

// sample is what the syncer has used up since its start.
type sample struct {
	cluster, kcp requests
	// upWrites are writes to kcp about objects, statusWrites those among them that bring a status home.
	upWrites, statusWrites float64
	heartbeats             float64
	openWatches            float64
	cpu                    float64
	at                     time.Time
}

func (s *syncer) sample(ctx context.Context) (sample, error) {
	families, err := s.metrics(ctx)
	if err != nil {
		return sample{}, err
	}
	taken := sample{cluster: requestsTo(families, "cluster"), kcp: requestsTo(families, "kcp"), cpu: s.cpuSeconds(), at: time.Now()}
	for _, metric := range families["workload_syncer_writes_total"].GetMetric() {
		if label(metric, "direction") != "up" {
			continue
		}
		taken.upWrites += metric.GetCounter().GetValue()
		if label(metric, "verb") == "status" {
			taken.statusWrites += metric.GetCounter().GetValue()
		}
	}
	for _, metric := range families["workload_syncer_heartbeats_total"].GetMetric() {
		taken.heartbeats += metric.GetCounter().GetValue()
	}
	for _, metric := range families["rest_client_open_watches"].GetMetric() {
		taken.openWatches += metric.GetGauge().GetValue()
	}
	return taken, nil
}

// downWrites are writes of objects: those to the cluster without those of the Lease, which alone is PUT.
func (s sample) downWrites() float64 { return s.cluster.writes() - s.cluster[http.MethodPut] }

// awaitSynced waits until so many objects are in sync. Ready alone is not enough: a type that cannot be listed at once does not make
// a syncer unready.
func (s *syncer) awaitSynced(ctx context.Context, count int) error {
	synced := 0.0
	err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		families, err := s.metrics(ctx)
		if err != nil {
			return false, err
		}
		synced = 0
		for _, metric := range families["workload_syncer_objects"].GetMetric() {
			if label(metric, "state") == "synced" {
				synced += metric.GetGauge().GetValue()
			}
		}
		return int(synced) >= count, nil
	})
	if err != nil {
		return fmt.Errorf("%.0f of %d objects are in sync: %w", synced, count, err)
	}
	return nil
}

// awaitQuiet waits until no object has been written for a second, and gives the last look.
func (s *syncer) awaitQuiet(ctx context.Context) (sample, error) {
	return s.awaitSame(ctx, time.Second, func(now sample) float64 { return now.upWrites + now.downWrites() })
}

// settled is longer than it takes after a start until the types are looked at for the last time.
const settled = 13 * time.Second

// awaitIdle waits until nothing but heartbeats has been sent for a while.
func (s *syncer) awaitIdle(ctx context.Context) (sample, error) {
	return s.awaitSame(ctx, settled, func(now sample) float64 { return now.cluster.total() + now.kcp.total() - now.heartbeats })
}

func (s *syncer) awaitSame(ctx context.Context, during time.Duration, count func(sample) float64) (last sample, err error) {
	since := time.Now()
	err = poll(ctx, 200*time.Millisecond, func() (bool, error) {
		now, err := s.sample(ctx)
		if err != nil {
			return false, err
		}
		if count(now) != count(last) {
			since = now.at
		}
		last = now
		return now.at.Sub(since) >= during, nil
	})
	return last, err
}

// cpuSeconds of the process since its start; zero where the system does not tell.
func (s *syncer) cpuSeconds() float64 {
	stat, _ := readStat(fmt.Sprintf("/proc/%d/stat", s.process.PID()))
	return stat.cpu
}

// status reads a size from the process' status, in MiB: VmRSS is the resident memory, VmHWM the most that it was.
func (s *syncer) status(field string) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		var kib float64
		if _, err := fmt.Sscanf(line, field+": %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}

// liveHeap is what a garbage collection leaves, in bytes.
func (s *syncer) liveHeap(ctx context.Context) (float64, error) {
	for range 2 { // what waits in pools lives for one more
		if _, _, err := s.ask(ctx, "metrics", "/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	families, err := s.metrics(ctx)
	if err != nil {
		return 0, err
	}
	// What is allocated between collection and question is small beside what is measured.
	return families["go_memstats_heap_alloc_bytes"].GetMetric()[0].GetGauge().GetValue(), nil
}

func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	deadline := time.After(patience)
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("not within %s", patience)
		case <-ticker.C:
		}
	}
}
