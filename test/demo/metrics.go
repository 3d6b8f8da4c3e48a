package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// scraped is where metrics are, as file_sd_configs of Prometheus have it.
type scraped struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// tellPrometheus writes down where the metrics of all programs that run are, if that was asked for.
func (d *demo) tellPrometheus(ctx context.Context) error {
	if d.prometheus == "" {
		return nil
	}
	var all []scraped
	add := func(process *env.Process, labels map[string]string) error {
		if process == nil {
			return nil
		}
		where, err := awaitAddress(ctx, process, "metrics")
		all = append(all, scraped{Targets: []string{where}, Labels: labels})
		return err
	}
	for _, process := range []*env.Process{d.manager, d.views} {
		if err := add(process, map[string]string{"job": "workload-manager"}); err != nil {
			return err
		}
	}
	for _, c := range d.clusters {
		if err := add(c.syncer, map[string]string{"job": "workload-syncer", "cluster": c.name}); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	// Prometheus may read it at any time, so it appears as a whole.
	if err := os.WriteFile(d.prometheus+".new", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(d.prometheus+".new", d.prometheus)
}
