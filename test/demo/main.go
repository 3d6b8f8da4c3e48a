// Command demo shows the main job on real servers: two teams deploy in kcp workspaces, their work runs on physical clusters, moves and
// survives. It starts all that it needs on this machine, and leaves nothing behind. Run it by `make demo`.
//
// DEMO_KEEP=1 keeps it running. DEMO_PROMETHEUS names a file that it writes the addresses of the metrics to, as file_sd_configs of
// Prometheus read it; the rules and dashboards of config/ understand its labels.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	keep := os.Getenv("DEMO_KEEP")
	screen := newScreen(os.Stdout, term.IsTerminal(int(os.Stdout.Fd())))
	err := run(ctx, screen, keep != "" && keep != "0", os.Getenv("DEMO_PROMETHEUS"))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\nInterrupted. All that the demo started is stopped.")
		os.Exit(1)
	default:
		fmt.Fprintf(os.Stderr, "\nThe demo did not get to its end: %v\n", err)
		os.Exit(1)
	}
}
