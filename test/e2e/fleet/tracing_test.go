package fleet

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
	"github.com/kcp-dev/workload-syncer/test/env"
	"github.com/kcp-dev/workload-syncer/test/otlp"
)

// The programs, as the spans name them.
const (
	theManager = "workload-manager"
	theViews   = "workload-views"
	theSyncer  = "workload-syncer"
)

// traced has a program send its traces to the collector.
func traced(command env.Command, protocol, collector, service string) env.Command {
	command.Args = append(command.Args, "--enable-tmc-tracing", "--enable-trace-annotation")
	command.Env = append(command.Env, "OTEL_SERVICE_NAME="+service, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector, "OTEL_BSP_SCHEDULE_DELAY=200")
	return command
}

// tracedFleet runs a provider's manager, what serves the virtual workspaces, and a target's syncer, each a process of its own.
type tracedFleet struct {
	collector *otlp.Receiver
	team      *harness.Workspace
	one       *harness.Target
	syncer    *harness.Program
}

var viewsAddress = regexp.MustCompile(`"Serving" server="virtual-workspace" address="([^"]+)"`)

func newTracedFleet(t *testing.T) *tracedFleet {
	t.Helper()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	f := &tracedFleet{collector: otlp.Serve(t), one: targets.NewTarget("one", east, "", ""), team: p.NewTenant(t)}

	certificate := harness.Must(p.Env.NewServerCertificate("views"))(t)
	viewsCommand := p.ManagerCommand(t)
	viewsCommand.Name, viewsCommand.Args = "views", append([]string{"virtual-workspace"}, without(viewsCommand.Args, "--leader-elect")...)
	viewsCommand.Args = append(viewsCommand.Args, "--virtual-workspace-port=0", "--virtual-workspace-cert-file="+certificate.CertFile, "--virtual-workspace-key-file="+certificate.KeyFile)
	views := harness.Start(t, p.Env, traced(viewsCommand, "grpc", f.collector.GRPC, theViews))
	views.AwaitReady()
	address := viewsAddress.FindStringSubmatch(views.Output())
	if address == nil {
		t.Fatalf("no virtual workspace is served:\n%s", views.Tail(20))
	}
	manager := harness.Start(t, p.Env, traced(p.ManagerCommand(t, "--virtual-workspace-url=https://"+address[1]), "grpc", f.collector.GRPC, theManager))
	manager.AwaitReady()

	account := harness.Must(p.KCP.ServiceAccount(t.Context(), targets.Path, env.ServiceAccount{Namespace: "default", Name: "syncer", Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, ResourceNames: []string{"one"}, Verbs: []string{"get", "list", "watch", "sync"}},
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets/status"}, ResourceNames: []string{"one"}, Verbs: []string{"patch"}},
		{APIGroups: []string{"apiresource.kcp.io"}, Resources: []string{"apiresourceimports"}, Verbs: []string{"*"}},
	}}))(t)
	account.Host = p.KCP.AdminConfig().Host
	account.CAData = append(slices.Clone(account.CAData), certificate.CA...)
	command := f.one.SyncerCommand("--kcp-kubeconfig=" + harness.Must(p.Env.Kubeconfig(account))(t))
	command.Args = without(command.Args, "--feed-urls") // it finds the virtual workspace by its SyncTarget
	f.syncer = harness.Start(t, p.Env, traced(command, "http/protobuf", f.collector.HTTP, theSyncer))
	f.syncer.AwaitReady()
	place(f.team, targets, "")
	f.team.Eventually("Namespace", "", "web", onlyOn(f.one))
	return f
}

// without are the flags whose names do not begin so.
func without(flags []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(flags), func(flag string) bool { return strings.HasPrefix(flag, prefix) })
}

// newTraceparent is what a deployment pipeline would put on an object: the place in its own trace at which it changes it.
func newTraceparent() string {
	hex := func(length int) string {
		var digits strings.Builder
		for range length {
			fmt.Fprintf(&digits, "%x", rand.IntnRange(1, 16))
		}
		return digits.String()
	}
	return "00-" + hex(32) + "-" + hex(16) + "-01"
}

