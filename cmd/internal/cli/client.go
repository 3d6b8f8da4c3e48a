package cli

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

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
)

// Client is how one API server is reached.
type Client configv1alpha1.Connection

// Load reads the connection from the kubeconfig; side is what the names of its flags start with.
// It returns nil, and says why, if that is not possible.
func (c Client) Load(side string, mistakes *Mistakes) *rest.Config {
	// The rules resolve relative paths in the file, which reading it directly would not.
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig}
	file, err := rules.Load()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		mistakes.Add(side+"-kubeconfig", "%s does not exist", c.Kubeconfig)
		return nil
	case err != nil:
		mistakes.Add(side+"-kubeconfig", "%s cannot be read as a kubeconfig: %v", c.Kubeconfig, err)
		return nil
	}

	known := strings.Join(slices.Sorted(maps.Keys(file.Contexts)), ", ")
	context := c.Context
	if context == "" {
		context = file.CurrentContext
	}
	switch {
	case len(file.Contexts) == 0:
		mistakes.Add(side+"-kubeconfig", "%s has no contexts: it is empty or not a kubeconfig", c.Kubeconfig)
		return nil
	case context == "":
		mistakes.Add(side+"-context", "required, because %s has no current context: one of %s", c.Kubeconfig, known)
		return nil
	case file.Contexts[context] == nil:
		mistakes.Add(side+"-context", "%s has no context %q: it has %s", c.Kubeconfig, context, known)
		return nil
	}

	config, err := clientcmd.NewNonInteractiveClientConfig(*file, context, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
	if err != nil {
		mistakes.Add(side+"-kubeconfig", "context %q in %s cannot be used: %v", context, c.Kubeconfig, err)
		return nil
	}
	return config
}

// LoadKCP reads how kcp is reached, with a host that names no workspace, and the workspace that the kubeconfig's server URL
// names, if it does. The flags are called --kcp-kubeconfig and --kcp-context.
func (c Client) LoadKCP(mistakes *Mistakes) (*rest.Config, logicalcluster.Path) {
	if c.Kubeconfig == "" {
		mistakes.Add("kcp-kubeconfig", "required: the file with the address of kcp and the credentials for it")
		return nil, logicalcluster.Path{}
	}
	config := c.Load("kcp", mistakes)
	if config == nil {
		return nil, logicalcluster.Path{}
	}
	host, workspace, problem := splitKCPHost(config.Host)
	if problem != "" {
		mistakes.Add("kcp-kubeconfig", "server %s: %s", config.Host, problem)
	}
	config.Host = host
	return config, workspace
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

// Limit sets the rate of requests: the client's own, or else qps and burst.
func (c Client) Limit(config *rest.Config, qps float32, burst int) {
	config.QPS, config.Burst = qps, burst
	if c.QPS != 0 {
		config.QPS = c.QPS
	}
	if c.Burst != 0 {
		config.Burst = c.Burst
	}
	if config.Burst == 0 && config.QPS > 0 {
		config.Burst = int(math.Ceil(2 * float64(config.QPS)))
	}
}

// ValidateRates holds for --qps and for all flags that set a burst.
func ValidateRates(qps float32, bursts map[string]int, mistakes *Mistakes) {
	if qps == 0 {
		mistakes.Add("qps", "0 would send nothing: give a number of requests per second, or -1 for no limit")
	}
	for flag, burst := range bursts {
		if burst < 0 {
			mistakes.Add(flag, "%d is negative: give a number of requests, or 0 for the default", burst)
		}
	}
}
