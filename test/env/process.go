package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command says how a process is started, the first time and after each restart.
type Command struct {
	// Name is what messages and the log file call the process.
	Name string
	// Path is the program, Args its arguments without the program's name.
	Path string
	Args []string
	// Env is added to a minimal environment, which holds nothing of the developer's own except PATH.
	Env []string
	// Dir is the working directory; the directory of the Env if empty.
	Dir string
	// Ready is asked repeatedly until it returns nil. A process without it is ready as soon as it runs.
	Ready func(ctx context.Context) error
	// StartTimeout is how long the process may take to become ready; two minutes if zero.
	StartTimeout time.Duration
}

// Process is a server or a program under test: a process group that is started, hurt, restarted and ended.
// Its methods may be called from several goroutines.
type Process struct {
	env     *Env
	command Command
	log     string

	restarting sync.Mutex // held while a run is replaced by the next
	mu         sync.Mutex
	run        *run
	forGood    bool
}

// Start starts a process and waits until it is ready. Its standard output and error go to [Process.Output].
// The error of a failed start holds the command and the last lines of output.
func (e *Env) Start(ctx context.Context, command Command) (*Process, error) {
	p := &Process{env: e, command: command, log: e.newLogFile(command.Name)}
	if err := e.adopt(p); err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

func (p *Process) start(ctx context.Context) error {
	if err := p.launch(); err != nil {
		return fmt.Errorf("starting %s: %w", p.command.Name, err)
	}
	if err := p.waitReady(ctx); err != nil {
		return fmt.Errorf("starting %s: %w\ncommand: %s %s\nlast lines of its output:\n%s",
			p.command.Name, err, p.command.Path, strings.Join(p.command.Args, " "), p.Tail(30))
	}
	return nil
}

func (p *Process) launch() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()

	cmd := p.env.newCmd(p.command)
	cmd.Stdout, cmd.Stderr = log, log

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forGood {
		return errors.New("the environment is closed")
	}
	p.run, err = startRun(cmd, p.env.reaper)
	return err
}

func (e *Env) newCmd(command Command) *exec.Cmd {
	cmd := exec.Command(command.Path, command.Args...)
	cmd.Dir = command.Dir
	if cmd.Dir == "" {
		cmd.Dir = e.dir
	}
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir, "TMPDIR=" + e.dir}, command.Env...)
	if coverage := os.Getenv("GOCOVERDIR"); coverage != "" {
		cmd.Env = append(cmd.Env, "GOCOVERDIR="+coverage)
	}
	return cmd
}

func (p *Process) waitReady(ctx context.Context) error {
	if p.command.Ready == nil {
		return nil
	}
	timeout := p.command.StartTimeout
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready within %s", timeout))
	defer cancel()
	ctx, exited := context.WithCancelCause(ctx)
	defer exited(nil)
	current := p.current()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-current.done:
			exited(fmt.Errorf("it ended: %s", current.state))
		case <-stop:
		}
	}()
	return Poll(ctx, p.command.Ready)
}

func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// PID is the process' id, which changes with a restart.
func (p *Process) PID() int { return p.current().pid }

