package env

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Server is a server that the tests of a package share.
type Server func(context.Context, *Env) error

// WithKCP has the tests of a package share a kcp, which they find by [Env.KCP].
func WithKCP() Server {
	return func(ctx context.Context, e *Env) error {
		_, err := e.StartKCP(ctx)
		return err
	}
}

// WithCluster has the tests of a package share a physical cluster, which they find by [Env.Cluster].
func WithCluster(name string, options ...ClusterOption) Server {
	return func(ctx context.Context, e *Env) error {
		_, err := e.StartCluster(ctx, name, options...)
		return err
	}
}

// shared is what Main prepared for the tests of this process.
var shared *sharedEnv

// sharedEnv starts its servers when the first test asks for them.
type sharedEnv struct {
	servers []Server
	start   func() (*Env, error)

	mu  sync.Mutex
	env *Env
}

// Main runs the tests of a package and returns the exit code. The servers start in parallel when a test first calls [For],
// and end with the tests. Logs of servers are kept in the directory that the environment variable TEST_ENV_LOGS names.
func Main(m *testing.M, servers ...Server) int {
	shared = &sharedEnv{servers: servers}
	shared.start = sync.OnceValues(shared.startServers)
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "env: closing:", err)
		return max(code, 1)
	}
	return code
}

// For returns the Env that the tests of this package share. It skips the test under -short.
func For(t testing.TB) *Env {
	t.Helper()
	if shared == nil {
		t.Fatal("TestMain of this package does not call env.Main")
	}
	if testing.Short() {
		t.Skip("needs real servers, which -short leaves out")
	}
	e, err := shared.start()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (s *sharedEnv) startServers() (*Env, error) {
	e, err := New(Options{Progress: os.Stderr, KeepLogs: os.Getenv("TEST_ENV_LOGS"), SpareCPU: true})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.env = e
	s.mu.Unlock()
	starting, ctx := errgroup.WithContext(context.Background())
	for _, start := range s.servers {
		starting.Go(func() error { return start(ctx, e) })
	}
	return e, starting.Wait()
}

func (s *sharedEnv) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.env == nil {
		return nil
	}
	return s.env.Close()
}

// Eventually calls check until it returns nil, and fails the test with what check answered if that takes longer than timeout.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var seen history
	err := Poll(ctx, func(context.Context) error {
		err := check()
		seen.add(err)
		return err
	})
	if err != nil {
		t.Fatalf("not within %s; seen meanwhile:\n%s", timeout, seen.String())
	}
}
