package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
	"github.com/kcp-dev/workload-syncer/test/env"
	"github.com/kcp-dev/workload-syncer/test/otlp"
)

// Flags whose effect other tests show: --orphan-grace-period (A36), --conflict-policy (A10), --leader-elect… (A06),
// --sync-target-uid (A44), --feed and --feed-urls (A45, A54 and feed_test.go).

// absent checks that something does not come for a while.
func (s *side) absent(kind, namespace, name string) {
	s.T.Helper()
	remains(s.T, 2*time.Second, func() error {
		if _, err := s.Get(kind, namespace, name); err == nil {
			return fmt.Errorf("%s %s/%s exists", kind, namespace, name)
		}
		return nil
	})
}

func TestA53ResourceFilters(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer("--resource-filters=configmaps")
	tn.up.Create(`{apiVersion: v1, kind: Secret, metadata: {name: left-out, namespace: web}}`)
	tn.putConfigMap("settings")
	tn.down.absent("Secret", tn.downNamespace("web"), "left-out")
	tn.awaitTarget(func(u *unstructured.Unstructured) error {
		if synced, _, _ := unstructured.NestedSlice(u.Object, "status", "syncedResources"); len(synced) != 1 {
			return fmt.Errorf("synced are %v", synced)
		}
		return resourceState("configmaps", "Accepted")(u)
	})
}

// The namespace's labels are followed: what is no longer selected leaves, and is let go upstream.
func TestA53NamespaceSelectors(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer("--namespace-selectors=stage=prod", "--namespace-selectors=frozen!=yes", onlyCore)
	tn.up.Create(fastConfigMap("settings"))
	tn.down.absent("ConfigMap", tn.downNamespace("web"), "settings")
	for _, labels := range []string{`{stage: test}`, `{stage: test, frozen: "yes"}`} {
		tn.up.Merge("Namespace", "", "web", `metadata: {labels: {stage: prod, frozen: null}}`)
		tn.copyOf("ConfigMap", "settings", nil)
		tn.up.Eventually("ConfigMap", "web", "settings", tn.claimed)
		tn.up.Merge("Namespace", "", "web", `metadata: {labels: `+labels+`}`)
		tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "settings")
		tn.up.Eventually("ConfigMap", "web", "settings", tn.released)
	}
}

// released checks that nothing of the target is left on the object.
func (tn *tenant) released(u *unstructured.Unstructured) error {
	if tn.claimed(u) == nil {
		return fmt.Errorf("%s %s is still claimed: %v", u.GetKind(), u.GetName(), u.GetFinalizers())
	}
	for _, marks := range []map[string]string{u.GetLabels(), u.GetAnnotations()} {
		for name := range marks {
			if strings.HasSuffix(name, tn.key) {
				return fmt.Errorf("%s %s still has %s", u.GetKind(), u.GetName(), name)
			}
		}
	}
	return nil
}

func TestA53LabelSelectors(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer("--label-selectors=stage=prod", "--label-selectors=frozen!=yes", onlyCore)
	tn.up.Create(fastConfigMap("settings"))
	tn.down.absent("ConfigMap", tn.downNamespace("web"), "settings")
	tn.up.Merge("ConfigMap", "web", "settings", `metadata: {labels: {stage: prod}}`)
	tn.copyOf("ConfigMap", "settings", nil)
	tn.up.Eventually("ConfigMap", "web", "settings", tn.claimed)
	tn.up.Merge("ConfigMap", "web", "settings", `metadata: {labels: {frozen: "yes"}}`)
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "settings")
	tn.up.Eventually("ConfigMap", "web", "settings", tn.released)
}

// gate is a fault that holds requests until it is opened, and counts those that it holds.
type gate struct {
	when func(*http.Request) bool
	held atomic.Int64
	open chan struct{}
}

func (g *gate) hold(_ http.ResponseWriter, r *http.Request) bool {
	if g.when(r) {
		g.held.Add(1)
		select {
		case <-g.open:
		case <-r.Context().Done():
		}
		g.held.Add(-1)
	}
	return false
}

// creations are requests that make ConfigMaps.
func creations(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/configmaps")
}

