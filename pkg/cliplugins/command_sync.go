package cliplugins

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cliflag "k8s.io/component-base/cli/flag"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/onboard"
)

const syncLong = `Give a physical cluster its SyncTarget: create the SyncTarget NAME in the workspace, a ServiceAccount that may serve
that SyncTarget and nothing else, and print the manifest that installs the syncer in the cluster, for kubectl apply.

The syncer may do in the cluster what syncing takes, for the types of the SyncTarget's APIExports or those of --resources.

Run again with the same arguments it changes nothing and prints the same manifest. To renew the syncer's token, use
--rotate-token, apply the manifest, and then delete the older Secret that the command names: the syncer takes the new token
up without a restart.`

const syncExample = `  kubectl workload sync east --image registry.example.com/workload-syncer:v1 -o east.yaml
  kubectl --context east apply -f east.yaml

  # Several replicas, labels for Placements to select by, and only some types:
  kubectl workload sync east --image registry.example.com/workload-syncer:v1 --replicas 2 \
    --labels region=eu --resources deployments.apps,services,configmaps,secrets -o -`

func newSync(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := onboard.Options{Feed: string(workloadv1alpha1.FeedAssigned)}
	var path, output string
	var wait time.Duration
	var qps float32
	var burst int
	gates := map[string]bool{}
	cmd := &cobra.Command{
		Use:               "sync NAME --image IMAGE [-o FILE]",
		Short:             "Create a SyncTarget and print the manifest of its syncer",
		Long:              syncLong,
		Example:           syncExample,
		Args:              exactlyOne("NAME", "the name of the SyncTarget"),
		ValidArgsFunction: completeTargets(flags, &path),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			if cmd.Flags().Changed("qps") {
				o.SyncerFlags = append(o.SyncerFlags, fmt.Sprintf("--qps=%g", qps))
			}
			if cmd.Flags().Changed("burst") {
				o.SyncerFlags = append(o.SyncerFlags, fmt.Sprintf("--burst=%d", burst))
			}
			if len(gates) > 0 {
				o.SyncerFlags = append(o.SyncerFlags, "--feature-gates="+cliflag.NewMapStringBool(&gates).String())
			}
			kcp, workspacePath, err := current(flags, path)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			manifest, err := onboard.Sync(ctx, kcp, workspacePath, o, streams.ErrOut)
			if err != nil {
				return timedOut(err, wait)
			}
			return writeManifest(streams, output, manifest)
		},
	}
	addWorkspace(cmd, &path)
	addWait(cmd, &wait)
	f := cmd.Flags()
	f.StringVar(&o.Image, "image", "", "image of the workload-syncer. Required")
	f.StringVarP(&output, "output-file", "o", "-", "file to write the manifest to; - for the standard output")
	f.Int32Var(&o.Replicas, "replicas", 1, "number of syncers, of which one works and the others stand by")
	f.StringVarP(&o.Namespace, "namespace", "n", "", "namespace of the syncer in the physical cluster (default: a name made from the SyncTarget's)")
	f.StringVar(&o.KCPNamespace, "kcp-namespace", "default", "namespace in kcp of the syncer's ServiceAccount and token")
	f.StringVar(&o.Feed, "feed", o.Feed, "what the syncer syncs. assigned: what the workload manager assigns to the SyncTarget. workspace: all of the SyncTarget's workspace, without a manager")
	completeValues(cmd, "feed", "assigned", "workspace")
	f.StringSliceVar(&o.APIExports, "apiexports", nil, "APIExports whose types the SyncTarget accepts, as <workspace>:<name> (default: kubernetes, of the workspace that the SyncTarget API comes from)")
	f.StringSliceVar(&o.Resources, "resources", nil, "types to sync, as <plural>.<group> (default: all of the APIExports)")
	f.StringSliceVar(&o.ExportedResources, "exported-resources", nil, "types of the cluster itself, such as widgets.example.com, that tenants shall be offered")
	f.StringSliceVar(&o.UpsyncedResources, "upsync-resources", nil, "types whose objects the cluster may bring up into tenants' namespaces, such as pods; \"\" for none (default: pods, endpoints, endpointslices.discovery.k8s.io and persistentvolumes)")
	f.StringToStringVar(&o.Labels, "labels", nil, "labels of the SyncTarget, by which Locations and Placements select it. Others that it has stay")
	f.StringToStringVar(&o.Cells, "cells", nil, "cells of the SyncTarget: what it shares with others, such as a region. Others that it has stay")
	f.Float32Var(&qps, "qps", 0, "requests per second of the syncer to each API server (default: no limit)")
	f.IntVar(&burst, "burst", 0, "requests that the syncer may send at once above --qps (default: twice the rate)")
	f.Var(cliflag.NewMapStringBool(&gates), "feature-gates", "`gates` that switch features of the syncer, as name=true|false with commas between them; see workload-syncer --help")
	f.StringVar(&o.KCPServer, "kcp-server", "", "URL of kcp as the physical cluster reaches it (default: that in the kubeconfig)")
	f.StringVar(&o.KCPCAFile, "kcp-ca-file", "", "file with certificates of authorities that the syncer trusts besides those in the kubeconfig")
	f.StringVar(&o.VirtualWorkspaceCAFile, "virtual-workspace-ca-file", "", "file with the certificate of the authority of the workload manager's virtual workspace, if that is not kcp's")
	f.BoolVar(&o.RotateToken, "rotate-token", false, "make a new token; the one in use stays valid until its Secret is deleted")
	f.BoolVar(&o.DryRun, "dry-run", false, "change nothing; say what would be done, and print the manifest without a token")
	return cmd
}

// writeManifest writes a file that only this user may read, because it holds a token, and that is never half written.
func writeManifest(streams genericiooptions.IOStreams, output string, manifest []byte) error {
	if output == "-" || output == "" {
		_, err := streams.Out.Write(manifest)
		return err
	}
	if err := replaceFile(output, manifest); err != nil {
		return fmt.Errorf("--output-file: %w", err)
	}
	return tellApply(streams.ErrOut, output)
}

func replaceFile(name string, content []byte) error {
	scratch, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-") // has mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(scratch.Name()) }() // gone already if all went well
	if _, err := scratch.Write(content); err != nil {
		_ = scratch.Close()
		return err
	}
	if err := scratch.Close(); err != nil {
		return err
	}
	return os.Rename(scratch.Name(), name)
}

func tellApply(out io.Writer, file string) error {
	_, err := fmt.Fprintf(out, "\nWrote %s. In the physical cluster:\n  kubectl apply -f %s\nThen see how it fares:\n  kubectl workload status\n", file, file)
	return err
}
