// Command sparing is kcp, from the same modules and with the same options of "kcp start", for tests that share two cores with it.
//
// kcp v0.28.1 makes its webhook admission anew for every write, whether there are webhooks or not, and that is half of all CPU that
// it takes (docs/adr/0011). This one leaves it out while no webhook is registered anywhere, when it has nothing to decide.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	logsapiv1 "k8s.io/component-base/logs/api/v1"

	"github.com/kcp-dev/embeddedetcd"
	"github.com/kcp-dev/kcp/cmd/kcp/options"
	kcpfeatures "github.com/kcp-dev/kcp/pkg/features"
	"github.com/kcp-dev/kcp/pkg/server"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run does what "kcp start" does.
func run(arguments []string) error {
	if len(arguments) == 0 || arguments[0] != "start" {
		return fmt.Errorf("usage: %s start [options of kcp start]", os.Args[0])
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	o, err := parse(arguments[1:])
	if err != nil {
		return err
	}
	if err := logsapiv1.ValidateAndApply(o.Server.GenericControlPlane.Logs, kcpfeatures.DefaultFeatureGate); err != nil {
		return err
	}
	return serve(genericapiserver.SetupSignalContext(), o)
}

// parse reads the options. Defaults of some depend on the root directory.
func parse(arguments []string) (*options.Options, error) {
	root := ".kcp"
	for _, argument := range arguments {
		if value, ok := strings.CutPrefix(argument, "--root-directory="); ok {
			root = value
		}
	}
	o := options.NewOptions(root)
	o.Server.GenericControlPlane.Logs.Verbosity = 2
	spare(o.Server.GenericControlPlane.Admission.GenericAdmission)

	var sets cliflag.NamedFlagSets
	o.AddFlags(&sets)
	flags := pflag.NewFlagSet("kcp", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		flags.AddFlagSet(set)
	}
	return o, flags.Parse(arguments)
}

func serve(ctx context.Context, o *options.Options) error {
	completed, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return utilerrors.NewAggregate(errs)
	}
	config, err := server.NewConfig(ctx, completed.Server)
	if err != nil {
		return err
	}
	completedConfig, err := config.Complete()
	if err != nil {
		return err
	}
	if etcd := completedConfig.EmbeddedEtcd; etcd.Config != nil { // whoever makes a server asks it at once
		if err := embeddedetcd.NewServer(etcd).Run(ctx); err != nil {
			return err
		}
	}
	s, err := server.NewServer(completedConfig)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
