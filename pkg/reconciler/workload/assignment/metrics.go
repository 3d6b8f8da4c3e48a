package assignment

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Metrics are what the assignment tells Prometheus besides what every reconciler does.
type Metrics struct {
	acts     *prometheus.CounterVec
	reviewed *prometheus.CounterVec
	duration prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	duration := tmc.DurationHistogram("workload_manager_assignment_duration_seconds",
		"Time for which an object was to be assigned, until it was for the first time: from its creation, of which kcp tells whole seconds, or from when its namespace was placed. Objects that the webhook assigns are not counted.")
	duration.Buckets = []float64{.1, .25, .5, 1, 2, 5, 10, 30, 60, 120, 300, 600}
	m := &Metrics{
		duration: prometheus.NewHistogram(duration),
		acts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_manager_assignment_acts_total",
			Help: "What was done about objects on a target: Assign, Keep, Depart, Release, Return, Tell, Tidy; Namespace for labels of namespaces, Status for statuses put together.",
		}, []string{"act"}),
		reviewed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_manager_assignment_reviews_total",
			Help: "Objects that kcp asked the webhook about, by result: assigned, nothing (not to be assigned, or not known yet), invalid.",
		}, []string{"result"}),
	}
	registry.MustRegister(m.acts, m.reviewed, m.duration)
	return m
}

// assigned tells how long an object was unassigned that could have been. A clock that differs from kcp's makes no time
// negative.
func (m *Metrics) assigned(ctx context.Context, took time.Duration) {
	tmc.Observe(ctx, m.duration, max(took, 0).Seconds())
}

func (m *Metrics) acted(act string) { m.acts.WithLabelValues(act).Inc() }
