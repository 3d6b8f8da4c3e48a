// Package options turns the command line of workload-manager into the manager's Config, or into all the mistakes in it.
// Nothing below it sees a flag or an environment variable.
package options

import (
	"time"

	"github.com/spf13/pflag"

	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/heartbeat"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
)

// Options are what was typed, possibly wrong. Complete makes a Config of them.
type Options struct {
	KCP cli.Client

	ProviderWorkspace string
	Workers           int

	VirtualWorkspaceURL string

	Heartbeat heartbeat.Settings
	TaintRate float64

	Assignment Assignment

	cli.Serving

	VirtualWorkspace VirtualWorkspace

	LeaderElection cli.LeaderElection

	Logging *logsapi.LoggingConfiguration

	// UserAgent is how kcp sees this program.
	UserAgent string

	// alone: nothing but the virtual workspace server runs.
	alone bool
	// unparsed are the mistakes met while the command line was read.
	unparsed cli.Mistakes
	// surroundings is what the program finds around it.
	surroundings cli.Surroundings
}

// defaultProvider is where kubectl workload init puts the APIExports unless told otherwise.
const defaultProvider = "root:compute"

// leaseName is the same for all replicas: the Lease is in the provider's workspace, which has one manager.
const leaseName = "workload-manager"

// New returns the defaults.
func New() *Options {
	o := &Options{
		KCP:            cli.Client{QPS: cli.Unlimited},
		Workers:        4,
		Assignment:     newAssignment(),
		Heartbeat:      heartbeat.Settings{Grace: time.Minute, TaintAfter: 5 * time.Minute, TaintThreshold: 0.55},
		TaintRate:      0.1,
		Serving:        cli.NewServing(),
		LeaderElection: cli.NewLeaderElection(),
		Logging:        logsapi.NewLoggingConfiguration(),
		UserAgent:      "workload-manager",
		surroundings:   cli.SystemSurroundings{},

		VirtualWorkspace: newVirtualWorkspace(),
	}
	o.LeaderElection.Enabled = true
	o.LeaderElection.ResourceNamespace, o.LeaderElection.ResourceName = "default", leaseName
	return o
}

// NewVirtualWorkspace returns the defaults for a replica that is nothing but a virtual workspace server.
func NewVirtualWorkspace() *Options {
	o := New()
	o.alone, o.LeaderElection.Enabled = true, false
	return o
}

// Flags returns the flags that set these options, in the sections in which help and reference show them.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var sections cliflag.NamedFlagSets
	o.addKCPFlags(sections.FlagSet("kcp"))
	if !o.alone {
		o.addWorkFlags(sections.FlagSet("work"))
		o.Assignment.addFlags(sections.FlagSet("assignment"))
		o.addHeartbeatFlags(sections.FlagSet("heartbeats"))
	}
	o.VirtualWorkspace.addFlags(sections.FlagSet("virtual workspace"))
	o.AddServingFlags(sections.FlagSet("serving"))
	o.AddInfrastructureFlags(sections.FlagSet("infrastructure"))
	if !o.alone {
		o.addLeaderElectionFlags(sections.FlagSet("leader election"))
	}
	cli.AddLoggingFlags(o.Logging, sections.FlagSet("logging"))
	cli.Collect(sections, &o.unparsed)
	return sections
}

func (o *Options) addLeaderElectionFlags(fs *pflag.FlagSet) {
	o.LeaderElection.AddFlags(fs, cli.LeaseTexts{
		Where:     "in the provider's workspace",
		Namespace: "It has to exist in the provider's workspace.",
		Name:      "The same for all replicas.",
	})
}

func (o *Options) addKCPFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.KCP.Kubeconfig, "kcp-kubeconfig", o.KCP.Kubeconfig,
		"Kubeconfig `file` with the address of kcp and the credentials for it. Required. A workspace in the server's URL (/clusters/<path>) is the default for --provider-workspace.")
	fs.StringVar(&o.KCP.Context, "kcp-context", o.KCP.Context,
		"The `context` to use in --kcp-kubeconfig. Its current context when empty.")
	fs.StringVar(&o.ProviderWorkspace, "provider-workspace", o.ProviderWorkspace,
		"The `workspace` that holds the APIExports, see kubectl workload init. When empty, the one that --kcp-kubeconfig names, or else "+defaultProvider+".")
	fs.Float32Var(&o.KCP.QPS, "qps", o.KCP.QPS,
		"Requests per second to each kcp shard. A negative `number` is no limit: kcp's own fairness rules decide.")
	fs.IntVar(&o.KCP.Burst, "burst", o.KCP.Burst,
		"Requests that may be sent at once above --qps. Zero is twice the rate.")
}

