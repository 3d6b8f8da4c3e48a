package options

import (
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func (o *Options) leaderElection(mistakes *cli.Mistakes) *tmc.LeaderElection {
	l := o.settings.LeaderElection
	if !l.LeaderElect {
		return nil
	}
	if l.ResourceNamespace == "" {
		mistakes.Add("leader-elect-resource-namespace", "required with --leader-elect: the namespace of the Lease in the provider's workspace")
	}
	return cli.CompleteLeaderElection(l, o.surroundings, mistakes)
}
