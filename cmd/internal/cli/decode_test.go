package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	logsapi "k8s.io/component-base/logs/api/v1"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
)

const syncerHeader = "apiVersion: config.workload.kcp.io/v1alpha1\nkind: SyncerConfiguration\n"

func TestDecode(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		change        func(*configv1alpha1.SyncerConfiguration)
	}{
		{"nothing but its kind leaves all defaults", syncerHeader, func(*configv1alpha1.SyncerConfiguration) {}},
		{
			"JSON is YAML", `{"apiVersion": "config.workload.kcp.io/v1alpha1", "kind": "SyncerConfiguration", "sync": {"workers": 3}}`,
			func(c *configv1alpha1.SyncerConfiguration) { c.Sync.Workers = 3 },
		},
		{"zero is not the default", syncerHeader + "sync: {workers: 0, resyncPeriod: 0s}", func(c *configv1alpha1.SyncerConfiguration) {
			c.Sync.Workers, c.Sync.ResyncPeriod.Duration = 0, 0
		}},
		{"null is the default", syncerHeader + "sync:\nrate: {qps: null}", func(*configv1alpha1.SyncerConfiguration) {}},
		{"inlined fields", syncerHeader + "kcp: {kubeconfig: a, qps: 1.5, burst: 2}", func(c *configv1alpha1.SyncerConfiguration) {
			c.KCP = configv1alpha1.Connection{Kubeconfig: "a", Rate: configv1alpha1.Rate{QPS: 1.5, Burst: 2}}
		}},
		{"lists and maps", syncerHeader + "filters: {resources: [a, b]}\nfeatureGates: {A: true, B: false}", func(c *configv1alpha1.SyncerConfiguration) {
			c.Filters.Resources, c.FeatureGates = []string{"a", "b"}, map[string]bool{"A": true, "B": false}
		}},
		{"anchors", syncerHeader + "sync: {resyncPeriod: &p 7m}\nheartbeatPeriod: *p", func(c *configv1alpha1.SyncerConfiguration) {
			c.Sync.ResyncPeriod.Duration, c.HeartbeatPeriod.Duration = 7*time.Minute, 7*time.Minute
		}},
		{"types of libraries", syncerHeader + "logging: {flushFrequency: 9s, verbosity: 3, vmodule: [{filePattern: a, verbosity: 2}]}", func(c *configv1alpha1.SyncerConfiguration) {
			c.Logging.FlushFrequency.Duration.Duration, c.Logging.Verbosity = 9*time.Second, 3
			c.Logging.VModule = logsapi.VModuleConfiguration{{FilePattern: "a", Verbosity: 2}}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, want := configv1alpha1.NewSyncerConfiguration(), configv1alpha1.NewSyncerConfiguration()
			if _, problems := decode([]byte(tc.content), got); len(problems) > 0 {
				t.Fatal(problems)
			}
			tc.change(want)
			if changed := Changed(want, got); len(changed) > 0 {
				t.Errorf("%v differ: %+v", changed, got)
			}
		})
	}
}

func TestDecodeTellsAllProblems(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		want          []string
	}{
		{"an empty file", "", []string{"1 : the file is empty: it has to name its apiVersion and kind"}},
		{"no YAML", "a: [", []string{"1 : the file is neither YAML nor JSON: line 1: did not find expected node content"}},
		{"a list", "- a", []string{"1 : the file is not an object with fields"}},
		{"two documents", syncerHeader + "---\n" + syncerHeader, []string{"3 : the file has more than one document"}},
		{"no kind", "apiVersion: config.workload.kcp.io/v1alpha1\nbogus: 1", []string{"1 kind: missing: must be SyncerConfiguration"}},
		{
			"the file of another program", "apiVersion: config.workload.kcp.io/v1\nkind: ManagerConfiguration\nworkers: 1",
			[]string{
				`1 apiVersion: "config.workload.kcp.io/v1" is not known here: must be config.workload.kcp.io/v1alpha1`,
				`2 kind: "ManagerConfiguration" is not known here: must be SyncerConfiguration`,
			},
		},
		{
			"unknown, repeated and mistyped fields", syncerHeader + "rate:\n  qps: fast\n  burst: 1.5\n  qps: 2\n  speed: 1\nsync: 7\nfilters:\n  resources: configmaps\nfeed:\n  urls:\n  - [a]\n" +
				"tracing: {enabled: 'no'}\nfeatureGates: {A: 1, A: true}\nheartbeatPeriod: 5\nlogging: {verbosity: -1}\n",
			[]string{
				`4 rate.qps: "fast" is not a number`,
				`5 rate.burst: "1.5" is not a whole number`,
				"6 rate.qps: repeated: it is in line 4 already",
				"7 rate.speed: unknown field: here may be qps, burst",
				`8 sync: "7" is not an object with fields`,
				`10 filters.resources: "configmaps" is not a list`,
				"13 feed.urls[0]: a list is not a text; put it in quotes",
				`14 tracing.enabled: "no" is not true or false`,
				`15 featureGates.A: "1" is not true or false`,
				"15 featureGates.A: repeated: it is in line 15 already",
				`16 heartbeatPeriod: "5" is not a duration, as 30s or 5m is`,
				`17 logging.verbosity: "-1" is not a whole number from 0`,
			},
		},
		{"a field in another case", syncerHeader + "Sync: {}", []string{"3 Sync: unknown field: here may be kind, apiVersion, kcp, cluster, rate, syncTarget, feed, filters, sync, heartbeatPeriod, serving, tracing, recovery, leaderElection, logging, featureGates"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, problems := decode([]byte(tc.content), configv1alpha1.NewSyncerConfiguration())
			var got []string
			for _, p := range problems {
				got = append(got, fmt.Sprintf("%d %s: %s", p.line, p.field, p.problem))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeKnowsTheLines(t *testing.T) {
	lines, _ := decode([]byte(syncerHeader+"\nfilters:\n  resources:\n  - a\n  - b\n"), configv1alpha1.NewSyncerConfiguration())
	for field, want := range map[string]int{"filters": 4, "filters.resources": 5, "filters.resources[1]": 7, "sync": 0} {
		if lines[field] != want {
			t.Errorf("%s is in line %d, want %d", field, lines[field], want)
		}
	}
}

func TestEnvironmentVariables(t *testing.T) {
	if got := EnvironmentVariable("workload-manager virtual-workspace", "kcp-kubeconfig"); got != "WORKLOAD_MANAGER_FLAG_KCP_KUBECONFIG" {
		t.Error(got)
	}
	set := fromEnvironment("workload-syncer", strings.Fields("WORKLOAD_SYNCER_FLAG_A=1=2 WORKLOAD_SYNCER_FLAG_B= WORKLOAD_SYNCER_PORT=tcp://x PATH=/bin"))
	if diff := cmp.Diff(map[string]string{"WORKLOAD_SYNCER_FLAG_A": "1=2"}, set); diff != "" {
		t.Error(diff)
	}
}
