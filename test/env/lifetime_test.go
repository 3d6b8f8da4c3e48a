package env_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// ownerEnding is the environment variable that makes this test binary the owner of an Env that ends in the way it names.
const ownerEnding = "ENV_TEST_OWNER_ENDS_BY"

// shellWithChild stands for a server: a process, a child of it in the same group, and a file that nobody removes.
const shellWithChild = `sleep 1000 & echo "$$ $!" > pids; wait`

// beOwner starts an Env with one process, tells its directory and the ids on standard output, and ends.
func beOwner(end string) {
	e, err := env.New(env.Options{})
	if err != nil {
		panic(err)
	}
	pids := startShell(e)
	fmt.Println(e.Dir(), pids)
	switch end {
	case "panic":
		panic("on purpose")
	case "exit":
		os.Exit(3)
	default: // a signal that the test sends
		select {}
	}
}

func startShell(e *env.Env) (pids string) {
	var content []byte
	_, err := e.Start(context.Background(), env.Command{
		Name: "shell", Path: "/bin/sh", Args: []string{"-c", shellWithChild},
		Ready: func(context.Context) (err error) {
			if content, err = os.ReadFile(e.Dir() + "/pids"); err == nil && len(content) == 0 {
				err = errors.New("the file is empty")
			}
			return err
		},
	})
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(content))
}

func TestNothingIsLeftWhenTheOwnerDies(t *testing.T) {
	for _, end := range []string{"panic", "exit", "SIGINT", "SIGTERM", "SIGKILL"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			owner := exec.Command(os.Args[0])
			owner.Env = append(os.Environ(), ownerEnding+"="+end)
			stdout, err := owner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			dir, pids, _ := strings.Cut(strings.TrimSpace(line), " ")
			signal := map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL}[end]
			if signal != 0 {
				_ = owner.Process.Signal(signal)
			}
			_ = owner.Wait()
			env.Eventually(t, 20*time.Second, func() error { return leftOver(dir, pids) })
		})
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	running := goleak.IgnoreCurrent()
	e, err := env.New(env.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pids := startShell(e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	// The kernel takes a moment to end a process that it was told to kill.
	env.Eventually(t, 2*time.Second, func() error { return leftOver(e.Dir(), pids) })
	goleak.VerifyNone(t, running)
	if _, err := e.Start(t.Context(), env.Command{Name: "late", Path: "/bin/true"}); err == nil {
		t.Error("a process was started after Close")
	}
}

// leftOver tells what is left of an Env.
func leftOver(dir, pids string) error {
	switch _, err := os.Stat(dir); {
	case err == nil:
		return fmt.Errorf("the directory %s is left", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for field := range strings.FieldsSeq(pids) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		if isRunning(pid) {
			return fmt.Errorf("process %d is left", pid)
		}
	}
	return nil
}

// isRunning is false for a zombie, which only waits for somebody to ask for its exit code.
func isRunning(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
