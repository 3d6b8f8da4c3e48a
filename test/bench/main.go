// Command bench measures the syncer on the real servers of test/env, beside the raw limits of the same servers on the
// same machine in the same run: only the ratio of the two means something elsewhere.
//
// It runs the scenarios of the table in scenarios.go, prints each figure as it is taken, and writes all of them to
// benchmarks.json and benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"

	"k8s.io/klog/v2"
)

func main() {
	klog.SetLogger(logr.Discard()) // what clients log about their retries is no figure
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = runUntilSignal(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func runUntilSignal(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{options: o, out: os.Stdout}
	return b.run(ctx)
}
