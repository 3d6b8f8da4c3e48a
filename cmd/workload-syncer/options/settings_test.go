package options

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli/clitest"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
)

func newOptions() cli.Options[syncer.Config] { return New() }

// A setting has a flag and a field, which mean the same. These have only one of them.
var (
	flagsWithoutField = map[string]string{
		"config":            "names the file itself",
		"print-config":      "is about this one start",
		"workspace-cluster": "is the older name of --sync-target-workspace",
	}
	fieldsWithoutFlag = clitest.FieldsWithoutFlag()
)

func TestEverySettingHasAFlagAndAField(t *testing.T) {
	for _, problem := range cli.Unmatched(newOptions, flagsWithoutField, fieldsWithoutFlag) {
		t.Error(problem)
	}
}

const header = "apiVersion: config.workload.kcp.io/v1alpha1\nkind: SyncerConfiguration\n"

// from has a configuration file of that content, if any, and an environment.
func from(content string, environ ...string) cli.Sources {
	return cli.Sources{Environ: environ, Read: func(string) ([]byte, error) { return []byte(header + content), nil }}
}

// A flag goes before its environment variable, that before the file, and that before the default.
func TestPrecedence(t *testing.T) {
	const workers, filters = "WORKLOAD_SYNCER_FLAG_WORKERS", "WORKLOAD_SYNCER_FLAG_RESOURCE_FILTERS"
	f := newFixture(t)
	for _, tc := range []struct {
		name    string
		file    string
		environ []string
		flags   []string
		want    string // workers and resources
	}{
		{name: "the default", want: "32 []"},
		{name: "the file goes before the default", file: "sync: {workers: 2}\nfilters: {resources: [configmaps]}", want: "2 [configmaps]"},
		{name: "what the file leaves out is the default", file: "sync: {resyncPeriod: 5m}", want: "32 []"},
		{name: "what the file has as null is left out", file: "sync: {workers: null}", want: "32 []"},
		{name: "an empty list in the file counts", file: "filters: {resources: []}", environ: []string{}, want: "32 []"},
		{name: "the environment goes before the file", file: "sync: {workers: 2}", environ: []string{workers + "=3"}, want: "3 []"},
		{name: "an empty variable sets nothing", file: "sync: {workers: 2}", environ: []string{workers + "="}, want: "2 []"},
		{name: "the flag goes before all", file: "sync: {workers: 2}", environ: []string{workers + "=3"}, flags: []string{"--workers=4"}, want: "4 []"},
		{name: "of a flag that is typed twice the last counts", flags: []string{"--workers=4", "--workers=5"}, want: "5 []"},
		{
			name: "a list is taken from one source as a whole", file: "filters: {resources: [secrets]}",
			environ: []string{filters + "=pods,services"}, want: "32 [pods services]",
		},
		{
			name: "a list may be typed in pieces", file: "filters: {resources: [secrets]}", environ: []string{filters + "=pods"},
			flags: []string{"--resource-filters=a", "--resource-filters=b,c"}, want: "32 [a b c]",
		},
		{name: "a variable of another program is none of ours", environ: []string{"WORKLOAD_MANAGER_FLAG_WORKERS=9"}, want: "32 []"},
		{
			name:    "a Service called workload-syncer-metrics is not taken for a setting",
			environ: []string{"WORKLOAD_SYNCER_METRICS_PORT=tcp://10.0.0.1:80"}, want: "32 []",
		},
	} {
		for _, configFlag := range []string{"typed", "in the environment"} {
			t.Run(tc.name+", the file's name "+configFlag, func(t *testing.T) {
				arguments, sources := f.arguments(tc.flags...), from(tc.file, tc.environ...)
				if configFlag == "typed" {
					arguments = append(arguments, "--config=file")
				} else {
					sources.Environ = append(sources.Environ, "WORKLOAD_SYNCER_FLAG_CONFIG=file")
				}
				config, err := completeFrom(clitest.Surroundings{}, sources, arguments...)
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(config.Workers, " ", config.Filters.Resources); got != tc.want {
					t.Errorf("got %s, want %s", got, tc.want)
				}
			})
		}
	}
}

