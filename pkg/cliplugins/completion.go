package cliplugins

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/status"
)

// completionTimeout is how long somebody waits who has pressed the tabulator.
const completionTimeout = 3 * time.Second

// exactlyOne wants one argument, and says which.
func exactlyOne(name, meaning string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s wants one argument, not %d: %s is %s. See %s --help", cmd.CommandPath(), len(args), name, meaning, cmd.CommandPath())
		}
		return nil
	}
}

// atLeastOne wants arguments, and says which.
func atLeastOne(name, meaning string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s wants at least one argument: %s is %s. See %s --help", cmd.CommandPath(), name, meaning, cmd.CommandPath())
		}
		return nil
	}
}

// completeTargets offers the names of the workspace's SyncTargets.
func completeTargets(flags *genericclioptions.ConfigFlags, path *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		kcp, workspacePath, err := current(flags, *path)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		targets, err := status.List(ctx, kcp, workspacePath)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for i := range targets {
			if name := targets[i].Name; !slices.Contains(args, name) {
				names = append(names, name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeValues offers the values of a flag.
func completeValues(cmd *cobra.Command, flag string, values ...cobra.Completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // for a flag that there is not
	}
}
