package options

import (
	"errors"
	"io/fs"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kcp-dev/logicalcluster/v3"
)

// kcpConnection returns how kcp is reached, with a host that names no workspace, and the workspace that the kubeconfig's
// server URL names, if it does.
func (o *Options) kcpConnection(mistakes *Mistakes) (*rest.Config, logicalcluster.Path) {
	if o.KCP.Kubeconfig == "" {
		mistakes.add("kcp-kubeconfig", "required: the file with the address of kcp and the credentials for it")
		return nil, logicalcluster.Path{}
	}
	config := o.KCP.load("kcp", mistakes)
	if config == nil {
		return nil, logicalcluster.Path{}
	}
	host, workspace, problem := splitKCPHost(config.Host)
	if problem != "" {
		mistakes.add("kcp-kubeconfig", "server %s: %s", config.Host, problem)
	}
	config.Host = host
	return config, workspace
}

// clusterConnection returns how the physical cluster is reached.
func (o *Options) clusterConnection(mistakes *Mistakes) *rest.Config {
	if o.Cluster.Kubeconfig != "" {
		return o.Cluster.load("cluster", mistakes)
	}
	if o.Cluster.Context != "" {
		mistakes.add("cluster-context", "has no meaning without --cluster-kubeconfig: set both or none")
	}
	config, err := o.surroundings.InCluster()
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		mistakes.add("cluster-kubeconfig", "required outside of a cluster: the file with the address of the physical cluster and the credentials for it")
	case err != nil:
		mistakes.add("cluster-kubeconfig", "not set, and the cluster that this runs in cannot be used: %v", err)
	}
	return config
}

// load reads the connection from the kubeconfig; side is what the names of its flags start with.
// It returns nil, and says why, if that is not possible.
func (c Client) load(side string, mistakes *Mistakes) *rest.Config {
	// The rules resolve relative paths in the file, which reading it directly would not.
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig}
	file, err := rules.Load()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		mistakes.add(side+"-kubeconfig", "%s does not exist", c.Kubeconfig)
		return nil
	case err != nil:
		mistakes.add(side+"-kubeconfig", "%s cannot be read as a kubeconfig: %v", c.Kubeconfig, err)
		return nil
	}

	known := strings.Join(slices.Sorted(maps.Keys(file.Contexts)), ", ")
	context := c.Context
	if context == "" {
		context = file.CurrentContext
	}
	switch {
	case len(file.Contexts) == 0:
		mistakes.add(side+"-kubeconfig", "%s has no contexts: it is empty or not a kubeconfig", c.Kubeconfig)
		return nil
	case context == "":
		mistakes.add(side+"-context", "required, because %s has no current context: one of %s", c.Kubeconfig, known)
		return nil
	case file.Contexts[context] == nil:
		mistakes.add(side+"-context", "%s has no context %q: it has %s", c.Kubeconfig, context, known)
		return nil
	}

	config, err := clientcmd.NewNonInteractiveClientConfig(*file, context, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
	if err != nil {
		mistakes.add(side+"-kubeconfig", "context %q in %s cannot be used: %v", context, c.Kubeconfig, err)
		return nil
	}
	return config
}

// splitKCPHost takes the workspace out of the address of a kcp server.
func splitKCPHost(host string) (base string, workspace logicalcluster.Path, problem string) {
	parsed, err := url.Parse(host)
	if err != nil || parsed.Host == "" {
		return host, workspace, "not a URL, as https://kcp.example.com:6443 is"
	}
	if strings.Contains(parsed.Path, "/services/") {
		return host, workspace, "is a virtual workspace: the address of kcp itself is needed here; give virtual workspaces with --feed-urls"
	}
	prefix, path, found := strings.Cut(parsed.Path, "/clusters/")
	if found {
		var valid bool
		if workspace, valid = logicalcluster.NewValidatedPath(strings.Trim(path, "/")); !valid {
			return host, logicalcluster.Path{}, "what follows /clusters/ is not a workspace, as root:team-a is"
		}
	}
	parsed.Path = strings.TrimSuffix(prefix, "/")
	return parsed.String(), workspace, ""
}

// limit sets the rate of requests: the side's own, or else that of both sides.
func (o *Options) limit(config *rest.Config, side Client) {
	config.QPS, config.Burst = o.QPS, o.Burst
	if side.QPS != 0 {
		config.QPS = side.QPS
	}
	if side.Burst != 0 {
		config.Burst = side.Burst
	}
	if config.Burst == 0 && config.QPS > 0 {
		config.Burst = int(math.Ceil(2 * float64(config.QPS)))
	}
}

func (o *Options) validateRates(mistakes *Mistakes) {
	if o.QPS == 0 {
		mistakes.add("qps", "0 would send nothing: give a number of requests per second, or -1 for no limit")
	}
	for flag, burst := range map[string]int{"burst": o.Burst, "kcp-burst": o.KCP.Burst, "cluster-burst": o.Cluster.Burst} {
		if burst < 0 {
			mistakes.add(flag, "%d is negative: give a number of requests, or 0 for the default", burst)
		}
	}
}
