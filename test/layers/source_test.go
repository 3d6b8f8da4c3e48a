package layers

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// root is the root of the repository, seen from this package.
const root = "../.."

// wireNames are what names on the wire contain. A group and version, such as workload.kcp.io/v1alpha1, is none.
var wireNames = regexp.MustCompile(`(?:workload|scheduling|apiresource)\.kcp\.io/(?:[^v]|v[^0-9]|$)|kcp\.io/(?:namespace-locator|tenant-id)`)

// maySpellTheWire are the folders in which names on the wire stand: their one place, and what is generated from it or
// applied as a whole.
var maySpellTheWire = []string{"apis/", "config/", "hack/generate/"}

// A name that is spelled twice will one day be spelled in two ways.
func TestWireNamesAreSpelledInOnePlace(t *testing.T) {
	for path, file := range parseSources(t) {
		if startsWithAny(path, maySpellTheWire) {
			continue
		}
		inspectStrings(file, func(text string) {
			if wireNames.MatchString(text) {
				t.Errorf("%s spells %q: use the name of names.go in apis", path, text)
			}
		})
	}
}

// Answers about time are given for an argument.
func TestPurePackagesReadNoClock(t *testing.T) {
	clock := map[string]bool{
		"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
		"NewTimer": true, "NewTicker": true, "Tick": true,
	}
	for path, file := range parseSources(t) {
		if row, listed := rowOf(filepath.Dir(path)); !listed || !row.pure {
			continue
		}
		ast.Inspect(file, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if of, ok := selector.X.(*ast.Ident); ok && of.Name == "time" && clock[selector.Sel.Name] {
				t.Errorf("%s reads the clock by time.%s: take the time as an argument", path, selector.Sel.Name)
			}
			return true
		})
	}
}

// machinePath finds paths of somebody's machine, as they slip into logs, examples and generated files.
var machinePath = regexp.MustCompile(`(?:^|[^\w./:-])/(?:home/\w+|Users/\w+|root|work|tmp/\w)/[\w.]`)

// nobodysHome is made up: tests of what a program sees of a developer's machine name it.
const nobodysHome = "/home/developer/"

func TestNoFileNamesAMachinesPaths(t *testing.T) {
	for _, path := range committedFiles(t) {
		content, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) {
			continue // removed, but not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		if !mayNameAPath(content) {
			continue // most files, and the large ones among them
		}
		for number, line := range bytes.Split(content, []byte("\n")) {
			if found := machinePath.Find(line); found != nil && !bytes.Contains(found, []byte(nobodysHome)) {
				t.Errorf("%s:%d names a path of one machine: %s", path, number+1, found)
			}
		}
	}
}

// mayNameAPath is a quick look for what machinePath cannot match without.
func mayNameAPath(content []byte) bool {
	for _, start := range []string{"/home/", "/Users/", "/root/", "/work/", "/tmp/"} {
		if bytes.Contains(content, []byte(start)) {
			return true
		}
	}
	return false
}

func TestPatterns(t *testing.T) {
	for text, want := range map[string]bool{
		"state.workload.kcp.io/":           true,
		"workload.kcp.io/conflict-policy":  true,
		"finalizers.workload.kcp.io/x":     true,
		"workload.kcp.io/virtual":          true,
		"scheduling.kcp.io/placement":      true,
		"kcp.io/namespace-locator":         true,
		"workload.kcp.io/v1alpha1":         false,
		"workload.kcp.io":                  false,
		"synctargets.workload.kcp.io":      false,
		"https://kcp/services/kcp.io/tool": false,
	} {
		if got := wireNames.MatchString(text); got != want {
			t.Errorf("%q is a name on the wire: %t, want %t", text, got, want)
		}
	}
	for text, want := range map[string]bool{
		"see /" + "home/ann/x":                      true,
		"--dir=/" + "root/x":                        true,
		"`/" + "tmp/w/x`":                           true,
		"https://kcp/services/apiexport/root/x":     false,
		"https://kcp.example/clusters/root/work/x":  false,
		"a pod's /var/run/secrets":                  false,
		"under /tmp, whichever":                     false,
		"pkg/reconciler/workload/syncer/home/a.txt": false,
	} {
		if got := mayNameAPath([]byte(text)) && machinePath.MatchString(text); got != want {
			t.Errorf("%q names a machine's path: %t, want %t", text, got, want)
		}
	}
}

// parseSources returns the Go files of this module that are no tests, by their path from the root.
func parseSources(t *testing.T) map[string]*ast.File {
	t.Helper()
	sources := map[string]*ast.File{}
	for _, p := range listPackages(t) {
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			sources[filepath.ToSlash(filepath.Join(p.path(), name))] = file
		}
	}
	return sources
}

func inspectStrings(file *ast.File, visit func(string)) {
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				visit(text)
			}
		}
		return true
	})
}

// committedFiles are those that git knows.
func committedFiles(t *testing.T) []string {
	t.Helper()
	command := exec.Command("git", "ls-files", "-z")
	command.Dir = root
	raw, err := command.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	return strings.Split(strings.Trim(string(raw), "\x00"), "\x00")
}

func startsWithAny(path string, folders []string) bool {
	for _, folder := range folders {
		if strings.HasPrefix(path, folder) {
			return true
		}
	}
	return false
}
