package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/kcp-dev/workload-syncer/"

const (
	apis      = "apis/..."
	tmc       = "pkg/reconciler/workload/tmc"
	syncer    = "pkg/reconciler/workload/syncer"
	decide    = syncer + "/decide"
	transform = syncer + "/transform"
	summarize = syncer + "/summarize"
	upsync    = syncer + "/upsync"
	placement = "pkg/reconciler/workload/placement"
	choose    = placement + "/choose"
	plugins   = "pkg/cliplugins"
	// reconcilers are kcp's side: each in a folder of its own beside these.
	workload     = "pkg/reconciler/workload"
	heartbeat    = workload + "/heartbeat"
	fleet        = workload + "/fleet"
	cli          = "cmd/internal/cli"
	coordination = workload + "/coordination"
	assignment   = workload + "/assignment"
	views        = workload + "/virtualworkspace"

	// openAPI reads what an API server tells of its types.
	openAPI = workload + "/apiexport/openapi"
	// schemas computes with structural schemas.
	schemas = workload + "/apiexport/schema"
)

// layer is a row of the design's map: packages, and what of this module they may import. The arrows go one way:
// cmd → syncer, reconcilers, virtual workspace → tmc → apis.
type layer struct {
	// packages that the row is about: one, or with /... all below it.
	packages string
	may      []string
	// pure packages have no client, clock, logger, file or socket: what they say follows from what they are given.
	pure bool
}

var layers = []layer{
	{packages: apis},
	{packages: "config", may: []string{apis}},

	// It serves syncing and knows nothing of it.
	{packages: tmc, may: []string{apis}},

	// The children of the syncer know neither each other nor the syncer.
	{packages: decide, may: []string{apis}, pure: true},
	{packages: transform, may: []string{apis}, pure: true},
	{packages: summarize, may: []string{apis}, pure: true},
	{packages: upsync, may: []string{apis}, pure: true},
	{packages: syncer + "/apply", may: []string{apis, tmc}},
	{packages: syncer + "/report", may: []string{apis, tmc}},
	{packages: syncer + "/feed", may: []string{apis, tmc}},
	{packages: syncer + "/publish", may: []string{apis, tmc, openAPI}},
	{packages: syncer, may: []string{apis, tmc, decide, transform, summarize, upsync, syncer + "/apply", syncer + "/report", syncer + "/feed", syncer + "/publish"}},

	// kcp's side knows nothing of the syncer, and its reconcilers nothing of each other. The manager wires them.
	{packages: fleet, may: []string{apis, tmc}},
	{packages: workload + "/synctarget", may: []string{apis, tmc, fleet}},
	{packages: heartbeat, may: []string{apis, tmc, fleet}},
	{packages: placement, may: []string{apis, tmc, fleet, choose}},
	{packages: choose, may: []string{apis}, pure: true},
	{packages: workload + "/apiexport", may: []string{apis, tmc, fleet, schemas}},
	{packages: assignment, may: []string{apis, tmc, fleet, coordination, assignment + "/decide", assignment + "/references"}},
	// It shows and takes what the syncer makes of it: one code for both.
	{packages: views, may: []string{apis, tmc, decide, transform, summarize}},
	{packages: workload + "/manager", may: []string{apis, tmc, fleet, assignment, heartbeat, views, workload + "/apiexport", workload + "/synctarget", placement}},
	{packages: schemas, pure: true},
	{packages: openAPI, pure: true},

	// The children of the assignment say what to do.
	{packages: coordination, pure: true},
	{packages: assignment + "/references", pure: true},
	{packages: assignment + "/decide", may: []string{apis, coordination}, pure: true},

	// The plugin's commands work through APIs; they share no code with what they look at.
	{packages: plugins + "/workspace", may: []string{apis}},
	{packages: plugins, may: []string{apis, "config", plugins + "/..."}},
	{packages: plugins + "/apply", may: []string{apis}},
	{packages: plugins + "/tenants", may: []string{apis, plugins + "/workspace"}},
	{packages: plugins + "/...", may: []string{apis, "config", plugins + "/workspace", plugins + "/apply", plugins + "/tenants"}},

	{packages: cli, may: []string{apis, tmc}},
	{packages: cli + "/clitest", may: []string{cli}},
	{packages: "cmd/workload-syncer/options", may: []string{apis, tmc, syncer, cli}},
	{packages: "cmd/workload-syncer", may: []string{apis, tmc, syncer, cli, "cmd/workload-syncer/options"}},
	{packages: "cmd/workload-manager/options", may: []string{apis, tmc, assignment, heartbeat, views, workload + "/manager", cli}},
	{packages: "cmd/workload-manager", may: []string{tmc, workload + "/manager", cli, "cmd/workload-manager/options"}},
	{packages: "cmd/kubectl-workload", may: []string{plugins}},

	// Nothing above may import these: they may look everywhere.
	{packages: "hack/...", may: []string{"..."}},
	{packages: "test/...", may: []string{"..."}},
}

