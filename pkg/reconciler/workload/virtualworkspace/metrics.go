package virtualworkspace

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Metrics are about the requests of targets. No target, workspace or object is ever a label.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	added    *prometheus.HistogramVec
	denials  *prometheus.CounterVec
	watches  *prometheus.GaugeVec
	events   *prometheus.CounterVec
	reviews  *prometheus.CounterVec
	hidden   prometheus.Counter
	direct   *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_virtual_workspace_requests_total",
			Help: "Requests by view (syncer, upsyncer), verb, resource (none for discovery, other for types that are not served) and code of the answer. A watch is counted when it ends.",
		}, []string{"view", "verb", "resource", "code"}),
		duration: prometheus.NewHistogramVec(tmc.DurationHistogram("workload_virtual_workspace_request_duration_seconds",
			"Time from a request to the end of the answer, kcp's part included. Watches are not counted."), []string{"view", "verb"}),
		added: prometheus.NewHistogramVec(tmc.DurationHistogram("workload_virtual_workspace_added_seconds",
			"Time that the virtual workspace adds to kcp's: of a request all but the waiting for kcp, of a watch event from its arrival until it was sent on."), []string{"view", "verb"}),
		denials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_virtual_workspace_denials_total",
			Help: "Requests that were refused, by reason: NotAuthorized and Credentials are about the caller, all others about what was asked.",
		}, []string{"view", "reason"}),
		watches: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "workload_virtual_workspace_open_watches",
			Help: "Watches of targets that are open. Each has one upstream, on a shared connection.",
		}, []string{"view"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_virtual_workspace_watch_events_total",
			Help: "Events that were sent to watches, by type.",
		}, []string{"view", "type"}),
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_virtual_workspace_reviews_total",
			Help: "Questions to kcp about callers: authentication, authorization and synctarget; the result is yes, no or error.",
		}, []string{"question", "result"}),
		hidden: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "workload_virtual_workspace_hidden_objects_total",
			Help: "Objects that kcp returned although they are not assigned to the target, and that were left out. Anything but 0 means that kcp ignored a label selector.",
		}),
		direct: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workload_virtual_workspace_writes_total",
			Help: "Writes that reached kcp, by way: direct ones took one request, checked ones a look at the object first.",
		}, []string{"view", "way"}),
	}
	reg.MustRegister(m.requests, m.duration, m.added, m.denials, m.watches, m.events, m.reviews, m.hidden, m.direct)
	for _, why := range reasons {
		m.denials.WithLabelValues("syncer", string(why))
	}
	return m
}

func (m *Metrics) reviewed(question string, yes bool, err error) {
	result := "no"
	switch {
	case err != nil:
		result = "error"
	case yes:
		result = "yes"
	}
	m.reviews.WithLabelValues(question, result).Inc()
}

func (m *Metrics) addedTo(ctx context.Context, r *request, verb string, d time.Duration) {
	tmc.Observe(ctx, m.added.WithLabelValues(r.view(), verb), d.Seconds())
}
