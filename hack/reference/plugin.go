package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins"
)

// plugin is the reference of the kubectl plugin's commands.
func plugin() (string, error) {
	root := cliplugins.NewCommand(genericiooptions.NewTestIOStreamsDiscard())
	var page strings.Builder
	page.WriteString("# kubectl workload\n\n" + root.Short + ". The program `kubectl-workload` has to be in the `PATH`; kubectl finds it there.\n\n" +
		"Every command works in the workspace of the kubeconfig's current context, as `kubectl ws` sets it, or in that of `--workspace`, and\n" +
		"understands kubectl's flags for the connection, such as `--kubeconfig` and `--context`.\n")
	for _, command := range root.Commands() {
		if command.IsAvailableCommand() && command.Name() != "help" && command.Name() != "completion" {
			pluginCommand(&page, command)
		}
	}
	return page.String(), nil
}

func pluginCommand(page *strings.Builder, command *cobra.Command) {
	long := command.Long
	if long == "" {
		long = command.Short + "."
	}
	fmt.Fprintf(page, "\n## %s\n\n    %s\n\n%s\n", command.Name(), command.UseLine(), text(long))
	if command.Example != "" {
		fmt.Fprintf(page, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(command.Example, "  "), "\n  ", "\n"))
	}
	flags := command.LocalNonPersistentFlags()
	if !flags.HasAvailableFlags() {
		return
	}
	page.WriteString("\n| flag | default | what it does |\n|---|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			kind, usage := pflag.UnquoteUsage(f)
			fmt.Fprintf(page, "| %s | %s | %s |\n", code(strings.TrimSpace(shorthand(f)+dashed(f)+" "+kind)), code(strings.TrimSuffix(f.DefValue, "[]")), text(usage))
		}
	})
}

func shorthand(f *pflag.Flag) string {
	if f.Shorthand == "" {
		return ""
	}
	return "-" + f.Shorthand + ", "
}
