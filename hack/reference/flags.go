package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	cliflag "k8s.io/component-base/cli/flag"

	manager "github.com/kcp-dev/workload-syncer/cmd/workload-manager/options"
	syncer "github.com/kcp-dev/workload-syncer/cmd/workload-syncer/options"
)

// flags is the reference of all commands' flags.
func flags() (string, error) {
	var page strings.Builder
	page.WriteString("# Flags\n\n" +
		"All mistakes on a command line are told at once, each under its flag, and end the command with exit code 2.\n" +
		"Each flag can be set by an environment variable or a [configuration file](configuration.md) instead.\n" +
		"A failure while it runs ends it with exit code 1.\n")
	command(&page, "workload-syncer", syncer.New().Flags())
	command(&page, "workload-manager", manager.New().Flags())
	command(&page, "workload-manager virtual-workspace", manager.NewVirtualWorkspace().Flags())
	return page.String(), nil
}

func command(page *strings.Builder, name string, sections cliflag.NamedFlagSets) {
	fmt.Fprintf(page, "\n## %s\n", name)
	for _, title := range sections.Order {
		fmt.Fprintf(page, "\n### %s\n\n| flag | default | what it does |\n|---|---|---|\n", strings.ToUpper(title[:1])+title[1:])
		sections.FlagSets[title].VisitAll(func(f *pflag.Flag) {
			kind, usage := pflag.UnquoteUsage(f)
			fmt.Fprintf(page, "| %s | %s | %s |\n", code(strings.TrimSpace(dashed(f)+" "+kind)), code(f.DefValue), text(usage))
		})
	}
}

func dashed(f *pflag.Flag) string {
	if len(f.Name) == 1 {
		return "-" + f.Name
	}
	return "--" + f.Name
}
