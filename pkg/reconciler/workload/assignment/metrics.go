package assignment

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what the assignment tells Prometheus besides what every reconciler does.
type Metrics struct {
	acts     *prometheus.CounterVec
	reviewed *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		acts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_manager_assignment_acts_total",
			Help: "What was done about objects on a target: Assign, Keep, Depart, Release, Return, Tell, Tidy; Namespace for labels of namespaces, Status for statuses put together.",
		}, []string{"act"}),
		reviewed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_manager_assignment_reviews_total",
			Help: "Objects that kcp asked the webhook about, by result: assigned, nothing (not to be assigned, or not known yet), invalid.",
		}, []string{"result"}),
	}
	registry.MustRegister(m.acts, m.reviewed)
	return m
}

func (m *Metrics) acted(act string) { m.acts.WithLabelValues(act).Inc() }
