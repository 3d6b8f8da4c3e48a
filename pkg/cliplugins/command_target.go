package cliplugins

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/drain"
)

// targetCommand is a command about SyncTargets; do is what it does to each that is named.
type targetCommand struct {
	cobra.Command
	do func(ctx context.Context, targets *drain.Targets, name string) error
}

func (c targetCommand) new(flags *genericclioptions.ConfigFlags) *cobra.Command {
	var path string
	var dryRun bool
	cmd := &c.Command
	cmd.ValidArgsFunction = completeTargets(flags, &path)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kcp, workspacePath, err := current(flags, path)
		if err != nil {
			return err
		}
		targets, err := drain.NewTargets(kcp, workspacePath)
		if err != nil {
			return err
		}
		targets.DryRun = dryRun
		var errs []error
		for _, name := range args {
			errs = append(errs, c.do(cmd.Context(), targets, name))
		}
		return errors.Join(errs...)
	}
	addWorkspace(cmd, &path)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, and say what would be done")
	return cmd
}

func newCordon(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	return targetCommand{
		Command: cobra.Command{
			Use:     "cordon NAME...",
			Short:   "Keep new workloads away from SyncTargets",
			Long:    "Keep new workloads away from SyncTargets. What runs there stays.",
			Example: "  kubectl workload cordon east",
			Args:    atLeastOne("NAME", "the name of a SyncTarget"),
		},
		do: func(ctx context.Context, targets *drain.Targets, name string) error {
			return targets.Cordon(ctx, name, streams.Out)
		},
	}.new(flags)
}

func newUncordon(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	return targetCommand{
		Command: cobra.Command{
			Use:     "uncordon NAME...",
			Short:   "Open SyncTargets to new workloads again",
			Long:    "Open SyncTargets to new workloads again, and call off what `kubectl workload drain` began. What has left does not come back by itself.",
			Example: "  kubectl workload uncordon east",
			Args:    atLeastOne("NAME", "the name of a SyncTarget"),
		},
		do: func(ctx context.Context, targets *drain.Targets, name string) error {
			return targets.Uncordon(ctx, name, streams.Out)
		},
	}.new(flags)
}

const drainLong = `Take all workloads away from a SyncTarget: cordon it, have everything leave it, and watch until nothing is on it.

Placements choose other targets; their work leaves this one when it is ready there, unless their policy says otherwise. Work that
fits nowhere else stays, and the command says why.

The command may be interrupted: the drain goes on. "kubectl workload uncordon" calls it off.`

func newDrain(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var timeout time.Duration
	cmd := targetCommand{
		Command: cobra.Command{
			Use:     "drain NAME",
			Short:   "Take all workloads away from a SyncTarget",
			Long:    drainLong,
			Example: "  kubectl workload drain east --timeout 10m\n  kubectl workload drain east --dry-run",
			Args:    exactlyOne("NAME", "the name of a SyncTarget"),
		},
		do: func(ctx context.Context, targets *drain.Targets, name string) error {
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return targets.Drain(ctx, name, time.Now(), streams.Out)
		},
	}.new(flags)
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to watch; 0 is without end")
	return cmd
}
