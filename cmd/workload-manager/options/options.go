// Package options turns what a user has set of workload-manager into the manager's Config, or into all the mistakes in it.
// Nothing below it sees a flag, a feature gate or an environment variable.
package options

import (
	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"

	"github.com/kcp-dev/logicalcluster/v3"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
)

// Options are what was set, possibly wrong. Complete makes a Config of them.
type Options struct {
	cli.File
	// settings have a field for every flag below.
	settings *configv1alpha1.ManagerConfiguration

	// userAgent is how kcp sees this program.
	userAgent string
	// alone: nothing but the virtual workspace server runs.
	alone bool
	// surroundings is what the program finds around it.
	surroundings cli.Surroundings
}

var _ cli.Options[manager.Config] = (*Options)(nil)

// defaultProvider is where kubectl workload init puts the APIExports unless told otherwise.
const defaultProvider = "root:compute"

// New returns the defaults.
func New() *Options {
	return &Options{
		settings:     configv1alpha1.NewManagerConfiguration(),
		userAgent:    cli.UserAgent("workload-manager"),
		surroundings: cli.SystemSurroundings{},
	}
}

// NewVirtualWorkspace returns the defaults for a replica that is nothing but a virtual workspace server.
func NewVirtualWorkspace() *Options {
	o := New()
	o.alone = true
	return o
}

// Settings are what a configuration file is read over.
func (o *Options) Settings() runtime.Object { return o.settings }

// Logging says how the program logs.
func (o *Options) Logging() *logsapi.LoggingConfiguration { return &o.settings.Logging }

// Flags returns the flags that set these options, in the sections in which help and reference show them.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var sections cliflag.NamedFlagSets
	configuration := sections.FlagSet("configuration")
	o.File.AddFlags(configuration, configv1alpha1.ManagerConfigurationKind)
	o.gates().AddFlag(configuration, &o.settings.FeatureGates)
	o.addKCPFlags(sections.FlagSet("kcp"))
	if !o.alone {
		o.addWorkFlags(sections.FlagSet("work"))
		addAssignmentFlags(&o.settings.Assignment, sections.FlagSet("assignment"))
		o.addHeartbeatFlags(sections.FlagSet("heartbeats"))
	}
	addVirtualWorkspaceFlags(&o.settings.VirtualWorkspace, sections.FlagSet("virtual workspace"))
	cli.AddServingFlags(&o.settings.Serving, sections.FlagSet("serving"))
	o.infrastructure().AddFlags(sections.FlagSet("infrastructure"))
	if !o.alone {
		o.addLeaderElectionFlags(sections.FlagSet("leader election"))
	}
	cli.AddLoggingFlags(&o.settings.Logging, sections.FlagSet("logging"))
	cli.PlainDefaults(sections)
	return sections
}

func (o *Options) infrastructure() cli.Infrastructure {
	return cli.Infrastructure{Serving: &o.settings.Serving, Tracing: &o.settings.Tracing, Recovery: &o.settings.Recovery}
}

func (o *Options) addLeaderElectionFlags(fs *pflag.FlagSet) {
	cli.AddLeaderElectionFlags(&o.settings.LeaderElection, fs, cli.LeaseTexts{
		Where:     "in the provider's workspace",
		Namespace: "It has to exist in the provider's workspace.",
		Name:      "The same for all replicas.",
	})
}

func (o *Options) addKCPFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.settings.KCP.Kubeconfig, "kcp-kubeconfig", o.settings.KCP.Kubeconfig,
		"Kubeconfig `file` with the address of kcp and the credentials for it. Required. A workspace in the server's URL (/clusters/<path>) is the default for --provider-workspace.")
	fs.StringVar(&o.settings.KCP.Context, "kcp-context", o.settings.KCP.Context,
		"The `context` to use in --kcp-kubeconfig. Its current context when empty.")
	fs.StringVar(&o.settings.ProviderWorkspace, "provider-workspace", o.settings.ProviderWorkspace,
		"The `workspace` that holds the APIExports, see kubectl workload init. When empty, the one that --kcp-kubeconfig names, or else "+defaultProvider+".")
	fs.Float32Var(&o.settings.KCP.QPS, "qps", o.settings.KCP.QPS,
		"Requests per second to each kcp shard. A negative `number` is no limit: kcp's own fairness rules decide.")
	fs.IntVar(&o.settings.KCP.Burst, "burst", o.settings.KCP.Burst,
		"Requests that may be sent at once above --qps. Zero is twice the rate.")
}

func (o *Options) addWorkFlags(fs *pflag.FlagSet) {
	fs.IntVar(&o.settings.Workers, "workers", o.settings.Workers,
		"How many objects each reconciler works on at the same time.")
	fs.DurationVar(&o.settings.UnusedSchemaGrace.Duration, "unused-schema-grace", o.settings.UnusedSchemaGrace.Duration,
		"How long an APIResourceSchema that was made of what clusters serve stays when no APIExport names it any more and no workspace is bound by it. After this `duration` it is removed.")
	fs.StringVar(&o.settings.VirtualWorkspace.URL, "virtual-workspace-url", o.settings.VirtualWorkspace.URL,
		"The `URL` at which syncers reach the virtual workspace server. It goes into the status of each SyncTarget, with a path for each kcp shard. When empty, that is left as it is.")
}