// One trace tells of a change: from who made it over the assignment, the copy and the virtual workspace to the status that is home.
func TestA52OneTracePerChange(t *testing.T) {
	t.Parallel()
	f := newTracedFleet(t)
	claimsBefore := f.writes("claim")

	// A pipeline begins the trace. A Secret goes along, whose content no span has.
	begun := newTraceparent()
	annotated := func(name, traceparent string) string {
		object := harness.Parse(t, harness.Deployment("web", name, 1))
		object.SetAnnotations(map[string]string{workloadv1alpha1.TraceAnnotation: traceparent})
		return string(harness.Must(object.MarshalJSON())(t))
	}
	f.team.Create(fmt.Sprintf(`{apiVersion: v1, kind: Secret, metadata: {name: needed, namespace: web, labels: {%s: "true"}, annotations: {%s: %s}}, stringData: {password: open-sesame}}`,
		workloadv1alpha1.AssignLabel, workloadv1alpha1.TraceAnnotation, newTraceparent()), annotated("hello", begun))
	home := harness.All(onlyOn(f.one), harness.Has(1, "status", "availableReplicas"))
	f.team.Eventually(deploymentKind, "web", "hello", home)
	f.one.Down.Eventually("Secret", f.one.NamespaceOf(f.team, "web"), "needed", nil)
	f.awaitTrace(t, tmc.ParseTraceparent(begun), []string{
		theManager + ": assignment",
		"  apply",
		"    PATCH deployments (kcp)",
		"    " + theSyncer + ": sync deployments.apps",
		"      apply",
		"        POST deployments (cluster)",
		"      sync deployments.apps",
		"        summarize",
		"          PATCH deployments/status (kcp)",
		"            " + theViews + ": patch deployments/status",
		"              PATCH deployments/status (kcp)",
	})
	if claims := f.writes("claim") - claimsBefore; claims != 0 {
		t.Errorf("traces cost %v claims", claims)
	}
	copied := f.one.Down.MustGet(deploymentKind, f.one.NamespaceOf(f.team, "web"), "hello")
	if _, carries := copied.GetAnnotations()[workloadv1alpha1.TraceAnnotation]; carries {
		t.Error("the copy carries the trace")
	}

	// The same for a change of what is assigned already: the manager has nothing to do, the syncer goes on at once.
	changed := newTraceparent()
	f.team.Merge(deploymentKind, "web", "hello", fmt.Sprintf(`{metadata: {annotations: {%s: %s}}, spec: {replicas: 2}}`, workloadv1alpha1.TraceAnnotation, changed))
	f.team.Eventually(deploymentKind, "web", "hello", harness.Has(2, "status", "availableReplicas"))
	f.awaitTrace(t, tmc.ParseTraceparent(changed), []string{
		theSyncer + ": sync deployments.apps",
		"  apply",
		"    APPLY deployments (cluster)",
		"  sync deployments.apps",
		"    summarize",
		"      PATCH deployments/status (kcp)",
		"        " + theViews + ": patch deployments/status",
	})

	// Nobody begins a trace: the manager does, when it assigns.
	f.team.Create(harness.Deployment("web", "plain", 1))
	plain := f.team.Eventually(deploymentKind, "web", "plain", home)
	assigned := tmc.ParseTraceparent(plain.GetAnnotations()[workloadv1alpha1.TraceAnnotation])
	if !assigned.IsValid() {
		t.Fatalf("what is assigned carries no trace: %v", plain.GetAnnotations())
	}
	f.awaitTrace(t, trace.NewSpanContext(trace.SpanContextConfig{TraceID: assigned.TraceID()}), []string{
		theManager + ": assignment",
		"  apply",
		"    " + theSyncer + ": sync deployments.apps",
		"      sync deployments.apps",
		"        summarize",
		"          PATCH deployments/status (kcp)",
	})

	// A failure has its category. A trace that was used goes with what is written anyway: here, why there is no copy.
	refused := newTraceparent()
	f.one.Down.Create(fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: taken, namespace: %s}}`, f.one.NamespaceOf(f.team, "web")))
	object := harness.Parse(t, configMapObject("taken"))
	object.SetAnnotations(map[string]string{workloadv1alpha1.TraceAnnotation: refused})
	f.team.Create(string(harness.Must(object.MarshalJSON())(t)))
	f.awaitTrace(t, tmc.ParseTraceparent(refused), []string{
		theManager + ": assignment",
		"  apply",
		"    " + theSyncer + ": sync configmaps !" + string(tmc.AlreadyExists),
		"      apply !" + string(tmc.AlreadyExists),
		"        POST configmaps (cluster) !",
		"      report",
		"        PATCH configmaps (kcp)",
	})
	f.team.Eventually("ConfigMap", "web", "taken", func(u *unstructured.Unstructured) error {
		if _, carries := u.GetAnnotations()[workloadv1alpha1.TraceAnnotation]; carries {
			return errors.New("the trace is still there after the condition was written")
		}
		return nil
	})

	// What is left is sent at the end.
	if code := f.syncer.Terminate(); code != 0 {
		t.Errorf("the syncer ended with %d", code)
	}
	for _, span := range f.collector.Spans() {
		if text := span.String(); strings.Contains(text, "sesame") || strings.Contains(text, "b3Blbi1zZXNhbWU") {
			t.Errorf("a span has the content of a Secret: %s", text)
		}
	}
}

// writes are how many writes of a kind the syncer has made upstream.
func (f *tracedFleet) writes(verb string) float64 {
	return harness.Sum(f.syncer.Scrape(), "workload_syncer_writes_total", "direction=up", "verb="+verb)
}

// awaitTrace waits until all that is wanted is in the tree that begins at a span, whatever else is there.
func (f *tracedFleet) awaitTrace(t *testing.T, from trace.SpanContext, want []string) {
	t.Helper()
	harness.Eventually(t, func() error {
		return f.collector.Trace(from.TraceID()).Contains(from.SpanID(), want...)
	})
}
