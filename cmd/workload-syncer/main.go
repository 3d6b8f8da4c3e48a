// Command workload-syncer makes the workloads of kcp workspaces run on the physical cluster that it is installed in, and
// brings their status home.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(newServer(serve).Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
