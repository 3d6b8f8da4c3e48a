package options

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli/clitest"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// fixture is a machine with kubeconfigs for kcp and for a cluster.
type fixture struct {
	kcp, cluster string
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	return fixture{
		kcp: clitest.Kubeconfig(t, "team", map[string]string{
			"team": "https://kcp.example:6443/clusters/root:team-a",
			"base": "https://kcp.example:6443",
		}),
		cluster: clitest.Kubeconfig(t, "east", map[string]string{
			"east": "https://east.example:6443",
			"west": "https://west.example:6443",
		}),
	}
}

// arguments are the shortest command line that works, and more.
func (f fixture) arguments(more ...string) []string {
	return append([]string{"--kcp-kubeconfig=" + f.kcp, "--cluster-kubeconfig=" + f.cluster, "--sync-target-name=east"}, more...)
}

// complete does with a command line what the command does.
func complete(around clitest.Surroundings, arguments ...string) (*syncer.Config, error) {
	return completeFrom(around, cli.Sources{}, arguments...)
}

// completeFrom also has a configuration file and an environment.
func completeFrom(around clitest.Surroundings, from cli.Sources, arguments ...string) (*syncer.Config, error) {
	loaded, err := load(around, from, arguments...)
	if err != nil {
		return nil, err
	}
	return loaded.Config, nil
}

func load(around clitest.Surroundings, from cli.Sources, arguments ...string) (*cli.Loaded[syncer.Config], error) {
	return clitest.Load("workload-syncer", func() cli.Options[syncer.Config] {
		o := New()
		o.surroundings = around
		return o
	}, from, arguments...)
}

// compareConfigs compares what a command line can change.
var compareConfigs = cmp.Options{
	cmp.Comparer(func(a, b logicalcluster.Path) bool { return a == b }),
	cmp.Comparer(func(a, b labels.Selector) bool {
		return (a == nil) == (b == nil) && (a == nil || a.String() == b.String())
	}),
	cmp.Transformer("connection", func(c *rest.Config) map[string]any {
		return map[string]any{"host": c.Host, "token": c.BearerToken, "qps": c.QPS, "burst": c.Burst, "agent": c.UserAgent}
	}),
	cmpopts.IgnoreFields(tmc.LeaderElection{}, "Identity"),
	cmpopts.IgnoreFields(syncer.Config{}, "Reread", "CredentialFiles", "Source"), // see TestReread
	cmpopts.EquateEmpty(),
}