func (o *Options) addWorkFlags(fs *pflag.FlagSet) {
	fs.IntVar(&o.Workers, "workers", o.Workers,
		"How many objects each reconciler works on at the same time.")
	fs.StringVar(&o.VirtualWorkspaceURL, "virtual-workspace-url", o.VirtualWorkspaceURL,
		"The `URL` at which syncers reach the virtual workspace server. It goes into the status of each SyncTarget, with a path for each kcp shard. When empty, that is left as it is.")
}

func (o *Options) addHeartbeatFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&o.Heartbeat.Grace, "heartbeat-grace", o.Heartbeat.Grace,
		"How long a SyncTarget's heartbeat may stay the same before its conditions turn Unknown. Several of the syncers' --heartbeat-period.")
	fs.DurationVar(&o.Heartbeat.TaintAfter, "unreachable-taint-after", o.Heartbeat.TaintAfter,
		"How long after that the SyncTarget gets the taint "+workloadv1alpha1.TaintUnreachable+":NoExecute, so that workloads which do not tolerate it go elsewhere. Zero for never.")
	fs.Float64Var(&o.TaintRate, "unreachable-taint-rate", o.TaintRate,
		"How many SyncTargets get that taint per second at most: a `number` such as 0.1, which is one in 10 seconds.")
	fs.Float64Var(&o.Heartbeat.TaintThreshold, "unreachable-taint-threshold", o.Heartbeat.TaintThreshold,
		"The `share` of a workspace's SyncTargets that may be silent at the same time. While more are, none gets the taint: kcp or the network is taken to be at fault. 1 for no limit.")
}

// Complete makes the manager's Config. Its error is cli.Mistakes, with everything that is wrong.
func (o *Options) Complete() (*manager.Config, error) {
	var mistakes cli.Mistakes
	kcp, defaultWorkspace := o.KCP.LoadKCP(&mistakes)
	cli.ValidateRates(o.KCP.QPS, map[string]int{"burst": o.KCP.Burst}, &mistakes)
	config := &manager.Config{
		KCP:      kcp,
		Provider: o.provider(defaultWorkspace, &mistakes),
		Workers:  o.Workers,
		Assignment: manager.Assignment{
			Workers: o.Assignment.Workers, MoveTimeout: o.Assignment.MoveTimeout, Webhook: o.Assignment.webhook(o.BindAddress, &mistakes),
		},
		VirtualWorkspaceURL: o.virtualWorkspaceURL(&mistakes),

		Heartbeat:      o.Heartbeat,
		TaintRate:      o.TaintRate,
		LeaderElection: o.leaderElection(&mistakes),
		Exposition:     o.Exposition,
		EnableTracing:  o.EnableTracing,
		EnableRecovery: o.EnableRecovery,
	}
	config.VirtualWorkspaceOnly = o.alone
	config.VirtualWorkspace = o.VirtualWorkspace.complete(o.BindAddress, config.Provider, o.alone, &mistakes)
	if o.Workers < 1 {
		mistakes.Add("workers", "%d would do no work: give at least 1", o.Workers)
	}
	o.validateHeartbeats(&mistakes)
	o.Validate(&mistakes)
	cli.ValidateLogging(o.Logging, &mistakes)
	if err := mistakes.Final(o.unparsed); err != nil {
		return nil, err
	}
	o.KCP.Limit(kcp, o.KCP.QPS, o.KCP.Burst)
	kcp.UserAgent = o.UserAgent
	config.CredentialFiles, config.Reread = []string{o.KCP.Kubeconfig}, o.reread
	return config, nil
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
	if o.ProviderWorkspace == "" {
		if defaultWorkspace.Empty() {
			return logicalcluster.NewPath(defaultProvider)
		}
		return defaultWorkspace
	}
	path, valid := logicalcluster.NewValidatedPath(o.ProviderWorkspace)
	if !valid {
		mistakes.Add("provider-workspace", "%q is not a workspace path or logical cluster, as %s is", o.ProviderWorkspace, defaultProvider)
	}
	return path
}
