package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/workload-syncer/cmd/workload-syncer/options"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
)

const name = "workload-syncer"

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError says that the command line is wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run executes the command and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	defer klog.Flush()
	command := newCommand(serve)
	command.SetArgs(args)
	command.SetOut(stdout)
	command.SetErr(stderr)

	err := command.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		lines := strings.ReplaceAll(usage.Error(), "\n", "\n  ")
		fmt.Fprintf(stderr, "%s cannot start like this:\n  %s\n%s --help lists all flags.\n", name, lines, name)
		return exitUsage
	default:
		klog.Background().Error(err, "Stopped")
		return exitFailed
	}
}

// newCommand parses a command line and hands the configuration to serve.
func newCommand(serve func(context.Context, *syncer.Config) error) *cobra.Command {
	o := options.New()
	o.UserAgent = name + "/" + version.Get().GitVersion
	command := &cobra.Command{
		Use:   name + " --kcp-kubeconfig=FILE --sync-target-name=NAME [flags]",
		Short: "Sync workloads from kcp workspaces to this physical cluster",
		Long: "workload-syncer makes the workloads of kcp workspaces run on a physical cluster, and brings their status home.\n" +
			"It pulls: kcp never needs to reach the cluster.",
		Version:       version.Get().GitVersion, // make build sets it
		SilenceErrors: true,                     // run tells them
		SilenceUsage:  true,                     // a page of flags would hide what is wrong
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%q is not a flag: all that %s takes are flags", args[0], name)}
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := o.Complete()
			if err != nil {
				return usageError{err}
			}
			if err := logsapi.ValidateAndApply(o.Logging, nil); err != nil {
				return usageError{err}
			}
			return serve(klog.NewContext(command.Context(), klog.Background()), config)
		},
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	command.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	sections := o.Flags()
	for _, section := range sections.FlagSets {
		command.Flags().AddFlagSet(section)
	}
	cliflag.SetUsageAndHelpFunc(command, sections, helpColumns)
	return command
}

// helpColumns is how wide the help is: what reads well, also where there is no terminal to ask.
const helpColumns = 120

// serve runs the syncer until the context ends.
func serve(ctx context.Context, config *syncer.Config) error {
	klog.FromContext(ctx).Info("Starting", "version", version.Get().GitVersion)
	s, err := syncer.New(*config)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
