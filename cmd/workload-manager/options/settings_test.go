package options

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli/clitest"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
)

// A setting has a flag and a field, which mean the same. These have only one of them.
var (
	flagsWithoutField = map[string]string{
		"config":       "names the file itself",
		"print-config": "is about this one start",
	}
	fieldsWithoutFlag = clitest.FieldsWithoutFlag()
)

func TestEverySettingHasAFlagAndAField(t *testing.T) {
	for _, problem := range cli.Unmatched(func() cli.Options[manager.Config] { return New() }, flagsWithoutField, fieldsWithoutFlag) {
		t.Error(problem)
	}
}

// The command virtual-workspace takes no notice of what is only the manager's.
func TestSettingsOfTheVirtualWorkspace(t *testing.T) {
	theManagers := []string{"workers", "unusedSchemaGrace", "virtualWorkspace.url", "assignment.", "heartbeats.", "leaderElection."}
	for _, problem := range cli.Unmatched(func() cli.Options[manager.Config] { return NewVirtualWorkspace() }, flagsWithoutField, fieldsWithoutFlag) {
		if !slices.ContainsFunc(theManagers, func(prefix string) bool { return strings.HasPrefix(problem, prefix) }) {
			t.Error(problem)
		}
	}
}

func TestUpsyncedByDefault(t *testing.T) {
	var want []string
	for _, resource := range workloadv1alpha1.ClusterMadeResources() {
		want = append(want, resource.String())
	}
	if diff := cmp.Diff(want, configv1alpha1.NewManagerConfiguration().VirtualWorkspace.UpsyncResources); diff != "" {
		t.Errorf("(-of the server +of the file):\n%s", diff)
	}
}

const header = "apiVersion: config.workload.kcp.io/v1alpha1\nkind: ManagerConfiguration\n"

func TestAConfigurationFile(t *testing.T) {
	kcp := kubeconfig(t, "https://kcp.example:6443")
	read := func(content string) cli.Sources {
		return cli.Sources{Read: func(string) ([]byte, error) { return []byte(header + content), nil }}
	}
	loaded, err := load(New, read("kcp: {kubeconfig: "+kcp+", qps: 9}\nworkers: 3\nheartbeats: {grace: 5s, taintRate: 2}\nfeatureGates: {AssignmentWebhook: false}\n"),
		"--config=file", "--workers=2")
	if err != nil {
		t.Fatal(err)
	}
	c := loaded.Config
	if c.Workers != 2 || c.KCP.QPS != 9 || c.KCP.Burst != 18 || c.Heartbeat.Grace.Seconds() != 5 || c.TaintRate != 2 || c.Features.Enabled(manager.FeatureAssignmentWebhook) {
		t.Errorf("got %+v", c)
	}
	document, err := loaded.Document()
	if err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]func() *Options{"the manager": New, "the virtual workspace": NewVirtualWorkspace} {
		again, err := load(options, cli.Sources{Read: func(string) ([]byte, error) { return document, nil }}, "--config=file", "--virtual-workspace-cert-file="+kcp, "--virtual-workspace-key-file="+kcp)
		if err != nil || again.Config.KCP.QPS != 9 {
			t.Errorf("%s does not take what was printed: %v\n%s", name, err, document)
		}
	}
	_, err = load(New, read("heartbeats: {grace: 5}\nworker: 3\n"), "--config=file")
	want := []string{
		`file, line 4: worker: unknown field: here may be kind, apiVersion, kcp, providerWorkspace, workers, unusedSchemaGrace, assignment, heartbeats, virtualWorkspace, serving, tracing, recovery, leaderElection, logging, featureGates`,
		`file, line 3: heartbeats.grace: "5" is not a duration, as 30s or 5m is`,
		`--kcp-kubeconfig, or kcp.kubeconfig in file: required: the file with the address of kcp and the credentials for it`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got:\n%v", err)
	}
}

// A webhook that is configured needs its feature.
func TestTheAssignmentWebhookIsAFeature(t *testing.T) {
	webhook := []string{
		"--kcp-kubeconfig=" + kubeconfig(t, "https://kcp.example:6443"), "--assignment-webhook-url=https://manager:9444",
		"--assignment-webhook-ca-file=ca", "--assignment-webhook-cert-file=cert", "--assignment-webhook-key-file=key",
	}
	for gates, want := range map[string]bool{"": true, "AssignmentWebhook=true": true, "AssignmentWebhook=false": false, "AllBeta=false": false} {
		config, err := complete(append(webhook, "--feature-gates="+gates)...)
		if err != nil || (config.Assignment.Webhook != nil) != want {
			t.Errorf("%q: %+v, %v", gates, config, err)
		}
	}
}

func TestTheExampleIsValid(t *testing.T) {
	loaded, err := load(New, cli.Sources{Read: os.ReadFile}, "--config=../../../docs/examples/manager-configuration.yaml",
		"--kcp-kubeconfig="+kubeconfig(t, "https://kcp.example:6443"))
	if err != nil {
		t.Fatal(err)
	}
	if c := loaded.Config; c.Heartbeat.Grace != 2*time.Minute || c.Assignment.MoveTimeout != 5*time.Minute || loaded.Logging.Format != "json" {
		t.Errorf("it gives %+v", c)
	}
}
