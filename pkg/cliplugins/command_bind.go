package cliplugins

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
)

const bindLong = `Make a workspace run workloads: bind the APIExports of the workspace PROVIDER, which is ` + defaultProvider + ` unless it is
given, accept the permissions that they claim, and say by a Placement where the work of which namespaces shall run. The command
waits until targets are chosen, or says what stands against it.

Run again, it changes nothing but what its flags ask for.`

const bindExample = `  # Work of all namespaces, on any target:
  kubectl workload bind

  # Work of some namespaces, in Europe:
  kubectl workload bind root:compute --name europe --location-selectors region=eu --namespace-selector tier=web

  # What a workspace needs that holds SyncTargets:
  kubectl workload bind root:compute --export ` + config.WorkloadExport + `,` + config.SchedulingExport

func newBind(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var path, namespaces string
	var exports []string
	var wait time.Duration
	placement := bind.Placement{}
	cmd := &cobra.Command{
		Use:     "bind [PROVIDER]",
		Short:   "Make a workspace run workloads",
		Long:    bindLong,
		Example: bindExample,
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
			if cmd.Flags().Changed("namespace-selector") {
				placement.NamespaceSelector = &namespaces
			}
			places := slices.Contains(exports, config.KubernetesExport) && slices.Contains(exports, config.SchedulingExport)
			if !places && (placement.NamespaceSelector != nil || placement.LocationSelectors != nil || placement.LocationWorkspace != "" || cmd.Flags().Changed("name")) {
				return fmt.Errorf("--name, --location-selectors, --location-workspace and --namespace-selector are about a Placement, which --export=%s leaves out: it needs %s and %s",
					strings.Join(exports, ","), config.KubernetesExport, config.SchedulingExport)
			}
			if err := placement.Validate(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			if err := bind.Bind(ctx, kcp, consumer, provider, exports, streams.Out); err != nil || !places {
				return timedOut(err, wait)
			}
			return timedOut(bind.Place(ctx, kcp, consumer, placement, streams.Out), wait)
		},
	}
	addWorkspace(cmd, &path)
	addWait(cmd, &wait)
	f := cmd.Flags()
	f.StringVar(&placement.Name, "name", "default", "name of the Placement")
	f.StringArrayVar(&placement.LocationSelectors, "location-selectors", nil, "label selector for Locations to run in. May be repeated: any of them will do (default: every Location)")
	f.StringVar(&placement.LocationWorkspace, "location-workspace", "", "path of the workspace that holds the Locations (default: PROVIDER)")
	f.StringVar(&namespaces, "namespace-selector", "", "label selector for the namespaces whose work is placed (default: all)")
	f.StringSliceVar(&exports, "export", []string{config.KubernetesExport, config.SchedulingExport}, "APIExports to bind")
	return cmd
}
