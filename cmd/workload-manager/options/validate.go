package options

import (
	"net/url"
	"time"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
)

func (o *Options) validateHeartbeats(mistakes *cli.Mistakes) {
	if o.Heartbeat.Grace < time.Second {
		mistakes.Add("heartbeat-grace", "%s is too short: give at least 1s, and several of the syncers' --heartbeat-period", o.Heartbeat.Grace)
	}
	if o.Heartbeat.TaintAfter < 0 {
		mistakes.Add("unreachable-taint-after", "%s is negative: give 0 for never, or more", o.Heartbeat.TaintAfter)
	}
	if o.TaintRate <= 0 {
		mistakes.Add("unreachable-taint-rate", "%g would taint nothing: give a number above 0, or --unreachable-taint-after=0 for never", o.TaintRate)
	}
	if o.Heartbeat.TaintThreshold <= 0 || o.Heartbeat.TaintThreshold > 1 {
		mistakes.Add("unreachable-taint-threshold", "%g is not a share: give a number above 0 and up to 1", o.Heartbeat.TaintThreshold)
	}
}

func (o *Options) virtualWorkspaceURL(mistakes *cli.Mistakes) string {
	if o.VirtualWorkspaceURL == "" {
		return ""
	}
	if parsed, err := url.Parse(o.VirtualWorkspaceURL); err != nil || parsed.Host == "" || parsed.Scheme != "https" {
		mistakes.Add("virtual-workspace-url", "%q is not an https URL, as https://workloads.example.com:6443 is", o.VirtualWorkspaceURL)
	}
	return o.VirtualWorkspaceURL
}
