package tmc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
	"github.com/kcp-dev/workload-syncer/test/otlp"
)

// newTracing is enabled, and sends to an endpoint.
func newTracing(t *testing.T, protocol, endpoint string) *tmc.Tracing {
	t.Helper()
	tracing, err := tmc.NewTracing(t.Context(), "workload-x", tmc.TracingConfig{Enabled: true, Carry: true, Protocol: protocol, Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	return tracing
}

// stopPart runs the part of a process that is told to stop.
func stopPart(t *testing.T, tracing *tmc.Tracing) {
	t.Helper()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := tmc.RunParts(stopped, 5*time.Second, tracing.Part()); err != nil {
		t.Errorf("losing spans is no failure: got %v", err)
	}
}

func TestTracing(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			http.Error(w, "the password is sesame", http.StatusConflict)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("Traceparent"))
	}))
	defer api.Close()
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			collector := otlp.Serve(t)
			tracing := newTracing(t, protocol, map[string]string{"grpc": collector.GRPC, "http/protobuf": collector.HTTP}[protocol])
			client := &http.Client{Transport: tracing.InstrumentTransport("kcp")(http.DefaultTransport)}
			if told := call(t, t.Context(), client, http.MethodGet, api.URL+"/version"); told != "" {
				t.Errorf("a request that is part of nothing is not traced: got %q", told)
			}

			ctx, endPass := tracing.Start(t.Context(), "pass")
			stepCtx, endStep := tracing.Start(ctx, "step")
			id := trace.SpanContextFromContext(ctx).TraceID()
			if told := call(t, stepCtx, client, http.MethodGet, api.URL+"/clusters/x/api/v1/namespaces/web/configmaps/a"); !strings.Contains(told, id.String()) {
				t.Errorf("the server is told about the trace: got %q", told)
			}
			call(t, stepCtx, client, http.MethodPatch, api.URL+"/apis/apps/v1/namespaces/web/deployments/a/status")
			call(t, stepCtx, client, http.MethodGet, api.URL+"/api/v1/secrets?watch=true")
			endStep(tmc.As(tmc.Conflict, errors.New("the password is sesame")))
			endPass(nil)

			stopPart(t, tracing)
			got := collector.Trace(id).Draw(trace.SpanID{})
			want := `workload-x: pass
  step !Conflict
    GET configmaps (kcp)
    PATCH deployments/status (kcp) !
`
			if got != want {
				t.Errorf("stopping sends what is left: got\n%s\nwant\n%s", got, want)
			}
			for _, span := range collector.Spans() {
				if strings.Contains(span.String(), "sesame") {
					t.Errorf("a span holds what an error or answer says: %v", span)
				}
			}
		})
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

// silentAddress accepts connections, and says nothing.
func silentAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = connection.Close() })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); accepting.Wait() })
	return "http://" + listener.Addr().String()
}

// A collector that is away, or hangs, holds nobody up, takes a bounded amount of memory, and leaves nothing behind.
func TestTracingWithoutCollector(t *testing.T) {
	for name, endpoint := range map[string]func(*testing.T) string{"closed": closedAddress, "silent": silentAddress} {
		for _, protocol := range []string{"grpc", "http/protobuf"} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				address := endpoint(t)
				tracing := newTracing(t, protocol, address)
				start := time.Now()
				makeSpans(tracing, 5_000) // more than the queue holds
				full := liveHeap()
				makeSpans(tracing, 100_000)
				if took := time.Since(start); took > time.Minute { // 200 exports, which take 10 s each if somebody waits for them
					t.Errorf("nothing waits for the collector: took %s", took)
				}
				if grown := liveHeap() - full; grown > 8<<20 {
					t.Errorf("20 times as many spans take %d KiB more", grown>>10)
				}
				start = time.Now()
				stopPart(t, tracing)
				if took := time.Since(start); took > 8*time.Second { // less than one export
					t.Errorf("stopping is bounded: took %s", took)
				}
				if name == "closed" { // else the test's own listener is still there
					goleak.VerifyNone(t, before)
				}
			})
		}
	}
}

