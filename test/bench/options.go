package main

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	only     []string
	quick    bool
	docs     string
	profiles string
	verbose  bool
	// syncerFlags are passed to each syncer.
	syncerFlags []string
	sizes
}

// sizes say how much is measured.
type sizes struct {
	// singles are measured one at a time.
	singles int
	// objects are in place for drain, idle, restart and the latency under load; deployments are drained beside them.
	objects, deployments int
	// live objects are created over so many workspaces while the syncer runs.
	live, workspaces int
	// assigned Deployments in assignedWorkspaces are assigned by the manager, three times.
	assigned, assignedWorkspaces int
	// storm Deployments have their status changed so many times.
	storm, changes int
	// memory is taken at these numbers of objects, and with foreign ones of others beside the last.
	memory  []int
	foreign int
	// growthWorkspaces are how many workspaces growthObjects are spread over.
	growthWorkspaces []int
	growthObjects    int
	// idle is how long nothing happens.
	idle time.Duration
}

// full takes half an hour on two cores.
var full = sizes{
	singles: 200, objects: 10000, deployments: 1000, live: 2000, workspaces: 20, assigned: 5000, assignedWorkspaces: 50, storm: 2000, changes: 10,
	memory: []int{1000, 5000, 10000, 50000, 100000}, foreign: 100000, growthWorkspaces: []int{1, 10, 100, 500}, growthObjects: 10000,
	idle: time.Minute,
}

// quick takes three minutes at most. It shows that everything is measured; its times mean little.
var quick = sizes{
	singles: 20, objects: 300, deployments: 30, live: 100, workspaces: 2, assigned: 50, assignedWorkspaces: 2, storm: 30, changes: 5,
	memory: []int{200, 1000}, foreign: 1000, growthWorkspaces: []int{1, 20}, growthObjects: 500,
	idle: 5 * time.Second,
}

func parse(args []string) (options, error) {
	o := options{sizes: full, docs: "docs"}
	if err := o.flags().Parse(args); err != nil || !o.quick {
		return o, err
	}
	o = options{sizes: quick}
	return o, o.flags().Parse(args)
}

func (o *options) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.BoolVar(&o.quick, "quick", o.quick, "small sizes, three minutes in all; the sizes below can still be set")
	fs.Func("only", "the scenarios to run, by name or letter, e.g. raw,drain,f; all when empty:\n"+usage(), func(list string) (err error) {
		o.only, err = chosen(list)
		return err
	})
	fs.StringVar(&o.docs, "docs", o.docs, "the directory that benchmarks.md and benchmarks.json are written to; empty for none")
	fs.StringVar(&o.profiles, "profiles", o.profiles, "the directory that CPU and heap profiles of drain and restart are written to; empty for none")
	fs.BoolVar(&o.verbose, "verbose", o.verbose, "have the syncer log what it does, and show the end of its log")
	fs.Func("syncer-flags", "flags for each syncer, separated by spaces, e.g. \"--workers=16 --status-window=1s\"", func(text string) error {
		o.syncerFlags = strings.Fields(text)
		return nil
	})
	fs.IntVar(&o.singles, "singles", o.singles, "objects that are measured one at a time")
	fs.IntVar(&o.objects, "objects", o.objects, "ConfigMaps for drain, idle and restart")
	fs.IntVar(&o.deployments, "deployments", o.deployments, "Deployments for drain")
	fs.IntVar(&o.live, "live", o.live, "objects created while the syncer runs")
	fs.IntVar(&o.workspaces, "workspaces", o.workspaces, "workspaces that they are spread over")
	fs.IntVar(&o.assigned, "assigned", o.assigned, "Deployments that the manager assigns")
	fs.IntVar(&o.assignedWorkspaces, "assigned-workspaces", o.assignedWorkspaces, "workspaces that they are spread over")
	fs.IntVar(&o.storm, "storm", o.storm, "Deployments whose status changes")
	fs.IntVar(&o.changes, "changes", o.changes, "times that the status of each changes")
	fs.Func("memory", "numbers of objects to take the memory at, e.g. 1000,10000", ints(&o.memory))
	fs.IntVar(&o.foreign, "foreign", o.foreign, "objects of others in the cluster")
	fs.Func("growth-workspaces", "numbers of workspaces, e.g. 1,10", ints(&o.growthWorkspaces))
	fs.IntVar(&o.growthObjects, "growth-objects", o.growthObjects, "objects spread over these")
	fs.DurationVar(&o.idle, "idle", o.idle, "how long to look at an idle syncer")
	return fs
}

func ints(into *[]int) func(string) error {
	return func(list string) error {
		*into = nil
		for text := range strings.SplitSeq(list, ",") {
			n, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			*into = append(*into, n)
		}
		return nil
	}
}

// chosen are the names of the scenarios in a list of names and letters.
func chosen(list string) ([]string, error) {
	var names []string
	for item := range strings.SplitSeq(list, ",") {
		at := slices.IndexFunc(scenarios, func(s scenario) bool { return item == s.name || item == s.letter })
		if at < 0 {
			return nil, fmt.Errorf("there is no scenario %q", item)
		}
		names = append(names, scenarios[at].name)
	}
	return names, nil
}

func usage() string {
	var lines strings.Builder
	for _, s := range scenarios {
		fmt.Fprintf(&lines, "%2s  %-8s %s\n", s.letter, s.name, s.about)
	}
	return lines.String()
}
