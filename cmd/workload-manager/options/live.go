package options

import (
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
)

// Live are the fields, or what is above them, that are taken up while the manager runs.
func (o *Options) Live() []string {
	return append(cli.LiveLogging(), "kcp.qps", "kcp.burst", "tracing.samplingRatio", "heartbeats", "assignment.moveTimeout")
}

// Fields are the fields of the configuration file that flags set, by the flags' names.
func Fields() map[string]string {
	return cli.Fields(func() cli.Options[manager.Config] { return New() })
}
