package tmc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	oteltrace "go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
	"github.com/kcp-dev/workload-syncer/test/env"
)

func scrape(t *testing.T, reg *prometheus.Registry, accept string) string {
	t.Helper()
	server := httptest.NewServer(tmc.Handler(reg))
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Header.Get("Content-Type") + "\n" + string(body)
}

// exposition is the text form of what was gathered, for tests that cannot open connections.
func exposition(t *testing.T, families []*dto.MetricFamily) string {
	t.Helper()
	var out strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func wantLines(t *testing.T, scraped string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(scraped, line) {
			t.Errorf("there is no %q in\n%s", line, scraped)
		}
	}
}

func TestRegistryTellsAboutTheProcess(t *testing.T) {
	scraped := scrape(t, tmc.NewRegistry("workload-x"), "application/openmetrics-text; version=1.0.0")
	wantLines(t, scraped, "application/openmetrics-text", `workload_build_info{`, `program="workload-x"`, "go_goroutines ", "process_cpu_seconds_total ", "# EOF")
}

// What a server gets depends on what it asks for: native histograms come with protobuf, and exemplars name the trace to look at,
// if that was kept.
func TestHistogramsAreNativeAndLeadToTraces(t *testing.T) {
	reg := prometheus.NewRegistry()
	histogram := prometheus.NewHistogram(tmc.DurationHistogram("lag_seconds", "Lag."))
	reg.MustRegister(histogram)
	spanOf := func(trace byte, flags oteltrace.TraceFlags) context.Context {
		return oteltrace.ContextWithSpanContext(t.Context(), oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
			TraceID: oteltrace.TraceID{trace}, SpanID: oteltrace.SpanID{trace}, TraceFlags: flags,
		}))
	}
	tmc.Observe(spanOf(0xab, oteltrace.FlagsSampled), histogram, 0.02)
	tmc.Observe(spanOf(0xcd, 0), histogram, 0.3)
	tmc.Observe(t.Context(), histogram, 7)

	text := scrape(t, reg, "application/openmetrics-text; version=1.0.0")
	wantLines(t, text, `lag_seconds_bucket{le="0.025"} 1 # {`, `trace_id="ab000000000000000000000000000000"`, `span_id="ab00000000000000"`,
		`lag_seconds_bucket{le="0.5"} 2`+"\n", `lag_seconds_bucket{le="10.0"} 3`+"\n", "lag_seconds_count 3", "# EOF")

	contentType, body, _ := strings.Cut(scrape(t, reg, "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"), "\n")
	decoder := expfmt.NewDecoder(strings.NewReader(body), expfmt.ResponseFormat(http.Header{"Content-Type": {contentType}}))
	var family dto.MetricFamily
	if err := decoder.Decode(&family); err != nil {
		t.Fatalf("decoding %s: %v", contentType, err)
	}
	h := family.GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 3 || h.GetSchema() == 0 || len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) == 0 {
		t.Errorf("the histogram is not native and classic at once: %v", h)
	}
	if len(h.GetExemplars()) != 1 {
		t.Errorf("the native histogram has the exemplars %v", h.GetExemplars())
	}
}

// TestQueueMetrics goes through both kinds of queue that the metrics are for.
func TestQueueMetrics(t *testing.T) {
	type queue interface {
		Add(string)
		Get() (string, bool)
		Done(string)
		AddRateLimited(string)
		ShutDown()
	}
	for kind, start := range map[string]func(*tmc.QueueMetrics) queue{
		"client-go": func(m *tmc.QueueMetrics) queue {
			return workqueue.NewTypedRateLimitingQueueWithConfig(workqueue.DefaultTypedControllerRateLimiter[string](),
				workqueue.TypedRateLimitingQueueConfig[string]{Name: "q", MetricsProvider: m})
		},
		"controller-runtime": func(m *tmc.QueueMetrics) queue {
			return priorityqueue.New("q", func(o *priorityqueue.Opts[string]) { o.MetricProvider = m })
		},
	} {
		t.Run(kind, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			metrics := tmc.NewQueueMetrics(reg)
			q := start(metrics)
			defer q.ShutDown()
			q.Add("a")
			q.Add("b")
			item, _ := q.Get()
			q.AddRateLimited("c")
			awaitLine(t, reg, `workqueue_retries_total{name="q"} 1`)
			q.Done(item)
			scraped := scrape(t, reg, "")
			wantLines(t, scraped, `workqueue_adds_total{name="q"}`, `workqueue_depth{name="q"}`, `workqueue_work_duration_seconds_count{name="q"} 1`,
				`workqueue_queue_duration_seconds_count{name="q"} 1`, `workqueue_unfinished_work_seconds{name="q"}`, `workqueue_longest_running_processor_seconds{name="q"}`)
			metrics.Forget("q")
			if scraped := scrape(t, reg, ""); strings.Contains(scraped, `name="q"`) {
				t.Errorf("a queue that is gone leaves nothing: %s", scraped)
			}
		})
	}
}

