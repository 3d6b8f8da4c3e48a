package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func execute(t *testing.T, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = newServer(serve).Run(t.Context(), arguments, &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestUsageMistakesEndWithTheirOwnCode(t *testing.T) {
	for name, arguments := range map[string][]string{
		"--nonsense":         {"--nonsense"},
		`"word"`:             {"word"},
		"--sync-target-name": nil,
	} {
		code, stdout, stderr := execute(t, arguments...)
		if code != cli.ExitUsage {
			t.Errorf("%v: exit code %d", arguments, code)
		}
		if stdout != "" || !strings.Contains(stderr, name) || !strings.Contains(stderr, "--help") {
			t.Errorf("%v: %q does not tell of %s and of --help", arguments, stderr, name)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	code, stdout, _ := execute(t, "--help")
	if code != cli.ExitDone || !strings.Contains(stdout, "--sync-target-name") {
		t.Errorf("--help: exit code %d, output %q", code, stdout)
	}
	code, stdout, _ = execute(t, "--version")
	if code != cli.ExitDone || !strings.HasPrefix(stdout, "workload-syncer ") {
		t.Errorf("--version: exit code %d, output %q", code, stdout)
	}
}

func TestACommandLineBecomesAConfiguration(t *testing.T) {
	path := t.TempDir() + "/kubeconfig"
	config := clientcmdapi.NewConfig()
	config.CurrentContext = "a"
	config.Clusters["a"] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:1/clusters/root:a"}
	config.Contexts["a"] = &clientcmdapi.Context{Cluster: "a"}
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}

	var got *syncer.Config
	failure := errors.New("no luck")
	command := newServer(func(_ context.Context, c *syncer.Config, _ tmc.ConfigSource[syncer.Config]) error {
		got = c
		return failure
	}).Command()
	command.SetArgs([]string{"--kcp-kubeconfig=" + path, "--cluster-kubeconfig=" + path, "--sync-target-name=t"})
	if err := command.ExecuteContext(t.Context()); !errors.Is(err, failure) {
		t.Errorf("what the syncer returned was lost: %v", err)
	}
	if got == nil || got.SyncTarget.Name != "t" || !strings.HasPrefix(got.KCP.UserAgent, "workload-syncer/") {
		t.Errorf("the syncer was given %+v", got)
	}
}
