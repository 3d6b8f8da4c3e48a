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

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Exit codes.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// helpColumns is how wide the help is: what reads well, also where there is no terminal to ask.
const helpColumns = 120

// Server is a program that is configured by flags, environment and a file, and runs until it is told to stop.
type Server[C any] struct {
	Name, Use, Short, Long string
	// Options are made anew each time that the sources are read.
	Options func() Options[C]
	// Serve runs it until the context ends. The source is where the configuration comes from, and comes from again when the
	// file changes.
	Serve func(context.Context, *C, tmc.ConfigSource[C]) error
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

// run reads all sources and serves, or prints what they say.
func (s Server[C]) run(command *cobra.Command, typed []Typed) error {
	loaded, err := Load(SystemSources(s.Name, typed), s.Options)
	if err != nil {
		return usageError{err}
	}
	if loaded.Print {
		document, err := loaded.Document()
		if err == nil {
			_, err = command.OutOrStdout().Write(document)
		}
		return err
	}
	if err := logsapi.ValidateAndApply(loaded.Logging, nil); err != nil {
		return usageError{err}
	}
	ctx := klog.NewContext(command.Context(), klog.Background())
	klog.FromContext(ctx).Info("Starting", "version", version.Get().GitVersion)
	spareMemory(ctx)
	return s.Serve(ctx, loaded.Config, s.source(typed, loaded))
}

// Command parses a command line and hands the configuration to Serve.
func (s Server[C]) Command() *cobra.Command {
	var typed []Typed
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
		RunE: func(command *cobra.Command, _ []string) error { return s.run(command, typed) },
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	command.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	sections := s.Options().Flags()
	Record(sections, &typed)
	for _, section := range sections.FlagSets {
		command.Flags().AddFlagSet(section)
	}
	cliflag.SetUsageAndHelpFunc(command, sections, helpColumns)
	command.CompletionOptions.DisableDefaultCmd = true
	command.AddCommand(s.Subcommands...)
	return command
}
