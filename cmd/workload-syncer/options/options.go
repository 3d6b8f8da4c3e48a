// Package options turns what a user has set of workload-syncer into the syncer's Config, or into all the mistakes in it.
// Nothing below it sees a flag, a feature gate or an environment variable.
package options

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/runtime"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
)

// Options are what was set, possibly wrong. Complete makes a Config of them.
type Options struct {
	cli.File
	// settings have a field for every flag below.
	settings *configv1alpha1.SyncerConfiguration
	// workspaceCluster is the older name of --sync-target-workspace.
	workspaceCluster string

	// userAgent is how both API servers see this program.
	userAgent string
	// surroundings is what the program finds around it.
	surroundings cli.Surroundings
}

var _ cli.Options[syncer.Config] = (*Options)(nil)

// New returns the defaults.
func New() *Options {
	return &Options{
		settings:     configv1alpha1.NewSyncerConfiguration(),
		userAgent:    cli.UserAgent("workload-syncer"),
		surroundings: cli.SystemSurroundings{},
	}
}

// Settings are what a configuration file is read over.
func (o *Options) Settings() runtime.Object { return o.settings }

// Logging says how the program logs.
func (o *Options) Logging() *logsapi.LoggingConfiguration { return &o.settings.Logging }

// Flags returns the flags that set these options, in the sections in which help and reference show them.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var sections cliflag.NamedFlagSets
	configuration := sections.FlagSet("configuration")
	o.File.AddFlags(configuration, configv1alpha1.SyncerConfigurationKind)
	gates().AddFlag(configuration, &o.settings.FeatureGates)
	o.addKCPFlags(sections.FlagSet("upstream (kcp)"))
	o.addClusterFlags(sections.FlagSet("downstream (physical cluster)"))
	o.addRateFlags(sections.FlagSet("rate"))
	o.addSelectionFlags(sections.FlagSet("selection"))
	o.addSyncFlags(sections.FlagSet("sync"))
	cli.AddServingFlags(&o.settings.Serving, sections.FlagSet("serving"))
	o.infrastructure().AddFlags(sections.FlagSet("infrastructure"))
	cli.AddLeaderElectionFlags(&o.settings.LeaderElection, sections.FlagSet("leader election"), cli.LeaseTexts{
		Where:     "in the physical cluster",
		Namespace: "The syncer's own when empty and it runs in the cluster.",
		Name:      "When empty, workload-syncer- and a hash of the SyncTarget's workspace and name.",
	})
	cli.AddLoggingFlags(&o.settings.Logging, sections.FlagSet("logging"))
	cli.PlainDefaults(sections)
	return sections
}

func (o *Options) infrastructure() cli.Infrastructure {
	return cli.Infrastructure{Serving: &o.settings.Serving, Tracing: &o.settings.Tracing, Recovery: &o.settings.Recovery}
}

func (o *Options) addKCPFlags(fs *pflag.FlagSet) {
	kcp, target, feed := &o.settings.KCP, &o.settings.SyncTarget, &o.settings.Feed
	fs.StringVar(&kcp.Kubeconfig, "kcp-kubeconfig", kcp.Kubeconfig,
		"Kubeconfig `file` with the address of kcp and the credentials for it. Required. A workspace in the server's URL (/clusters/<path>) is the default for --sync-target-workspace.")
	fs.StringVar(&kcp.Context, "kcp-context", kcp.Context,
		"The `context` to use in --kcp-kubeconfig. Its current context when empty.")
	fs.StringVar(&target.Name, "sync-target-name", target.Name,
		"The `name` of the SyncTarget that this syncer serves. Required.")
	fs.StringVar(&target.UID, "sync-target-uid", target.UID,
		"The `UID` that the SyncTarget must have: keeps a syncer from serving a namesake that was created later. Any when empty.")
	fs.StringVar(&target.Workspace, "sync-target-workspace", target.Workspace,
		"The `workspace` of the SyncTarget: a path such as root:team-a, or a logical cluster. Required unless --kcp-kubeconfig names it.")
	fs.StringVar(&o.workspaceCluster, "workspace-cluster", o.workspaceCluster,
		"Another name for --sync-target-`workspace`.")
	fs.StringVar(&feed.Kind, "feed", feed.Kind,
		"The `feed` that workloads come from. workspace: all objects in the SyncTarget's workspace. assigned: the objects of any workspace that are assigned to the SyncTarget.")
	fs.StringSliceVar(&feed.URLs, "feed-urls", feed.URLs,
		"The `URLs` of the virtual workspaces to read assigned objects from, one per kcp shard. Only with --feed=assigned. Those in the SyncTarget's status when empty.")
}

