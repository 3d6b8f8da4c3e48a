package tmc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

// instrumentationName is the scope of the spans that are made through [Tracing.Tracer].
const instrumentationName = "github.com/kcp-dev/workload-syncer"

// tracingStopTimeout is how long the last spans may take to leave when the process stops.
const tracingStopTimeout = 2 * time.Second

// Tracing makes spans and sends them to a collector (OTLP). It is set up by the standard OTEL_* environment:
//
//   - OTEL_EXPORTER_OTLP_PROTOCOL: grpc or http/protobuf (the default); also _TRACES_PROTOCOL,
//   - OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _CERTIFICATE, … and their _TRACES_ forms,
//   - OTEL_TRACES_SAMPLER and _ARG: parentbased_always_on if unset,
//   - OTEL_BSP_*: size and delay of batches,
//   - OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER=none.
//
// Spans are sent in the background. Without a collector they are dropped, and nothing waits.
type Tracing struct {
	// provider is nil if disabled.
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// NewTracing reads the environment and fails where it is wrong. It does not wait for the collector. Disabled, by the
// argument or the environment, it makes spans that are nothing and cost nothing.
func NewTracing(ctx context.Context, service string, enabled bool) (*Tracing, error) {
	exporter := os.Getenv("OTEL_TRACES_EXPORTER")
	disabled, _ := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")) // anything but true is false, as specified
	if !enabled || disabled || exporter == "none" {
		return &Tracing{tracer: noop.NewTracerProvider().Tracer(instrumentationName)}, nil
	}
	if exporter != "" && exporter != "otlp" {
		return nil, fmt.Errorf("tracing: OTEL_TRACES_EXPORTER is %q: must be otlp or none", exporter)
	}
	if err := checkSampler(os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG")); err != nil {
		return nil, err
	}
	otlp, err := newExporter(ctx)
	if err != nil {
		return nil, err
	}
	res, err := describeProcess(ctx, service)
	if err != nil {
		return nil, fmt.Errorf("tracing: describing this process: %w", err)
	}
	logged := &loggedExporter{SpanExporter: otlp, logger: klog.FromContext(ctx)}
	// The provider's own default for what is not set here is the environment's.
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(logged), sdktrace.WithResource(res))
	return &Tracing{provider: provider, tracer: provider.Tracer(instrumentationName)}, nil
}

func newExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	protocol := firstEnv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	switch protocol {
	case "grpc":
		return otlptracegrpc.New(ctx)
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	}
	return nil, fmt.Errorf("tracing: OTEL_EXPORTER_OTLP_PROTOCOL is %q: must be grpc or http/protobuf", protocol)
}

func firstEnv(names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return ""
}

// checkSampler refuses what the SDK would report to a log and then replace by its default.
func checkSampler(sampler, arg string) error {
	switch strings.ToLower(strings.TrimSpace(sampler)) {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
		return nil
	case "traceidratio", "parentbased_traceidratio":
		if arg == "" {
			return nil
		}
		if ratio, err := strconv.ParseFloat(strings.TrimSpace(arg), 64); err != nil || ratio < 0 || ratio > 1 {
			return fmt.Errorf("tracing: OTEL_TRACES_SAMPLER_ARG is %q: must be a number from 0 to 1", arg)
		}
		return nil
	}
	return fmt.Errorf("tracing: OTEL_TRACES_SAMPLER is %q: must be always_on, always_off, traceidratio, or one of these with parentbased_", sampler)
}

// describeProcess: what the environment says counts before what we say.
func describeProcess(ctx context.Context, service string) (*resource.Resource, error) {
	res, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", service),
			attribute.String("service.version", version.Get().GitVersion)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(), resource.WithFromEnv())
	if errors.Is(err, resource.ErrPartialResource) || errors.Is(err, resource.ErrSchemaURLConflict) {
		return res, nil // some attribute could not be found out
	}
	return res, err
}

// Enabled tells whether spans lead anywhere.
func (t *Tracing) Enabled() bool { return t.provider != nil }

// Tracer makes spans.
func (t *Tracing) Tracer() trace.Tracer { return t.tracer }

// Propagator carries a trace across processes in the W3C form.
func (t *Tracing) Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }

// InstrumentTransport returns a wrapper for rest.Config.Wrap that makes a span of every request other than watches,
// and tells the server about it. Disabled, it adds nothing.
func (t *Tracing) InstrumentTransport() func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		if t.provider == nil {
			return next
		}
		return otelhttp.NewTransport(next,
			otelhttp.WithTracerProvider(t.provider),
			otelhttp.WithMeterProvider(noopmetric.NewMeterProvider()),
			otelhttp.WithPropagators(t.Propagator()),
			otelhttp.WithFilter(func(r *http.Request) bool { return !isWatch(r) }),
			otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return verb(r) }))
	}
}

// Flush sends what is there, as long as ctx lets it.
func (t *Tracing) Flush(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	return t.provider.ForceFlush(ctx)
}

// Shutdown sends what is there, as long as ctx lets it, and ends.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Part shuts the tracing down when it is stopped: start it first, so that it is stopped last. Spans that cannot be
// sent then are lost, which is no error.
func (t *Tracing) Part() Part {
	return Part{Name: "tracing", Run: func(ctx context.Context) error {
		<-ctx.Done()
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracingStopTimeout)
		defer cancel()
		if err := t.Shutdown(stopCtx); err != nil {
			klog.FromContext(ctx).V(2).Info("Losing the last spans", "err", err)
		}
		return nil
	}}
}

// loggedExporter says once that the collector cannot be reached and once that it can be again. The SDK would tell a
// global handler about every batch.
type loggedExporter struct {
	sdktrace.SpanExporter
	logger  klog.Logger
	failing atomic.Bool
}

func (e *loggedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && e.failing.CompareAndSwap(false, true):
		e.logger.Info("Losing spans: the collector does not take them", "err", err)
	case err == nil && e.failing.CompareAndSwap(true, false):
		e.logger.Info("Sending spans again")
	}
	return nil
}
