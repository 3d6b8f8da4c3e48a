package options

import "github.com/kcp-dev/workload-syncer/cmd/internal/cli"

// Live are the fields, or what is above them, that are taken up while the syncer runs.
func (o *Options) Live() []string {
	return append(cli.LiveLogging(),
		"rate", "kcp.qps", "kcp.burst", "cluster.qps", "cluster.burst",
		"tracing.samplingRatio", "filters",
		"sync.resyncPeriod", "sync.statusWindow", "sync.namespaceCleanDelay", "sync.orphanGracePeriod", "sync.conflictPolicy",
	)
}