func (o *Options) addHeartbeatFlags(fs *pflag.FlagSet) {
	h := &o.settings.Heartbeats
	fs.DurationVar(&h.Grace.Duration, "heartbeat-grace", h.Grace.Duration,
		"How long a SyncTarget's heartbeat may stay the same before its conditions turn Unknown. Several of the syncers' --heartbeat-period.")
	fs.DurationVar(&h.TaintAfter.Duration, "unreachable-taint-after", h.TaintAfter.Duration,
		"How long after that the SyncTarget gets the taint "+workloadv1alpha1.TaintUnreachable+":NoExecute, so that workloads which do not tolerate it go elsewhere. Zero for never.")
	fs.Float64Var(&h.TaintRate, "unreachable-taint-rate", h.TaintRate,
		"How many SyncTargets get that taint per second at most: a `number` such as 0.1, which is one in 10 seconds.")
	fs.Float64Var(&h.TaintThreshold, "unreachable-taint-threshold", h.TaintThreshold,
		"The `share` of a workspace's SyncTargets that may be silent at the same time. While more are, none gets the taint: kcp or the network is taken to be at fault. 1 for no limit.")
}

// Complete makes the manager's Config. Its error is cli.Mistakes, with everything that is wrong.
func (o *Options) Complete() (*manager.Config, error) {
	var mistakes cli.Mistakes
	set := o.settings
	kcp, defaultWorkspace := cli.Client(set.KCP).LoadKCP(&mistakes)
	cli.ValidateRates(set.KCP.QPS, map[string]int{"burst": set.KCP.Burst}, &mistakes)
	config := &manager.Config{
		KCP:                  kcp,
		Provider:             o.provider(defaultWorkspace, &mistakes),
		VirtualWorkspaceURL:  o.virtualWorkspaceURL(&mistakes),
		VirtualWorkspaceOnly: o.alone,
		Exposition:           cli.CompleteServing(set.Serving, &mistakes),
		Tracing:              cli.CompleteTracing(set.Tracing, &mistakes),
		EnableRecovery:       set.Recovery.Enabled,
		Features:             o.gates().Complete(set.FeatureGates, &mistakes),
	}
	config.Upsynced = upsynced(set.VirtualWorkspace.UpsyncResources, &mistakes)
	config.VirtualWorkspace = completeVirtualWorkspace(set.VirtualWorkspace, set.Serving.BindAddress, config.Provider, o.alone, &mistakes)
	if config.VirtualWorkspace != nil {
		config.VirtualWorkspace.Upsynced = config.Upsynced
	}
	if !o.alone {
		o.completeWork(config, &mistakes)
	}
	cli.ValidateLogging(&set.Logging, &mistakes)
	if err := mistakes.AsError(); err != nil {
		return nil, err
	}
	cli.Client(set.KCP).Limit(kcp, set.KCP.QPS, set.KCP.Burst)
	kcp.UserAgent = o.userAgent
	config.CredentialFiles, config.Reread = []string{set.KCP.Kubeconfig}, o.reread
	return config, nil
}

// completeWork is what only the one replica does that works.
func (o *Options) completeWork(config *manager.Config, mistakes *cli.Mistakes) {
	set := o.settings
	config.Workers, config.UnusedSchemaGrace = set.Workers, set.UnusedSchemaGrace.Duration
	if set.UnusedSchemaGrace.Duration < 0 {
		mistakes.Add("unused-schema-grace", "%s is negative: give 0 to keep none that is unused", set.UnusedSchemaGrace.Duration)
	}
	if set.Workers < 1 {
		mistakes.Add("workers", "%d would do no work: give at least 1", set.Workers)
	}
	config.Assignment = completeAssignment(set.Assignment, set.Serving.BindAddress, mistakes)
	if !config.Features.Enabled(manager.FeatureAssignmentWebhook) {
		config.Assignment.Webhook = nil
	}
	config.Heartbeat, config.TaintRate = completeHeartbeats(set.Heartbeats, mistakes), set.Heartbeats.TaintRate
	config.LeaderElection = o.leaderElection(mistakes)
}

// reread makes the connection anew from a file that may have changed.
func (o *Options) reread() (*rest.Config, error) {
	config, err := o.Complete()
	if err != nil {
		return nil, err
	}
	return config.KCP, nil
}

func (o *Options) provider(defaultWorkspace logicalcluster.Path, mistakes *cli.Mistakes) logicalcluster.Path {
	if o.settings.ProviderWorkspace == "" {
		if defaultWorkspace.Empty() {
			return logicalcluster.NewPath(defaultProvider)
		}
		return defaultWorkspace
	}
	path, valid := logicalcluster.NewValidatedPath(o.settings.ProviderWorkspace)
	if !valid {
		mistakes.Add("provider-workspace", "%q is not a workspace path or logical cluster, as %s is", o.settings.ProviderWorkspace, defaultProvider)
	}
	return path
}
