package tmc

import (
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
)

// InstrumentTransport returns a wrapper for rest.Config.Wrap that makes a span of every request to the server of that name,
// and tells the server about it. A request that is no part of a trace, such as a probe or a watch, makes none. Disabled, it
// adds nothing.
func (t *Tracing) InstrumentTransport(server string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		if !t.Enabled() {
			return next
		}
		return otelhttp.NewTransport(next,
			otelhttp.WithTracerProvider(t.provider),
			otelhttp.WithMeterProvider(noopmetric.NewMeterProvider()),
			otelhttp.WithPropagators(t.Propagator()),
			otelhttp.WithSpanOptions(trace.WithAttributes(attribute.String("server", server))),
			otelhttp.WithFilter(func(r *http.Request) bool {
				return trace.SpanContextFromContext(r.Context()).IsValid() && !isWatch(r)
			}),
			otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return requestName(verb(r), r.URL.Path) }))
	}
}

// requestName is the verb and the resource, such as "PATCH deployments/status": of what there are as many as types.
func requestName(verb, path string) string {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	at := slices.IndexFunc(segments, func(s string) bool { return s == "api" || s == "apis" })
	if at < 0 {
		return verb
	}
	groupVersion := 1 // api/v1
	if segments[at] == "apis" {
		groupVersion = 2
	}
	rest := segments[min(at+1+groupVersion, len(segments)):]
	if len(rest) > 2 && rest[0] == "namespaces" && rest[2] != "status" && rest[2] != "finalize" {
		rest = rest[2:]
	}
	switch {
	case len(rest) == 0:
		return verb + " discovery"
	case len(rest) > 2:
		return verb + " " + rest[0] + "/" + rest[2]
	default:
		return verb + " " + rest[0]
	}
}
