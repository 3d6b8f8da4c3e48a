package harness

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// Program is a running program under test, the real binary.
type Program struct {
	*env.Process
	T *testing.T
}

// Start starts the program and ends it with the test.
func Start(t *testing.T, e *env.Env, command env.Command) *Program {
	t.Helper()
	s := &Program{T: t, Process: Must(e.Start(t.Context(), command))(t)}
	t.Cleanup(s.Stop)
	return s
}

// Stop ends the program in an orderly manner, and shows its log if the test failed, without that of how it ends: then what it
// did last would hardly be seen.
func (s *Program) Stop() {
	if s.T.Failed() {
		s.T.Logf("the end of the program's log:\n%s", s.Tail(80))
	}
	s.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := s.Wait(ctx); err != nil {
		s.T.Logf("the program did not end within 10 s: %v", err)
		s.Kill()
	}
}

// Terminate asks the program to end, and gives its exit code.
func (s *Program) Terminate() int {
	s.T.Helper()
	s.Signal(syscall.SIGTERM)
	return s.ExitCode()
}

// ExitCode waits until the program has ended.
func (s *Program) ExitCode() int {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), Soon)
	defer cancel()
	return Must(s.Wait(ctx))(s.T)
}

var serving = regexp.MustCompile(`"Serving" server="(\w+)" address="([^"]+)"`)

// URL is that of a path on the program's "health" or "metrics" server.
func (s *Program) URL(server, path string) string {
	s.T.Helper()
	var found string
	env.Eventually(s.T, Soon, func() error {
		select {
		case <-s.Done():
			s.T.Fatalf("the program ended:\n%s", s.Tail(40))
		default:
		}
		for _, match := range serving.FindAllStringSubmatch(s.Output(), -1) {
			if match[1] == server {
				found = "http://" + match[2] + path // the last start counts
			}
		}
		if found == "" {
			return fmt.Errorf("no address of %s in the log", server)
		}
		return nil
	})
	return found
}

// Ask sends a GET to one of the program's servers.
func (s *Program) Ask(server, path string) (code int, body string) {
	s.T.Helper()
	code, body, err := Ask(s.T.Context(), s.URL(server, path))
	if err != nil {
		s.T.Fatal(err)
	}
	return code, body
}

// AwaitReady waits until the program's readiness probe passes.
func (s *Program) AwaitReady() {
	s.T.Helper()
	env.Eventually(s.T, Soon, func() error {
		code, body := s.Ask("health", "/readyz?verbose")
		if code != http.StatusOK {
			return fmt.Errorf("readyz: %d\n%s", code, body)
		}
		return nil
	})
}
