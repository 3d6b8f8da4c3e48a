package cliplugins

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
)

func newInit(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var path string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Give a kcp the APIs for workloads",
		Long: "Give a kcp the APIs for workloads: the APIExports " + strings.Join(config.Exports(), ", ") + ` in a
workspace, which is created if it is missing, and binds them itself, so that SyncTargets can live there. Run again, also with a newer
version of this command, it changes what is not as it should be, and nothing else.`,
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
	// kcp opens an export's virtual workspace with its first binding: so syncers need not wait for the first tenant.
	if err := bind.Bind(ctx, kcp, provider, provider, config.Exports(), streams.Out); err != nil {
		return timedOut(err, wait)
	}
	_, err = fmt.Fprintf(streams.Out, nextSteps, provider)
	return err
}

const nextSteps = `
%[1]s provides the APIs. Next, for each physical cluster:
  kubectl workload sync NAME --workspace %[1]s --image IMAGE -o FILE
and in each workspace that shall run workloads:
  kubectl workload bind %[1]s
`