// impure are imports that a pure package cannot have: each brings something in that is not an argument.
var impure = []string{
	"bufio", "crypto/rand", "io/...", "log/...", "math/rand/...", "net/...", "os/...", "runtime/...", "sync/...", "syscall", "testing",
	"github.com/go-logr/...", "github.com/kcp-dev/client-go/...", "github.com/prometheus/...", "go.opentelemetry.io/...",
	"google.golang.org/...", "k8s.io/apiserver/...", "k8s.io/client-go/...", "k8s.io/component-base/...", "k8s.io/klog/...",
	"k8s.io/utils/clock/...", "sigs.k8s.io/controller-runtime/...",
}

func TestImportsFollowTheLayers(t *testing.T) {
	used := map[string]bool{}
	for _, p := range listPackages(t) {
		row, listed := rowOf(p.path())
		if !listed {
			t.Errorf("%s has no row in the layers of test/layers: say there what it may import", p.path())
			continue
		}
		used[row.packages] = true
		for _, imported := range p.Imports {
			if problem := row.refuses(imported); problem != "" {
				t.Errorf("%s imports %s: %s", p.path(), imported, problem)
			}
		}
	}
	for _, row := range layers {
		if !used[row.packages] {
			t.Errorf("the row of %s is about no package", row.packages)
		}
	}
}

func TestRows(t *testing.T) {
	for _, tc := range []struct {
		from, imported string
		refused        bool
	}{
		{from: decide, imported: module + "apis/workload/v1alpha1"},
		{from: decide, imported: "k8s.io/apimachinery/pkg/runtime/schema"},
		{from: decide, imported: module + transform, refused: true},
		{from: decide, imported: module + syncer, refused: true},
		{from: decide, imported: "os", refused: true},
		{from: transform, imported: "net/http", refused: true},
		{from: summarize, imported: "k8s.io/client-go/rest", refused: true},
		{from: summarize, imported: "k8s.io/klog/v2", refused: true},
		{from: tmc, imported: "k8s.io/client-go/rest"},
		{from: tmc, imported: module + syncer, refused: true},
		{from: syncer, imported: module + decide},
		{from: syncer + "/apply", imported: module + syncer + "/report", refused: true},
		{from: plugins + "/bind", imported: module + syncer, refused: true},
		{from: "test/e2e", imported: module + syncer},
	} {
		row, listed := rowOf(tc.from)
		if problem := row.refuses(tc.imported); !listed || (problem != "") != tc.refused {
			t.Errorf("%s importing %s: listed %t, refused %q", tc.from, tc.imported, listed, problem)
		}
	}
	if row, listed := rowOf("pkg/new"); listed {
		t.Errorf("pkg/new is taken for one of %s", row.packages)
	}
}

// rowOf finds the row of a package: the first that matches.
func rowOf(path string) (layer, bool) {
	for _, row := range layers {
		if matches(row.packages, path) {
			return row, true
		}
	}
	return layer{}, false
}

// refuses says why the row's packages may not have the import; nothing if they may.
func (l layer) refuses(imported string) string {
	own, ours := strings.CutPrefix(imported, module)
	if ours && !matchesAny(l.may, own) {
		return "the layers allow only " + strings.Join(append([]string{"itself"}, l.may...), ", ")
	}
	if l.pure && matchesAny(impure, imported) {
		return "a pure package cannot"
	}
	return ""
}

func matchesAny(patterns []string, path string) bool {
	for _, pattern := range patterns {
		if matches(pattern, path) {
			return true
		}
	}
	return false
}

// matches understands a path, and a path with /... for itself and all below.
func matches(pattern, path string) bool {
	folder, wild := strings.CutSuffix(pattern, "...")
	if !wild {
		return pattern == path
	}
	return strings.HasPrefix(path+"/", folder)
}

type goPackage struct {
	ImportPath, Dir string
	Imports         []string
	GoFiles         []string
}

func (p goPackage) path() string { return strings.TrimPrefix(p.ImportPath, module) }

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "./...")
	command.Dir = root
	var stderr bytes.Buffer
	command.Stderr = &stderr
	raw, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(raw)); ; {
		var p goPackage
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