// So many objects of a type are worked on at the same time, and no more.
func TestA53Workers(t *testing.T) {
	t.Parallel()
	for _, workers := range []int64{1, 3} {
		tn := newTenant(t)
		cluster := faulty(t, tn.cluster.AdminConfig())
		g := &gate{when: creations, open: make(chan struct{})}
		cluster.Break(g.hold)
		tn.startSyncerWith(syncerOptions{cluster: cluster.Config(), flags: []string{onlyCore, fmt.Sprint("--workers=", workers)}})
		for i := range 5 {
			tn.up.Create(fastConfigMap(fmt.Sprint("settings-", i)))
		}
		atOnce := func() error {
			if held := g.held.Load(); held != workers {
				return fmt.Errorf("%d copies are made at once, want %d", held, workers)
			}
			return nil
		}
		eventually(t, atOnce)
		remains(t, time.Second, atOnce)
		close(g.open)
		tn.copyOf("ConfigMap", "settings-4", nil)
	}
}

// passes is how many objects were looked at.
func (s *syncer) passes() float64 {
	s.T.Helper()
	return sum(s.Scrape(), "workload_syncer_pass_step_duration_seconds", "step=gather")
}

func TestA53ResyncPeriod(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer("--resync-period=0", onlyCore)
	tn.putConfigMap("settings")
	s.allSynced(1)
	var before float64
	eventually(t, func() error { // the last events of the copy have been worked off
		was := before
		if before = s.passes(); before != was {
			return fmt.Errorf("objects are still looked at")
		}
		return nil
	})
	remains(t, 3*time.Second, func() error {
		if now := s.passes(); now != before {
			return fmt.Errorf("%v objects were looked at, now %v", before, now)
		}
		return nil
	})
	s.Terminate()
	s = tn.startSyncer("--resync-period=500ms", onlyCore)
	s.allSynced(1)
	s.awaitMetric(atLeast(s.passes()+5), "workload_syncer_pass_step_duration_seconds", "step=gather")
}

func TestA53HeartbeatPeriod(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	heartbeat := func() any {
		return field(tn.up.MustGet(syncTargetKind, "", tn.target.Name), "status", "lastSyncerHeartbeatTime")
	}
	s := tn.startSyncer("--heartbeat-period=1h", onlyCore)
	tn.awaitTarget(condition("Ready", "True", "Syncing"))
	before := heartbeat()
	remains(t, 4*time.Second, func() error {
		if now := heartbeat(); now != before {
			return fmt.Errorf("a heartbeat at %v, after that at %v", now, before)
		}
		return nil
	})
	s.Terminate()
	s = tn.startSyncer("--heartbeat-period=1s", onlyCore)
	s.awaitMetric(atLeast(1), "workload_syncer_heartbeats_total", "result=success")
	began := time.Now()
	s.awaitMetric(atLeast(7), "workload_syncer_heartbeats_total", "result=success")
	if took := time.Since(began); took > 45*time.Second {
		t.Errorf("6 heartbeats took %s", took)
	}
}

// The first change of a status comes home at once, the next only after the window.
func TestA53StatusWindow(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	const kind = "networking.k8s.io/v1 Ingress"
	ingress := func(name string) string {
		return fmt.Sprintf(`{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: %s, namespace: web}, spec: {defaultBackend: {service: {name: front, port: {number: 80}}}}}`, name)
	}
	change := func(name, host string) {
		tn.down.Merge(kind, tn.downNamespace("web"), name, fmt.Sprintf(`status: {loadBalancer: {ingress: [{hostname: %s}]}}`, host), "status")
	}
	shows := func(host string) func(*unstructured.Unstructured) error {
		return func(u *unstructured.Unstructured) error {
			if !strings.Contains(fmt.Sprint(field(u, "status")), host) {
				return fmt.Errorf("status is %v", field(u, "status"))
			}
			return nil
		}
	}
	s := tn.startSyncer("--status-window=1h", "--resource-filters=ingresses.networking.k8s.io")
	tn.up.Create(ingress("front"))
	tn.copyOf(kind, "front", nil)
	change("front", "first.example.com")
	tn.up.Eventually(kind, "web", "front", shows("first.example.com"))
	change("front", "second.example.com")
	remains(t, 3*time.Second, func() error { return shows("first.example.com")(tn.up.MustGet(kind, "web", "front")) })
	s.Terminate()

	tn.startSyncer("--status-window=0", "--resource-filters=ingresses.networking.k8s.io")
	for _, host := range []string{"second.example.com", "third.example.com"} {
		change("front", host)
		tn.up.Eventually(kind, "web", "front", shows(host))
	}
}

