package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A kcp that starts from nothing spends most of its time on setting up its system workspaces. So that is done once, and the
// result, the seed, is kept in the cache: the root directory of a kcp that was stopped as soon as it was ready. Starting from a
// copy is an ordinary restart, on other ports.

// plantSeed puts a copy of the seed where a kcp shall have its root directory.
func plantSeed(ctx context.Context, tell func(string, ...any), binaries Binaries, dir string) error {
	seed, err := ensureSeed(ctx, tell, binaries)
	if err != nil {
		return err
	}
	return os.CopyFS(dir, os.DirFS(seed))
}

// ensureSeed returns the seed for a kcp executable, and makes it if the cache does not hold it.
func ensureSeed(ctx context.Context, tell func(string, ...any), binaries Binaries) (string, error) {
	// The certificates in it last a year, so a new one each month is never too old.
	final := fmt.Sprintf("%s-seed-%s", filepath.Dir(binaries.KCP), time.Now().UTC().Format("2006-01"))
	waiting := func() { tell("waiting for another process that sets up kcp") }
	return final, makeOnce(ctx, final, waiting, func(partial string) error {
		began := time.Now()
		tell("setting up kcp once, later starts are faster")
		if err := makeSeed(ctx, binaries, partial); err != nil {
			return fmt.Errorf("setting up kcp: %w", err)
		}
		tell("set up kcp in %s", time.Since(began).Round(time.Second))
		return nil
	})
}

func makeSeed(ctx context.Context, binaries Binaries, to string) (err error) {
	e, err := New(Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	k := &KCP{env: e, dir: filepath.Join(e.dir, "kcp")}
	if err := os.Mkdir(k.dir, 0o755); err != nil {
		return err
	}
	if err := k.start(ctx, binaries.KCP); err != nil {
		return err
	}
	k.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := k.Wait(ctx); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil { // it holds keys
		return err
	}
	return os.CopyFS(to, os.DirFS(k.dir))
}
