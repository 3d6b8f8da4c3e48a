package main

import (
	"context"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/cmd/workload-syncer/options"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const name = "workload-syncer"

// newServer is the program; serve runs it with what the command line says.
func newServer(serve func(context.Context, *syncer.Config, tmc.ConfigSource[syncer.Config]) error) cli.Server[syncer.Config] {
	return cli.Server[syncer.Config]{
		Name:  name,
		Use:   name + " --kcp-kubeconfig=FILE --sync-target-name=NAME [flags]",
		Short: "Sync workloads from kcp workspaces to this physical cluster",
		Long: "workload-syncer makes the workloads of kcp workspaces run on a physical cluster, and brings their status home.\n" +
			"It pulls: kcp never needs to reach the cluster.",
		Options: func() cli.Options[syncer.Config] { return options.New() }, Serve: serve,
	}
}

// serve runs the syncer until the context ends.
func serve(ctx context.Context, config *syncer.Config, from tmc.ConfigSource[syncer.Config]) error {
	config.Source = from
	s, err := syncer.New(*config)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
