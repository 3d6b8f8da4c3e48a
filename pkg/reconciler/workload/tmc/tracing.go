package tmc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

// instrumentationName is the scope of the spans that are made through [Tracing.Start].
const instrumentationName = "github.com/kcp-dev/workload-syncer"

// tracingStopTimeout is how long the last spans may take to leave when the process stops.
const tracingStopTimeout = 2 * time.Second

// The protocols that a collector may speak.
const (
	TracingHTTP = "http/protobuf"
	TracingGRPC = "grpc"
)

// TracingConfig is what an operator chooses. Endpoint, Protocol and SamplingRatio count where the standard OTEL_* environment
// says nothing.
type TracingConfig struct {
	Enabled bool
	// Carry the trace of a change on the object, for the other programs.
	Carry bool
	// Endpoint is the URL of the collector, such as http://collector:4318; empty for the protocol's default at localhost.
	Endpoint string
	// Protocol is grpc or http/protobuf; empty for the latter.
	Protocol string
	// SamplingRatio is the part of the traces that begin here that is sent, from 0 to 1; nil for all. What somebody else
	// began is sent if they say so.
	SamplingRatio *float64
}

// Tracing makes spans and sends them to a collector (OTLP). It is set up by its configuration and by the standard OTEL_*
// environment, which wins:
//
//   - OTEL_EXPORTER_OTLP_PROTOCOL: grpc or http/protobuf (the default); also _TRACES_PROTOCOL,
//   - OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _CERTIFICATE, … and their _TRACES_ forms,
//   - OTEL_TRACES_SAMPLER and _ARG: parentbased_always_on if unset,
//   - OTEL_BSP_*: size and delay of batches,
//   - OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER=none.
//
// Spans are sent in the background. Without a collector they are dropped, and nothing waits. No span holds the message of an
// error or anything of an object but its name: what is in it may be secret.
type Tracing struct {
	// provider is nil if disabled.
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	sampler  *sampler
	exporter *patientExporter
	carry    bool
}

// NewTracing reads the environment and fails where it is wrong. It does not wait for the collector. Disabled, by the
// configuration or the environment, it makes spans that are nothing and cost nothing.
func NewTracing(ctx context.Context, service string, config TracingConfig) (*Tracing, error) {
	exporter := os.Getenv("OTEL_TRACES_EXPORTER")
	disabled, _ := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")) // anything but true is false, as specified
	if !config.Enabled || disabled || exporter == "none" {
		return &Tracing{tracer: noop.NewTracerProvider().Tracer(instrumentationName)}, nil
	}
	if exporter != "" && exporter != "otlp" {
		return nil, fmt.Errorf("tracing: OTEL_TRACES_EXPORTER is %q: must be otlp or none", exporter)
	}
	sampler, err := newSampler(config.SamplingRatio)
	if err != nil {
		return nil, err
	}
	otlp, err := newExporter(ctx, config)
	if err != nil {
		return nil, err
	}
	res, err := describeProcess(ctx, service)
	if err != nil {
		return nil, fmt.Errorf("tracing: describing this process: %w", err)
	}
	exporting := newPatientExporter(otlp, klog.FromContext(ctx))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporting), sdktrace.WithResource(res), sdktrace.WithSampler(sampler))
	return &Tracing{provider: provider, tracer: provider.Tracer(instrumentationName), sampler: sampler, exporter: exporting, carry: config.Carry}, nil
}

// newExporter leaves to the library what the environment says.
func newExporter(ctx context.Context, config TracingConfig) (sdktrace.SpanExporter, error) {
	configured := firstOf(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) == ""
	if configured && config.Endpoint != "" && !isURL(config.Endpoint) {
		return nil, fmt.Errorf("tracing: the endpoint is %q: must be a URL such as http://collector:4318", config.Endpoint)
	}
	switch protocol := firstOf(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), config.Protocol); protocol {
	case TracingGRPC:
		var options []otlptracegrpc.Option
		if configured {
			options = append(options, otlptracegrpc.WithEndpointURL(firstOf(config.Endpoint, "http://localhost:4317")))
		}
		return otlptracegrpc.New(ctx, options...)
	case "", TracingHTTP:
		var options []otlptracehttp.Option
		if configured {
			endpoint := strings.TrimSuffix(firstOf(config.Endpoint, "http://localhost:4318"), "/")
			options = append(options, otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"))
		}
		return otlptracehttp.New(ctx, options...)
	default:
		return nil, fmt.Errorf("tracing: the protocol is %q: must be grpc or http/protobuf; OTEL_EXPORTER_OTLP_PROTOCOL is the variable for it", protocol)
	}
}

func isURL(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && parsed.Host != "" && (parsed.Scheme == "http" || parsed.Scheme == "https")
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
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

// Enabled tells whether spans lead anywhere. Those of a nil Tracing do not.
func (t *Tracing) Enabled() bool { return t != nil && t.provider != nil }

// Propagator carries a trace across processes in the W3C form.
func (t *Tracing) Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }

// Start starts a span. End finishes it; for an error, its status is the error's category.
func (t *Tracing) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (_ context.Context, end func(error)) {
	if !t.Enabled() {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, name, options...)
	return ctx, func(err error) {
		if err != nil {
			category := string(CategoryOf(err))
			span.SetAttributes(attribute.String("error.type", category))
			span.SetStatus(codes.Error, category)
		}
		span.End()
	}
}

// SetSampling changes the part of the traces that begin here that is sent; nil for all. The environment wins.
func (t *Tracing) SetSampling(ratio *float64) error {
	if !t.Enabled() {
		return nil
	}
	return t.sampler.set(ratio)
}

// Flush sends what is there, as long as ctx lets it.
func (t *Tracing) Flush(ctx context.Context) error {
	if !t.Enabled() {
		return nil
	}
	return t.provider.ForceFlush(ctx)
}

// Shutdown sends what is there, as long as ctx lets it, and ends. What is under way then is given up.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if !t.Enabled() {
		return nil
	}
	defer t.exporter.giveUp()
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

// patientExporter says once that the collector cannot be reached and once that it can be again. The SDK would tell a
// global handler about every batch.
type patientExporter struct {
	sdktrace.SpanExporter
	logger  klog.Logger
	failing atomic.Bool

	stopping context.Context //nolint:containedctx // as long as the exporter itself
	giveUp   context.CancelFunc
}

func newPatientExporter(next sdktrace.SpanExporter, logger klog.Logger) *patientExporter {
	e := &patientExporter{SpanExporter: next, logger: logger}
	e.stopping, e.giveUp = context.WithCancel(context.Background())
	return e
}

// ExportSpans never fails, as far as the SDK is concerned.
func (e *patientExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.stopping, cancel)()
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && e.failing.CompareAndSwap(false, true):
		e.logger.Info("Losing spans: the collector does not take them", "err", err)
	case err == nil && e.failing.CompareAndSwap(true, false):
		e.logger.Info("Sending spans again")
	}
	return nil
}
