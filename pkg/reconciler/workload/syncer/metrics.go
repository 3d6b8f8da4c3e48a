package syncer

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Directions of a change.
const (
	directionDown = "down"
	directionUp   = "up"
)

// Metrics are what a syncer tells Prometheus. Labels are bounded by the number of resource types: no object, namespace
// or workspace is ever a label.
type Metrics struct {
	writes            *prometheus.CounterVec
	stepSeconds       *prometheus.HistogramVec
	lagSeconds        *prometheus.HistogramVec
	hopSeconds        *prometheus.HistogramVec
	retriesTotal      *prometheus.CounterVec
	correctionsTotal  *prometheus.CounterVec
	fightsTotal       *prometheus.CounterVec
	conflictsTotal    *prometheus.CounterVec
	orphansSweptTotal *prometheus.CounterVec
	namespacesRemoved prometheus.Counter
	heartbeats        *prometheus.CounterVec
	lastHeartbeat     prometheus.Gauge
	leader            prometheus.Gauge
}

// latencyBuckets span what a pass step and a hop between the servers take: 0.1 ms to a minute.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		writes: counters("workload_syncer_writes_total",
			"Writes by resource, direction (down to the cluster, up to kcp), verb and result (success, or the error's category).",
			"group", "resource", "direction", "verb", "result"),
		stepSeconds: histograms("workload_syncer_pass_step_duration_seconds",
			"Time that each step of a pass over an object took.", "resource", "step"),
		lagSeconds: histograms("workload_syncer_lag_seconds",
			"Time from seeing a live change on one side to having written it to the other: down is spec, up is status.", "resource", "direction"),
		hopSeconds: histograms("workload_syncer_hop_duration_seconds",
			"Time that each hop of a live change took. Down: queue (seen upstream until the pass that wrote it), write (from there until the cluster had it). "+
				"cluster: the copy was made until its first status was seen. Up: collect (seen downstream until the pass that brought it home), report (from there until kcp had it).",
			"resource", "hop"),
		retriesTotal: counters("workload_syncer_retries_total",
			"Passes that failed and are tried again, by error category.", "resource", "category"),
		correctionsTotal: counters("workload_syncer_drift_corrections_total",
			"Copies that somebody else had changed and that were corrected.", "resource"),
		fightsTotal: counters("workload_syncer_drift_fights_total",
			"Corrections that were slowed down because another writer keeps changing the same copy.", "resource"),
		conflictsTotal: counters("workload_syncer_name_conflicts_total",
			"Copies that were not made because a stranger's object has their name.", "resource"),
		orphansSweptTotal: counters("workload_syncer_orphans_swept_total",
			"Copies that were deleted because they had no upstream object.", "resource"),
		namespacesRemoved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "workload_syncer_namespaces_removed_total", Help: "Downstream namespaces that were removed because nothing was left in them.",
		}),
		heartbeats: counters("workload_syncer_heartbeats_total", "Heartbeats sent to the SyncTarget, by result.", "result"),
		lastHeartbeat: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "workload_syncer_last_heartbeat_timestamp_seconds", Help: "When the last heartbeat was accepted, in seconds since the epoch.",
		}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "workload_syncer_leader", Help: "1 if this replica is the one that works.",
		}),
	}
	registry.MustRegister(m.writes, m.stepSeconds, m.lagSeconds, m.hopSeconds, m.retriesTotal, m.correctionsTotal, m.fightsTotal,
		m.conflictsTotal, m.orphansSweptTotal, m.namespacesRemoved, m.heartbeats, m.lastHeartbeat, m.leader)
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: latencyBuckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

// typeMetrics are the metrics of one resource type.
type typeMetrics struct {
	all             *Metrics
	group, resource string
	// The resource label of metrics that have no group label.
	label                                        string
	corrections, fights, conflicts, orphansSwept prometheus.Counter
	steps                                        map[string]prometheus.Observer
}

func (m *Metrics) forType(gr schema.GroupResource) *typeMetrics {
	label := gr.String()
	t := &typeMetrics{
		all: m, group: gr.Group, resource: gr.Resource, label: label,
		corrections: m.correctionsTotal.WithLabelValues(label), fights: m.fightsTotal.WithLabelValues(label),
		conflicts: m.conflictsTotal.WithLabelValues(label), orphansSwept: m.orphansSweptTotal.WithLabelValues(label),
		steps: map[string]prometheus.Observer{},
	}
	for _, s := range append(steps, reportStep) {
		t.steps[s.name] = m.stepSeconds.WithLabelValues(label, s.name)
	}
	return t
}

func (t *typeMetrics) written(direction, verb string, err error) {
	t.all.writes.WithLabelValues(t.group, t.resource, direction, verb, result(err)).Inc()
}

func (t *typeMetrics) step(ctx context.Context, name string, took time.Duration) {
	tmc.Observe(ctx, t.steps[name], took.Seconds())
}

func (t *typeMetrics) lag(ctx context.Context, direction string, took time.Duration) {
	tmc.Observe(ctx, t.all.lagSeconds.WithLabelValues(t.label, direction), took.Seconds())
}

// The hops of a change, in their order.
const (
	hopQueue   = "queue"
	hopWrite   = "write"
	hopCluster = "cluster"
	hopCollect = "collect"
	hopReport  = "report"
)

func (t *typeMetrics) hop(ctx context.Context, name string, took time.Duration) {
	tmc.Observe(ctx, t.all.hopSeconds.WithLabelValues(t.label, name), took.Seconds())
}

func (t *typeMetrics) retries(category string) {
	t.all.retriesTotal.WithLabelValues(t.label, category).Inc()
}

func result(err error) string {
	if err == nil {
		return "success"
	}
	return string(tmc.CategoryOf(err))
}

// objectsCollector reads how many objects are in each state when Prometheus asks.
type objectsCollector struct {
	desc  *prometheus.Desc
	types *prometheus.Desc
	read  func() []TypeStatus
}

func newObjectsCollector(read func() []TypeStatus) *objectsCollector {
	return &objectsCollector{
		desc: prometheus.NewDesc("workload_syncer_objects",
			"Objects that belong to this target, by resource and state (synced, pending, failed, quarantined).", []string{"group", "resource", "state"}, nil),
		types: prometheus.NewDesc("workload_syncer_resource_types",
			"Resource types that are synced, by state.", []string{"state"}, nil),
		read: read,
	}
}

// Describe implements prometheus.Collector.
func (c *objectsCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc; out <- c.types }

// Collect implements prometheus.Collector.
func (c *objectsCollector) Collect(out chan<- prometheus.Metric) {
	types := map[string]int{}
	for _, t := range c.read() {
		types[string(t.State)]++
		for state, n := range t.Objects {
			out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), t.Resource.Group, t.Resource.Resource, string(state))
		}
	}
	for state, n := range types {
		out <- prometheus.MustNewConstMetric(c.types, prometheus.GaugeValue, float64(n), state)
	}
}
