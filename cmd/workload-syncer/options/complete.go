package options

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	logsapi "k8s.io/component-base/logs/api/v1"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
)

// Complete makes the syncer's Config. Its error is Mistakes, with everything that is wrong.
func (o *Options) Complete() (*syncer.Config, error) {
	var mistakes Mistakes
	kcp, defaultWorkspace := o.kcpConnection(&mistakes)
	cluster := o.clusterConnection(&mistakes)
	o.validateRates(&mistakes)
	config := &syncer.Config{
		KCP:                 kcp,
		Cluster:             cluster,
		SyncTarget:          o.syncTarget(defaultWorkspace, kcp != nil, &mistakes),
		Feed:                o.feed(&mistakes),
		Filters:             o.filters(&mistakes),
		Workers:             o.Workers,
		ResyncPeriod:        o.ResyncPeriod,
		HeartbeatPeriod:     o.HeartbeatPeriod,
		StatusWindow:        o.StatusWindow,
		NamespaceCleanDelay: o.NamespaceCleanDelay,
		OrphanGracePeriod:   o.OrphanGracePeriod,
		ConflictPolicy:      workloadv1alpha1.ConflictPolicy(o.ConflictPolicy),
		BindAddress:         o.BindAddress,
		MetricsPort:         o.MetricsPort,
		HealthPort:          o.HealthPort,
		EnableMetrics:       o.EnableMetrics,
		EnableHealth:        o.EnableHealth,
		EnableTracing:       o.EnableTracing,
		EnableRecovery:      o.EnableRecovery,
		EnableProfiling:     o.EnableProfiling,
	}
	config.LeaderElection = o.leaderElection(config.SyncTarget, &mistakes)
	o.validateWork(&mistakes)
	o.validateServing(&mistakes)
	o.validateLogging(&mistakes)
	// What could not be parsed has a value that nobody typed: what is said about that would only confuse.
	mistakes = slices.DeleteFunc(mistakes, func(m Mistake) bool { return o.unparsed.about(m.Flag) })
	if err := append(mistakes, o.unparsed...).asError(); err != nil {
		return nil, err
	}

	o.limit(kcp, o.KCP)
	o.limit(cluster, o.Cluster)
	kcp.UserAgent, cluster.UserAgent = o.UserAgent, o.UserAgent
	config.CredentialFiles, config.Reread = o.credentialFiles(), o.reread
	return config, nil
}

// credentialFiles are the kubeconfigs that the connections come from; in a cluster one comes from none.
func (o *Options) credentialFiles() []string {
	return slices.DeleteFunc([]string{o.KCP.Kubeconfig, o.Cluster.Kubeconfig}, func(file string) bool { return file == "" })
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
func (o *Options) syncTarget(defaultWorkspace logicalcluster.Path, kubeconfigRead bool, mistakes *Mistakes) syncer.SyncTargetRef {
	ref := syncer.SyncTargetRef{Name: o.SyncTargetName, UID: types.UID(o.SyncTargetUID), Workspace: defaultWorkspace}
	if o.SyncTargetName == "" {
		mistakes.add("sync-target-name", "required: the name of the SyncTarget that this syncer serves, see kubectl workload status")
	} else if problems := apivalidation.NameIsDNSSubdomain(o.SyncTargetName, false); len(problems) > 0 {
		mistakes.add("sync-target-name", "%q is not a name: %s", o.SyncTargetName, strings.Join(problems, "; "))
	}

	flag, typed := "sync-target-workspace", o.SyncTargetWorkspace
	if typed == "" && o.WorkspaceCluster != "" {
		flag, typed = "workspace-cluster", o.WorkspaceCluster
	}
	if o.WorkspaceCluster != "" && o.WorkspaceCluster != typed {
		mistakes.add("workspace-cluster", "%q contradicts --sync-target-workspace %q, of which it is another name: drop one", o.WorkspaceCluster, typed)
	}
	if typed == "" {
		if defaultWorkspace.Empty() && kubeconfigRead {
			mistakes.add("sync-target-workspace", "required: the workspace of the SyncTarget, such as root:team-a, because the server URL in --kcp-kubeconfig names none")
		}
		return ref
	}
	workspace, valid := logicalcluster.NewValidatedPath(typed)
	if !valid {
		mistakes.add(flag, "%q is not a workspace path or logical cluster, as root:team-a is", typed)
	}
	ref.Workspace = workspace
	return ref
}

func (o *Options) feed(mistakes *Mistakes) syncer.FeedConfig {
	feed := syncer.FeedConfig{Kind: syncer.FeedKind(o.Feed), URLs: o.FeedURLs}
	switch feed.Kind {
	case syncer.FeedWorkspace:
		if len(o.FeedURLs) > 0 {
			mistakes.add("feed-urls", "has no meaning with --feed=%s: add --feed=%s or drop it", syncer.FeedWorkspace, syncer.FeedAssigned)
		}
	case syncer.FeedAssigned:
		for _, raw := range o.FeedURLs {
			if parsed, err := url.Parse(raw); err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
				mistakes.add("feed-urls", "%q is not a URL, as https://kcp.example.com:6443/services/apiexport/<cluster>/<export> is", raw)
			}
		}
	default:
		mistakes.add("feed", "%q is not known: one of %s, %s", o.Feed, syncer.FeedWorkspace, syncer.FeedAssigned)
	}
	return feed
}

