// Package workspace finds, reaches and makes kcp workspaces for the commands of the kubectl plugin.
package workspace

import (
	"fmt"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"
)

// clusters is what comes before a workspace's path in a URL.
const clusters = "/clusters/"

// Root is the path of the topmost workspace.
const Root = "root"

// Split cuts the URL of a workspace, as it stands in a kubeconfig, into the URL of kcp and the workspace's path. The path
// is empty if the URL names no workspace.
func Split(host string) (base string, path logicalcluster.Path, err error) {
	u, err := url.Parse(host)
	if err != nil {
		return "", path, fmt.Errorf("the server's URL in the kubeconfig: %w", err)
	}
	before, after, found := cutLast(u.Path, clusters)
	u.Path, u.RawPath = strings.TrimSuffix(before, "/"), ""
	if !found {
		return u.String(), path, nil
	}
	name, _, _ := strings.Cut(after, "/")
	path, err = Parse(name)
	if err != nil {
		return "", path, fmt.Errorf("the server's URL in the kubeconfig, %s: %w", host, err)
	}
	return u.String(), path, nil
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

// Parse reads a workspace's path, such as root:compute, or the name of a logical cluster.
func Parse(path string) (logicalcluster.Path, error) {
	parsed, ok := logicalcluster.NewValidatedPath(path)
	if !ok || path == logicalcluster.Wildcard.String() {
		return logicalcluster.Path{}, fmt.Errorf("%q is no workspace path: names of small letters, digits and '-', separated by ':', for example root:compute", path)
	}
	return parsed, nil
}

// Config points a copy of config, whose host may name any workspace or none, to the workspace with that path.
func Config(config *rest.Config, path logicalcluster.Path) (*rest.Config, error) {
	base, _, err := Split(config.Host)
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.Host = base + path.RequestPath()
	config.QPS = -1 // a command makes a few dozen requests, and kcp has its own protection
	return config, nil
}
