package cli

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/featuregate"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Gates are the features of a program, by their names.
type Gates map[featuregate.Feature]featuregate.FeatureSpec

func (g Gates) gate() (featuregate.MutableFeatureGate, error) {
	gate := featuregate.NewFeatureGate()
	err := gate.Add(g)
	return gate, err
}

// AddFlag adds --feature-gates, which sets the map.
//
//nolint:gocritic // the flag makes the map, as the library's own do
func (g Gates) AddFlag(fs *pflag.FlagSet, set *map[string]bool) {
	known := "none"
	if gate, err := g.gate(); err == nil {
		known = strings.Join(gate.KnownFeatures(), ", ")
	}
	fs.Var(cliflag.NewMapStringBool(set), "feature-gates",
		"`Gates` that switch features, as name=true|false with commas between them. There are: "+known+".")
}

// Complete says which features are enabled, and notes what is wrong.
func (g Gates) Complete(set map[string]bool, mistakes *Mistakes) tmc.Features {
	gate, err := g.gate()
	if err != nil {
		mistakes.Add("feature-gates", "%v", err)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if err := gate.SetFromMap(map[string]bool{name: set[name]}); err != nil {
			mistakes.Add("feature-gates", "%v: there are %s", err, strings.Join(gate.KnownFeatures(), ", "))
		}
	}
	features := tmc.Features{}
	for name, spec := range g {
		features[string(name)] = tmc.Feature{Stage: string(spec.PreRelease), Enabled: gate.Enabled(name)}
	}
	return features
}
