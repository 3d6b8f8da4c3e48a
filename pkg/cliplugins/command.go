// Package cliplugins is the kubectl plugin `kubectl workload`: it wires flags to the packages below it, which do the work.
package cliplugins

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/status"
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
	root.AddCommand(newInit(flags, streams), newSync(flags, streams), newBind(flags, streams), newStatus(flags, streams))
	return root
}

func newInit(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var path string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Give a kcp the APIs for workloads",
		Long: "Give a kcp the APIs for workloads: the APIExports " + config.WorkloadExport + ", " + config.SchedulingExport + " and " + config.KubernetesExport + `
in a workspace, which is created if it is missing. Run again, also with a newer version of this command, it changes what is
not as it should be, and nothing else.`,
		Example: "  kubectl workload init\n  kubectl workload init --workspace root:platform:compute",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			provider, err := parsePath("--workspace", path)
			if err != nil {
				return err
			}
			return runInit(cmd.Context(), flags, provider, wait, streams)
		},
	}
	cmd.Flags().StringVar(&path, "workspace", defaultProvider, "path of the workspace that provides the APIs")
	addWait(cmd, &wait)
	return cmd
}

func runInit(ctx context.Context, flags *genericclioptions.ConfigFlags, provider logicalcluster.Path, wait time.Duration, streams genericiooptions.IOStreams) error {
	kcp, err := flags.ToRESTConfig()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if _, err := setup.Apply(ctx, kcp, provider, streams.Out); err != nil {
		return timedOut(err, wait)
	}
	_, err = fmt.Fprintf(streams.Out, nextSteps, provider)
	return err
}

const nextSteps = `
%[1]s provides the APIs. Next, in a workspace that shall have them:
  kubectl workload bind %[1]s
  kubectl workload status
`

func newBind(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var path string
	var exports []string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "bind [PROVIDER]",
		Short: "Make the APIs for workloads available in a workspace",
		Long: `Make the APIs for workloads available in a workspace: bind the APIExports of the workspace PROVIDER, which is ` + defaultProvider + `
unless it is given, and accept the permissions that they claim, so that syncers can read and mark the objects.`,
		Example: "  kubectl workload bind\n  kubectl workload bind root:platform:compute --workspace root:team-a",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			provider, err := parsePath("PROVIDER", strings.Join(append(args, defaultProvider)[:1], ""))
			if err != nil {
				return err
			}
			kcp, consumer, err := current(flags, path)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			return timedOut(bind.Bind(ctx, kcp, consumer, provider, exports, streams.Out), wait)
		},
	}
	addWorkspace(cmd, &path)
	addWait(cmd, &wait)
	cmd.Flags().StringSliceVar(&exports, "export", []string{config.KubernetesExport, config.WorkloadExport, config.SchedulingExport}, "APIExports to bind")
	return cmd
}

func newStatus(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var path, output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the SyncTargets of a workspace and what is wrong with them",
		Example: "  kubectl workload status\n  kubectl workload status --workspace root:team-a -o wide",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, formatErr := status.ParseFormat(output)
			kcp, workspacePath, err := current(flags, path)
			if err := errors.Join(formatErr, err); err != nil {
				return err
			}
			list, err := status.List(cmd.Context(), kcp, workspacePath)
			if err != nil {
				return err
			}
			if len(list.Items) == 0 && (format == status.Table || format == status.Wide) {
				_, err := fmt.Fprintf(streams.ErrOut, "There are no SyncTargets in workspace %s.\n", workspacePath)
				return err
			}
			return status.Print(streams.Out, list, format, time.Now())
		},
	}
	addWorkspace(cmd, &path)
	cmd.Flags().StringVarP(&output, "output", "o", "", "wide, json or yaml instead of a table")
	return cmd
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
