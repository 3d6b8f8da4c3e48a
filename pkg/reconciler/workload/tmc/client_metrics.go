package tmc

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// noAnswer is the code of a request that ended without an answer, as client-go's metrics have it.
const noAnswer = "<error>"

// ClientMetrics are about the requests to API servers. Server names are label values and therefore few.
type ClientMetrics struct {
	clock clock.PassiveClock

	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	watches     *prometheus.CounterVec
	openWatches *prometheus.GaugeVec

	lock        sync.Mutex
	connections map[string]*Connection
	connected   *prometheus.Desc
	lastSuccess *prometheus.Desc
}

// NewClientMetrics registers the metrics.
func NewClientMetrics(reg prometheus.Registerer, c clock.PassiveClock) *ClientMetrics {
	m := &ClientMetrics{
		clock: c,
		requests: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rest_client_requests_total",
			Help: "Requests other than watches, by the answer's code or <error> if there was none.",
		}, []string{"server", "code", "method"})),
		duration: register(reg, prometheus.NewHistogramVec(DurationHistogram("rest_client_request_duration_seconds",
			"Time from a request until its answer's header; watches are not counted. The verb is the HTTP method, or APPLY."),
			[]string{"server", "verb"})),
		watches: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rest_client_watches_total",
			Help: "Watches that were asked for, by the answer's code or <error> if there was none.",
		}, []string{"server", "code"})),
		openWatches: register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rest_client_open_watches",
			Help: "Watches that are open.",
		}, []string{"server"})),
		connections: map[string]*Connection{},
		connected: prometheus.NewDesc("rest_client_connected",
			"1 while the server answers, 0 after a request or watch that ended without an answer.", []string{"server"}, nil),
		lastSuccess: prometheus.NewDesc("rest_client_last_success_timestamp_seconds",
			"When the server was last heard of.", []string{"server"}, nil),
	}
	reg.MustRegister(connectionCollector{m})
	return m
}

// Connection is the state of the way to the server.
func (m *ClientMetrics) Connection(server string) *Connection {
	m.lock.Lock()
	defer m.lock.Unlock()
	c, ok := m.connections[server]
	if !ok {
		c = newConnection(server, m.clock)
		m.connections[server] = c
	}
	return c
}

// connectionCollector reads the connections at the scrape.
type connectionCollector struct{ *ClientMetrics }

func (m connectionCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- m.connected
	descs <- m.lastSuccess
}

func (m connectionCollector) Collect(metrics chan<- prometheus.Metric) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for server, c := range m.connections {
		state, _ := c.State()
		connected := 0.0
		if state == Connected {
			connected = 1
		}
		metrics <- prometheus.MustNewConstMetric(m.connected, prometheus.GaugeValue, connected, server)
		if last := c.LastSuccess(); !last.IsZero() {
			metrics <- prometheus.MustNewConstMetric(m.lastSuccess, prometheus.GaugeValue, float64(last.UnixMilli())/1000, server)
		}
	}
}

// InstrumentTransport returns a wrapper for rest.Config.Wrap that counts and times the requests to the server and
// watches its connection.
func InstrumentTransport(m *ClientMetrics, server string) func(http.RoundTripper) http.RoundTripper {
	connection := m.Connection(server)
	return func(next http.RoundTripper) http.RoundTripper {
		return &instrumentedTransport{next: next, metrics: m, server: server, connection: connection}
	}
}

type instrumentedTransport struct {
	next       http.RoundTripper
	metrics    *ClientMetrics
	server     string
	connection *Connection
}

// WrappedRoundTripper lets client-go find the transport below.
func (t *instrumentedTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

func (t *instrumentedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	start := t.metrics.clock.Now()
	resp, err := t.next.RoundTrip(r)
	t.connection.ended(err)
	code := noAnswer
	if err == nil {
		code = strconv.Itoa(resp.StatusCode)
	}
	if !isWatch(r) {
		t.metrics.requests.WithLabelValues(t.server, code, method(r)).Inc()
		Observe(r.Context(), t.metrics.duration.WithLabelValues(t.server, verb(r)), t.metrics.clock.Since(start).Seconds())
		return resp, err
	}
	t.metrics.watches.WithLabelValues(t.server, code).Inc()
	if err == nil && resp.StatusCode == http.StatusOK {
		resp.Body = t.watchStream(resp.Body)
	}
	return resp, err
}

// isWatch: such a request has no duration worth the name.
func isWatch(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	watch, _ := strconv.ParseBool(r.URL.Query().Get("watch"))
	return watch
}

// method is that of the request, if it is one that API servers know.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	case "":
		return http.MethodGet
	}
	return "OTHER"
}

func verb(r *http.Request) string {
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // what cannot be parsed is no apply
	if r.Method == http.MethodPatch && strings.HasPrefix(contentType, "application/apply-patch+") {
		return "APPLY"
	}
	return method(r)
}

// watchStream passes on what a watch reads and tells the connection about it.
func (t *instrumentedTransport) watchStream(body io.ReadCloser) io.ReadCloser {
	open := t.metrics.openWatches.WithLabelValues(t.server)
	open.Inc()
	return &watchStream{ReadCloser: body, connection: t.connection, closed: sync.OnceFunc(open.Dec)}
}

type watchStream struct {
	io.ReadCloser
	connection *Connection
	closed     func()
}

func (s *watchStream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	switch {
	case n > 0:
		s.connection.succeeded()
	case err == nil, errors.Is(err, io.EOF), !slices.Contains([]Category{Unreachable, Network}, CategoryOf(err)):
		// An end that the server chose, or that we did, says nothing about the way there.
	default:
		s.connection.failed(err)
	}
	return n, err
}

func (s *watchStream) Close() error {
	s.closed()
	return s.ReadCloser.Close()
}