func TestA53NamespaceCleanDelay(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer("--namespace-clean-delay=1h", onlyCore)
	tn.putConfigMap("settings")
	namespace := tn.down.MustGet("Namespace", "", tn.downNamespace("web"))
	tn.up.Delete("ConfigMap", "web", "settings")
	tn.up.EventuallyGone("ConfigMap", "web", "settings")
	remains(t, 8*time.Second, func() error { return tn.down.unharmed(namespace) })
	s.Terminate()
	tn.startSyncer("--namespace-clean-delay=0s", onlyCore)
	tn.down.EventuallyGone("Namespace", "", namespace.GetName())
}

// pace records when requests came.
type pace struct {
	when func(*http.Request) bool
	mu   sync.Mutex
	at   []time.Time
}

func (p *pace) note(_ http.ResponseWriter, r *http.Request) bool {
	if p.when(r) {
		p.mu.Lock()
		p.at = append(p.at, time.Now())
		p.mu.Unlock()
	}
	return false
}

func (p *pace) took(requests int) (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.at) < requests {
		return 0, fmt.Errorf("%d requests came, want %d", len(p.at), requests)
	}
	return p.at[requests-1].Sub(p.at[0]), nil
}

// The rates hold for each side by itself. How the flags for one side and for both relate is shown by the tests of options.
func TestA53Rates(t *testing.T) {
	t.Parallel()
	const objects, perSecond = 6, 2
	for name, tc := range map[string]struct {
		flags []string
		when  func(*http.Request) bool
	}{
		"cluster": {[]string{"--cluster-qps=2", "--cluster-burst=1"}, creations},
		"kcp":     {[]string{"--kcp-qps=2", "--kcp-burst=1"}, changes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tn := newTenant(t)
			kcp, cluster := faulty(t, tn.fleet.kcp.AdminConfig()), faulty(t, tn.cluster.AdminConfig())
			measured := &pace{when: tc.when}
			kcp.Break(measured.note)
			cluster.Break(measured.note)
			for i := range objects {
				tn.up.Create(fastConfigMap(fmt.Sprint("settings-", i)))
			}
			tn.startSyncerWith(syncerOptions{kcp: kcp.Config(), cluster: cluster.Config(), flags: append(tc.flags, "--resource-filters=configmaps"), mayFail: true})
			var took time.Duration
			env.Eventually(t, 2*soon, func() (err error) { took, err = measured.took(objects); return err })
			if least := (objects - 2) * time.Second / perSecond; took < least {
				t.Errorf("%d requests took %s, at %d per second", objects, took, perSecond)
			}
		})
	}
}

// changes are requests that change ConfigMaps.
func changes(r *http.Request) bool {
	return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/configmaps/")
}

