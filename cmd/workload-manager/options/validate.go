package options

import (
	"net/url"
	"time"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/heartbeat"
)

func completeHeartbeats(h configv1alpha1.Heartbeats, mistakes *cli.Mistakes) heartbeat.Settings {
	if h.Grace.Duration < time.Second {
		mistakes.Add("heartbeat-grace", "%s is too short: give at least 1s, and several of the syncers' --heartbeat-period", h.Grace.Duration)
	}
	if h.TaintAfter.Duration < 0 {
		mistakes.Add("unreachable-taint-after", "%s is negative: give 0 for never, or more", h.TaintAfter.Duration)
	}
	if h.TaintRate <= 0 {
		mistakes.Add("unreachable-taint-rate", "%g would taint nothing: give a number above 0, or --unreachable-taint-after=0 for never", h.TaintRate)
	}
	if h.TaintThreshold <= 0 || h.TaintThreshold > 1 {
		mistakes.Add("unreachable-taint-threshold", "%g is not a share: give a number above 0 and up to 1", h.TaintThreshold)
	}
	return heartbeat.Settings{Grace: h.Grace.Duration, TaintAfter: h.TaintAfter.Duration, TaintThreshold: h.TaintThreshold}
}

func (o *Options) virtualWorkspaceURL(mistakes *cli.Mistakes) string {
	if o.settings.VirtualWorkspace.URL == "" {
		return ""
	}
	if parsed, err := url.Parse(o.settings.VirtualWorkspace.URL); err != nil || parsed.Host == "" || parsed.Scheme != "https" {
		mistakes.Add("virtual-workspace-url", "%q is not an https URL, as https://workloads.example.com:6443 is", o.settings.VirtualWorkspace.URL)
	}
	return o.settings.VirtualWorkspace.URL
}
