package main

import (
	"context"
	"errors"
	"io"
	"os"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// bench holds the servers and what was measured so far.
type bench struct {
	options
	out io.Writer

	env     *env.Env
	kcp     *env.KCP
	cluster *env.Cluster
	down    dynamic.Interface
	binary  string

	// scenario is the one that runs; syncer the one that was started last.
	scenario string
	syncer   *syncer
	// full is a tenant with many objects in place, which several scenarios use; see inPlace.
	full *tenant
	// light is the upstream for more objects than kcp takes in a reasonable time; see lightUpstream.
	light *lightUpstream
	// rawRate is what 32 workers create per second in the cluster, by resource; see rateOf. rawLoads counts the loads.
	rawRate  map[string]float64
	rawLoads int
	// rawCPU is what each of these cost all processes together, in seconds.
	rawCPU map[string]float64
	// trivial is the median of the trivial loop; see trivialLoop.
	trivial float64

	figures []figure
	points  []point
	// misses are goals in counts that do not hold.
	misses []error
}

// provider is the workspace that exports the types.
var provider = logicalcluster.NewPath("root:compute")

func (b *bench) run(ctx context.Context) (err error) {
	b.rawRate, b.rawCPU = map[string]float64{}, map[string]float64{}
	if b.env, err = env.New(env.Options{Progress: os.Stderr}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.env.Close()) }()
	if err := b.startServers(ctx); err != nil {
		return err
	}
	failed := b.runScenarios(ctx)
	return errors.Join(failed, b.report(ctx), errors.Join(b.misses...)) // what was measured is kept
}

func (b *bench) startServers(ctx context.Context) (err error) {
	if b.kcp, err = b.env.StartKCP(ctx); err != nil {
		return err
	}
	if b.cluster, err = b.env.StartCluster(ctx, "bench"); err != nil {
		return err
	}
	if b.down, err = unlimited(b.cluster.AdminConfig()); err != nil {
		return err
	}
	if b.binary, err = b.env.Build(ctx, "./cmd/workload-syncer"); err != nil {
		return err
	}
	_, err = setup.Apply(ctx, b.kcp.AdminConfig(), provider, io.Discard)
	return err
}

// unlimited is a client without a rate limit of its own.
func unlimited(of *rest.Config) (dynamic.Interface, error) {
	of.QPS = -1
	return dynamic.NewForConfig(of)
}

// lastWords are the end of the syncer's log, for an error.
func (b *bench) lastWords() string {
	if b.syncer == nil {
		return ""
	}
	return "\nthe end of the syncer's log:\n" + b.syncer.process.Tail(20)
}
