package fleet

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Metrics are what the reconcilers tell Prometheus. Labels are bounded by the number of reconcilers and resource types: no
// object and no workspace is ever a label.
type Metrics struct {
	queues   *tmc.QueueMetrics
	writes   *prometheus.CounterVec
	retries  *prometheus.CounterVec
	lag      *prometheus.HistogramVec
	objects  *prometheus.Desc
	degraded *prometheus.Desc
	shards   *prometheus.Desc
	unseen   *prometheus.Desc
	lock     sync.Mutex
	followed map[*Fleet]struct{}
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		queues: tmc.NewQueueMetrics(registry),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_manager_writes_total",
			Help: "Writes to kcp by reconciler, resource, verb and result (success, or the error's category).",
		}, []string{"reconciler", "group", "resource", "verb", "result"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_manager_retries_total",
			Help: "Passes that failed and are tried again, by error category.",
		}, []string{"reconciler", "category"}),
		lag: prometheus.NewHistogramVec(tmc.DurationHistogram("workload_manager_lag_seconds",
			"Time from seeing a live change to the end of the pass that dealt with it."), []string{"reconciler"}),
		objects: prometheus.NewDesc("workload_manager_objects",
			"Objects that are watched, by export and resource.", []string{"export", "group", "resource"}, nil),
		degraded: prometheus.NewDesc("workload_manager_resource_degraded",
			"1 while a resource cannot be listed or watched on some shard, by export and resource. What depends on it waits.", []string{"export", "group", "resource"}, nil),
		shards: prometheus.NewDesc("workload_manager_virtual_workspaces",
			"Virtual workspaces that are watched, one per kcp shard, by export.", []string{"export"}, nil),
		unseen: prometheus.NewDesc("workload_manager_unseen_sync_targets",
			"SyncTargets that something is assigned to, and of which it is not known whether they exist: no shard shows them. What is on them stays.", nil, nil),
		followed: map[*Fleet]struct{}{},
	}
	registry.MustRegister(m.writes, m.retries, m.lag, collector{m})
	return m
}

func (m *Metrics) written(reconciler string, gr schema.GroupResource, verb string, err error) {
	result := "success"
	if err != nil {
		result = string(tmc.CategoryOf(err))
	}
	m.writes.WithLabelValues(reconciler, gr.Group, gr.Resource, verb, result).Inc()
}

func (m *Metrics) follow(f *Fleet) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.followed[f] = struct{}{}
}

func (m *Metrics) unfollow(f *Fleet) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.followed, f)
}

// collector counts at the scrape.
type collector struct{ *Metrics }

// Describe implements prometheus.Collector.
func (m collector) Describe(out chan<- *prometheus.Desc) {
	out <- m.objects
	out <- m.degraded
	out <- m.shards
	out <- m.unseen
}

// Collect implements prometheus.Collector.
func (m collector) Collect(out chan<- prometheus.Metric) {
	objects, degraded, shards := map[resourceID]int{}, map[resourceID]float64{}, map[string]int{}
	unseen := 0
	m.lock.Lock()
	for f := range m.followed {
		f.count(objects, degraded, shards)
		unseen += f.unseen()
	}
	m.lock.Unlock()
	out <- prometheus.MustNewConstMetric(m.unseen, prometheus.GaugeValue, float64(unseen))
	for id, n := range objects {
		out <- prometheus.MustNewConstMetric(m.objects, prometheus.GaugeValue, float64(n), id.export, id.gvr.Group, id.gvr.Resource)
		out <- prometheus.MustNewConstMetric(m.degraded, prometheus.GaugeValue, degraded[id], id.export, id.gvr.Group, id.gvr.Resource)
	}
	for export, n := range shards {
		out <- prometheus.MustNewConstMetric(m.shards, prometheus.GaugeValue, float64(n), export)
	}
}

func (f *Fleet) count(objects map[resourceID]int, degraded map[resourceID]float64, shards map[string]int) {
	f.lock.Lock()
	defer f.lock.Unlock()
	for id, entry := range f.caches {
		id.gvr.Version = "" // not a label
		objects[id] += entry.size()
		if entry.Problem() != nil {
			degraded[id] = 1
		}
	}
	for export, sources := range f.sources {
		shards[export] += len(sources)
	}
}

func (f *Fleet) unseen() int {
	f.absencesLock.Lock()
	absences := f.absences
	f.absencesLock.Unlock()
	if absences == nil {
		return 0
	}
	return absences.unseen()
}
