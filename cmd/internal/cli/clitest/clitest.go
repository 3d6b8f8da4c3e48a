// Package clitest is what the tests of the programs' options share: command lines, files and surroundings.
package clitest

import (
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
)

// Kubeconfig writes a file whose contexts have these servers.
func Kubeconfig(t *testing.T, current string, servers map[string]string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.CurrentContext = current
	for name, server := range servers {
		config.Clusters[name] = &clientcmdapi.Cluster{Server: server, InsecureSkipTLSVerify: true}
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: "token-" + name}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Surroundings are those of a laptop, or of a pod if it has a namespace.
type Surroundings struct{ Namespace string }

var _ cli.Surroundings = Surroundings{}

// PodNamespace and the others implement cli.Surroundings.
func (s Surroundings) PodNamespace() string { return s.Namespace }

// Hostname is always the same.
func (s Surroundings) Hostname() (string, error) { return "host-1", nil }

// InCluster is there in a pod only.
func (s Surroundings) InCluster() (*rest.Config, error) {
	if s.Namespace == "" {
		return nil, rest.ErrNotInCluster
	}
	return &rest.Config{Host: "https://in-cluster.example"}, nil
}

// Load does with a command line what the command does.
func Load[C any](program string, options func() cli.Options[C], from cli.Sources, arguments ...string) (*cli.Loaded[C], error) {
	sections := options().Flags()
	cli.Record(sections, &from.Typed)
	all := pflag.NewFlagSet("test", pflag.ContinueOnError)
	for _, section := range sections.FlagSets {
		all.AddFlagSet(section)
	}
	if err := all.Parse(arguments); err != nil {
		return nil, err
	}
	from.Program = program
	return cli.Load(from, options)
}

// FieldsWithoutFlag are those of every program; see cli.Unmatched.
func FieldsWithoutFlag() map[string]string {
	fields := map[string]string{}
	for _, format := range []string{"text", "json"} {
		for _, option := range []string{"splitStream", "infoBufferSize"} {
			fields["logging.options."+format+"."+option] = "an alpha option of the logging library, which refuses it"
		}
	}
	return fields
}