func awaitLine(t *testing.T, reg *prometheus.Registry, line string) {
	t.Helper()
	env.Eventually(t, 5*time.Second, func() error {
		if scraped := scrape(t, reg, ""); !strings.Contains(scraped, line) {
			return fmt.Errorf("there is no %q in\n%s", line, scraped)
		}
		return nil
	})
}

// fakeServer is a transport that answers as told: with an error if there is one, else with code and body.
type fakeServer struct {
	code    int
	body    io.ReadCloser
	err     error
	onAsked func()
}

func (s *fakeServer) RoundTrip(*http.Request) (*http.Response, error) {
	if s.onAsked != nil {
		s.onAsked()
	}
	if s.err != nil {
		return nil, s.err
	}
	return &http.Response{StatusCode: s.code, Body: s.body}, nil
}

func TestClientMetrics(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(1000, 0))
	reg := prometheus.NewRegistry()
	metrics := tmc.NewClientMetrics(reg, clock)
	server := &fakeServer{code: http.StatusNotFound, body: http.NoBody, onAsked: func() {
		clock.SetTime(clock.Now().Add(20 * time.Millisecond))
	}}
	transport := tmc.InstrumentTransport(metrics, "kcp")(server)
	connection := metrics.Connection("kcp")
	var told []error
	connection.OnResult(func(err error) { told = append(told, err) })
	do := func(method, path, contentType string) io.ReadCloser {
		t.Helper()
		request := httptest.NewRequest(method, path, http.NoBody)
		request.Header.Set("Content-Type", contentType)
		answer, err := transport.RoundTrip(request)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer.Body
	}
	state := func(when string, want tmc.ConnectionState) {
		t.Helper()
		if got, _ := connection.State(); got != want {
			t.Errorf("%s: the connection is %s, want %s", when, got, want)
		}
	}

	state("before the first request", tmc.ConnectionUnknown)
	wantLines(t, scrape(t, reg, ""), `rest_client_connected{server="kcp"} 0`)
	do("GET", "/api/v1/pods", "")
	state("after an answer, whatever it is", tmc.Connected)
	do("PATCH", "/api/v1/pods/a", string(types.ApplyYAMLPatchType))
	do("PATCH", "/api/v1/pods/a", string(types.ApplyCBORPatchType))
	do("BREW", "/api/v1/pods/a", "")
	wantLines(t, scrape(t, reg, ""),
		`rest_client_requests_total{code="404",method="GET",server="kcp"} 1`,
		`rest_client_requests_total{code="404",method="PATCH",server="kcp"} 2`,
		`rest_client_requests_total{code="404",method="OTHER",server="kcp"} 1`,
		`rest_client_request_duration_seconds_count{server="kcp",verb="GET"} 1`,
		`rest_client_request_duration_seconds_bucket{server="kcp",verb="APPLY",le="0.01"} 0`,
		`rest_client_request_duration_seconds_bucket{server="kcp",verb="APPLY",le="0.025"} 2`,
		`rest_client_connected{server="kcp"} 1`, `rest_client_last_success_timestamp_seconds{server="kcp"} 1000.08`)

	server.err = context.Canceled
	do("GET", "/api/v1/pods", "")
	state("after we gave up", tmc.Connected)
	server.err = io.ErrUnexpectedEOF
	do("GET", "/api/v1/pods", "")
	state("after no answer", tmc.Disconnected)
	wantLines(t, scrape(t, reg, ""), `rest_client_requests_total{code="<error>",method="GET",server="kcp"} 2`, `rest_client_connected{server="kcp"} 0`)

	server.code, server.err = http.StatusOK, nil
	server.body = &brokenStream{Reader: strings.NewReader("{}"), end: io.ErrUnexpectedEOF}
	watch := do("GET", "/api/v1/pods?watch=true", "")
	state("after a watch was opened", tmc.Connected)
	wantLines(t, scrape(t, reg, ""), `rest_client_watches_total{code="200",server="kcp"} 1`, `rest_client_open_watches{server="kcp"} 1`,
		`rest_client_request_duration_seconds_count{server="kcp",verb="GET"} 3`)
	clock.SetTime(time.Unix(2000, 0))
	if _, err := watch.Read(make([]byte, 10)); err != nil || !connection.LastSuccess().Equal(time.Unix(2000, 0)) {
		t.Errorf("an event on a watch shows that the server is there: last heard of %s, %v", connection.LastSuccess(), err)
	}
	_, _ = watch.Read(make([]byte, 10))
	state("after a watch broke", tmc.Disconnected)
	_ = watch.Close()
	_ = watch.Close()
	wantLines(t, scrape(t, reg, ""), `rest_client_open_watches{server="kcp"} 0`)

	if len(told) != 6 || told[0] != nil || !errors.Is(told[4], io.ErrUnexpectedEOF) {
		t.Errorf("outcomes are told, other than of what we gave up: %v", told)
	}
	_, exposition, _ := strings.Cut(scrape(t, reg, ""), "\n")
	if problems, err := promlint.New(strings.NewReader(exposition)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("the metrics follow the conventions: %v, %v", problems, err)
	}
}

