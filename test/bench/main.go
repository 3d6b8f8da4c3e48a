// Command bench measures the syncer on the real servers of test/env, beside the raw limits of the same servers on the
// same machine in the same run: only the ratio of the two means something elsewhere.
//
// It prints a table and writes the figures to docs/benchmarks.json and docs/benchmarks.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"
)

func main() {
	klog.SetLogger(klog.NewKlogr().V(0))
	b := &bench{out: os.Stdout}
	flag.IntVar(&b.singles, "singles", 100, "how many objects are measured one at a time")
	flag.IntVar(&b.many, "objects", 2000, "how many objects are in place for the restart")
	flag.StringVar(&b.docs, "docs", "docs", "the directory that benchmarks.md and benchmarks.json are written to; empty for none")
	flag.BoolVar(&b.verbose, "verbose", false, "have the syncer log what it does, and keep its log")
	flag.Parse()
	if err := runUntilSignal(b); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func runUntilSignal(b *bench) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return b.run(ctx)
}
