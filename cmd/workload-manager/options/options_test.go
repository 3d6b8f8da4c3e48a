package options

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli/clitest"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/heartbeat"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
)

// kubeconfig writes a file for the server.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	return clitest.Kubeconfig(t, "kcp", map[string]string{"kcp": server})
}

func complete(arguments ...string) (*manager.Config, error) {
	loaded, err := load(New, cli.Sources{}, arguments...)
	if err != nil {
		return nil, err
	}
	return loaded.Config, nil
}

func load(options func() *Options, from cli.Sources, arguments ...string) (*cli.Loaded[manager.Config], error) {
	return clitest.Load("workload-manager", func() cli.Options[manager.Config] {
		o := options()
		o.surroundings = clitest.Surroundings{}
		return o
	}, from, arguments...)
}

func TestEachFlagHasItsEffect(t *testing.T) {
	base := kubeconfig(t, "https://kcp.example:6443")
	for flag, tc := range map[string]struct {
		effect func(*manager.Config) any
		before any
		after  any
	}{
		"--provider-workspace=root:other": {func(c *manager.Config) any { return c.Provider.String() }, "root:compute", "root:other"},
		"--workers=9":                     {func(c *manager.Config) any { return c.Workers }, 4, 9},
		"--unused-schema-grace=3s":        {func(c *manager.Config) any { return c.UnusedSchemaGrace }, time.Hour, 3 * time.Second},
		"--qps=7":                         {func(c *manager.Config) any { return c.KCP.QPS }, float32(-1), float32(7)},
		"--heartbeat-grace=9s":            {func(c *manager.Config) any { return c.Heartbeat.Grace }, time.Minute, 9 * time.Second},
		"--unreachable-taint-after=0":     {func(c *manager.Config) any { return c.Heartbeat.TaintAfter }, 5 * time.Minute, time.Duration(0)},
		"--unreachable-taint-threshold=1": {func(c *manager.Config) any { return c.Heartbeat.TaintThreshold }, 0.55, 1.0},
		"--unreachable-taint-rate=3":      {func(c *manager.Config) any { return c.TaintRate }, 0.1, 3.0},
		"--virtual-workspace-url=https://workloads.example.com/x": {func(c *manager.Config) any { return c.VirtualWorkspaceURL }, "", "https://workloads.example.com/x"},
		"--leader-elect=false":               {func(c *manager.Config) any { return c.LeaderElection == nil }, false, true},
		"--leader-elect-resource-name=other": {func(c *manager.Config) any { return c.LeaderElection != nil && c.LeaderElection.Name == "other" }, false, true},
		"--metrics-port=0":                   {func(c *manager.Config) any { return c.MetricsPort }, 8080, 0},
		"--enable-tmc-tracing":               {func(c *manager.Config) any { return c.Tracing.Enabled }, false, true},
		"--tracing-sampling-ratio=0.5":       {func(c *manager.Config) any { return *c.Tracing.SamplingRatio }, 1.0, 0.5},
		"--enable-tmc-recovery=false":        {func(c *manager.Config) any { return c.EnableRecovery }, true, false},
	} {
		before, err := complete("--kcp-kubeconfig=" + base)
		if err != nil {
			t.Fatal(err)
		}
		if got := tc.effect(before); got != tc.before {
			t.Errorf("without %s it is %v, want %v", flag, got, tc.before)
		}
		after, err := complete("--kcp-kubeconfig="+base, flag)
		if err != nil {
			t.Errorf("%s: %v", flag, err)
			continue
		}
		if got := tc.effect(after); got != tc.after {
			t.Errorf("with %s it is %v, want %v", flag, got, tc.after)
		}
	}
}

func TestTheKubeconfigMayNameTheProvider(t *testing.T) {
	config, err := complete("--kcp-kubeconfig=" + kubeconfig(t, "https://kcp.example:6443/clusters/root:shop"))
	if err != nil {
		t.Fatal(err)
	}
	if config.Provider.String() != "root:shop" || config.KCP.Host != "https://kcp.example:6443" {
		t.Errorf("the provider is %s at %s", config.Provider, config.KCP.Host)
	}
	if fresh, err := config.Reread(); err != nil || fresh.Host != config.KCP.Host {
		t.Errorf("read again it is at %v: %v", fresh, err)
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := complete("--provider-workspace=Root::x", "--workers=0", "--unused-schema-grace=-1s", "--qps=0", "--burst=-1", "--heartbeat-grace=10ms", "--unreachable-taint-after=-1s",
		"--unreachable-taint-rate=0", "--unreachable-taint-threshold=1.5", "--virtual-workspace-url=ftp://x", "--bind-address=here", "--metrics-port=many", "--enable-trace-annotation", "--tracing-endpoint=collector", "--tracing-protocol=x", "--tracing-sampling-ratio=2",
		"--leader-elect-resource-namespace=", "--leader-elect-retry-period=1h", "--logging-format=xml")
	var mistakes cli.Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("got %v", err)
	}
	for _, flag := range []string{
		"kcp-kubeconfig", "provider-workspace", "workers", "unused-schema-grace", "qps", "burst", "heartbeat-grace", "unreachable-taint-after", "unreachable-taint-rate",
		"unreachable-taint-threshold", "virtual-workspace-url", "bind-address", "metrics-port", "enable-trace-annotation", "tracing-endpoint", "tracing-protocol", "tracing-sampling-ratio", "leader-elect-resource-namespace",
		"leader-elect-renew-deadline", "logging-format",
	} {
		if !mistakes.About(flag) {
			t.Errorf("nothing is said about --%s:\n%v", flag, err)
		}
	}
	if told := len(strings.Split(err.Error(), "\n")); told != len(mistakes) {
		t.Errorf("%d mistakes take %d lines", len(mistakes), told)
	}
}

func TestDefaultsOfHeartbeats(t *testing.T) {
	want := heartbeat.Settings{Grace: time.Minute, TaintAfter: 5 * time.Minute, TaintThreshold: 0.55}
	config, err := complete("--kcp-kubeconfig=" + kubeconfig(t, "https://kcp.example:6443"))
	if err != nil || config.Heartbeat != want {
		t.Errorf("got %+v, %v, want %+v", config, err, want)
	}
}
