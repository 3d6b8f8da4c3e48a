package options

import (
	"errors"

	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
)

// clusterConnection returns how the physical cluster is reached.
func (o *Options) clusterConnection(mistakes *cli.Mistakes) *rest.Config {
	if o.settings.Cluster.Kubeconfig != "" {
		return cli.Client(o.settings.Cluster).Load("cluster", mistakes)
	}
	if o.settings.Cluster.Context != "" {
		mistakes.Add("cluster-context", "has no meaning without --cluster-kubeconfig: set both or none")
	}
	config, err := o.surroundings.InCluster()
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		mistakes.Add("cluster-kubeconfig", "required outside of a cluster: the file with the address of the physical cluster and the credentials for it")
	case err != nil:
		mistakes.Add("cluster-kubeconfig", "not set, and the cluster that this runs in cannot be used: %v", err)
	}
	return config
}
