package heartbeat

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
)

// state is how a target is doing, as the metric has it.
type state string

const (
	stateNeverHeard  state = "never-heard"
	stateHeard       state = "heard"
	stateSilent      state = "silent"
	stateUnreachable state = "unreachable"
)

// Metrics count the targets.
type Metrics struct {
	desc *prometheus.Desc

	lock   sync.Mutex
	states map[fleet.Key]state
}

// NewMetrics registers the metric.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{states: map[fleet.Key]state{}, desc: prometheus.NewDesc("workload_manager_sync_targets",
		"SyncTargets by state: never-heard, heard, silent (no heartbeat for too long), or unreachable (tainted for it).", []string{"state"}, nil)}
	registry.MustRegister(m)
	return m
}

func (m *Metrics) set(key fleet.Key, s state) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.states[key] = s
}

func (m *Metrics) drop(key fleet.Key) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.states, key)
}

// forget drops all: what is known ends with the watch.
func (m *Metrics) forget() {
	m.lock.Lock()
	defer m.lock.Unlock()
	clear(m.states)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) { out <- m.desc }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	counts := map[state]int{stateNeverHeard: 0, stateHeard: 0, stateSilent: 0, stateUnreachable: 0}
	m.lock.Lock()
	for _, s := range m.states {
		counts[s]++
	}
	m.lock.Unlock()
	for s, n := range counts {
		out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, float64(n), string(s))
	}
}
