// Command workload-manager is the control plane of kcp workloads: it watches over SyncTargets and decides which of them
// run what.
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