// Pause stops the process with SIGSTOP: its connections stay open and nobody answers. It waits, for a second at most, until
// all threads stand still: the signal reaches those that do not run at the moment a little later.
func (p *Process) Pause() {
	current := p.current()
	current.signalGroup(syscall.SIGSTOP)
	for deadline := time.Now().Add(time.Second); !current.stopped() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// Resume continues a paused process.
func (p *Process) Resume() { p.current().signalGroup(syscall.SIGCONT) }

// Signal sends a signal to the process alone.
func (p *Process) Signal(signal syscall.Signal) { p.current().signal(signal) }

// Kill ends the process with SIGKILL and waits until it is gone. Restart can bring it back.
func (p *Process) Kill() {
	if current := p.current(); current != nil {
		current.signalGroup(syscall.SIGKILL)
		<-current.done
	}
}

// killForGood is Kill for a process that Restart must not bring back.
func (p *Process) killForGood() {
	p.mu.Lock()
	p.forGood = true
	p.mu.Unlock()
	p.Kill()
}

// Restart kills the process if it still runs, starts the same command again and waits until it is ready.
func (p *Process) Restart(ctx context.Context) error {
	p.restarting.Lock()
	defer p.restarting.Unlock()
	p.Kill()
	return p.start(ctx)
}

// Wait waits until the process has ended by itself or by a signal, and returns its exit code, which is -1 after a signal.
func (p *Process) Wait(ctx context.Context) (int, error) {
	current := p.current()
	select {
	case <-current.done:
		return current.state.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for the end of %s: %w; last lines of its output:\n%s", p.command.Name, context.Cause(ctx), p.Tail(30))
	}
}

// Done is closed when the current run of the process has ended.
func (p *Process) Done() <-chan struct{} { return p.current().done }

// LogFile is where standard output and error of all runs go.
func (p *Process) LogFile() string { return p.log }

// Output is all that the process wrote so far to standard output and error, in all its runs.
func (p *Process) Output() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return string(content)
}

// Tail is the last lines of Output.
func (p *Process) Tail(lines int) string { return tail(p.Output(), lines) }

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Result is what a finished program left.
type Result struct {
	Stdout, Stderr string
	ExitCode       int
}

// Run runs a program to its end. The error tells that it could not run or that ctx ended before; an exit code other
// than zero is no error. Ready and StartTimeout of the command are not used.
func (e *Env) Run(ctx context.Context, command Command) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := e.newCmd(command)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	current, err := startRun(cmd, e.reaper)
	if err != nil {
		return Result{}, fmt.Errorf("running %s: %w", command.Name, err)
	}
	select {
	case <-current.done:
	case <-ctx.Done():
		current.signalGroup(syscall.SIGKILL)
		<-current.done
		err = fmt.Errorf("running %s: %w", command.Name, context.Cause(ctx))
	}
	return Result{stdout.String(), stderr.String(), current.state.ExitCode()}, err
}

// run is one life of a process. state may be read once done is closed.
type run struct {
	pid   int
	done  chan struct{}
	state *os.ProcessState

	mu   sync.Mutex // a signal must not reach a stranger that got the id of a process that was waited for
	gone bool
}

// startRun starts a command as leader of its own process group.
func startRun(cmd *exec.Cmd, reaper *reaper) (*run, error) {
	cmd.SysProcAttr = childAttributes()
	r := &run{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that forked ends, not when the process does.
		// So this goroutine keeps its thread until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		r.pid = cmd.Process.Pid
		reaper.add(r.pid)
		started <- nil
		r.awaitEnd(cmd)
		reaper.remove(r.pid)
		close(r.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return r, nil
}

// awaitEnd waits for the leader, then kills what it left behind in its group.
func (r *run) awaitEnd(cmd *exec.Cmd) {
	_ = cmd.Wait() // the state tells more than the error
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = true
	r.state = cmd.ProcessState
	_ = syscall.Kill(-r.pid, syscall.SIGKILL)
}

// stopped reports whether all threads are stopped. Where the system does not tell, they count as stopped.
func (r *run) stopped() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", r.pid))
	if err != nil {
		return true
	}
	return !slices.ContainsFunc(threads, func(stat string) bool {
		raw, err := os.ReadFile(stat)
		if err != nil {
			return false // it has ended
		}
		name := strings.LastIndex(string(raw), ") ") // what follows is the state; the name before may hold anything
		return name < 0 || !strings.HasPrefix(string(raw[name+2:]), "T")
	})
}

func (r *run) signalGroup(signal syscall.Signal) { r.kill(-r.pid, signal) }
func (r *run) signal(signal syscall.Signal)      { r.kill(r.pid, signal) }

// kill ignores the error: all that can happen is that the process has just ended.
func (r *run) kill(pid int, signal syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gone {
		_ = syscall.Kill(pid, signal)
	}
}
