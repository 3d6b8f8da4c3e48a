package tmc_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// receiver is an OTLP collector that keeps what it gets.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	lock     sync.Mutex
	services []string
	spans    []*tracev1.Span
}

func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, attribute := range resource.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				r.services = append(r.services, attribute.GetValue().GetStringValue())
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var exported collector.ExportTraceServiceRequest
	body, err := io.ReadAll(request.Body)
	if err == nil {
		err = proto.Unmarshal(body, &exported)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = r.Export(request.Context(), &exported) // cannot fail
}

func (r *receiver) serveGRPC(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return "http://" + listener.Addr().String()
}

func (r *receiver) serveHTTP(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return server.URL
}

func TestTracing(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Traceparent"))
	}))
	defer api.Close()
	for protocol, serve := range map[string]func(*receiver, *testing.T) string{
		"grpc":          (*receiver).serveGRPC,
		"http/protobuf": (*receiver).serveHTTP,
	} {
		t.Run(protocol, func(t *testing.T) {
			got := &receiver{}
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", serve(got, t))
			tracing, err := tmc.NewTracing(t.Context(), "workload-x", true)
			if err != nil {
				t.Fatal(err)
			}
			ctx, span := tracing.Tracer().Start(t.Context(), "pass")
			client := &http.Client{Transport: tracing.InstrumentTransport()(http.DefaultTransport)}
			parent := call(t, ctx, client, http.MethodGet, api.URL)
			if !strings.Contains(parent, span.SpanContext().TraceID().String()) {
				t.Errorf("the server is told about the trace: got %q", parent)
			}
			call(t, ctx, client, http.MethodGet, api.URL+"?watch=true")
			span.End()

			stopped, stop := context.WithCancel(t.Context())
			stop()
			if err := tmc.RunParts(stopped, 5*time.Second, tracing.Part()); err != nil {
				t.Error(err)
			}
			checkSpans(t, got, span)
		})
	}
}

func checkSpans(t *testing.T, got *receiver, pass trace.Span) {
	t.Helper()
	got.lock.Lock()
	defer got.lock.Unlock()
	if !slices.Contains(got.services, "workload-x") || len(got.spans) != 2 {
		t.Fatalf("stopping sends what is left, and watches are not traced: got %v of %v", got.spans, got.services)
	}
	for _, s := range got.spans {
		id := pass.SpanContext().SpanID()
		if s.GetName() == "GET" && !slices.Equal(s.GetParentSpanId(), id[:]) {
			t.Errorf("a request is part of what it is made for: got %v", s)
		}
	}
}

func call(t *testing.T, ctx context.Context, client *http.Client, method, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestTracingWithoutCollector(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", closedAddress(t))
	tracing, err := tmc.NewTracing(t.Context(), "workload-x", true)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 5_000 { // more than the queue holds
		_, span := tracing.Tracer().Start(t.Context(), "pass")
		span.End()
	}
	if took := time.Since(start); took > 8*time.Second { // one export alone may take 10 s
		t.Errorf("nothing waits for the collector: took %s", took)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	start = time.Now()
	if err := tmc.RunParts(stopped, 5*time.Second, tracing.Part()); err != nil {
		t.Errorf("losing spans is no failure: got %v", err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("stopping is bounded: took %s", took)
	}
}

func TestTracingByEnvironment(t *testing.T) {
	for name, test := range map[string]struct {
		enabled     bool
		env         map[string]string
		wantEnabled bool
		wantErr     []string
	}{
		"not enabled":                      {},
		"enabled":                          {enabled: true, wantEnabled: true},
		"the SDK is disabled":              {enabled: true, env: map[string]string{"OTEL_SDK_DISABLED": "true"}},
		"nothing is exported":              {enabled: true, env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}},
		"an exporter that is not there":    {enabled: true, env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, wantErr: []string{"OTEL_TRACES_EXPORTER", "zipkin"}},
		"a protocol that is not there":     {enabled: true, env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, wantErr: []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}},
		"the protocol of traces counts":    {enabled: true, env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, wantEnabled: true},
		"a sampler":                        {enabled: true, env: map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, wantEnabled: true},
		"a sampler that is not there":      {enabled: true, env: map[string]string{"OTEL_TRACES_SAMPLER": "sometimes"}, wantErr: []string{"OTEL_TRACES_SAMPLER", "sometimes"}},
		"an argument that is out of range": {enabled: true, env: map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, wantErr: []string{"OTEL_TRACES_SAMPLER_ARG"}},
		"what is disabled is not checked":  {env: map[string]string{"OTEL_TRACES_SAMPLER": "sometimes"}},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range test.env {
				t.Setenv(key, value)
			}
			tracing, err := tmc.NewTracing(t.Context(), "workload-x", test.enabled)
			checkError(t, err, test.wantErr, nil)
			if err != nil {
				return
			}
			if tracing.Enabled() != test.wantEnabled {
				t.Errorf("enabled: got %t, want %t", tracing.Enabled(), test.wantEnabled)
			}
			if wrapped := tracing.InstrumentTransport()(http.DefaultTransport); (wrapped == http.DefaultTransport) == test.wantEnabled {
				t.Error("requests go the direct way if and only if tracing is disabled")
			}
			stop(t, tracing)
		})
	}
}

func stop(t *testing.T, tracing *tmc.Tracing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := tracing.Flush(ctx); err != nil {
		t.Error(err)
	}
	if err := tracing.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestTracingSamples(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	tracing, err := tmc.NewTracing(t.Context(), "workload-x", true)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, tracing)
	_, span := tracing.Tracer().Start(t.Context(), "alone")
	if span.IsRecording() {
		t.Error("the environment's sampler decides")
	}
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, Remote: true})
	_, span = tracing.Tracer().Start(trace.ContextWithSpanContext(t.Context(), parent), "child")
	if !span.IsRecording() {
		t.Error("what a parent decided counts before it")
	}
}
