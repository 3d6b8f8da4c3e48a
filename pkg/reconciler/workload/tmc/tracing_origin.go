package tmc

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceparent is the name of the W3C header, and what its value is carried by on objects.
const traceparent = "traceparent"

// Origin is where a pass comes from: the change that it is about, and others that came before it was worked on. The zero value
// is nowhere: such a pass begins a trace.
type Origin struct {
	Change trace.SpanContext
	Others []trace.SpanContext
}

// Context has the next span follow from the origin.
func (o Origin) Context(ctx context.Context) context.Context {
	if !o.Change.IsValid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, o.Change)
}

// Links are for the span: a trace has one parent, and the others are told of.
func (o Origin) Links() trace.SpanStartOption {
	links := make([]trace.Link, 0, len(o.Others))
	for _, other := range o.Others {
		links = append(links, trace.Link{SpanContext: other})
	}
	return trace.WithLinks(links...)
}

// ParseTraceparent reads the W3C form. What is none gives nothing.
func ParseTraceparent(text string) trace.SpanContext {
	carrier := propagation.MapCarrier{traceparent: text}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// FromHeader has the next span follow from what a client says of its trace.
func FromHeader(ctx context.Context, header http.Header) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
}

// Carries tells whether traces are carried on objects.
func (t *Tracing) Carries() bool { return t.Enabled() && t.carry }

// Traceparent is what an object carries of the span of ctx, in the W3C form; empty if traces are not carried, or nobody
// wants to hear of this one.
func (t *Tracing) Traceparent(ctx context.Context) string {
	if !t.Carries() || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceparent]
}

// maxOrigins is how many changes of one key are remembered until it is worked on.
const maxOrigins = 8

// Origins remembers what changes carried until a pass takes them. The zero value is ready for use.
type Origins[K comparable] struct {
	lock  sync.Mutex
	byKey map[K][]trace.SpanContext
}

// Note remembers what a change of the key carried, if that is a trace. The key has to be worked on afterwards.
func (o *Origins[K]) Note(key K, text string) {
	change := ParseTraceparent(text)
	if !change.IsValid() {
		return
	}
	o.lock.Lock()
	defer o.lock.Unlock()
	if o.byKey == nil {
		o.byKey = map[K][]trace.SpanContext{}
	}
	o.byKey[key] = append(o.byKey[key], change)
	if noted := o.byKey[key]; len(noted) > maxOrigins {
		o.byKey[key] = slices.Clone(noted[1:])
	}
}

// Take gives what was noted of a key since it was last taken. The last change is the one that a pass is about.
func (o *Origins[K]) Take(key K) Origin {
	o.lock.Lock()
	defer o.lock.Unlock()
	noted := o.byKey[key]
	if len(noted) == 0 {
		return Origin{}
	}
	delete(o.byKey, key)
	last := len(noted) - 1
	return Origin{Change: noted[last], Others: noted[:last]}
}
