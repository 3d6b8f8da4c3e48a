package env_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kcp-dev/workload-syncer/test/env"
)

func newEnv(t *testing.T) *env.Env {
	t.Helper()
	e, err := env.New(env.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func shell(script string) env.Command {
	return env.Command{Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}}
}

func TestFailedStartTellsWhy(t *testing.T) {
	never := func(context.Context) error { return errors.New("port 1 is closed") }
	for _, tc := range []struct {
		name    string
		command env.Command
		want    []string
	}{
		{
			name:    "the program does not exist",
			command: env.Command{Name: "ghost", Path: "/does/not/exist"},
			want:    []string{"starting ghost", "/does/not/exist"},
		},
		{
			name:    "the process ends before it is ready",
			command: env.Command{Name: "sh", Path: "/bin/sh", Args: []string{"-c", "echo bad flag --port=7; exit 3"}, Ready: never},
			want:    []string{"starting sh", "exit status 3", "port 1 is closed", "bad flag --port=7"},
		},
		{
			name:    "the process is never ready",
			command: env.Command{Name: "sh", Path: "/bin/sh", Args: []string{"-c", "echo thinking; sleep 100"}, Ready: never, StartTimeout: 300 * time.Millisecond},
			want:    []string{"not ready within 300ms", "port 1 is closed", "thinking", "sleep 100"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := newEnv(t).Start(t.Context(), tc.command)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in:\n%v", want, err)
				}
			}
		})
	}
}

func TestProcessEnds(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		hurt         func(*env.Process)
		want         int
	}{
		{"by itself", "exit 7", func(*env.Process) {}, 7},
		{"by a signal that it handles", "trap 'exit 5' TERM; echo set; while :; do sleep 0.01; done", func(p *env.Process) { p.Signal(syscall.SIGTERM) }, 5},
		{"by SIGKILL", "echo set; sleep 100", (*env.Process).Kill, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := newEnv(t).Start(t.Context(), shell(tc.script))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(tc.script, "echo set") {
				env.Eventually(t, 5*time.Second, func() error {
					if p.Output() != "set\n" {
						return errors.New("not yet set")
					}
					return nil
				})
			}
			tc.hurt(p)
			code, err := p.Wait(t.Context())
			if err != nil || code != tc.want {
				t.Errorf("exit code %d, %v; want %d", code, err, tc.want)
			}
		})
	}
}

func TestRestartKeepsOutput(t *testing.T) {
	p, err := newEnv(t).Start(t.Context(), shell("echo $$; sleep 100"))
	if err != nil {
		t.Fatal(err)
	}
	lines := func(want int) {
		t.Helper()
		env.Eventually(t, 5*time.Second, func() error {
			if got := strings.Count(p.Output(), "\n"); got != want {
				return errors.New("output is " + p.Output())
			}
			return nil
		})
	}
	lines(1)
	before := p.PID()
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines(2)
	if p.PID() == before {
		t.Error("the process is the same as before the restart")
	}
}

func TestPauseAndResume(t *testing.T) {
	p, err := newEnv(t).Start(t.Context(), shell("sleep 0.2; echo on; sleep 100"))
	if err != nil {
		t.Fatal(err)
	}
	p.Pause()
	select {
	case <-time.After(500 * time.Millisecond): // what must not happen needs time in which it could
	case <-p.Done():
		t.Fatal("it ended")
	}
	if p.Output() != "" {
		t.Fatal("it went on while paused")
	}
	p.Resume()
	env.Eventually(t, 5*time.Second, func() error {
		if p.Output() == "" {
			return errors.New("it does not go on")
		}
		return nil
	})
}

func TestRun(t *testing.T) {
	e := newEnv(t)
	got, err := e.Run(t.Context(), shell("echo out; echo err >&2; exit 4"))
	want := env.Result{Stdout: "out\n", Stderr: "err\n", ExitCode: 4}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := e.Run(ctx, shell("sleep 100")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want that the time is over", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a program that does not end was waited for %s", took)
	}
}

func TestProcessSeesNothingOfTheDeveloper(t *testing.T) {
	t.Setenv("KUBECONFIG", "/home/developer/production")
	e := newEnv(t)
	command := shell(`echo "$KUBECONFIG|$HOME|$EXTRA"`)
	command.Env = []string{"EXTRA=yes"}
	got, err := e.Run(t.Context(), command)
	if want := "|" + e.Dir() + "|yes\n"; err != nil || got.Stdout != want {
		t.Errorf("%q, %v; want %q", got.Stdout, err, want)
	}
}

func TestLogsAreKept(t *testing.T) {
	kept := t.TempDir()
	e, err := env.New(env.Options{KeepLogs: kept})
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Start(t.Context(), shell("echo remember me"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(kept, filepath.Base(e.Dir()), "shell.log"))
	if err != nil || string(content) != "remember me\n" {
		t.Errorf("kept %q, %v", content, err)
	}
}

func TestBuild(t *testing.T) {
	e := newEnv(t)
	program, err := e.Build(t.Context(), "./test/env/cmd/servers")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(program); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("%s cannot be executed: %v", program, err)
	}
	if again, err := e.Build(t.Context(), "./test/env/cmd/servers"); err != nil || again != program {
		t.Errorf("built again as %s: %v", again, err)
	}
	if _, err := e.Build(t.Context(), "./test/env/cmd/nothing"); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("building what does not exist: %v", err)
	}
}
