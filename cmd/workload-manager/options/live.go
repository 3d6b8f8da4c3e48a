package options

import "github.com/kcp-dev/workload-syncer/cmd/internal/cli"

// Live are the fields, or what is above them, that are taken up while the manager runs.
func (o *Options) Live() []string {
	return append(cli.LiveLogging(), "kcp.qps", "kcp.burst", "tracing.samplingRatio", "heartbeats", "assignment.moveTimeout")
}
