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

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/explain"
)

const explainLong = `Tell why an object of a workspace runs where it does, or why it does not run: each hop on its way to a physical cluster
and back, what was found there, and what to do about it.

For a Placement, the targets that it has with the score behind each choice, and what stands against more.`

const explainExample = `  kubectl workload explain deployment/web -n shop
  kubectl workload explain configmap page -n shop
  kubectl workload explain placement default
  kubectl workload explain namespace/shop -o yaml`

func newExplain(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var path, namespace, output string
	cmd := &cobra.Command{
		Use:     "explain KIND/NAME",
		Short:   "Tell why an object runs where it does, or why it does not",
		Long:    explainLong,
		Example: explainExample,
		Args:    cobra.RangeArgs(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, argsErr := kindAndName(args)
			if err := errors.Join(argsErr, explain.CheckFormat(output)); err != nil {
				return err
			}
			kcp, workspacePath, err := current(flags, path)
			if err != nil {
				return err
			}
			where, err := explain.Open(cmd.Context(), kcp, workspacePath)
			if err != nil {
				return err
			}
			report, err := where.Explain(cmd.Context(), kind, orCurrent(flags, namespace), name, time.Now())
			if err != nil {
				return err
			}
			return explain.Print(streams.Out, report, output)
		},
	}
	cmd.ValidArgsFunction = completeObjects(flags, &path, &namespace)
	addWorkspace(cmd, &path)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the object (default: that of the kubeconfig's current context)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json or yaml instead of a tree")
	completeValues(cmd, "output", "json", "yaml")
	return cmd
}

// kindAndName understands KIND/NAME and KIND NAME.
func kindAndName(args []string) (kind, name string, err error) {
	switch len(args) {
	case 1:
		kind, name, _ = strings.Cut(args[0], "/")
	case 2:
		kind, name = args[0], args[1]
	}
	if kind == "" || name == "" || strings.Contains(name, "/") {
		return "", "", errors.New("name the object as KIND/NAME, such as deployment/web")
	}
	return kind, name, nil
}

// orCurrent is the namespace that was given, or that of the kubeconfig's context.
func orCurrent(flags *genericclioptions.ConfigFlags, namespace string) string {
	if namespace != "" {
		return namespace
	}
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "default"
	}
	return namespace
}

// completeObjects offers kinds, and behind a slash or a blank the names of their objects.
func completeObjects(flags *genericclioptions.ConfigFlags, path, namespace *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		kcp, workspacePath, err := current(flags, *path)
		if err != nil || len(args) > 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		where, err := explain.Open(ctx, kcp, workspacePath)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		kind, _, slashed := strings.Cut(typed, "/")
		if len(args) == 0 && !slashed {
			return where.Kinds(), cobra.ShellCompDirectiveNoFileComp
		}
		prefix := kind + "/"
		if len(args) == 1 {
			kind, prefix = args[0], ""
		}
		names, err := where.Names(ctx, kind, orCurrent(flags, *namespace))
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		for i := range names {
			names[i] = fmt.Sprint(prefix, names[i])
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
