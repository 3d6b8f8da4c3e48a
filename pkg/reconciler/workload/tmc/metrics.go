package tmc

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-base/version"
)

// NewRegistry returns a registry that tells about the process, the Go runtime, and the build of the program.
func NewRegistry(program string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := version.Get()
	register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "workload_build_info",
		Help: "Always 1; the labels tell what is running.",
	}, []string{"program", "version", "commit", "goversion", "platform"})).
		WithLabelValues(program, build.GitVersion, build.GitCommit, build.GoVersion, build.Platform).Set(1)
	return reg
}

// register returns the metric after registering it. A name that is taken is a mistake in the program, and panics.
func register[M prometheus.Collector](reg prometheus.Registerer, metric M) M {
	reg.MustRegister(metric)
	return metric
}

// Handler serves what the registry gathers, as OpenMetrics to those who ask for it. One collector that fails
// does not hide the others.
func Handler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Registry:          reg,
		ErrorHandling:     promhttp.ContinueOnError,
		EnableOpenMetrics: true,
	})
}

// DurationHistogram is the shape that all histograms of durations share: classic buckets from 1 ms to about a minute,
// and native ones for servers that ask for them.
func DurationHistogram(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name:                            name,
		Help:                            help,
		Buckets:                         []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}
}

// Observe records a value, with the trace that it belongs to as its exemplar if that trace is kept: from a latency in a
// dashboard to what happened.
func Observe(ctx context.Context, histogram prometheus.Observer, value float64) {
	span := trace.SpanContextFromContext(ctx)
	if exemplars, ok := histogram.(prometheus.ExemplarObserver); ok && span.IsSampled() {
		exemplars.ObserveWithExemplar(value, prometheus.Labels{"trace_id": span.TraceID().String(), "span_id": span.SpanID().String()})
		return
	}
	histogram.Observe(value)
}

// QueueMetrics gives work queues their metrics, under the names that all Kubernetes components use. Each queue is a
// label value, so their names must be few.
//
// It is for client-go's queues and for controller-runtime's priority queue. The latter would tell its depth by
// priority too, but only to providers that return a type which is internal to controller-runtime.
type QueueMetrics struct {
	depth, unfinished, longest *prometheus.GaugeVec
	adds, retries              *prometheus.CounterVec
	wait, work                 *prometheus.HistogramVec
}

var _ workqueue.MetricsProvider = (*QueueMetrics)(nil)

// NewQueueMetrics registers the metrics.
func NewQueueMetrics(reg prometheus.Registerer) *QueueMetrics {
	byQueue := []string{"name"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, byQueue))
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, byQueue))
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return register(reg, prometheus.NewHistogramVec(DurationHistogram(name, help), byQueue))
	}
	return &QueueMetrics{
		depth:      gauge("workqueue_depth", "Items that are ready and wait for a worker."),
		unfinished: gauge("workqueue_unfinished_work_seconds", "Sum of the time that the items in work have been so."),
		longest:    gauge("workqueue_longest_running_processor_seconds", "How long the oldest item in work has been so."),
		adds:       counter("workqueue_adds_total", "Items that became ready."),
		retries:    counter("workqueue_retries_total", "Items that were put back for later."),
		wait:       histogram("workqueue_queue_duration_seconds", "How long items were ready before a worker took them."),
		work:       histogram("workqueue_work_duration_seconds", "How long workers took for an item."),
	}
}

// Forget removes the metrics of a queue that was shut down.
func (m *QueueMetrics) Forget(name string) {
	for _, vec := range []interface{ DeleteLabelValues(...string) bool }{
		m.depth, m.unfinished, m.longest, m.adds, m.retries, m.wait, m.work,
	} {
		vec.DeleteLabelValues(name)
	}
}

// NewDepthMetric and the others implement workqueue.MetricsProvider.
func (m *QueueMetrics) NewDepthMetric(name string) workqueue.GaugeMetric {
	return m.depth.WithLabelValues(name)
}

// NewAddsMetric is part of workqueue.MetricsProvider.
func (m *QueueMetrics) NewAddsMetric(name string) workqueue.CounterMetric {
	return m.adds.WithLabelValues(name)
}

// NewLatencyMetric is part of workqueue.MetricsProvider.
func (m *QueueMetrics) NewLatencyMetric(name string) workqueue.HistogramMetric {
	return m.wait.WithLabelValues(name)
}

// NewWorkDurationMetric is part of workqueue.MetricsProvider.
func (m *QueueMetrics) NewWorkDurationMetric(name string) workqueue.HistogramMetric {
	return m.work.WithLabelValues(name)
}

// NewUnfinishedWorkSecondsMetric is part of workqueue.MetricsProvider.
func (m *QueueMetrics) NewUnfinishedWorkSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return m.unfinished.WithLabelValues(name)
}

// NewLongestRunningProcessorSecondsMetric is part of workqueue.MetricsProvider.
func (m *QueueMetrics) NewLongestRunningProcessorSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return m.longest.WithLabelValues(name)
}

// NewRetriesMetric is part of workqueue.MetricsProvider.
func (m *QueueMetrics) NewRetriesMetric(name string) workqueue.CounterMetric {
	return m.retries.WithLabelValues(name)
}