// Every mistake is told where it was made.
func TestMistakesNameTheirSource(t *testing.T) {
	f := newFixture(t)
	for _, tc := range []struct {
		name    string
		file    string
		environ []string
		flags   []string
		want    []string // lines
	}{
		{name: "in a flag", file: "sync: {workers: 0}", flags: []string{"--workers=-1"}, want: []string{"--workers: -1 would do no work: give at least 1"}},
		{
			name: "in a variable", environ: []string{"WORKLOAD_SYNCER_FLAG_WORKERS=many"},
			want: []string{`WORKLOAD_SYNCER_FLAG_WORKERS: "many" is not a valid int: invalid syntax`},
		},
		{
			name: "in a variable for no flag", environ: []string{"WORKLOAD_SYNCER_FLAG_WORKER=1"},
			want: []string{"WORKLOAD_SYNCER_FLAG_WORKER: stands for no flag: see --help"},
		},
		{name: "in the file", file: "sync:\n  workers: 0", want: []string{"file, line 4: sync.workers: 0 would do no work: give at least 1"}},
		{
			name: "of what nobody set", file: "syncTarget: {name: ''}", flags: []string{"--sync-target-workspace=a/b"},
			want: []string{
				"file, line 3: syncTarget.name: required: the name of the SyncTarget that this syncer serves, see kubectl workload status",
				`--sync-target-workspace: "a/b" is not a workspace path or logical cluster, as root:team-a is`,
			},
		},
		{
			name: "of a pair of fields", file: "feed:\n  urls: [https://a.example]",
			want: []string{"file, line 4: feed.urls: has no meaning with feed.kind=workspace: add feed.kind=assigned or drop it"},
		},
		{
			name: "many at once", file: "sync: {workers: many, conflictpolicy: Fail}\nrate: {qps: 0}\nrate: {qps: 1}\nlogging: {format: xml}",
			flags: []string{"--metrics-port=-1"},
			want: []string{
				"file, line 3: sync.conflictpolicy: unknown field: here may be workers, resyncPeriod, statusWindow, namespaceCleanDelay, orphanGracePeriod, conflictPolicy",
				"file, line 5: rate: repeated: it is in line 4 already",
				`file, line 6: logging.format: Invalid value: "xml": Unsupported log format`,
				"--metrics-port: -1 is not a port: must be between 0 and 65535, inclusive",
				"file, line 4: rate.qps: 0 would send nothing: give a number of requests per second, or -1 for no limit",
				`file, line 3: sync.workers: "many" is not a whole number`,
			},
		},
		{
			name: "in a selector of a list", file: "filters:\n  labelSelectors:\n  - a=b\n  - a==b==c",
			want: []string{`file, line 4: filters.labelSelectors: "a==b==c" is not a label selector, as env=prod,tier!=test is: found '==', expected: ',' or 'end of string'`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			arguments := f.arguments(tc.flags...)
			if strings.Contains(tc.file, "syncTarget") {
				arguments = slices.DeleteFunc(arguments, func(a string) bool { return strings.HasPrefix(a, "--sync-target-name") })
			}
			_, err := completeFrom(clitest.Surroundings{}, from(tc.file, tc.environ...), append(arguments, "--config=file")...)
			if err == nil {
				t.Fatal("no mistake is told")
			}
			if diff := cmp.Diff(tc.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakesHaveFields(t *testing.T) {
	_, err := completeFrom(clitest.Surroundings{}, from("sync: {workers: 0}\nbogus: 1"), newFixture(t).arguments("--config=file", "--heartbeat-period=1ms", "--workspace-cluster=a/b")...)
	var mistakes cli.Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatal(err)
	}
	fields := map[string]bool{}
	for _, problem := range mistakes.Fields() {
		fields[problem.Field] = true
	}
	want := []string{"--workspace-cluster", "bogus", "heartbeatPeriod", "sync.workers"}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What is printed is a file that makes the same configuration, whatever it was made from.
func TestPrintedConfiguration(t *testing.T) {
	f := newFixture(t)
	for _, tc := range flagCases {
		t.Run(tc.name, func(t *testing.T) {
			before, err := load(clitest.Surroundings{}, from("sync: {workers: 5}"), f.arguments(append(tc.arguments, "--config=file", "--print-config")...)...)
			if err != nil || !before.Print {
				t.Fatal(err)
			}
			document, err := before.Document()
			if err != nil {
				t.Fatal(err)
			}
			after, err := load(clitest.Surroundings{}, cli.Sources{Read: func(string) ([]byte, error) { return document, nil }}, "--config=printed")
			if err != nil {
				t.Fatalf("%v\n%s", err, document)
			}
			again, err := after.Document()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(document), string(again)); diff != "" {
				t.Errorf("(-first +second):\n%s", diff)
			}
			if diff := cmp.Diff(before.Config, after.Config, compareConfigs); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

func TestTheExampleIsValid(t *testing.T) {
	sources := cli.Sources{Read: os.ReadFile}
	loaded, err := load(clitest.Surroundings{Namespace: "syncers"}, sources, "--config=../../../docs/examples/syncer-configuration.yaml", "--kcp-kubeconfig="+newFixture(t).kcp)
	if err != nil {
		t.Fatal(err)
	}
	if c := loaded.Config; c.Feed.Kind != syncer.FeedAssigned || c.KCP.QPS != 200 || c.Features.Enabled(syncer.FeaturePublishAPIs) || len(c.Filters.Resources) != 4 {
		t.Errorf("it gives %+v", c)
	}
}

// A change of some settings is taken up at run time; of the others it is known that it needs a restart.
func TestLiveSettings(t *testing.T) {
	live := New().Live()
	for _, tc := range []struct {
		field   string
		restart bool
	}{
		{"filters.resources", false},
		{"filters.labelSelectors", false},
		{"logging.verbosity", false},
		{"logging.format", true},
		{"kcp.qps", false},
		{"kcp.kubeconfig", true},
		{"rate.burst", false},
		{"sync.conflictPolicy", false},
		{"sync.workers", true},
		{"tracing.samplingRatio", false},
		{"tracing.enabled", true},
		{"featureGates", true},
	} {
		if got := cli.NeedRestart([]string{tc.field}, live); (len(got) > 0) != tc.restart {
			t.Errorf("%s: a restart is needed for %v", tc.field, got)
		}
	}
}
