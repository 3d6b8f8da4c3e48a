package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Binaries are the paths of the built servers.
type Binaries struct {
	KCP string

	Etcd                  string
	KubeAPIServer         string
	KubeControllerManager string
	KubeScheduler         string

	Kwok string
	// KwokStages is a file with the stages through which kwok takes nodes and pods.
	KwokStages string
}

// serverModule is one of the pinned modules under hack/servers.
type serverModule struct {
	// name is its folder.
	name string
	// pinned is the dependency whose version names what is built.
	pinned string
	// packages are built into executables called like their last path element.
	packages []string
	// version is what the servers report, made from the version of pinned. Empty if they know it themselves.
	version func(module modFile) string
	// fill sets the fields of Binaries that come from this module; no two modules set the same.
	fill func(binaries *Binaries, dir string)
	// data are files of dependencies that are needed at run time, concatenated into one file each.
	data []dataFile
}

// dataFile is put beside the executables as name, made of YAML documents of a dependency.
type dataFile struct {
	name   string
	module string
	files  []string
}

func serverModules() []serverModule {
	return []serverModule{
		{
			name:   "kubernetes",
			pinned: "k8s.io/kubernetes",
			packages: []string{
				"./etcd",
				"k8s.io/kubernetes/cmd/kube-apiserver",
				"k8s.io/kubernetes/cmd/kube-controller-manager",
				"k8s.io/kubernetes/cmd/kube-scheduler",
			},
			version: func(module modFile) string { return module.version("k8s.io/kubernetes") },
			fill: func(binaries *Binaries, dir string) {
				binaries.Etcd = filepath.Join(dir, "etcd")
				binaries.KubeAPIServer = filepath.Join(dir, "kube-apiserver")
				binaries.KubeControllerManager = filepath.Join(dir, "kube-controller-manager")
				binaries.KubeScheduler = filepath.Join(dir, "kube-scheduler")
			},
		},
		{
			name:     "kcp",
			pinned:   "github.com/kcp-dev/kcp",
			packages: []string{"github.com/kcp-dev/kcp/cmd/kcp"},
			version: func(module modFile) string {
				return module.version("k8s.io/kubernetes") + "+kcp-" + module.version("github.com/kcp-dev/kcp")
			},
			fill: func(binaries *Binaries, dir string) { binaries.KCP = filepath.Join(dir, "kcp") },
		},
		{
			name:     "kwok",
			pinned:   "sigs.k8s.io/kwok",
			packages: []string{"sigs.k8s.io/kwok/cmd/kwok"},
			fill: func(binaries *Binaries, dir string) {
				binaries.Kwok = filepath.Join(dir, "kwok")
				binaries.KwokStages = filepath.Join(dir, "stages.yaml")
			},
			data: []dataFile{{
				name:   "stages.yaml",
				module: "sigs.k8s.io/kwok",
				files: []string{
					"kustomize/stage/node/fast/node-initialize.yaml",
					"kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
					"kustomize/stage/pod/fast/pod-ready.yaml",
					"kustomize/stage/pod/fast/pod-complete.yaml",
					"kustomize/stage/pod/fast/pod-delete.yaml",
				},
			}},
		},
	}
}

// EnsureServers returns all servers, and builds those that the cache does not hold. It writes what it builds to progress,
// which may be nil. Processes that call it at the same time do not build anything twice.
func EnsureServers(ctx context.Context, progress io.Writer) (Binaries, error) {
	tell := printerTo(progress)
	binaries, err := ensure(ctx, tell, "kcp", "kubernetes", "kwok")
	if err != nil {
		return Binaries{}, err
	}
	_, err = ensureSeed(ctx, tell, binaries)
	return binaries, err
}

// ensure returns the executables of the named modules; the others stay empty.
func ensure(ctx context.Context, tell func(string, ...any), names ...string) (Binaries, error) {
	cache, err := serverCache()
	if err != nil {
		return Binaries{}, err
	}
	root, err := moduleRoot()
	if err != nil {
		return Binaries{}, err
	}

	// Two at a time: the link steps, which use one core, overlap with compiling, and memory suffices on a small machine.
	building, ctx := errgroup.WithContext(ctx)
	building.SetLimit(2)
	var binaries Binaries
	for _, module := range serverModules() {
		if !slices.Contains(names, module.name) {
			continue
		}
		build := serverBuild{module, filepath.Join(root, "hack", "servers", module.name), cache, tell}
		building.Go(func() error {
			dir, err := build.ensure(ctx)
			module.fill(&binaries, dir)
			return err
		})
	}
	return binaries, building.Wait()
}

// CacheDir is where servers and programs are kept between runs: workload-syncer in $XDG_CACHE_HOME, or else in ~/.cache.
func CacheDir() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding the cache directory: %w", err)
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "workload-syncer"), nil
}

func serverCache() (string, error) {
	cache, err := CacheDir()
	return filepath.Join(cache, "servers"), err
}

