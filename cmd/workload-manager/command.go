package main

import (
	"context"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/cmd/workload-manager/options"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const name = "workload-manager"

type serveFunc = func(context.Context, *manager.Config, tmc.ConfigSource[manager.Config]) error

// newServer is the program; serve runs it with what the command line says.
func newServer(serve serveFunc) cli.Server[manager.Config] {
	server := newManager(serve)
	server.Subcommands = append(server.Subcommands, newVirtualWorkspace(serve).Command())
	return server
}

// newVirtualWorkspace is the part of the program that syncers reach, for those who run it elsewhere than the rest.
func newVirtualWorkspace(serve serveFunc) cli.Server[manager.Config] {
	return cli.Server[manager.Config]{
		Name:  name + " virtual-workspace",
		Use:   "virtual-workspace --kcp-kubeconfig=FILE --virtual-workspace-cert-file=FILE --virtual-workspace-key-file=FILE [flags]",
		Short: "Serve each physical cluster what is assigned to it, and nothing else",
		Long: "workload-manager virtual-workspace serves what syncers read and write, without the rest of the manager. It keeps no\n" +
			"state: any number of replicas may run behind one address.",
		Options: func() cli.Options[manager.Config] { return options.NewVirtualWorkspace() }, Serve: serve,
	}
}

func newManager(serve serveFunc) cli.Server[manager.Config] {
	return cli.Server[manager.Config]{
		Name:  name,
		Use:   name + " --kcp-kubeconfig=FILE [flags]",
		Short: "Decide which physical clusters run the workloads of kcp workspaces",
		Long: "workload-manager watches over the SyncTargets and workloads of all workspaces that are bound to the provider's\n" +
			"APIExports, and decides which physical cluster runs what. It reaches kcp only. With --virtual-workspace-cert-file\n" +
			"every replica also serves each physical cluster what is assigned to it.",
		Options: func() cli.Options[manager.Config] { return options.New() }, Serve: serve,
	}
}

// serve runs the manager until the context ends.
func serve(ctx context.Context, config *manager.Config, from tmc.ConfigSource[manager.Config]) error {
	config.Source = from
	m, err := manager.New(*config)
	if err != nil {
		return err
	}
	return m.Run(ctx)
}
