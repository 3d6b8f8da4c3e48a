package virtualworkspace

import (
	"context"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
	"github.com/kcp-dev/workload-syncer/test/otlp"
)

// The server goes on with the trace of a client that may ask something, and with nobody else's.
func TestRequestsAreTraced(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	shard := fakeShard(t, map[string]string{
		"/api/v1/namespaces/web/secrets/mine":   secretOf("mine", workloadv1alpha1.StateLabel(target.key())),
		"/api/v1/secrets?watch":                 "",
		"/api/v1/namespaces/web/secrets/others": secretOf("others", workloadv1alpha1.StateLabel("other")),
	})
	s, address := serveViews(t, shard)
	collector := otlp.Serve(t)
	tracing, err := tmc.NewTracing(t.Context(), "views", tmc.TracingConfig{Enabled: true, Endpoint: collector.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	s.tracing = tracing
	url := workloadv1alpha1.VirtualWorkspacesOf(address, []string{shard}, "2x4jqf", "east", "u")[0].SyncerURL + "/clusters/"
	for _, request := range []struct {
		path, token string
		code        int
	}{
		{"abc/api/v1/namespaces/web/secrets/mine", "t", http.StatusOK},
		{"abc/api/v1/namespaces/web/secrets/others", "t", http.StatusNotFound},
		{"abc/api/v1/namespaces/web/secrets/mine", "", http.StatusUnauthorized},
		{"*/api/v1/secrets?watch=true", "t", http.StatusOK},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // for the watch
		if code := askInTrace(t, ctx, url+request.path, request.token, parent); code != request.code {
			t.Errorf("%s: %d", request.path, code)
		}
		cancel()
	}
	if err := tracing.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	from := tmc.ParseTraceparent(parent)
	want := "views: get secrets\nviews: get secrets !NotFound\n"
	if got := collector.Trace(from.TraceID()).Draw(from.SpanID()); got != want || len(collector.Spans()) != 2 {
		t.Errorf("got\n%swant\n%sof %d spans", got, want, len(collector.Spans()))
	}
	if child := collector.Spans()[0]; trace.SpanID(child.GetParentSpanId()) != from.SpanID() || child.Attribute("syncTarget") != target.String() {
		t.Errorf("got %v", child)
	}
}

func askInTrace(t *testing.T, ctx context.Context, url, token, traceparent string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Traceparent", traceparent)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