type brokenStream struct {
	io.Reader
	end error
}

func (s *brokenStream) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = s.end
	}
	return n, err
}

func (s *brokenStream) Close() error { return nil }

// TestInstrumentTransportOfClientGo sees to it that real clients work through the transport, watches included.
func TestInstrumentTransportOfClientGo(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") != "" {
			_, _ = io.WriteString(w, `{"type":"ADDED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}}`+"\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"ConfigMapList","metadata":{"resourceVersion":"1"},"items":[]}`)
	}))
	defer server.Close()
	reg := prometheus.NewRegistry()
	config := &rest.Config{Host: server.URL}
	config.Wrap(tmc.InstrumentTransport(tmc.NewClientMetrics(reg, clocktesting.NewFakePassiveClock(time.Now())), "cluster"))
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	watch, err := client.CoreV1().ConfigMaps("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if event := <-watch.ResultChan(); event.Type != "ADDED" {
		t.Errorf("got %v", event)
	}
	wantLines(t, scrape(t, reg, ""), `rest_client_open_watches{server="cluster"} 1`, `rest_client_requests_total{code="200",method="GET",server="cluster"} 1`)
	watch.Stop()
	awaitLine(t, reg, `rest_client_open_watches{server="cluster"} 0`)
}

func TestConnectionCheck(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Now())
	metrics := tmc.NewClientMetrics(prometheus.NewRegistry(), clock)
	server := &fakeServer{code: http.StatusOK, body: http.NoBody}
	transport := tmc.InstrumentTransport(metrics, "kcp")(server)
	probes := 0
	check := metrics.Connection("kcp").Check("kcp", 10*time.Second, func(context.Context) error {
		probes++
		answer, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, "/readyz", http.NoBody))
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
	for _, step := range []struct {
		name       string
		after      time.Duration
		answer     error
		wantProbes int
		wantErr    string
	}{
		{name: "at first the server is asked", wantProbes: 1},
		{name: "what was heard of just now is not asked", after: 9 * time.Second, answer: io.ErrUnexpectedEOF, wantProbes: 1},
		{
			name: "what was not heard of for a while is", after: time.Second, answer: io.ErrUnexpectedEOF, wantProbes: 2,
			wantErr: "kcp: unexpected EOF (last heard of 10s ago; check that the server runs, and the network, proxies and firewalls between)",
		},
		{
			name: "what did not answer is asked again", answer: io.ErrUnexpectedEOF, wantProbes: 3,
			wantErr: "kcp: unexpected EOF (last heard of 10s ago; check that the server runs, and the network, proxies and firewalls between)",
		},
		{name: "it recovers", wantProbes: 4},
		{name: "and is believed again", wantProbes: 4},
	} {
		clock.SetTime(clock.Now().Add(step.after))
		server.err = step.answer
		got := ""
		if err := check.Run(t.Context()); err != nil {
			got = err.Error()
		}
		if got != step.wantErr || probes != step.wantProbes {
			t.Errorf("%s: got %q after %d probes, want %q after %d", step.name, got, probes, step.wantErr, step.wantProbes)
		}
	}
}
