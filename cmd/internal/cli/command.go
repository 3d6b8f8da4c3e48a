package cli

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
)

// Exit codes.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// helpColumns is how wide the help is: what reads well, also where there is no terminal to ask.
const helpColumns = 120

// Options are what was typed, possibly wrong. Complete makes a configuration of them.
type Options[C any] interface {
	Flags() cliflag.NamedFlagSets
	Complete() (*C, error)
}

// Server is a program that is configured by flags alone and runs until it is told to stop.
type Server[C any] struct {
	Name, Use, Short, Long string
	Options                Options[C]
	Logging                *logsapi.LoggingConfiguration
	// Serve runs it until the context ends.
	Serve func(context.Context, *C) error
	// Subcommands run something else.
	Subcommands []*cobra.Command
}

// UserAgent is how API servers see the program of that name.
func UserAgent(name string) string { return name + "/" + version.Get().GitVersion }

// usageError says that the command line is wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Run executes the command and returns the exit code.
func (s Server[C]) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	defer klog.Flush()
	command := s.Command()
	command.SetArgs(args)
	command.SetOut(stdout)
	command.SetErr(stderr)

	err := command.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &usage):
		lines := strings.ReplaceAll(usage.Error(), "\n", "\n  ")
		fmt.Fprintf(stderr, "%s cannot start like this:\n  %s\n%s --help lists all flags.\n", s.Name, lines, s.Name)
		return ExitUsage
	default:
		klog.Background().Error(err, "Stopped")
		return ExitFailed
	}
}

// Command parses a command line and hands the configuration to Serve.
func (s Server[C]) Command() *cobra.Command {
	command := &cobra.Command{
		Use: s.Use, Short: s.Short, Long: s.Long,
		Version:       version.Get().GitVersion, // make build sets it
		SilenceErrors: true,                     // Run tells them
		SilenceUsage:  true,                     // a page of flags would hide what is wrong
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%q is not a flag: all that %s takes are flags", args[0], s.Name)}
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := s.Options.Complete()
			if err != nil {
				return usageError{err}
			}
			if err := logsapi.ValidateAndApply(s.Logging, nil); err != nil {
				return usageError{err}
			}
			ctx := klog.NewContext(command.Context(), klog.Background())
			klog.FromContext(ctx).Info("Starting", "version", version.Get().GitVersion)
			spareMemory(ctx)
			return s.Serve(ctx, config)
		},
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	command.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	sections := s.Options.Flags()
	for _, section := range sections.FlagSets {
		command.Flags().AddFlagSet(section)
	}
	cliflag.SetUsageAndHelpFunc(command, sections, helpColumns)
	command.CompletionOptions.DisableDefaultCmd = true
	command.AddCommand(s.Subcommands...)
	return command
}
