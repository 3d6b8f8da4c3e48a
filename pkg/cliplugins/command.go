// Package cliplugins is the kubectl plugin `kubectl workload`: it wires flags to the packages below it, which do the work.
package cliplugins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/workspace"
)

const (
	// defaultProvider is the workspace that provides the APIs.
	defaultProvider = "root:compute"
	// defaultWait is how long a command waits for kcp to do its part.
	defaultWait = 2 * time.Minute
)

// NewCommand makes the root command.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-workload",
		Short:         "Run the workloads of kcp workspaces on physical clusters",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl workload"},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	flags := genericclioptions.NewConfigFlags(true)
	flags.Namespace = nil // what the commands work with lives in no namespace
	flags.AddFlags(root.PersistentFlags())
	root.AddCommand(
		newInit(flags, streams), newSync(flags, streams), newBind(flags, streams), newStatus(flags, streams),
		newCordon(flags, streams), newUncordon(flags, streams), newDrain(flags, streams), newExplain(flags, streams), newVersion(streams), newOptions(streams),
	)
	root.SetUsageTemplate(usage)
	return root
}

// usage is cobra's, less the flags that all commands have: a screen full, of which most users need none.
const usage = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{if and .HasParent .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 120 | trimTrailingWhitespaces}}{{end}}

"kubectl workload options" lists the flags of all commands, such as --context and --kubeconfig.{{if .HasAvailableSubCommands}}
"{{.CommandPath}} [command] --help" tells more about a command.{{end}}
`

func newOptions(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags that all commands have",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(streams.Out, "All commands take these flags, which mean what they mean for kubectl:\n\n", cmd.InheritedFlags().FlagUsagesWrapped(120))
			return err
		},
	}
}

func newVersion(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of this command",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(streams.Out, "kubectl-workload %s\n", version.Get().GitVersion) // make build sets it
			return err
		},
	}
}

// current is the workspace to work in: the one given by flag, or else the one that the kubeconfig points to.
func current(flags *genericclioptions.ConfigFlags, path string) (*rest.Config, logicalcluster.Path, error) {
	kcp, err := flags.ToRESTConfig()
	if err != nil {
		return nil, logicalcluster.Path{}, err
	}
	if path != "" {
		parsed, err := parsePath("--workspace", path)
		return kcp, parsed, err
	}
	base, parsed, err := workspace.Split(kcp.Host)
	if err == nil && parsed.Empty() {
		err = fmt.Errorf("the server's URL in the kubeconfig, %s, names no workspace (/clusters/<path>): choose one with --workspace, or another --context", base)
	}
	return kcp, parsed, err
}

func parsePath(name, value string) (logicalcluster.Path, error) {
	path, err := workspace.Parse(value)
	if err != nil {
		return path, fmt.Errorf("%s: %w", name, err)
	}
	return path, nil
}

func addWorkspace(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "workspace", "", "path of the workspace (default: the one in the kubeconfig's current context)")
}

func addWait(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", defaultWait, "how long to wait for kcp to do its part")
}

// timedOut names the flag that allows for more time.
func timedOut(err error, wait time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("not done within --wait=%s: %w", wait, err)
	}
	return err
}
