// Command generate makes everything in this repository that is made from something else, except the reference of flags:
//
//   - deepcopy functions of apis/, and the CustomResourceDefinitions of its types (controller-gen, pinned in hack/tools)
//   - config/kcp/workload and config/kcp/scheduling: the APIExports of those types and their APIResourceSchemas, from those
//     CustomResourceDefinitions. A group, or an export, is a row of a table in steps.go.
//   - config/kcp/kubernetes: the APIExport kubernetes and its APIResourceSchemas, from the OpenAPI documents of a real
//     kube-apiserver, which it starts for that (pinned in hack/servers)
//   - docs/reference/conditions.md, from the constants and comments in the conditions.go of each group
//   - docs/reference/api.md, from the CustomResourceDefinitions
//
// Run it in the root of the repository with `go run ./hack/generate`, which `make generate` does. The same sources give the
// same files, to the byte.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	only := flag.String("only", "", "a single step to take: "+stepNames())
	flag.Parse()
	if err := generate(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
