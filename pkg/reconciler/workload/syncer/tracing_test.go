package syncer

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func spanNumber(i byte) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{i}, SpanID: trace.SpanID{i}, TraceFlags: trace.FlagsSampled})
}

func TestWhatFollowsFromAChange(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	running := &followed{pass: spanNumber(1), generation: 3, until: now.Add(time.Second)}
	over := &followed{pass: spanNumber(1), generation: 3, until: now.Add(-time.Second)}
	next := followed{pass: spanNumber(2), generation: 4}
	for _, tc := range []struct {
		what             string
		before           *followed
		continues, acted bool
		want             *followed
	}{
		{"a pass that did nothing is followed by nothing", nil, false, false, nil},
		{"a pass that acted begins", nil, false, true, &followed{pass: spanNumber(2), generation: 4, until: now.Add(followedFor)}},
		{"what it did goes on for longer when more is written", running, true, true, &followed{pass: spanNumber(1), generation: 3, until: now.Add(followedFor)}},
		{"and not for longer otherwise", running, true, false, running},
		{"another change ends it", running, false, true, &followed{pass: spanNumber(2), generation: 4, until: now.Add(followedFor)}},
		{"a look at something else does not", running, false, false, running},
		{"time ends it", over, false, false, nil},
	} {
		t.Run(tc.what, func(t *testing.T) {
			got := tc.before.after(now, tc.continues, tc.acted, next)
			if (got == nil) != (tc.want == nil) || got != nil && (!got.pass.Equal(tc.want.pass) || got.generation != tc.want.generation || !got.until.Equal(tc.want.until)) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func carrying(version, traceparent string) *object {
	o := &object{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "web", ResourceVersion: version, Annotations: map[string]string{"kcp.io/cluster": "c"}}}
	if traceparent != "" {
		o.Annotations[workloadv1alpha1.TraceAnnotation] = traceparent
	}
	return o
}

func TestTracesAreNoted(t *testing.T) {
	const (
		first  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		second = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-01"
	)
	handler := func(c *ResourceController) cache.ResourceEventHandlerDetailedFuncs {
		return c.tracingHandler(cache.ResourceEventHandlerDetailedFuncs{AddFunc: func(any, bool) {}, UpdateFunc: func(any, any) {}})
	}
	key := Key{Cluster: "c", Namespace: "web", Name: "a"}
	for _, tc := range []struct {
		what   string
		events func(cache.ResourceEventHandlerDetailedFuncs)
		want   string // of the change
		others int
	}{
		{"a new object has the trace of its creation", func(h cache.ResourceEventHandlerDetailedFuncs) { h.AddFunc(carrying("1", first), false) }, first, 0},
		{"what was there at the start is no change", func(h cache.ResourceEventHandlerDetailedFuncs) { h.AddFunc(carrying("1", first), true) }, "", 0},
		{"a trace that comes is one of a change", func(h cache.ResourceEventHandlerDetailedFuncs) {
			h.UpdateFunc(carrying("1", ""), carrying("2", first))
		}, first, 0},
		{"one that stays is used", func(h cache.ResourceEventHandlerDetailedFuncs) {
			h.UpdateFunc(carrying("1", first), carrying("2", first))
		}, "", 0},
		{"one that goes too", func(h cache.ResourceEventHandlerDetailedFuncs) { h.UpdateFunc(carrying("1", first), carrying("2", "")) }, "", 0},
		{"several that come at once are linked", func(h cache.ResourceEventHandlerDetailedFuncs) {
			h.UpdateFunc(carrying("1", ""), carrying("2", first))
			h.UpdateFunc(carrying("2", first), carrying("3", second))
		}, second, 1},
		{"nonsense is none", func(h cache.ResourceEventHandlerDetailedFuncs) { h.AddFunc(carrying("1", "nonsense"), false) }, "", 0},
	} {
		t.Run(tc.what, func(t *testing.T) {
			c := &ResourceController{tracing: newTracing(t, true)}
			tc.events(handler(c))
			got := c.origins.Take(key)
			if want := tmc.ParseTraceparent(tc.want); !got.Change.Equal(want) || len(got.Others) != tc.others {
				t.Errorf("got %+v, want %s and %d others", got, tc.want, tc.others)
			}
			silent := &ResourceController{tracing: newTracing(t, false)}
			tc.events(handler(silent))
			if got := silent.origins.Take(key); got.Change.IsValid() {
				t.Errorf("traces are used although they are not carried: %+v", got)
			}
		})
	}
}

func newTracing(t *testing.T, carry bool) *tmc.Tracing {
	t.Helper()
	tracing, err := tmc.NewTracing(t.Context(), "test", tmc.TracingConfig{Enabled: true, Carry: carry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tracing.Shutdown(t.Context()); err != nil {
			t.Log(err) // nobody listens
		}
	})
	return tracing
}