// moduleRoot finds the top of this repository above the working directory.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(content, []byte("module github.com/kcp-dev/workload-syncer\n")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no directory above %s holds the module github.com/kcp-dev/workload-syncer", start)
		}
	}
}

// serverBuild is the build of one module on this machine.
type serverBuild struct {
	serverModule
	source string
	cache  string
	tell   func(string, ...any)
}

// ensure returns the directory that holds the executables.
func (b serverBuild) ensure(ctx context.Context) (string, error) {
	gomod, err := os.ReadFile(filepath.Join(b.source, "go.mod"))
	if err != nil {
		return "", err
	}
	module := modFile(gomod)
	key, err := cacheKey(b.source, append(b.goBuildArgs(module), fmt.Sprint(b.data), runtime.Version(), runtime.GOOS, runtime.GOARCH)...)
	if err != nil {
		return "", err
	}
	final := filepath.Join(b.cache, b.name+"-"+key)
	return final, makeOnce(ctx, final, func() {
		b.tell("waiting for another process that builds %s", b.name)
	}, func(partial string) error {
		return b.build(ctx, module, partial)
	})
}

// makeOnce makes a directory by a rename, so that it is complete if it is there. Of several processes that need it only one
// calls fill, with the path of a directory to make; the others call waiting.
func makeOnce(ctx context.Context, final string, waiting func(), fill func(partial string) error) (err error) {
	if isDir(final) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, final+".lock", waiting)
	if err != nil {
		return err
	}
	defer func() { _ = unlock.Close() }()
	if isDir(final) {
		return nil
	}
	partial := final + ".partial" // left by a process that was killed; the lock makes it ours
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := fill(partial); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	return os.Rename(partial, final)
}

func (b serverBuild) build(ctx context.Context, module modFile, to string) error {
	what := b.name + " " + module.version(b.pinned)
	began := time.Now()
	b.tell("building %s, which takes minutes on a cold Go build cache", what)
	stop := b.tellElapsed(what, began)
	defer stop()
	arguments := append([]string{"build", "-o", to + string(filepath.Separator)}, b.goBuildArgs(module)...)
	if _, err := b.goTool(ctx, arguments...); err != nil {
		return fmt.Errorf("building %s in %s: %w", what, b.source, err)
	}
	for _, data := range b.data {
		if err := b.collect(ctx, data, to); err != nil {
			return fmt.Errorf("collecting %s of %s: %w", data.name, what, err)
		}
	}
	b.tell("built %s in %s", what, time.Since(began).Round(time.Second))
	return nil
}

// goBuildArgs is all of "go build" that changes what comes out.
func (b serverBuild) goBuildArgs(module modFile) []string {
	ldflags := []string{"-s", "-w"}
	if b.version != nil {
		ldflags = append(ldflags, versionFlags(b.version(module))...)
	}
	// No -trimpath: without it the build shares the compiled packages of whoever built these modules by hand.
	return append([]string{"-buildvcs=false", "-ldflags=" + strings.Join(ldflags, " ")}, b.packages...)
}

// versionFlags make a server report a version like v1.36.1. Without them a Kubernetes server calls itself v0.0.0-master,
// and whatever compares versions, such as a client or an emulation version, goes astray.
func versionFlags(version string) []string {
	parts := append(strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3), "", "")
	values := map[string]string{"gitVersion": version, "gitMajor": parts[0], "gitMinor": parts[1], "gitTreeState": "clean", "gitCommit": "unknown"}
	var flags []string
	for _, name := range []string{"gitVersion", "gitMajor", "gitMinor", "gitTreeState", "gitCommit"} {
		for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
			flags = append(flags, fmt.Sprintf("-X %s.%s=%s", pkg, name, values[name]))
		}
	}
	return flags
}

// tellElapsed writes a line every now and then until the returned function is called.
func (b serverBuild) tellElapsed(what string, began time.Time) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(20 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				b.tell("still building %s, %s so far", what, time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() { close(done); <-ended }
}

// goTool runs the go command in the module, and returns what it printed. Its complaints are part of the error.
func (b serverBuild) goTool(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.source
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // lets it remove its work directory
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, tail(stderr.String(), 60))
	}
	return stdout.String(), nil
}

func (b serverBuild) collect(ctx context.Context, data dataFile, to string) error {
	dir, err := b.goTool(ctx, "list", "-m", "-f", "{{.Dir}}", data.module)
	if err != nil {
		return err
	}
	var all bytes.Buffer
	for _, name := range data.files {
		content, err := os.ReadFile(filepath.Join(strings.TrimSpace(dir), name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "---\n%s\n", content)
	}
	return os.WriteFile(filepath.Join(to, data.name), all.Bytes(), 0o644)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// modFile is the content of a go.mod file.
type modFile string

// version is the version at which the file requires a module, or "unknown".
func (m modFile) version(module string) string {
	required := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(module) + `\s+(v\S+)`)
	if match := required.FindStringSubmatch(string(m)); match != nil {
		return match[1]
	}
	return "unknown"
}
