// Package otlp is an OpenTelemetry collector for tests: it takes spans over gRPC and HTTP, keeps them, and draws their trees.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // which exporters may use
	"google.golang.org/protobuf/proto"
)

// Receiver is the collector.
type Receiver struct {
	collector.UnimplementedTraceServiceServer

	// GRPC and HTTP are its URLs.
	GRPC, HTTP string

	lock  sync.Mutex
	spans []Span
}

// Span is one that the collector has got.
type Span struct {
	*tracev1.Span

	// Service is the program that made it.
	Service string
}

// Serve runs a collector until the test ends.
func Serve(t *testing.T) *Receiver {
	t.Helper()
	r := &Receiver{}
	grpcServer, grpcListener := grpc.NewServer(), listen(t)
	collector.RegisterTraceServiceServer(grpcServer, r)
	httpServer, httpListener := &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}, listen(t)
	r.GRPC, r.HTTP = "http://"+grpcListener.Addr().String(), "http://"+httpListener.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := grpcServer.Serve(grpcListener); err != nil {
			t.Errorf("serving OTLP over gRPC: %v", err)
		}
	})
	serving.Go(func() {
		if err := httpServer.Serve(httpListener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving OTLP over HTTP: %v", err)
		}
	})
	t.Cleanup(func() {
		grpcServer.Stop()
		_ = httpServer.Close() // all it can say is that a connection was broken already
		serving.Wait()
	})
	return r
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// Export takes spans over gRPC.
func (r *Receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, from := range request.GetResourceSpans() {
		service := attribute(from.GetResource().GetAttributes(), "service.name")
		for _, scope := range from.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				r.spans = append(r.spans, Span{Span: span, Service: service})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// ServeHTTP takes spans over HTTP.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	exported := &collector.ExportTraceServiceRequest{}
	body, err := io.ReadAll(request.Body)
	if err == nil {
		err = proto.Unmarshal(body, exported)
	}
	if err != nil || request.URL.Path != "/v1/traces" {
		http.Error(w, "not spans", http.StatusBadRequest)
		return
	}
	_, _ = r.Export(request.Context(), exported) // cannot fail
}

// Spans are all that have come.
func (r *Receiver) Spans() []Span {
	r.lock.Lock()
	defer r.lock.Unlock()
	return slices.Clone(r.spans)
}

// Trace is what has come of one trace.
func (r *Receiver) Trace(id trace.TraceID) Trace {
	return slices.DeleteFunc(r.Spans(), func(s Span) bool { return !slices.Equal(s.GetTraceId(), id[:]) })
}

// Attribute is the text of one of the span's attributes; empty if it has none of that name.
func (s Span) Attribute(name string) string { return attribute(s.GetAttributes(), name) }

// ID is the span's.
func (s Span) ID() trace.SpanID { return spanID(s.GetSpanId()) }

// spanID is zero if there is none.
func spanID(from []byte) (id trace.SpanID) {
	copy(id[:], from)
	return id
}

func attribute(all []*commonv1.KeyValue, name string) string {
	for _, a := range all {
		if a.GetKey() == name {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// Trace are spans of one trace.
type Trace []Span

// Below are the spans that follow directly from one, by when they began.
func (t Trace) Below(parent trace.SpanID) Trace {
	below := slices.DeleteFunc(slices.Clone(t), func(s Span) bool { return spanID(s.GetParentSpanId()) != parent })
	slices.SortStableFunc(below, func(a, b Span) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) }) //nolint:gosec // nanoseconds fit
	return below
}

// Find are the spans of a service with that name, by when they began.
func (t Trace) Find(service, name string) Trace {
	found := slices.DeleteFunc(slices.Clone(t), func(s Span) bool { return s.Service != service || s.GetName() != name })
	slices.SortStableFunc(found, func(a, b Span) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) }) //nolint:gosec // nanoseconds fit
	return found
}

// Draw draws the tree below a span, one line for each: indented by its depth, with its service where that is another than its
// parent's, and with its server if it is a request.
func (t Trace) Draw(root trace.SpanID) string {
	var out strings.Builder
	t.draw(&out, root, "", 0)
	return out.String()
}

func (t Trace) draw(out *strings.Builder, parent trace.SpanID, service string, depth int) {
	for _, s := range t.Below(parent) {
		out.WriteString(strings.Repeat("  ", depth))
		if s.Service != service {
			out.WriteString(s.Service + ": ")
		}
		out.WriteString(s.GetName())
		if server := s.Attribute("server"); server != "" {
			out.WriteString(" (" + server + ")")
		}
		if s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR {
			out.WriteString(" !" + s.GetStatus().GetMessage())
		}
		out.WriteString("\n")
		t.draw(out, s.ID(), s.Service, depth+1)
	}
}

// Contains fails unless all lines of a tree, as [Trace.Draw] draws it, are in the one below a span, whatever else is there.
func (t Trace) Contains(root trace.SpanID, lines ...string) error {
	if got := t.Draw(root); !contains(treeOf(strings.Split(got, "\n")), treeOf(lines)) {
		return fmt.Errorf("not all of\n%s\nis in the tree:\n%s", strings.Join(lines, "\n"), got)
	}
	return nil
}

// node is a line of a tree, and what is below it.
type node struct {
	line  string
	below []*node
}

// treeOf reads lines that are indented by two spaces for each level.
func treeOf(lines []string) []*node {
	root := &node{}
	path := []*node{root}
	for _, line := range lines {
		text := strings.TrimLeft(line, " ")
		if text == "" {
			continue
		}
		depth := (len(line) - len(text)) / 2
		added := &node{line: text}
		path = append(path[:depth+1], added)
		path[depth].below = append(path[depth].below, added)
	}
	return root.below
}

// contains reports whether there is a place for all that is wanted.
func contains(have, want []*node) bool {
	for _, wanted := range want {
		if !slices.ContainsFunc(have, func(h *node) bool { return h.line == wanted.line && contains(h.below, wanted.below) }) {
			return false
		}
	}
	return true
}