func (o *Options) addClusterFlags(fs *pflag.FlagSet) {
	cluster := &o.settings.Cluster
	fs.StringVar(&cluster.Kubeconfig, "cluster-kubeconfig", cluster.Kubeconfig,
		"Kubeconfig `file` with the address of the physical cluster and the credentials for it. When empty, the cluster in which the syncer runs.")
	fs.StringVar(&cluster.Context, "cluster-context", cluster.Context,
		"The `context` to use in --cluster-kubeconfig. Its current context when empty.")
}

func (o *Options) addRateFlags(fs *pflag.FlagSet) {
	rate, kcp, cluster := &o.settings.Rate, &o.settings.KCP, &o.settings.Cluster
	fs.Float32Var(&rate.QPS, "qps", rate.QPS,
		"Requests per second to each API server. A negative `number` is no limit: the servers' own fairness rules decide.")
	fs.IntVar(&rate.Burst, "burst", rate.Burst,
		"Requests that may be sent at once above --qps. Zero is twice the rate.")
	fs.Float32Var(&kcp.QPS, "kcp-qps", kcp.QPS, "--qps for kcp. Zero takes --qps.")
	fs.IntVar(&kcp.Burst, "kcp-burst", kcp.Burst, "--burst for kcp. Zero takes --burst.")
	fs.Float32Var(&cluster.QPS, "cluster-qps", cluster.QPS, "--qps for the physical cluster. Zero takes --qps.")
	fs.IntVar(&cluster.Burst, "cluster-burst", cluster.Burst, "--burst for the physical cluster. Zero takes --burst.")
}

func (o *Options) addSelectionFlags(fs *pflag.FlagSet) {
	filters := &o.settings.Filters
	fs.StringSliceVar(&filters.Resources, "resource-filters", filters.Resources,
		"The `resources` to sync, as <plural>.<group>, e.g. deployments.apps,configmaps. All that both sides serve and the SyncTarget accepts when empty.")
	fs.StringArrayVar(&filters.NamespaceSelectors, "namespace-selectors", filters.NamespaceSelectors,
		"A label `selector` that the labels of an upstream namespace must match for its objects to be synced. May be repeated: all must match.")
	fs.StringArrayVar(&filters.LabelSelectors, "label-selectors", filters.LabelSelectors,
		"A label `selector` that the labels of an upstream object must match for it to be synced. May be repeated: all must match.")
}

func (o *Options) addSyncFlags(fs *pflag.FlagSet) {
	sync, heartbeat := &o.settings.Sync, &o.settings.HeartbeatPeriod
	fs.IntVar(&sync.Workers, "workers", sync.Workers,
		"How many objects of one resource type are worked on at the same time.")
	fs.DurationVar(&sync.ResyncPeriod.Duration, "resync-period", sync.ResyncPeriod.Duration,
		"How often every object is looked at again although nothing changed. It costs no request. Zero for never.")
	fs.DurationVar(&heartbeat.Duration, "heartbeat-period", heartbeat.Duration,
		"How often the SyncTarget's status is renewed, give or take a tenth.")
	fs.DurationVar(&sync.StatusWindow.Duration, "status-window", sync.StatusWindow.Duration,
		"The shortest time between two status writes to kcp for one object. The first change is written at once, but what is said of a new copy within half a second together.")
	fs.DurationVar(&sync.NamespaceCleanDelay.Duration, "namespace-clean-delay", sync.NamespaceCleanDelay.Duration,
		"How long a namespace that the syncer created is kept in the physical cluster once it is empty.")
	fs.DurationVar(&sync.OrphanGracePeriod.Duration, "orphan-grace-period", sync.OrphanGracePeriod.Duration,
		"How long a copy is kept whose object in kcp is found to be gone without notice.")
	fs.StringVar(&sync.ConflictPolicy, "conflict-policy", sync.ConflictPolicy,
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