func makeSpans(tracing *tmc.Tracing, count int) {
	for range count {
		_, end := tracing.Start(context.Background(), "pass")
		end(nil)
	}
}

func liveHeap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc) //nolint:gosec // fits
}

func TestTracingByEnvironment(t *testing.T) {
	half := 0.5
	two := 2.0
	on := tmc.TracingConfig{Enabled: true}
	for name, test := range map[string]struct {
		config      tmc.TracingConfig
		env         map[string]string
		wantEnabled bool
		wantErr     []string
	}{
		"not enabled":                       {},
		"enabled":                           {config: on, wantEnabled: true},
		"the SDK is disabled":               {config: on, env: map[string]string{"OTEL_SDK_DISABLED": "true"}},
		"nothing is exported":               {config: on, env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}},
		"an exporter that is not there":     {config: on, env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, wantErr: []string{"OTEL_TRACES_EXPORTER", "zipkin"}},
		"a protocol that is not there":      {config: on, env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, wantErr: []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"}},
		"the protocol of traces counts":     {config: on, env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, wantEnabled: true},
		"a protocol that is configured":     {config: tmc.TracingConfig{Enabled: true, Protocol: "http/json"}, wantErr: []string{"http/json"}},
		"the environment's protocol wins":   {config: tmc.TracingConfig{Enabled: true, Protocol: "http/json"}, env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, wantEnabled: true},
		"an endpoint that is no URL":        {config: tmc.TracingConfig{Enabled: true, Endpoint: "collector:4318"}, wantErr: []string{"collector:4318", "http://"}},
		"the environment's endpoint wins":   {config: tmc.TracingConfig{Enabled: true, Endpoint: "collector:4318"}, env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, wantEnabled: true},
		"a sampler":                         {config: on, env: map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, wantEnabled: true},
		"a sampler that is not there":       {config: on, env: map[string]string{"OTEL_TRACES_SAMPLER": "sometimes"}, wantErr: []string{"OTEL_TRACES_SAMPLER", "sometimes"}},
		"half the name of one":              {config: on, env: map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_"}, wantErr: []string{"OTEL_TRACES_SAMPLER"}},
		"an argument that is out of range":  {config: on, env: map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, wantErr: []string{"OTEL_TRACES_SAMPLER_ARG"}},
		"a ratio":                           {config: tmc.TracingConfig{Enabled: true, SamplingRatio: &half}, wantEnabled: true},
		"a ratio that is out of range":      {config: tmc.TracingConfig{Enabled: true, SamplingRatio: &two}, wantErr: []string{"2", "from 0 to 1"}},
		"the environment's sampler goes on": {config: tmc.TracingConfig{Enabled: true, SamplingRatio: &two}, env: map[string]string{"OTEL_TRACES_SAMPLER": "always_on"}, wantEnabled: true},
		"what is disabled is not checked":   {env: map[string]string{"OTEL_TRACES_SAMPLER": "sometimes"}},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range test.env {
				t.Setenv(key, value)
			}
			tracing, err := tmc.NewTracing(t.Context(), "workload-x", test.config)
			checkError(t, err, test.wantErr, nil)
			if err != nil {
				return
			}
			if tracing.Enabled() != test.wantEnabled {
				t.Errorf("enabled: got %t, want %t", tracing.Enabled(), test.wantEnabled)
			}
			if wrapped := tracing.InstrumentTransport("kcp")(http.DefaultTransport); (wrapped == http.DefaultTransport) == test.wantEnabled {
				t.Error("requests go the direct way if and only if tracing is disabled")
			}
			stopTracing(t, tracing)
		})
	}
}

