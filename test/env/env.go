package env

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options are the choices of an Env. The zero value is good.
type Options struct {
	// Progress receives lines about what is being built and started. None are written if it is nil.
	Progress io.Writer

	// KeepLogs is a directory that the logs of all processes are copied to on Close. They are lost if it is empty.
	KeepLogs string

	// SpareCPU has servers collect garbage less often than they do by themselves: they take more memory, and a fifth less CPU.
	SpareCPU bool
}

// Env owns servers, links and programs under test, and the temporary directory that they write to.
type Env struct {
	options Options
	dir     string
	reaper  *reaper
	ports   *portClaims
	tell    func(format string, args ...any)

	mu        sync.Mutex
	closed    bool
	processes []*Process
	links     []*Link
	proxies   []*FaultProxy
	taken     map[string]int // names of files, and how often each was asked for
	programs  map[string]*program
	kcp       *KCP
	clusters  map[string]*Cluster
}

// New makes an Env in which nothing runs yet.
func New(options Options) (*Env, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "workload-syncer-env-")
	if err != nil {
		return nil, err
	}
	reaper, err := startReaper(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	e := &Env{
		options:  options,
		dir:      dir,
		reaper:   reaper,
		ports:    &portClaims{dir: filepath.Join(cache, "ports")},
		tell:     printerTo(options.Progress),
		taken:    map[string]int{},
		programs: map[string]*program{},
		clusters: map[string]*Cluster{},
	}
	if err := os.Mkdir(e.logDir(), 0o755); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Dir is the directory of this Env, which Close removes. Callers may put files of their own there.
func (e *Env) Dir() string { return e.dir }

// Port claims a port on the loopback interface for a program, so that it can be started there again and again.
func (e *Env) Port() (int, error) { return e.ports.claim() }

// KCP is the kcp that was started last, or nil.
func (e *Env) KCP() *KCP {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kcp
}

// Cluster is the physical cluster of that name, or nil if none was started.
func (e *Env) Cluster(name string) *Cluster {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clusters[name]
}

// Close kills every process, closes every link and removes the directory. It may be called more than once.
func (e *Env) Close() error {
	e.mu.Lock()
	alreadyClosed := e.closed
	e.closed = true
	processes, links, proxies := e.processes, e.links, e.proxies
	e.mu.Unlock()
	if alreadyClosed {
		return nil
	}

	for _, link := range links {
		link.Close()
	}
	for _, proxy := range proxies {
		proxy.Close()
	}
	for _, process := range processes {
		process.killForGood()
	}
	errs := []error{e.keepLogs(), e.reaper.finish(), os.RemoveAll(e.dir)}
	e.ports.release()
	return errors.Join(errs...)
}

func (e *Env) keepLogs() error {
	if e.options.KeepLogs == "" {
		return nil
	}
	to := filepath.Join(e.options.KeepLogs, filepath.Base(e.dir))
	return os.CopyFS(to, os.DirFS(e.logDir()))
}

// serverVariables are environment variables for large servers. The limit is for those that would grow beyond what the machine has.
func (e *Env) serverVariables(own ...string) []string {
	if !e.options.SpareCPU {
		return own
	}
	return append(own, "GOGC=200", "GOMEMLIMIT=4GiB")
}

func (e *Env) logDir() string { return filepath.Join(e.dir, "logs") }

// newLogFile names a log file that no other process of this Env writes to.
func (e *Env) newLogFile(process string) string {
	return filepath.Join(e.logDir(), e.unique(process)+".log")
}

// unique returns name, with a number added from the second time on.
func (e *Env) unique(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.taken[name]++
	if n := e.taken[name]; n > 1 {
		return fmt.Sprintf("%s-%d", name, n)
	}
	return name
}

// adopt makes Close end the process. It refuses once the Env is closed.
func (e *Env) adopt(p *Process) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errors.New("the environment is closed")
	}
	e.processes = append(e.processes, p)
	return nil
}

// timed tells how long a start took, as a line of progress.
func (e *Env) timed(what string, start func() error) error {
	began := time.Now()
	e.tell("starting %s", what)
	if err := start(); err != nil {
		return err
	}
	e.tell("started %s in %s", what, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// printerTo returns a function that writes one line at a time to w.
func printerTo(w io.Writer) func(string, ...any) {
	if w == nil {
		return func(string, ...any) {}
	}
	var mu sync.Mutex
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "env: "+format+"\n", args...)
	}
}

// Most of what is waited for takes a few hundred milliseconds; what takes longer is not asked for as often, as questions keep
// a busy server from its work.
const pollFirst, pollLongest = 50 * time.Millisecond, 250 * time.Millisecond

// Poll calls check until it returns nil. When ctx ends before, the error is what check answered last.
func Poll(ctx context.Context, check func(context.Context) error) error {
	var last error
	for pause := pollFirst; ; pause = min(pause*9/8, pollLongest) {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // an answer that the end of ctx cut short tells less than the one before
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		case <-time.After(pause):
		}
	}
}
