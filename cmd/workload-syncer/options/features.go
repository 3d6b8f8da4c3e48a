package options

import (
	"k8s.io/component-base/featuregate"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
)

// gates are the syncer's features.
func gates() cli.Gates {
	return cli.Gates{
		syncer.FeaturePublishAPIs: {Default: true, PreRelease: featuregate.Beta},
	}
}
