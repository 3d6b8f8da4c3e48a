package cliplugins

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/status"
)

const statusLong = `Show the SyncTargets, Locations and Placements of a workspace, and what is wrong with them.

Of a SyncTarget: what its syncer says (READY, REASON) and when it last said something (HEARTBEAT); whether new work goes there (SCHEDULING);
how many resource types are synced, of how many (RESOURCES); and how many objects are as they should be (SYNCED), are not yet (PENDING), and
of those could not be synced at the last attempt (FAILED). LAG is for how long the change has been waiting that waits longest. The
figures are as old as the heartbeat. The same by resource type: -o json, in status.syncedResources.`

func newStatus(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var path, output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the SyncTargets, Locations and Placements of a workspace, and what is wrong with them",
		Long:    statusLong,
		Example: "  kubectl workload status\n  kubectl workload status --workspace root:team-a -o wide",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, formatErr := status.ParseFormat(output)
			kcp, workspacePath, err := current(flags, path)
			if err := errors.Join(formatErr, err); err != nil {
				return err
			}
			found, err := status.Read(cmd.Context(), kcp, workspacePath)
			if err != nil {
				return err
			}
			if found.Empty() && (format == status.Table || format == status.Wide) {
				_, err := fmt.Fprintf(streams.ErrOut, "There are no SyncTargets, Locations or Placements in workspace %s.\n", workspacePath)
				return err
			}
			return status.Print(streams.Out, found, format, time.Now())
		},
	}
	addWorkspace(cmd, &path)
	cmd.Flags().StringVarP(&output, "output", "o", "", "wide, json or yaml instead of a table")
	completeValues(cmd, "output", "wide", "json", "yaml")
	return cmd
}