func (o *Options) filters(mistakes *Mistakes) syncer.Filters {
	filters := syncer.Filters{
		Namespaces: selector("namespace-selectors", o.NamespaceSelectors, mistakes),
		Labels:     selector("label-selectors", o.LabelSelectors, mistakes),
	}
	for _, typed := range o.ResourceFilters {
		resource := schema.ParseGroupResource(strings.TrimSpace(typed))
		if !isGroupResource(resource) {
			mistakes.add("resource-filters", "%q is not a resource: give its plural in lower case, followed by a dot and its group unless that is the core group, such as deployments.apps or configmaps", typed)
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
func selector(flag string, typed []string, mistakes *Mistakes) labels.Selector {
	if len(typed) == 0 {
		return nil
	}
	all := labels.Everything()
	for _, text := range typed {
		parsed, err := labels.ParseToRequirements(text)
		if err != nil {
			mistakes.add(flag, "%q is not a label selector, as env=prod,tier!=test is: %v", text, err)
			continue
		}
		all = all.Add(parsed...)
	}
	return all
}

func (o *Options) leaderElection(target syncer.SyncTargetRef, mistakes *Mistakes) *syncer.LeaderElection {
	l := o.LeaderElection
	if !l.Enabled {
		return nil
	}
	if l.ResourceNamespace == "" {
		l.ResourceNamespace = o.surroundings.PodNamespace()
	}
	if l.ResourceNamespace == "" {
		mistakes.add("leader-elect-resource-namespace", "required with --leader-elect outside of a cluster: the namespace of the Lease in the physical cluster")
	}
	if l.ResourceName == "" {
		l.ResourceName = leaseName(target)
	}
	if problems := apivalidation.NameIsDNSSubdomain(l.ResourceName, false); len(problems) > 0 {
		mistakes.add("leader-elect-resource-name", "%q is not a name: %s", l.ResourceName, strings.Join(problems, "; "))
	}
	l.validateDurations(mistakes)
	hostname, err := o.surroundings.Hostname()
	if err != nil {
		mistakes.add("leader-elect", "the replica cannot name itself: %v", err)
	}
	return &syncer.LeaderElection{
		Namespace:     l.ResourceNamespace,
		Name:          l.ResourceName,
		Identity:      hostname + "_" + uuid.NewString(), // two replicas on one host are still two
		LeaseDuration: l.LeaseDuration,
		RenewDeadline: l.RenewDeadline,
		RetryPeriod:   l.RetryPeriod,
	}
}

// leaseName is the same for all replicas that serve one target, and differs between targets: several syncers may run in
// one namespace.
func leaseName(target syncer.SyncTargetRef) string {
	sum := sha256.Sum256([]byte(target.Workspace.String() + "|" + target.Name))
	return "workload-syncer-" + hex.EncodeToString(sum[:6])
}

func (l LeaderElection) validateDurations(mistakes *Mistakes) {
	if l.LeaseDuration <= l.RenewDeadline {
		mistakes.add("leader-elect-lease-duration", "%s is not longer than --leader-elect-renew-deadline (%s): two leaders could work at once", l.LeaseDuration, l.RenewDeadline)
	}
	if jittered := time.Duration(leaderelection.JitterFactor * float64(l.RetryPeriod)); l.RenewDeadline <= jittered {
		mistakes.add("leader-elect-renew-deadline", "%s is not longer than %.1f times --leader-elect-retry-period (%s): no second try would fit", l.RenewDeadline, leaderelection.JitterFactor, jittered)
	}
	if l.RetryPeriod <= 0 {
		mistakes.add("leader-elect-retry-period", "%s is not positive", l.RetryPeriod)
	}
}

func (o *Options) validateWork(mistakes *Mistakes) {
	if o.Workers < 1 {
		mistakes.add("workers", "%d would do no work: give at least 1", o.Workers)
	}
	if o.HeartbeatPeriod < time.Second {
		mistakes.add("heartbeat-period", "%s is too short: give at least 1s", o.HeartbeatPeriod)
	}
	for flag, period := range map[string]time.Duration{
		"resync-period":         o.ResyncPeriod,
		"status-window":         o.StatusWindow,
		"namespace-clean-delay": o.NamespaceCleanDelay,
		"orphan-grace-period":   o.OrphanGracePeriod,
	} {
		if period < 0 {
			mistakes.add(flag, "%s is negative: give 0 or more", period)
		}
	}
	if !slices.Contains(workloadv1alpha1.ConflictPolicies, workloadv1alpha1.ConflictPolicy(o.ConflictPolicy)) {
		mistakes.add("conflict-policy", "%q is not known: one of %s", o.ConflictPolicy, joined(workloadv1alpha1.ConflictPolicies, ", "))
	}
}

func (o *Options) validateServing(mistakes *Mistakes) {
	if net.ParseIP(o.BindAddress) == nil {
		mistakes.add("bind-address", "%q is not an IP address, as 127.0.0.1 or :: is", o.BindAddress)
	}
	for flag, port := range map[string]int{"metrics-port": o.MetricsPort, "health-port": o.HealthPort} {
		if problems := validation.IsInRange(port, 0, 65535); len(problems) > 0 {
			mistakes.add(flag, "%d is not a port: %s", port, strings.Join(problems, "; "))
		}
	}
	if o.MetricsPort == o.HealthPort && o.MetricsPort != 0 {
		mistakes.add("health-port", "%d is the --metrics-port too: give each its own", o.HealthPort)
	}
}

// validateLogging asks the logging library, which names fields, and answers under the names of its flags.
func (o *Options) validateLogging(mistakes *Mistakes) {
	flags := map[string]string{"format": "logging-format", "verbosity": "v", "flushFrequency": "log-flush-frequency"}
	for _, problem := range logsapi.Validate(o.Logging, nil, nil) {
		field, _, _ := strings.Cut(problem.Field, "[")
		flag, renamed := flags[field]
		if !renamed {
			flag = field
		}
		mistakes.add(flag, "%s", problem.ErrorBody())
	}
}
