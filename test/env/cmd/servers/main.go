// Command servers builds the servers that tests and the demo run, unless the cache holds them, and prints where they are.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kcp-dev/workload-syncer/test/env"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	binaries, err := env.EnsureServers(ctx, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, path := range []string{
		binaries.KCP, binaries.Etcd, binaries.KubeAPIServer, binaries.KubeControllerManager, binaries.KubeScheduler,
		binaries.Kwok, binaries.KwokStages,
	} {
		fmt.Println(path)
	}
}