func stopTracing(t *testing.T, tracing *tmc.Tracing) {
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

const (
	wanted   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unwanted = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestTracingSamples(t *testing.T) {
	none, all := 0.0, 1.0
	for _, test := range []struct {
		name             string
		env              string
		ratio, thenRatio *float64
		parent           string
		want             bool
	}{
		{name: "all is sent unless somebody says something", want: true},
		{name: "the configuration decides about what begins here", ratio: &none},
		{name: "and can be changed", ratio: &none, thenRatio: &all, want: true},
		{name: "the environment decides before it", env: "parentbased_always_off", ratio: &all},
		{name: "also when it is changed", env: "parentbased_always_off", ratio: &all, thenRatio: &all},
		{name: "what a parent decided counts before both", env: "parentbased_always_off", ratio: &none, parent: wanted, want: true},
		{name: "also when it wants nothing", parent: unwanted},
		{name: "unless the sampler asks no parent", env: "always_on", parent: unwanted, want: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.env != "" {
				t.Setenv("OTEL_TRACES_SAMPLER", test.env)
			}
			tracing, err := tmc.NewTracing(t.Context(), "workload-x", tmc.TracingConfig{Enabled: true, Carry: true, SamplingRatio: test.ratio})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { stopPart(t, tracing) })
			if test.thenRatio != nil {
				if err := tracing.SetSampling(test.thenRatio); err != nil {
					t.Fatal(err)
				}
			}
			ctx, end := tracing.Start(tmc.Origin{Change: tmc.ParseTraceparent(test.parent)}.Context(t.Context()), "pass")
			defer end(nil)
			if got := trace.SpanFromContext(ctx).IsRecording(); got != test.want {
				t.Errorf("is sent: got %t, want %t", got, test.want)
			}
			carried := tracing.Traceparent(ctx)
			if (carried != "") != test.want {
				t.Errorf("only what is sent is carried: got %q", carried)
			}
			if test.parent != "" && carried != "" && !strings.HasPrefix(carried, test.parent[:35]) {
				t.Errorf("the trace goes on: got %q after %q", carried, test.parent)
			}
		})
	}
}

func TestTracesAreCarriedOnlyIfAskedTo(t *testing.T) {
	tracing, err := tmc.NewTracing(t.Context(), "workload-x", tmc.TracingConfig{Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	defer stopTracing(t, tracing)
	ctx, end := tracing.Start(t.Context(), "pass")
	defer end(nil)
	var none *tmc.Tracing
	if tracing.Carries() || tracing.Traceparent(ctx) != "" || none.Carries() || none.Enabled() {
		t.Error("nothing is carried unless somebody asks for it")
	}
}

func TestOrigins(t *testing.T) {
	var origins tmc.Origins[string]
	number := func(i int) string {
		return "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920330" + string(rune('0'+i)) + "-01"
	}
	for i := 1; i <= 3; i++ {
		origins.Note("a", number(i))
	}
	origins.Note("a", "no traceparent")
	for i := range 10 {
		origins.Note("b", number(i))
	}
	a := origins.Take("a")
	if a.Change.SpanID().String() != "b7ad6b7169203303" || len(a.Others) != 2 || a.Others[0].SpanID().String() != "b7ad6b7169203301" {
		t.Errorf("a pass is about the last change, and covers those before: got %v", a)
	}
	if again := origins.Take("a"); again.Change.IsValid() || len(again.Others) > 0 {
		t.Errorf("what was taken is gone: got %v", again)
	}
	if b := origins.Take("b"); b.Change.SpanID().String() != "b7ad6b7169203309" || len(b.Others) != 7 {
		t.Errorf("a bounded number of changes is remembered: got %v", b)
	}

	collector := otlp.Serve(t)
	tracing := newTracing(t, "grpc", collector.GRPC)
	_, end := tracing.Start(a.Context(t.Context()), "pass", a.Links())
	end(nil)
	stopPart(t, tracing)
	spans := collector.Trace(a.Change.TraceID()).Below(a.Change.SpanID())
	if len(spans) != 1 || len(spans[0].GetLinks()) != 2 {
		t.Errorf("the pass belongs to the change and is linked with the others: got %v", spans)
	}
}
