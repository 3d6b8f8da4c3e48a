package tmc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func ok(context.Context) error { return nil }

func failing(text string) func(context.Context) error {
	return func(context.Context) error { return errors.New(text) }
}

func get(h http.Handler, path string) (int, string) {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return answer.Code, answer.Body.String()
}

func TestHealthHandler(t *testing.T) {
	h := tmc.NewHealth()
	h.Register(tmc.Check{Name: "worker", Kind: tmc.Liveness, Run: ok})
	h.Register(tmc.Check{Name: "cache", Run: ok})
	h.Register(tmc.Check{Name: "link", Run: failing("connection refused\nby the server")})
	h.Register(tmc.Check{Name: "type/secrets", Kind: tmc.Liveness, Run: func(context.Context) error { return tmc.Degraded(errors.New("forbidden")) }})

	for name, test := range map[string]struct {
		path, want string
		code       int
	}{
		"liveness does not depend on what is ready":                       {path: "/livez", code: 200, want: "ok"},
		"liveness lists its checks if asked":                              {path: "/livez?verbose", code: 200, want: "[!]type/secrets degraded: forbidden\n[+]ping ok\n[+]worker ok\nlivez check passed\n"},
		"what is not ready is named without being asked, the worst first": {path: "/readyz", code: 500, want: "[-]link failed: connection refused by the server\n[!]type/secrets degraded: forbidden\n[+]ping ok\n[+]worker ok\n[+]cache ok\nreadyz check failed\n"},
		"healthz is readyz for old probes":                                {path: "/healthz", code: 500, want: "[-]link failed: connection refused by the server\n[!]type/secrets degraded: forbidden\n[+]ping ok\n[+]worker ok\n[+]cache ok\nhealthz check failed\n"},
		"checks can be left out":                                          {path: "/readyz?exclude=link", code: 200, want: "ok"},
		"several checks can be left out":                                  {path: "/readyz?verbose&exclude=link,ping&exclude=cache", code: 200, want: "[+]ping excluded: ok\n[+]cache excluded: ok\n[+]link excluded: ok\n[!]type/secrets degraded: forbidden\n[+]worker ok\nreadyz check passed\n"},
		"several that cannot be left out are told":                        {path: "/livez?exclude=a,b&exclude=c&verbose", code: 200, want: "warn: some health checks cannot be excluded: no matches for [\"a\" \"b\" \"c\"]\n[!]type/secrets degraded: forbidden\n[+]ping ok\n[+]worker ok\nlivez check passed\n"},
		"one check of a sort can be asked alone":                          {path: "/livez/type/secrets", code: 200, want: "degraded: forbidden"},
		"one check of a sort can be left out":                             {path: "/livez?exclude=type/secrets,ping&verbose", code: 200, want: "[+]ping excluded: ok\n[+]type/secrets excluded: ok\n[+]worker ok\nlivez check passed\n"},
		"what cannot be left out is told":                                 {path: "/livez?verbose&exclude=link", code: 200, want: "warn: some health checks cannot be excluded: no matches for [\"link\"]\n[!]type/secrets degraded: forbidden\n[+]ping ok\n[+]worker ok\nlivez check passed\n"},
		"one check can be asked alone":                                    {path: "/livez/worker", code: 200, want: "ok"},
		"one failing check says why":                                      {path: "/readyz/link", code: 500, want: "check failed: connection refused by the server\n"},
		"a check of another kind is not found":                            {path: "/livez/link", code: 404, want: "404 page not found\n"},
		"a check that does not exist is not found":                        {path: "/readyz/absent", code: 404, want: "404 page not found\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, body := get(h.Handler(), test.path); code != test.code || body != test.want {
				t.Errorf("got  %d %q\nwant %d %q", code, body, test.code, test.want)
			}
		})
	}
}

func TestHealthIsSummedUpWorstFirst(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	h := tmc.NewHealth(tmc.WithHealthClock(clock))
	said := map[string]error{}
	asked := 0
	for _, c := range []tmc.Check{{Name: "type", Kind: tmc.Liveness}, {Name: "cache"}, {Name: "engine", Kind: tmc.Liveness}} {
		c.Run = func(context.Context) error { return said[c.Name] }
		h.Register(c)
	}
	h.Register(tmc.Check{Name: "link", Asks: true, Run: func(context.Context) error { asked++; return errors.New("refused") }})
	for _, step := range []struct {
		name  string
		said  map[string]error
		level tmc.Level
		want  string
	}{
		{"all is well, and no server was asked", map[string]error{}, tmc.Healthy, ""},
		{"a part of the duty", map[string]error{"type": tmc.Degraded(errors.New("forbidden 1 s ago"))}, tmc.LevelDegraded, "type: forbidden 1 s ago"},
		{"what was said first stays, or it would change with the clock", map[string]error{"type": tmc.Degraded(errors.New("forbidden 2 s ago"))}, tmc.LevelDegraded, "type: forbidden 1 s ago"},
		{
			"the worst come first",
			map[string]error{"type": tmc.Degraded(errors.New("forbidden 3 s ago")), "cache": errors.New("not full"), "engine": errors.New("locked")},
			tmc.NotLive, "engine: locked; cache: not full; type: forbidden 1 s ago",
		},
		{"another level is another story", map[string]error{"type": errors.New("hangs")}, tmc.NotLive, "type: hangs"},
		{"it is well again", map[string]error{}, tmc.Healthy, ""},
	} {
		clock.Step(time.Second)
		said = step.said
		if level, text := tmc.Overall(h.Known(t.Context())); level != step.level || text != step.want {
			t.Errorf("%s: got %d %q, want %d %q", step.name, level, text, step.level, step.want)
		}
	}
	if asked != 0 {
		t.Error("a server was asked")
	}
	h.Ready(t.Context())
	if level, text := tmc.Overall(h.Known(t.Context())); level != tmc.NotReady || text != "link: refused" || asked != 1 {
		t.Errorf("what somebody else has asked for is known: got %d %q after %d requests", level, text, asked)
	}
}

