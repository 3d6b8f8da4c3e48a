package options

import (
	"k8s.io/component-base/featuregate"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
)

// gates are the manager's features.
func (o *Options) gates() cli.Gates {
	return cli.Gates{
		manager.FeatureAssignmentWebhook: {Default: true, PreRelease: featuregate.Beta},
	}
}
