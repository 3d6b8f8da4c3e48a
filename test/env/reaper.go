package env

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// reaperScript waits for the end of its standard input, which comes when the owner closes it or dies, however it dies.
// Then it kills the process groups that are still registered and removes the directory in $1. Lines on its input are
// "+ <process group>" and "- <process group>".
const reaperScript = `
groups=
while read -r what group; do
	if [ "$what" = + ]; then
		groups="$groups $group"
		continue
	fi
	rest=
	for g in $groups; do
		[ "$g" = "$group" ] || rest="$rest $g"
	done
	groups=$rest
done
for g in $groups; do
	kill -s KILL -- "-$g" # dash knows no -KILL before --
done
tries=0
until rm -rf -- "$1" || [ "$tries" -ge 50 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
`

// reaper is a child process that cleans up after this one: the only way to survive a panic, Ctrl-C and SIGKILL alike.
type reaper struct {
	cmd *exec.Cmd

	mu    sync.Mutex
	input io.WriteCloser
}

func startReaper(dir string) (*reaper, error) {
	cmd := exec.Command("/bin/sh", "-c", reaperScript, "sh", dir)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	// A session of its own, so that the Ctrl-C that ends the owner does not end the reaper too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the reaper: %w", err)
	}
	return &reaper{cmd: cmd, input: input}, nil
}

func (r *reaper) add(group int)    { r.tell("+ %d\n", group) }
func (r *reaper) remove(group int) { r.tell("- %d\n", group) }

// tell ignores errors: a reaper that was killed is noticed by finish.
func (r *reaper) tell(format string, group int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.input, format, group)
}

// finish lets the reaper do its work and waits for it.
func (r *reaper) finish() error {
	r.mu.Lock()
	_ = r.input.Close()
	r.mu.Unlock()
	stuck := time.AfterFunc(10*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer stuck.Stop()
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("waiting for the reaper: %w", err)
	}
	return nil
}
