// Package options turns the command line of workload-syncer into the syncer's Config, or into all the mistakes in it.
// Nothing below it sees a flag or an environment variable.
package options

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
)

// Options are what was typed, possibly wrong. Complete makes a Config of them.
type Options struct {
	KCP     cli.Client
	Cluster cli.Client
	// QPS and Burst hold for both sides, unless a side has its own.
	QPS   float32
	Burst int

	SyncTargetName      string
	SyncTargetUID       string
	SyncTargetWorkspace string
	// WorkspaceCluster is the older name of SyncTargetWorkspace.
	WorkspaceCluster string

	Feed     string
	FeedURLs []string

	ResourceFilters    []string
	NamespaceSelectors []string
	LabelSelectors     []string

	Workers             int
	ResyncPeriod        time.Duration
	HeartbeatPeriod     time.Duration
	StatusWindow        time.Duration
	NamespaceCleanDelay time.Duration
	OrphanGracePeriod   time.Duration
	ConflictPolicy      string

	cli.Serving

	LeaderElection cli.LeaderElection

	Logging *logsapi.LoggingConfiguration

	// UserAgent is how both API servers see this program.
	UserAgent string

	// unparsed are the mistakes met while the command line was read.
	unparsed cli.Mistakes
	// surroundings is what the program finds around it.
	surroundings cli.Surroundings
}

// New returns the defaults.
func New() *Options {
	return &Options{
		QPS:                 cli.Unlimited,
		Feed:                string(syncer.FeedWorkspace),
		Workers:             32,
		ResyncPeriod:        time.Hour,
		HeartbeatPeriod:     20 * time.Second,
		StatusWindow:        500 * time.Millisecond,
		NamespaceCleanDelay: 30 * time.Second,
		OrphanGracePeriod:   time.Minute,
		ConflictPolicy:      string(workloadv1alpha1.ConflictFail),
		Serving:             cli.NewServing(),
		LeaderElection:      cli.NewLeaderElection(),
		Logging:             logsapi.NewLoggingConfiguration(),
		UserAgent:           "workload-syncer",
		surroundings:        cli.SystemSurroundings{},
	}
}

// Flags returns the flags that set these options, in the sections in which help and reference show them.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var sections cliflag.NamedFlagSets
	o.addKCPFlags(sections.FlagSet("upstream (kcp)"))
	o.addClusterFlags(sections.FlagSet("downstream (physical cluster)"))
	o.addRateFlags(sections.FlagSet("rate"))
	o.addSelectionFlags(sections.FlagSet("selection"))
	o.addSyncFlags(sections.FlagSet("sync"))
	o.AddServingFlags(sections.FlagSet("serving"))
	o.AddInfrastructureFlags(sections.FlagSet("infrastructure"))
	o.LeaderElection.AddFlags(sections.FlagSet("leader election"), cli.LeaseTexts{
		Where:     "in the physical cluster",
		Namespace: "The syncer's own when empty and it runs in the cluster.",
		Name:      "When empty, workload-syncer- and a hash of the SyncTarget's workspace and name.",
	})
	cli.AddLoggingFlags(o.Logging, sections.FlagSet("logging"))
	cli.Collect(sections, &o.unparsed)
	return sections
}

func (o *Options) addKCPFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.KCP.Kubeconfig, "kcp-kubeconfig", o.KCP.Kubeconfig,
		"Kubeconfig `file` with the address of kcp and the credentials for it. Required. A workspace in the server's URL (/clusters/<path>) is the default for --sync-target-workspace.")
	fs.StringVar(&o.KCP.Context, "kcp-context", o.KCP.Context,
		"The `context` to use in --kcp-kubeconfig. Its current context when empty.")
	fs.StringVar(&o.SyncTargetName, "sync-target-name", o.SyncTargetName,
		"The `name` of the SyncTarget that this syncer serves. Required.")
	fs.StringVar(&o.SyncTargetUID, "sync-target-uid", o.SyncTargetUID,
		"The `UID` that the SyncTarget must have: keeps a syncer from serving a namesake that was created later. Any when empty.")
	fs.StringVar(&o.SyncTargetWorkspace, "sync-target-workspace", o.SyncTargetWorkspace,
		"The `workspace` of the SyncTarget: a path such as root:team-a, or a logical cluster. Required unless --kcp-kubeconfig names it.")
	fs.StringVar(&o.WorkspaceCluster, "workspace-cluster", o.WorkspaceCluster,
		"Another name for --sync-target-`workspace`.")
	fs.StringVar(&o.Feed, "feed", o.Feed,
		"The `feed` that workloads come from. workspace: all objects in the SyncTarget's workspace. assigned: the objects of any workspace that are assigned to the SyncTarget.")
	fs.StringSliceVar(&o.FeedURLs, "feed-urls", o.FeedURLs,
		"The `URLs` of the virtual workspaces to read assigned objects from, one per kcp shard. Only with --feed=assigned. Those in the SyncTarget's status when empty.")
}

