package options

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Complete makes the syncer's Config. Its error is cli.Mistakes, with everything that is wrong.
func (o *Options) Complete() (*syncer.Config, error) {
	var mistakes cli.Mistakes
	set := o.settings
	kcp, defaultWorkspace := cli.Client(set.KCP).LoadKCP(&mistakes)
	cluster := o.clusterConnection(&mistakes)
	cli.ValidateRates(set.Rate.QPS, map[string]int{"burst": set.Rate.Burst, "kcp-burst": set.KCP.Burst, "cluster-burst": set.Cluster.Burst}, &mistakes)
	config := &syncer.Config{
		KCP:                 kcp,
		Cluster:             cluster,
		SyncTarget:          o.syncTarget(defaultWorkspace, kcp != nil, &mistakes),
		Feed:                o.feed(&mistakes),
		Filters:             o.filters(&mistakes),
		Workers:             set.Sync.Workers,
		ResyncPeriod:        set.Sync.ResyncPeriod.Duration,
		HeartbeatPeriod:     set.HeartbeatPeriod.Duration,
		StatusWindow:        set.Sync.StatusWindow.Duration,
		NamespaceCleanDelay: set.Sync.NamespaceCleanDelay.Duration,
		OrphanGracePeriod:   set.Sync.OrphanGracePeriod.Duration,
		ConflictPolicy:      workloadv1alpha1.ConflictPolicy(set.Sync.ConflictPolicy),
		Exposition:          cli.CompleteServing(set.Serving, &mistakes),
		Tracing:             cli.CompleteTracing(set.Tracing, &mistakes),
		EnableRecovery:      set.Recovery.Enabled,
		Features:            gates().Complete(set.FeatureGates, &mistakes),
	}
	config.LeaderElection = o.leaderElection(config.SyncTarget, &mistakes)
	o.validateWork(&mistakes)
	cli.ValidateLogging(&set.Logging, &mistakes)
	if err := mistakes.AsError(); err != nil {
		return nil, err
	}

	cli.Client(set.KCP).Limit(kcp, set.Rate.QPS, set.Rate.Burst)
	cli.Client(set.Cluster).Limit(cluster, set.Rate.QPS, set.Rate.Burst)
	kcp.UserAgent, cluster.UserAgent = o.userAgent, o.userAgent
	config.CredentialFiles, config.Reread = o.credentialFiles(), o.reread
	return config, nil
}

// credentialFiles are the kubeconfigs that the connections come from; in a cluster one comes from none.
func (o *Options) credentialFiles() []string {
	return slices.DeleteFunc([]string{o.settings.KCP.Kubeconfig, o.settings.Cluster.Kubeconfig}, func(file string) bool { return file == "" })
}

// reread makes the connections anew from files that may have changed.
func (o *Options) reread() (kcp, cluster *rest.Config, err error) {
	config, err := o.Complete()
	if err != nil {
		return nil, nil, err
	}
	return config.KCP, config.Cluster, nil
}

// syncTarget names the target. The default workspace holds unless a flag says otherwise; nobody is asked for a workspace
// while it is unknown what the kubeconfig would have said.
func (o *Options) syncTarget(defaultWorkspace logicalcluster.Path, kubeconfigRead bool, mistakes *cli.Mistakes) syncer.SyncTargetRef {
	ref := syncer.SyncTargetRef{Name: o.settings.SyncTarget.Name, UID: types.UID(o.settings.SyncTarget.UID), Workspace: defaultWorkspace}
	if o.settings.SyncTarget.Name == "" {
		mistakes.Add("sync-target-name", "required: the name of the SyncTarget that this syncer serves, see kubectl workload status")
	} else if problems := apivalidation.NameIsDNSSubdomain(o.settings.SyncTarget.Name, false); len(problems) > 0 {
		mistakes.Add("sync-target-name", "%q is not a name: %s", o.settings.SyncTarget.Name, strings.Join(problems, "; "))
	}

	flag, typed := "sync-target-workspace", o.settings.SyncTarget.Workspace
	if typed == "" && o.workspaceCluster != "" {
		flag, typed = "workspace-cluster", o.workspaceCluster
	}
	if o.workspaceCluster != "" && o.workspaceCluster != typed {
		mistakes.Add("workspace-cluster", "%q contradicts --sync-target-workspace %q, of which it is another name: drop one", o.workspaceCluster, typed)
	}
	if typed == "" {
		if defaultWorkspace.Empty() && kubeconfigRead {
			mistakes.Add("sync-target-workspace", "required: the workspace of the SyncTarget, such as root:team-a, because the server URL in --kcp-kubeconfig names none")
		}
		return ref
	}
	workspace, valid := logicalcluster.NewValidatedPath(typed)
	if !valid {
		mistakes.Add(flag, "%q is not a workspace path or logical cluster, as root:team-a is", typed)
	}
	ref.Workspace, o.settings.SyncTarget.Workspace = workspace, typed
	return ref
}