func TestHealthMetrics(t *testing.T) {
	reg, h := prometheus.NewRegistry(), tmc.NewHealth()
	tmc.NewHealthMetrics(reg, h)
	h.Register(tmc.Check{Name: "cache", Run: failing("x")})
	h.Register(tmc.Check{Name: "type/secrets", Run: func(context.Context) error { return tmc.Degraded(errors.New("x")) }})
	h.Register(tmc.Check{Name: "engine", Kind: tmc.Liveness, Run: failing("x")})
	wantLines(t, scrape(t, reg, ""), `workload_component_health{component="ping"} 0`, `workload_component_health{component="type/secrets"} 1`,
		`workload_component_health{component="cache"} 2`, `workload_component_health{component="engine"} 3`)
}

func TestHealthChecksComeAndGo(t *testing.T) {
	h := tmc.NewHealth()
	remove := h.Register(tmc.Check{Name: "type", Run: failing("not yet")})
	if err := tmc.Failed(h.Ready(t.Context())); err == nil || err.Error() != "type: not yet" {
		t.Errorf("a failing check is named: got %v", err)
	}
	h.Register(tmc.Check{Name: "type", Run: ok})
	remove() // of the one that was replaced
	if results := h.Ready(t.Context()); len(results) != 2 || tmc.Failed(results) != nil {
		t.Errorf("a check that replaces another stays when the other is removed: got %v", results)
	}
}

func TestHealthAnswersAreKeptWhileFresh(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	h := tmc.NewHealth(tmc.WithHealthClock(clock))
	asked := 0
	h.Register(tmc.Check{Name: "dear", Freshness: 10 * time.Second, Run: func(context.Context) error {
		asked++
		return fmt.Errorf("answer %d", asked)
	}})
	for _, step := range []struct {
		after time.Duration
		want  string
	}{
		{after: 0, want: "dear: answer 1"},
		{after: 9 * time.Second, want: "dear: answer 1"},
		{after: time.Second, want: "dear: answer 2"},
	} {
		clock.Step(step.after)
		if err := tmc.Failed(h.Ready(t.Context())); err.Error() != step.want {
			t.Errorf("after another %s: got %q, want %q", step.after, err, step.want)
		}
	}
}

func TestHealthHungCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := tmc.NewHealth()
		var asked atomic.Int32
		release := make(chan struct{})
		h.Register(tmc.Check{Name: "hung", Deadline: time.Second, Run: func(context.Context) error {
			asked.Add(1)
			<-release // deaf to its context
			return nil
		}})
		for i := range 3 {
			start := time.Now()
			code, body := get(h.Handler(), "/readyz")
			if code != 500 || !strings.Contains(body, "[-]hung failed: no answer within 1s") {
				t.Errorf("it fails: got %d %q", code, body)
			}
			if took, most := time.Since(start), time.Second; took > most || i > 0 && took > 0 {
				t.Errorf("it fails at its deadline, and at once when that has passed: request %d took %s", i, took)
			}
			pass(time.Minute)
		}
		if asked.Load() != 1 {
			t.Errorf("it is not started again while it hangs: started %d times", asked.Load())
		}
		close(release)
		synctest.Wait()
		if code, body := get(h.Handler(), "/readyz"); code != 200 {
			t.Errorf("it recovers: got %d %q", code, body)
		}
		if asked.Load() != 2 {
			t.Errorf("it is asked again when it ended: started %d times", asked.Load())
		}
	})
}

func TestHealthPanicIsAFailure(t *testing.T) {
	h := tmc.NewHealth()
	h.Register(tmc.Check{Name: "x", Run: func(context.Context) error { panic("oh no") }})
	if err := tmc.Failed(h.Ready(t.Context())); err == nil || err.Error() != "x: panic: oh no" {
		t.Errorf("got %v", err)
	}
}

func TestWatermark(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Now())
	w := tmc.NewWatermark(clock, time.Minute)
	check := func(when, want string) {
		t.Helper()
		got := ""
		if err := w.Check(t.Context()); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	after := func(d time.Duration) { clock.SetTime(clock.Now().Add(d)) }

	after(time.Hour)
	check("nothing in work is no reason to worry", "")
	endFirst := w.Begin("first")
	after(time.Minute)
	check("work may take until the limit", "")
	endSecond := w.Begin("second")
	after(time.Second)
	check("what takes longer is stuck, however busy the others are", "first has been in work for 1m1s (limit 1m0s); 2 in work")
	endFirst()
	check("it is well again when the item ends", "")
	if items, oldest := w.InWork(); items != 1 || oldest != time.Second {
		t.Errorf("one item is in work for a second: got %d for %s", items, oldest)
	}
	endSecond()
	endSecond()
	check("ending twice does no harm", "")
}

func TestHeartbeat(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Now())
	b := tmc.NewHeartbeat(clock, time.Minute)
	if err := b.Check(t.Context()); err == nil {
		t.Error("it fails until the first beat")
	}
	b.Beat()
	clock.SetTime(clock.Now().Add(time.Minute))
	if err := b.Check(t.Context()); err != nil {
		t.Errorf("a beat is good until its age: got %v", err)
	}
	clock.SetTime(clock.Now().Add(time.Second))
	if err := b.Check(t.Context()); err == nil || err.Error() != "last 1m1s ago (limit 1m0s)" {
		t.Errorf("it fails when the last beat is too old: got %v", err)
	}
}