func (o *Options) addClusterFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Cluster.Kubeconfig, "cluster-kubeconfig", o.Cluster.Kubeconfig,
		"Kubeconfig `file` with the address of the physical cluster and the credentials for it. When empty, the cluster in which the syncer runs.")
	fs.StringVar(&o.Cluster.Context, "cluster-context", o.Cluster.Context,
		"The `context` to use in --cluster-kubeconfig. Its current context when empty.")
}

func (o *Options) addRateFlags(fs *pflag.FlagSet) {
	fs.Float32Var(&o.QPS, "qps", o.QPS,
		"Requests per second to each API server. A negative `number` is no limit: the servers' own fairness rules decide.")
	fs.IntVar(&o.Burst, "burst", o.Burst,
		"Requests that may be sent at once above --qps. Zero is twice the rate.")
	fs.Float32Var(&o.KCP.QPS, "kcp-qps", o.KCP.QPS, "--qps for kcp. Zero takes --qps.")
	fs.IntVar(&o.KCP.Burst, "kcp-burst", o.KCP.Burst, "--burst for kcp. Zero takes --burst.")
	fs.Float32Var(&o.Cluster.QPS, "cluster-qps", o.Cluster.QPS, "--qps for the physical cluster. Zero takes --qps.")
	fs.IntVar(&o.Cluster.Burst, "cluster-burst", o.Cluster.Burst, "--burst for the physical cluster. Zero takes --burst.")
}

func (o *Options) addSelectionFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.ResourceFilters, "resource-filters", o.ResourceFilters,
		"The `resources` to sync, as <plural>.<group>, e.g. deployments.apps,configmaps. All that both sides serve and the SyncTarget accepts when empty.")
	fs.StringArrayVar(&o.NamespaceSelectors, "namespace-selectors", o.NamespaceSelectors,
		"A label `selector` that the labels of an upstream namespace must match for its objects to be synced. May be repeated: all must match.")
	fs.StringArrayVar(&o.LabelSelectors, "label-selectors", o.LabelSelectors,
		"A label `selector` that the labels of an upstream object must match for it to be synced. May be repeated: all must match.")
}

func (o *Options) addSyncFlags(fs *pflag.FlagSet) {
	fs.IntVar(&o.Workers, "workers", o.Workers,
		"How many objects of one resource type are worked on at the same time.")
	fs.DurationVar(&o.ResyncPeriod, "resync-period", o.ResyncPeriod,
		"How often every object is looked at again although nothing changed. It costs no request. Zero for never.")
	fs.DurationVar(&o.HeartbeatPeriod, "heartbeat-period", o.HeartbeatPeriod,
		"How often the SyncTarget's status is renewed, give or take a tenth.")
	fs.DurationVar(&o.StatusWindow, "status-window", o.StatusWindow,
		"The shortest time between two status writes to kcp for one object. The first change is written at once, but what is said of a new copy within half a second together.")
	fs.DurationVar(&o.NamespaceCleanDelay, "namespace-clean-delay", o.NamespaceCleanDelay,
		"How long a namespace that the syncer created is kept in the physical cluster once it is empty.")
	fs.DurationVar(&o.OrphanGracePeriod, "orphan-grace-period", o.OrphanGracePeriod,
		"How long a copy is kept whose object in kcp is found to be gone without notice.")
	fs.StringVar(&o.ConflictPolicy, "conflict-policy", o.ConflictPolicy,
		fmt.Sprintf("What to do when a name is taken in the physical cluster by an object that the syncer did not create: `policy` %s. An object's annotation %s goes first.",
			joined(workloadv1alpha1.ConflictPolicies, ", "), workloadv1alpha1.ConflictPolicyAnnotation))
}

func joined[T ~string](values []T, separator string) string {
	texts := make([]string, 0, len(values))
	for _, value := range values {
		texts = append(texts, string(value))
	}
	return strings.Join(texts, separator)
}