func (o *Options) feed(mistakes *cli.Mistakes) syncer.FeedConfig {
	feed := syncer.FeedConfig{Kind: syncer.FeedKind(o.settings.Feed.Kind), URLs: o.settings.Feed.URLs}
	switch feed.Kind {
	case syncer.FeedWorkspace:
		if len(o.settings.Feed.URLs) > 0 {
			mistakes.Add("feed-urls", "has no meaning with --feed=%s: add --feed=%s or drop it", syncer.FeedWorkspace, syncer.FeedAssigned)
		}
	case syncer.FeedAssigned:
		for _, raw := range o.settings.Feed.URLs {
			if parsed, err := url.Parse(raw); err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
				mistakes.Add("feed-urls", "%q is not a URL, as https://kcp.example.com:6443/services/apiexport/<cluster>/<export> is", raw)
			} else if parsed.User != nil {
				mistakes.Add("feed-urls", "%s has credentials in it, which everybody could read: they belong into --kcp-kubeconfig", parsed.Redacted())
			}
		}
	default:
		mistakes.Add("feed", "%q is not known: one of %s, %s", o.settings.Feed.Kind, syncer.FeedWorkspace, syncer.FeedAssigned)
	}
	return feed
}

func (o *Options) filters(mistakes *cli.Mistakes) syncer.Filters {
	filters := syncer.Filters{
		Namespaces: selector("namespace-selectors", o.settings.Filters.NamespaceSelectors, mistakes),
		Labels:     selector("label-selectors", o.settings.Filters.LabelSelectors, mistakes),
	}
	for _, typed := range o.settings.Filters.Resources {
		resource := schema.ParseGroupResource(strings.TrimSpace(typed))
		if !isGroupResource(resource) {
			mistakes.Add("resource-filters", "%q is not a resource: give its plural in lower case, followed by a dot and its group unless that is the core group, such as deployments.apps or configmaps", typed)
		}
		filters.Resources = append(filters.Resources, resource)
	}
	return filters
}

func isGroupResource(resource schema.GroupResource) bool {
	return len(validation.IsDNS1123Label(resource.Resource)) == 0 &&
		(resource.Group == "" || len(validation.IsDNS1123Subdomain(resource.Group)) == 0)
}

// selector matches what all typed selectors match; nil if there are none.
func selector(flag string, typed []string, mistakes *cli.Mistakes) labels.Selector {
	if len(typed) == 0 {
		return nil
	}
	all := labels.Everything()
	for _, text := range typed {
		parsed, err := labels.ParseToRequirements(text)
		if err != nil {
			mistakes.Add(flag, "%q is not a label selector, as env=prod,tier!=test is: %v", text, err)
			continue
		}
		all = all.Add(parsed...)
	}
	return all
}

func (o *Options) leaderElection(target syncer.SyncTargetRef, mistakes *cli.Mistakes) *tmc.LeaderElection {
	l := o.settings.LeaderElection
	if !l.LeaderElect {
		return nil
	}
	if l.ResourceNamespace == "" {
		l.ResourceNamespace = o.surroundings.PodNamespace()
	}
	if l.ResourceNamespace == "" {
		mistakes.Add("leader-elect-resource-namespace", "required with --leader-elect outside of a cluster: the namespace of the Lease in the physical cluster")
	}
	if l.ResourceName == "" {
		l.ResourceName = leaseName(target)
	}
	return cli.CompleteLeaderElection(l, o.surroundings, mistakes)
}

// leaseName is the same for all replicas that serve one target, and differs between targets: several syncers may run in
// one namespace.
func leaseName(target syncer.SyncTargetRef) string {
	sum := sha256.Sum256([]byte(target.Workspace.String() + "|" + target.Name))
	return "workload-syncer-" + hex.EncodeToString(sum[:6])
}

func (o *Options) validateWork(mistakes *cli.Mistakes) {
	sync, heartbeat := o.settings.Sync, o.settings.HeartbeatPeriod.Duration
	if sync.Workers < 1 {
		mistakes.Add("workers", "%d would do no work: give at least 1", sync.Workers)
	}
	if heartbeat < time.Second {
		mistakes.Add("heartbeat-period", "%s is too short: give at least 1s", heartbeat)
	}
	for flag, period := range map[string]time.Duration{
		"resync-period":         sync.ResyncPeriod.Duration,
		"status-window":         sync.StatusWindow.Duration,
		"namespace-clean-delay": sync.NamespaceCleanDelay.Duration,
		"orphan-grace-period":   sync.OrphanGracePeriod.Duration,
	} {
		if period < 0 {
			mistakes.Add(flag, "%s is negative: give 0 or more", period)
		}
	}
	if !slices.Contains(workloadv1alpha1.ConflictPolicies, workloadv1alpha1.ConflictPolicy(sync.ConflictPolicy)) {
		mistakes.Add("conflict-policy", "%q is not known: one of %s", sync.ConflictPolicy, joined(workloadv1alpha1.ConflictPolicies, ", "))
	}
}
