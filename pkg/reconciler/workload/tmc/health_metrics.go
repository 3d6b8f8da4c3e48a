package tmc

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// NewHealthMetrics tells Prometheus what the checks know when it asks. No request is sent for it, and a check that hangs
// holds the answer up for no longer than its deadline.
func NewHealthMetrics(reg prometheus.Registerer, h *Health) {
	reg.MustRegister(&healthCollector{health: h, desc: prometheus.NewDesc("workload_component_health",
		"How each component is: 0 healthy; 1 degraded, a part of its duty is not done; 2 not ready; 3 not live, only a restart helps.",
		[]string{"component"}, nil)})
}

// healthCollector asks the checks at the scrape.
type healthCollector struct {
	health *Health
	desc   *prometheus.Desc
}

func (c *healthCollector) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

func (c *healthCollector) Collect(metrics chan<- prometheus.Metric) {
	for _, r := range c.health.Known(context.Background()) {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(r.Level()), r.Name)
	}
}