// freePort is one that nobody listens on at the moment.
func freePort(t *testing.T, address string) int {
	t.Helper()
	listener := must(net.Listen("tcp", net.JoinHostPort(address, "0")))(t)
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestA53BindAddressAndPorts(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	const address = "127.0.0.2"
	metrics, health := freePort(t, address), freePort(t, address)
	flags := []string{"--bind-address=" + address, fmt.Sprint("--metrics-port=", metrics), fmt.Sprint("--health-port=", health), onlyCore}
	s := tn.startSyncer(flags...)
	for port, path := range map[int]string{metrics: "/metrics", health: "/livez"} {
		if code, _, err := ask(t.Context(), fmt.Sprintf("http://%s:%d%s", address, port, path)); err != nil || code != http.StatusOK {
			t.Errorf("%s: %d, %v", path, code, err)
		}
		if _, _, err := ask(t.Context(), fmt.Sprintf("http://127.0.0.1:%d%s", port, path)); err == nil {
			t.Errorf("%s is served at another address too", path)
		}
	}
	tn.refuses(syncerOptions{flags: flags}, "--health-port", "in use") // they are taken
	s.Terminate()
}

func TestA53SwitchedOffServers(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncerWith(syncerOptions{flags: []string{"--enable-tmc-health=false", "--enable-tmc-metrics=false", onlyCore}, mayFail: true})
	tn.putConfigMap("settings")
	if strings.Contains(s.Output(), `"Serving" server=`) {
		t.Errorf("something is served:\n%s", s.Tail(20))
	}
}

func TestA53Profiling(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	for _, tc := range []struct {
		flags            []string
		profile, metrics int
	}{
		{[]string{onlyCore}, http.StatusNotFound, http.StatusOK},
		{[]string{onlyCore, "--enable-profiling"}, http.StatusOK, http.StatusOK},
		{[]string{onlyCore, "--enable-profiling", "--enable-tmc-metrics=false"}, http.StatusOK, http.StatusNotFound},
	} {
		s := tn.startSyncer(tc.flags...)
		profile, _ := s.Ask("metrics", "/debug/pprof/goroutine?debug=1")
		metrics, _ := s.Ask("metrics", "/metrics")
		if profile != tc.profile || metrics != tc.metrics {
			t.Errorf("%v: profile %d, metrics %d", tc.flags, profile, metrics)
		}
		s.Terminate()
	}
}

// Traces go where the flags say, and as many as they say. What somebody else began is sent if they say so; the object carries it
// until the claim, which takes it off in the same write.
func TestA53Tracing(t *testing.T) {
	t.Parallel()
	tn, collector := newTenant(t), otlp.Serve(t)
	const begun = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	around := []string{"OTEL_BSP_SCHEDULE_DELAY=100"}
	flags := []string{onlyCore, "--tracing-endpoint=" + collector.GRPC, "--tracing-protocol=grpc", "--tracing-sampling-ratio=0"}
	traced := func(name string) {
		tn.up.Create(fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: web, annotations: {%s: %s}}}`, name, workloadv1alpha1.TraceAnnotation, begun))
		tn.copyOf("ConfigMap", name, nil)
	}
	s := tn.startSyncerWith(syncerOptions{flags: flags, env: around})
	traced("before")
	s.Terminate()
	if n := len(collector.Spans()); n != 0 {
		t.Errorf("%d spans without the flag", n)
	}
	s = tn.startSyncerWith(syncerOptions{flags: append(flags, "--enable-tmc-tracing", "--enable-trace-annotation"), env: around})
	tn.putConfigMap("untraced")
	traced("traced")
	tn.up.Eventually("ConfigMap", "web", "traced", func(u *unstructured.Unstructured) error {
		if _, carries := u.GetAnnotations()[workloadv1alpha1.TraceAnnotation]; carries || len(u.GetFinalizers()) == 0 {
			return fmt.Errorf("it is not claimed, or still carries its trace: %v, %v", u.GetFinalizers(), u.GetAnnotations())
		}
		return nil
	})
	from := tmc.ParseTraceparent(begun)
	eventually(t, func() error {
		return collector.Trace(from.TraceID()).Contains(from.SpanID(),
			"workload-syncer: sync configmaps", "  apply", "    POST configmaps (cluster)", "    claim configmaps", "      PATCH configmaps (kcp)")
	})
	for _, name := range []string{"workload_syncer_lag_seconds", "workload_syncer_pass_step_duration_seconds", "rest_client_request_duration_seconds"} {
		leads := regexp.MustCompile(name + `_bucket\{.*# \{.*trace_id="` + from.TraceID().String() + `"`)
		eventually(t, func() error { // latencies lead to the trace
			if !leads.MatchString(s.OpenMetrics()) {
				return fmt.Errorf("%s has no exemplar of the trace", name)
			}
			return nil
		})
	}
	families := s.Scrape()
	claims := sum(families, "workload_syncer_writes_total", "direction=up", "resource=configmaps", "verb=claim")
	if all := sum(families, "workload_syncer_writes_total", "direction=up", "resource=configmaps"); claims < 2 || all != claims {
		t.Errorf("%v writes upstream for %v claims", all, claims)
	}
	for _, span := range collector.Spans() {
		if id := from.TraceID(); !bytes.Equal(span.GetTraceId(), id[:]) {
			t.Errorf("a trace that began here is sent: %v", span)
		}
	}
}

// With recovery, work at a server that does not answer pauses and the server is probed; without it every object is retried.
func TestA53Recovery(t *testing.T) {
	t.Parallel()
	for _, enabled := range []bool{true, false} {
		t.Run(strconv.FormatBool(enabled), func(t *testing.T) {
			t.Parallel()
			tn := newTenant(t)
			l := tn.newLinks()
			s := tn.startSyncerWith(tn.through(l, onlyCore, fmt.Sprint("--enable-tmc-recovery=", enabled)))
			s.AwaitReady()
			tn.putConfigMap("before")
			l.cluster.Cut()
			tn.up.Create(fastConfigMap("after"))
			if enabled {
				s.awaitMetric(atLeast(1), "recovery_circuit_probes_total", "server=cluster", "result=unanswered")
				tn.awaitTarget(condition(workloadv1alpha1.ConditionRecovered, "False", workloadv1alpha1.ReasonRecovering, "connectivity of link cluster"))
				if page, text := s.recoveries(); len(page.Active) == 0 || page.Active[0].Strategy != "connectivity" || page.Active[0].Subject != "cluster" || !strings.Contains(text, `"open"`) && !strings.Contains(text, `"half-open"`) {
					t.Errorf("/debug/recovery shows %s", text)
				}
			} else {
				if page, text := s.recoveries(); page.Enabled || len(page.Active) > 0 {
					t.Errorf("/debug/recovery shows %s", text)
				}
				tn.awaitTarget(condition(workloadv1alpha1.ConditionRecovered, "Unknown", workloadv1alpha1.ReasonRecoveryDisabled))
				s.awaitMetric(atLeast(6), "workload_syncer_retries_total", "resource=configmaps") // more than a circuit allows
				if opened := sum(s.Scrape(), "recovery_circuit_transitions_total"); opened != 0 {
					t.Errorf("%v circuits were opened", opened)
				}
			}
			if err := l.cluster.Restore(); err != nil {
				t.Fatal(err)
			}
			tn.copyOf("ConfigMap", "after", nil)
			if enabled {
				s.awaitMetric(atLeast(1), "recovery_outcomes_total", "strategy=connectivity", "outcome=recovered")
				s.says("Resuming after a server was away")
				tn.awaitTarget(condition(workloadv1alpha1.ConditionRecovered, "True", workloadv1alpha1.ReasonNothingToRecover))
			}
		})
	}
}

// How much is logged, and how.
func TestA53Logging(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	const change, decision = `"Creating the copy"`, `"Decided"`
	for i, tc := range []struct {
		flags              []string
		changes, decisions bool
	}{
		{[]string{"-v=0"}, false, false},
		{[]string{"-v=2"}, true, false},
		{[]string{"-v=4"}, true, true},
		{[]string{"-v=0", "--vmodule=pass=4"}, false, true}, // the decisions are in pass.go
	} {
		s := tn.startSyncerWith(syncerOptions{flags: append(tc.flags, onlyCore), mayFail: true})
		name := fmt.Sprint("settings-", i)
		tn.putConfigMap(name)
		tn.up.Eventually("ConfigMap", "web", name, tn.claimed)
		s.Terminate()
		log := s.Output()
		if strings.Contains(log, change) != tc.changes || strings.Contains(log, decision) != tc.decisions {
			t.Errorf("%v: changes %v, decisions %v", tc.flags, strings.Contains(log, change), strings.Contains(log, decision))
		}
	}
	s := tn.startSyncerWith(syncerOptions{flags: []string{"--logging-format=json", "--log-flush-frequency=100ms", "-v=2", onlyCore}, mayFail: true})
	tn.putConfigMap("settings-json")
	s.says(`"msg":"Creating the copy"`)
	s.Terminate()
	for line := range strings.Lines(s.Output()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestA53Version(t *testing.T) {
	t.Parallel()
	f := shared(t)
	result := must(f.env.Run(t.Context(), env.Command{Name: "version", Path: f.binary, Args: []string{"--version"}}))(t)
	if result.ExitCode != 0 || !strings.HasPrefix(result.Stdout, "workload-syncer ") {
		t.Errorf("%+v", result)
	}
}
