// Command monitoring draws the dashboards of config/grafana from what a real Prometheus has scraped of the demo, with the rules of
// config/prometheus. The pictures in docs/images are made by it. Run it by `make pictures`.
//
// Grafana itself is not needed, and not used: the panels' queries are sent to Prometheus as Grafana would, and their results are
// drawn as plain diagrams.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are what was asked for.
type options struct {
	out string
	// after is for how long the demo goes on to be scraped after its story.
	after time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var o options
	flag.StringVar(&o.out, "out", "docs/images", "the folder for the pictures")
	flag.DurationVar(&o.after, "after", time.Minute, "for how long the demo is scraped after its story")
	flag.Parse()
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "workload-syncer-monitoring-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	targets := filepath.Join(dir, "targets.json")
	server, err := startPrometheus(ctx, dir, targets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	began := time.Now()
	if err := tellStory(ctx, targets, o.after); err != nil {
		return err
	}
	span, err := server.scraped(ctx, began)
	if err != nil {
		return err
	}
	for _, name := range dashboards {
		d, err := readDashboard(".", name)
		if err != nil {
			return err
		}
		if err := server.draw(ctx, d, span, filepath.Join(o.out, "dashboard-"+name+".png")); err != nil {
			return err
		}
	}
	return server.tellAlerts(ctx, span)
}
