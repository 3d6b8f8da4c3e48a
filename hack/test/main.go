// Command test runs all tests and tells at the end what passed, what failed and what it took.
//
//	go run ./hack/test [-phase unit|servers] [-- arguments of go test, such as -run TestA07]
//
// It has two phases: tests that need nothing, under the race detector, and tests on real servers, two packages at a time where the
// memory allows it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	only := flag.String("phase", "", "run only this phase: unit or servers")
	flag.Parse()
	failed, err := run(ctx, *only, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// phase is a set of packages that are tested in one way.
type phase struct {
	name     string
	about    string
	packages func(path string) bool
	// arguments of go test.
	arguments []string
	// format of gotestsum: what is seen while the tests run.
	format string
}

// serverTests are the folders whose tests start real servers. Those that take longest come first: whatever begins last is alone at
// the end, and leaves a core without work.
var serverTests = []string{
	"/test/e2e/fleet", "/test/e2e", "/test/chaos", "/test/e2e/virtualworkspace", "/test/e2e/plugin", "/test/env",
}

func needsServers(path string) bool { return turn(path) < len(serverTests) }

// turn is when a package is tested, among those with servers. Folders within folders are known by the longer name.
func turn(path string) int {
	found, length := len(serverTests), 0
	for i, folder := range serverTests {
		within := strings.HasSuffix(path, folder) || strings.Contains(path, folder+"/")
		if within && len(folder) > length {
			found, length = i, len(folder)
		}
	}
	return found
}

// machine is what decides how much runs at the same time.
type machine struct {
	cores int
	// memory that is available, in bytes; zero if that is not known.
	memory int64
}

// perPackage is the memory of the servers that a package starts, with room for what its tests start besides.
const perPackage = 6 << 30

// together says how many packages with servers run at the same time, and how many tests of each. Tests mostly wait, for servers,
// so more of them run than there are cores. One package alone leaves the machine idle while its servers start and while its
// longest test ends; two side by side fill that.
func (m machine) together() (packages, tests int) {
	if m.memory < 2*perPackage {
		return 1, max(6, m.cores)
	}
	return 2, max(3, m.cores)
}

func thisMachine() machine {
	return machine{cores: runtime.NumCPU(), memory: availableMemory()}
}

// availableMemory asks Linux; elsewhere it is not known.
func availableMemory() int64 {
	file, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(file)) {
		var kibibytes int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kibibytes); n == 1 {
			return kibibytes << 10
		}
	}
	return 0
}

func phases(raceDetector bool, on machine) []phase {
	unit := phase{
		name: "unit", about: "with the race detector", format: "pkgname-and-test-fails",
		packages:  func(path string) bool { return !needsServers(path) },
		arguments: []string{"-race", "-timeout=10m"},
	}
	if !raceDetector {
		unit.about = "WITHOUT the race detector, which needs a C compiler"
		unit.arguments = []string{"-timeout=10m"}
	}
	together, tests := on.together()
	return []phase{unit, {
		name: "servers", about: fmt.Sprintf("on real servers, %d at a time with %d tests each", together, tests), format: "testname",
		packages: needsServers,
		// What depends on other processes is never taken from the cache.
		arguments: []string{fmt.Sprintf("-p=%d", together), fmt.Sprintf("-parallel=%d", tests), "-count=1", "-timeout=60m"},
	}}
}

func run(ctx context.Context, only string, extra []string) (failed bool, err error) {
	started := time.Now()
	runner, err := output(ctx, "hack/tools/tool", "gotestsum")
	if err != nil {
		return true, err
	}
	if only != "servers" { // else the first test that needs it would wait for it to be built
		if _, err := output(ctx, "hack/tools/tool", "prometheus", "promtool"); err != nil {
			return true, err
		}
	}
	packages, err := output(ctx, "go", "list", "./...")
	if err != nil {
		return true, err
	}
	compiler, err := output(ctx, "go", "env", "CGO_ENABLED")
	if err != nil {
		return true, err
	}
	records, err := os.MkdirTemp("", "workload-syncer-test-")
	if err != nil {
		return true, err
	}
	defer os.RemoveAll(records)

	var total results
	var cpu time.Duration
	known := false
	for _, p := range phases(compiler == "1", thisMachine()) {
		if only != "" && only != p.name {
			continue
		}
		known = true
		paths := slices.DeleteFunc(strings.Fields(packages), func(path string) bool { return !p.packages(path) })
		slices.SortStableFunc(paths, func(a, b string) int { return turn(a) - turn(b) }) // go test keeps the order
		result, took, err := p.run(ctx, runner, filepath.Join(records, p.name), paths, extra)
		total, cpu = append(total, result...), cpu+took
		if err != nil {
			return true, err
		}
	}
	if !known {
		return true, fmt.Errorf("there is no phase %q: unit or servers", only)
	}
	total.summarize(os.Stdout, spent{wall: time.Since(started), cpu: cpu})
	return total.failed() > 0, nil
}

// run tests the packages of the phase, and tells the CPU that it took, with all processes under it. Failed tests are results, not an
// error.
func (p phase) run(ctx context.Context, runner, record string, packages, extra []string) (found results, cpu time.Duration, err error) {
	if len(packages) == 0 {
		return nil, 0, nil
	}
	fmt.Printf("==> %s tests, %s: %d packages\n", p.name, p.about, len(packages))
	arguments := slices.Concat(
		[]string{"--format=" + p.format, "--hide-summary=skipped,failed,output", "--jsonfile=" + record, "--"}, p.arguments, extra, packages)
	command := exec.CommandContext(ctx, runner, arguments...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	// Tests that are told to stop remove what they made; only those that do not are killed.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = time.Minute
	failure := command.Run()
	if ended := command.ProcessState; ended != nil {
		cpu = ended.UserTime() + ended.SystemTime()
	}

	raw, err := os.ReadFile(record)
	if err != nil {
		return nil, cpu, errors.Join(failure, err)
	}
	if found, err = read(bufio.NewReader(bytes.NewReader(raw))); err != nil {
		return nil, cpu, err
	}
	if failure != nil && found.failed() == 0 {
		return found, cpu, fmt.Errorf("the %s tests did not end as they should: %w", p.name, failure)
	}
	return found, cpu, ctx.Err()
}

// output runs a command and returns what it prints, without the line's end.
func output(ctx context.Context, name string, arguments ...string) (string, error) {
	var stdout strings.Builder
	command := exec.CommandContext(ctx, name, arguments...)
	command.Stdout, command.Stderr = io.Writer(&stdout), os.Stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(arguments, " "), err)
	}
	return strings.TrimSpace(stdout.String()), nil
}