func selectorOf(t *testing.T, text string) labels.Selector {
	t.Helper()
	parsed, err := labels.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestDefaults(t *testing.T) {
	config, err := complete(clitest.Surroundings{}, newFixture(t).arguments()...)
	if err != nil {
		t.Fatal(err)
	}
	want := &syncer.Config{
		KCP:                 &rest.Config{Host: "https://kcp.example:6443", BearerToken: "token-team", QPS: -1, UserAgent: cli.UserAgent("workload-syncer")},
		Cluster:             &rest.Config{Host: "https://east.example:6443", BearerToken: "token-east", QPS: -1, UserAgent: cli.UserAgent("workload-syncer")},
		SyncTarget:          syncer.SyncTargetRef{Workspace: logicalcluster.NewPath("root:team-a"), Name: "east"},
		Feed:                syncer.FeedConfig{Kind: syncer.FeedWorkspace},
		Workers:             32,
		ResyncPeriod:        time.Hour,
		HeartbeatPeriod:     20 * time.Second,
		StatusWindow:        500 * time.Millisecond,
		NamespaceCleanDelay: 30 * time.Second,
		OrphanGracePeriod:   time.Minute,
		ConflictPolicy:      workloadv1alpha1.ConflictFail,
		Exposition:          tmc.Exposition{BindAddress: "0.0.0.0", MetricsPort: 8080, HealthPort: 8081, EnableMetrics: true, EnableHealth: true},
		Tracing:             tmc.TracingConfig{Protocol: tmc.TracingHTTP, SamplingRatio: ptr.To(1.0)},
		EnableRecovery:      true,
		Features:            tmc.Features{syncer.FeaturePublishAPIs: {Stage: "BETA", Enabled: true}},
	}
	if diff := cmp.Diff(want, config, compareConfigs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// flagCase says what a flag does: how it changes the configuration that the defaults give.
type flagCase struct {
	name      string
	arguments []string
	effect    func(t *testing.T, c *syncer.Config)
}

// flagCases hold every flag at least once: TestEveryFlagHasACase checks it.
var flagCases = []flagCase{
	{"another kcp context", []string{"--kcp-context=base", "--sync-target-workspace=root:x"}, func(_ *testing.T, c *syncer.Config) {
		c.KCP.BearerToken, c.SyncTarget.Workspace = "token-base", logicalcluster.NewPath("root:x")
	}},
	{"another cluster context", []string{"--cluster-context=west"}, func(_ *testing.T, c *syncer.Config) {
		c.Cluster.Host, c.Cluster.BearerToken = "https://west.example:6443", "token-west"
	}},
	{"the target's UID", []string{"--sync-target-uid=1-2-3"}, func(_ *testing.T, c *syncer.Config) { c.SyncTarget.UID = "1-2-3" }},
	{"the workspace typed goes before the kubeconfig's", []string{"--sync-target-workspace=root:b"}, func(_ *testing.T, c *syncer.Config) {
		c.SyncTarget.Workspace = logicalcluster.NewPath("root:b")
	}},
	{"the workspace's other flag does the same", []string{"--workspace-cluster=root:b"}, func(_ *testing.T, c *syncer.Config) {
		c.SyncTarget.Workspace = logicalcluster.NewPath("root:b")
	}},
	{"the workspace given twice alike", []string{"--workspace-cluster=root:b", "--sync-target-workspace=root:b"}, func(_ *testing.T, c *syncer.Config) {
		c.SyncTarget.Workspace = logicalcluster.NewPath("root:b")
	}},
	{"the assigned feed", []string{"--feed=assigned"}, func(_ *testing.T, c *syncer.Config) { c.Feed.Kind = syncer.FeedAssigned }},
	{"the assigned feed from URLs", []string{"--feed=assigned", "--feed-urls=https://a.example/x,https://b.example/y"}, func(_ *testing.T, c *syncer.Config) {
		c.Feed = syncer.FeedConfig{Kind: syncer.FeedAssigned, URLs: []string{"https://a.example/x", "https://b.example/y"}}
	}},
	{"some resources only", []string{"--resource-filters=deployments.apps,configmaps"}, func(_ *testing.T, c *syncer.Config) {
		c.Filters.Resources = []schema.GroupResource{{Group: "apps", Resource: "deployments"}, {Resource: "configmaps"}}
	}},
	{"namespaces that match", []string{"--namespace-selectors=env in (a,b)"}, func(t *testing.T, c *syncer.Config) {
		c.Filters.Namespaces = selectorOf(t, "env in (a,b)")
	}},
	{"objects that match two selectors", []string{"--label-selectors=a=1", "--label-selectors=b!=2"}, func(t *testing.T, c *syncer.Config) {
		c.Filters.Labels = selectorOf(t, "a=1,b!=2")
	}},
	{"workers", []string{"--workers=3"}, func(_ *testing.T, c *syncer.Config) { c.Workers = 3 }},
	{"resync", []string{"--resync-period=0"}, func(_ *testing.T, c *syncer.Config) { c.ResyncPeriod = 0 }},
	{"heartbeat", []string{"--heartbeat-period=5s"}, func(_ *testing.T, c *syncer.Config) { c.HeartbeatPeriod = 5 * time.Second }},
	{"status window", []string{"--status-window=0"}, func(_ *testing.T, c *syncer.Config) { c.StatusWindow = 0 }},
	{"namespace clean delay", []string{"--namespace-clean-delay=1s"}, func(_ *testing.T, c *syncer.Config) { c.NamespaceCleanDelay = time.Second }},
	{"orphan grace period", []string{"--orphan-grace-period=2s"}, func(_ *testing.T, c *syncer.Config) { c.OrphanGracePeriod = 2 * time.Second }},
	{"conflict policy", []string{"--conflict-policy=IfNoDiff"}, func(_ *testing.T, c *syncer.Config) { c.ConflictPolicy = workloadv1alpha1.ConflictIfNoDiff }},
	{"a rate for both sides, with twice the burst", []string{"--qps=7.5"}, func(_ *testing.T, c *syncer.Config) {
		c.KCP.QPS, c.KCP.Burst, c.Cluster.QPS, c.Cluster.Burst = 7.5, 15, 7.5, 15
	}},
	{"a burst for both sides", []string{"--qps=5", "--burst=50"}, func(_ *testing.T, c *syncer.Config) {
		c.KCP.QPS, c.KCP.Burst, c.Cluster.QPS, c.Cluster.Burst = 5, 50, 5, 50
	}},
	{"kcp's rate goes before that of both", []string{"--qps=5", "--burst=6", "--kcp-qps=1", "--kcp-burst=2"}, func(_ *testing.T, c *syncer.Config) {
		c.KCP.QPS, c.KCP.Burst, c.Cluster.QPS, c.Cluster.Burst = 1, 2, 5, 6
	}},
	{"the cluster's rate goes before that of both", []string{"--qps=5", "--burst=6", "--cluster-qps=-1", "--cluster-burst=2"}, func(_ *testing.T, c *syncer.Config) {
		c.KCP.QPS, c.KCP.Burst, c.Cluster.QPS, c.Cluster.Burst = 5, 6, -1, 2
	}},
	{"bind address", []string{"--bind-address=::1"}, func(_ *testing.T, c *syncer.Config) { c.BindAddress = "::1" }},
	{"ports", []string{"--metrics-port=0", "--health-port=0"}, func(_ *testing.T, c *syncer.Config) { c.MetricsPort, c.HealthPort = 0, 0 }},
	{"profiling", []string{"--enable-profiling"}, func(_ *testing.T, c *syncer.Config) { c.EnableProfiling = true }},
	{"no metrics", []string{"--enable-tmc-metrics=false"}, func(_ *testing.T, c *syncer.Config) { c.EnableMetrics = false }},
	{"no health", []string{"--enable-tmc-health=false"}, func(_ *testing.T, c *syncer.Config) { c.EnableHealth = false }},
	{"tracing", []string{"--enable-tmc-tracing"}, func(_ *testing.T, c *syncer.Config) { c.Tracing.Enabled = true }},
	{"traces on objects", []string{"--enable-tmc-tracing", "--enable-trace-annotation"}, func(_ *testing.T, c *syncer.Config) { c.Tracing.Enabled, c.Tracing.Carry = true, true }},
	{"where traces go", []string{"--tracing-endpoint=http://collector:4317", "--tracing-protocol=grpc"}, func(_ *testing.T, c *syncer.Config) {
		c.Tracing.Endpoint, c.Tracing.Protocol = "http://collector:4317", tmc.TracingGRPC
	}},
	{"some traces", []string{"--tracing-sampling-ratio=0.01"}, func(_ *testing.T, c *syncer.Config) { c.Tracing.SamplingRatio = ptr.To(0.01) }},
	{"no recovery", []string{"--enable-tmc-recovery=false"}, func(_ *testing.T, c *syncer.Config) { c.EnableRecovery = false }},
	{"a feature less", []string{"--feature-gates=PublishAPIs=false"}, func(_ *testing.T, c *syncer.Config) {
		c.Features = tmc.Features{syncer.FeaturePublishAPIs: {Stage: "BETA"}}
	}},
	{"leader election", []string{"--leader-elect", "--leader-elect-resource-namespace=ns"}, func(_ *testing.T, c *syncer.Config) {
		c.LeaderElection = &tmc.LeaderElection{
			Namespace: "ns", Name: leaseName(c.SyncTarget),
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		}
	}},
	{"leader election with all its flags", []string{
		"--leader-elect", "--leader-elect-resource-namespace=ns", "--leader-elect-resource-name=lease",
		"--leader-elect-lease-duration=6s", "--leader-elect-renew-deadline=4s", "--leader-elect-retry-period=1s",
	}, func(_ *testing.T, c *syncer.Config) {
		c.LeaderElection = &tmc.LeaderElection{
			Namespace: "ns", Name: "lease",
			LeaseDuration: 6 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: time.Second,
		}
	}},
}

func TestFlags(t *testing.T) {
	f := newFixture(t)
	for _, tc := range flagCases {
		t.Run(tc.name, func(t *testing.T) {
			want, err := complete(clitest.Surroundings{}, f.arguments()...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := complete(clitest.Surroundings{}, f.arguments(tc.arguments...)...)
			if err != nil {
				t.Fatal(err)
			}
			tc.effect(t, want)
			if diff := cmp.Diff(want, got, compareConfigs); diff != "" {
				t.Errorf("%v (-want +got):\n%s", tc.arguments, diff)
			}
		})
	}
}

// A flag that nothing observes does nothing.
func TestEveryFlagHasACase(t *testing.T) {
	observed := map[string]bool{
		"logging-format": true, "v": true, "vmodule": true, "log-flush-frequency": true, // TestLoggingFlags
		"config": true, "print-config": true, // TestPrecedence, TestPrintedConfiguration
	}
	arguments := newFixture(t).arguments() // TestDefaults
	for _, tc := range flagCases {
		arguments = append(arguments, tc.arguments...)
	}
	for _, argument := range arguments {
		name, _, _ := strings.Cut(strings.TrimPrefix(argument, "--"), "=")
		observed[name] = true
	}
	for _, section := range New().Flags().FlagSets {
		section.VisitAll(func(f *pflag.Flag) {
			if !observed[f.Name] {
				t.Errorf("--%s: no test observes what it does", f.Name)
			}
		})
	}
}

func TestLoggingFlags(t *testing.T) {
	o := New()
	fs := o.Flags().FlagSets["logging"]
	if err := fs.Parse([]string{"--logging-format=json", "-v=4", "--vmodule=a=1", "--log-flush-frequency=9s"}); err != nil {
		t.Fatal(err)
	}
	logging := o.Logging()
	if logging.Format != "json" || logging.Verbosity != 4 || len(logging.VModule) != 1 || logging.FlushFrequency.Duration.Duration != 9*time.Second {
		t.Errorf("got %+v", logging)
	}
}

func TestInAPod(t *testing.T) {
	f := newFixture(t)
	config, err := complete(clitest.Surroundings{Namespace: "syncers"}, "--kcp-kubeconfig="+f.kcp, "--sync-target-name=east", "--leader-elect")
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Cluster.Host; got != "https://in-cluster.example" {
		t.Errorf("the cluster is %s, not the pod's own", got)
	}
	if got := config.LeaderElection.Namespace; got != "syncers" {
		t.Errorf("the Lease is in namespace %q, not in the pod's own", got)
	}
}

func TestReplicasShareALeaseButNotAnIdentity(t *testing.T) {
	arguments := newFixture(t).arguments("--leader-elect", "--leader-elect-resource-namespace=ns")
	election := func(more ...string) *tmc.LeaderElection {
		t.Helper()
		config, err := complete(clitest.Surroundings{}, append(arguments, more...)...)
		if err != nil {
			t.Fatal(err)
		}
		return config.LeaderElection
	}
	first, second, other := election(), election(), election("--sync-target-name=west")
	if first.Name != second.Name || first.Identity == second.Identity {
		t.Errorf("two replicas: %+v and %+v", first, second)
	}
	if first.Name == other.Name {
		t.Errorf("two targets share the Lease %s", first.Name)
	}
	if !strings.HasPrefix(first.Identity, "host-1_") {
		t.Errorf("identity %q does not tell the host", first.Identity)
	}
}

func TestMistakes(t *testing.T) {
	f := newFixture(t)
	missing := filepath.Join(t.TempDir(), "missing")
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("\tnot yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := clitest.Kubeconfig(t, "", nil)
	noCurrent := clitest.Kubeconfig(t, "", map[string]string{"a": "https://a.example", "b": "https://b.example"})
	virtual := clitest.Kubeconfig(t, "a", map[string]string{"a": "https://kcp.example/services/apiexport/root/kubernetes"})
	badPath := clitest.Kubeconfig(t, "a", map[string]string{"a": "https://kcp.example/clusters/no such"})
	plain := clitest.Kubeconfig(t, "a", map[string]string{"a": "https://kcp.example"})

	for _, tc := range []struct {
		name      string
		arguments []string
		want      []string // flag, then parts of what is said
	}{
		{"no name", []string{"--sync-target-name="}, []string{"sync-target-name", "required", "kubectl workload status"}},
		{"no possible name", []string{"--sync-target-name=A_B"}, []string{"sync-target-name", `"A_B"`, "lowercase"}},
		{"no kcp", []string{"--kcp-kubeconfig="}, []string{"kcp-kubeconfig", "required"}},
		{"kcp's file is missing", []string{"--kcp-kubeconfig=" + missing}, []string{"kcp-kubeconfig", missing, "does not exist"}},
		{"kcp's file is garbage", []string{"--kcp-kubeconfig=" + garbage}, []string{"kcp-kubeconfig", garbage, "cannot be read"}},
		{"kcp's file is empty", []string{"--kcp-kubeconfig=" + empty}, []string{"kcp-kubeconfig", empty, "no contexts"}},
		{"kcp's context is unknown", []string{"--kcp-context=x"}, []string{"kcp-context", `"x"`, "base, team"}},
		{"the cluster's context is unknown", []string{"--cluster-context=x"}, []string{"cluster-context", `"x"`, "east, west"}},
		{"no current context", []string{"--cluster-kubeconfig=" + noCurrent}, []string{"cluster-context", "required", "a, b"}},
		{"the cluster's file is missing", []string{"--cluster-kubeconfig=" + missing}, []string{"cluster-kubeconfig", missing, "does not exist"}},
		{"outside of a cluster", []string{"--cluster-kubeconfig="}, []string{"cluster-kubeconfig", "required outside of a cluster"}},
		{"kcp is a virtual workspace", []string{"--kcp-kubeconfig=" + virtual, "--sync-target-workspace=root"}, []string{"kcp-kubeconfig", "virtual workspace", "--feed-urls"}},
		{"kcp's URL has a strange workspace", []string{"--kcp-kubeconfig=" + badPath, "--sync-target-workspace=root"}, []string{"kcp-kubeconfig", "not a workspace"}},
		{"no workspace", []string{"--kcp-kubeconfig=" + plain}, []string{"sync-target-workspace", "required", "root:team-a"}},
		{"no possible workspace", []string{"--sync-target-workspace=a/b"}, []string{"sync-target-workspace", `"a/b"`}},
		{"no possible workspace by the other flag", []string{"--workspace-cluster=a/b"}, []string{"workspace-cluster", `"a/b"`}},
		{"two workspaces", []string{"--sync-target-workspace=root:a", "--workspace-cluster=root:b"}, []string{"workspace-cluster", "root:a", "root:b"}},
		{"traces on objects without traces", []string{"--enable-trace-annotation"}, []string{"enable-trace-annotation", "--enable-tmc-tracing"}},
		{"unknown feed", []string{"--feed=x"}, []string{"feed", "workspace, assigned"}},
		{"URLs without the feed that needs them", []string{"--feed-urls=https://a.example"}, []string{"feed-urls", "--feed=assigned"}},
		{"not a URL", []string{"--feed=assigned", "--feed-urls=kcp.example"}, []string{"feed-urls", `"kcp.example"`, "https://"}},
		{"a URL with a password", []string{"--feed=assigned", "--feed-urls=https://me:secret@kcp.example"}, []string{"feed-urls", "me:xxxxx@", "--kcp-kubeconfig"}},
		{"a collector with a password", []string{"--tracing-endpoint=https://me:secret@otel.example"}, []string{"tracing-endpoint", "me:xxxxx@", "OTEL_EXPORTER_OTLP_HEADERS"}},
		{"not a resource", []string{"--resource-filters=Deployment"}, []string{"resource-filters", `"Deployment"`, "deployments.apps"}},
		{"not a selector", []string{"--label-selectors=a==b==c"}, []string{"label-selectors", `"a==b==c"`}},
		{"not a namespace selector", []string{"--namespace-selectors=in in"}, []string{"namespace-selectors", `"in in"`}},
		{"no such feature", []string{"--feature-gates=Magic=true"}, []string{"feature-gates", "Magic", "PublishAPIs"}},
		{"no workers", []string{"--workers=0"}, []string{"workers", "at least 1"}},
		{"not a number", []string{"--workers=many"}, []string{"workers", `"many" is not a valid int`}},
		{"a heartbeat too fast", []string{"--heartbeat-period=1ms"}, []string{"heartbeat-period", "1ms", "at least 1s"}},
		{"not a duration", []string{"--heartbeat-period=20"}, []string{"heartbeat-period", "missing unit"}},
		{"negative resync", []string{"--resync-period=-1s"}, []string{"resync-period", "negative"}},
		{"negative status window", []string{"--status-window=-1s"}, []string{"status-window", "negative"}},
		{"negative clean delay", []string{"--namespace-clean-delay=-1s"}, []string{"namespace-clean-delay", "negative"}},
		{"negative grace", []string{"--orphan-grace-period=-1s"}, []string{"orphan-grace-period", "negative"}},
		{"unknown policy", []string{"--conflict-policy=force"}, []string{"conflict-policy", `"force"`, "Fail, IfNoDiff, Force"}},
		{"no rate", []string{"--qps=0"}, []string{"qps", "-1 for no limit"}},
		{"negative burst", []string{"--kcp-burst=-1"}, []string{"kcp-burst", "negative"}},
		{"not an address", []string{"--bind-address=localhost"}, []string{"bind-address", `"localhost"`, "127.0.0.1"}},
		{"not a port", []string{"--metrics-port=65536"}, []string{"metrics-port", "between 0 and 65535"}},
		{"one port for both", []string{"--metrics-port=8081"}, []string{"health-port", "8081", "--metrics-port"}},
		{"unknown log format", []string{"--logging-format=xml"}, []string{"logging-format", "xml"}},
		{"a lease without a namespace", []string{"--leader-elect"}, []string{"leader-elect-resource-namespace", "required"}},
		{
			"a lease without a possible name",
			[]string{"--leader-elect", "--leader-elect-resource-namespace=ns", "--leader-elect-resource-name=A"},
			[]string{"leader-elect-resource-name", `"A"`},
		},
		{
			"a lease shorter than its renewal",
			[]string{"--leader-elect", "--leader-elect-resource-namespace=ns", "--leader-elect-lease-duration=10s"},
			[]string{"leader-elect-lease-duration", "10s", "--leader-elect-renew-deadline"},
		},
		{
			"a renewal without a second try",
			[]string{"--leader-elect", "--leader-elect-resource-namespace=ns", "--leader-elect-retry-period=9s"},
			[]string{"leader-elect-renew-deadline", "--leader-elect-retry-period"},
		},
		{
			"no pause between tries",
			[]string{"--leader-elect", "--leader-elect-resource-namespace=ns", "--leader-elect-retry-period=0"},
			[]string{"leader-elect-retry-period", "not positive"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := complete(clitest.Surroundings{}, f.arguments(tc.arguments...)...)
			var mistakes cli.Mistakes
			if !errors.As(err, &mistakes) || len(mistakes) != 1 {
				t.Fatalf("got %d mistakes, want one: %v", len(mistakes), err)
			}
			if mistakes[0].Flag != tc.want[0] {
				t.Errorf("it is told of --%s, not of --%s: %v", mistakes[0].Flag, tc.want[0], err)
			}
			for _, part := range tc.want[1:] {
				if !strings.Contains(mistakes[0].Problem, part) {
					t.Errorf("%q does not say %q", mistakes[0].Problem, part)
				}
			}
		})
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := complete(clitest.Surroundings{},
		"--workers=many", "--feed=x", "--metrics-port=-1", "--label-selectors==", "--resource-filters=A,B", "--logging-format=xml")
	var mistakes cli.Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("got %v", err)
	}
	var flags []string
	for _, mistake := range mistakes {
		flags = append(flags, mistake.Flag)
	}
	want := []string{
		"cluster-kubeconfig", "feed", "kcp-kubeconfig", "label-selectors", "logging-format", "metrics-port",
		"resource-filters", "resource-filters", "sync-target-name", "workers",
	}
	if diff := cmp.Diff(want, flags); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(want) {
		t.Errorf("%d mistakes are told in %d lines:\n%v", len(want), lines, err)
	}
}

func TestRelativePathsInAKubeconfigStartAtIt(t *testing.T) {
	f := newFixture(t)
	config, err := clientcmd.LoadFromFile(f.cluster)
	if err != nil {
		t.Fatal(err)
	}
	config.AuthInfos["east"] = &clientcmdapi.AuthInfo{TokenFile: "token"}
	if err := clientcmd.WriteToFile(*config, f.cluster); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(filepath.Dir(f.cluster), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	completed, err := complete(clitest.Surroundings{}, f.arguments()...)
	if err != nil {
		t.Fatal(err)
	}
	if completed.Cluster.BearerTokenFile != token {
		t.Errorf("the token is read from %s, not from %s", completed.Cluster.BearerTokenFile, token)
	}
}

func TestReread(t *testing.T) {
	f := newFixture(t)
	config, err := complete(clitest.Surroundings{}, f.arguments()...)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{f.kcp, f.cluster}; !cmp.Equal(want, config.CredentialFiles) {
		t.Errorf("the files are %v, want %v", config.CredentialFiles, want)
	}
	before, err := os.ReadFile(f.kcp)
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(content string) {
		if err := os.WriteFile(f.kcp, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotate("{half a file")
	if _, _, err := config.Reread(); err == nil || !strings.Contains(err.Error(), "--kcp-kubeconfig") {
		t.Errorf("a file that cannot be read gives %v", err)
	}
	rotate(strings.ReplaceAll(string(before), "token-team", "token-new"))
	kcp, cluster, err := config.Reread()
	if err != nil || kcp.BearerToken != "token-new" || kcp.UserAgent == "" || cluster.BearerToken != "token-east" {
		t.Errorf("after the rotation: %+v, %+v, %v", kcp, cluster, err)
	}
}
