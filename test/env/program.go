package env

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// program is one that was built for this Env.
type program struct {
	mu   sync.Mutex
	path string // empty until it was
}

// Build builds a program of this repository, such as "./cmd/workload-syncer", and returns the path of the executable. Flags
// are for go build, such as "-race". It is built once: later calls return the same. Nothing is linked again as long as the source
// stays the same, also across processes.
func (e *Env) Build(ctx context.Context, pkg string, flags ...string) (string, error) {
	p := e.program(strings.Join(append([]string{pkg}, flags...), "\n"))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.path != "" {
		return p.path, nil
	}
	var err error
	p.path, err = e.build(ctx, pkg, flags)
	return p.path, err
}

func (e *Env) program(key string) *program {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.programs[key] == nil {
		e.programs[key] = &program{}
	}
	return e.programs[key]
}

func (e *Env) build(ctx context.Context, pkg string, flags []string) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	// Two checkouts must not build into each other's files.
	sum := sha256.Sum256([]byte(root + "\n" + strings.Join(flags, "\n")))
	dir := filepath.Join(cache, "programs", hex.EncodeToString(sum[:])[:16])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := path.Base(pkg)
	unlock, err := lock(ctx, filepath.Join(dir, name+".lock"), func() { e.tell("waiting for another process that builds %s", name) })
	if err != nil {
		return "", err
	}
	defer func() { _ = unlock.Close() }()

	built := filepath.Join(dir, name)
	if err := goBuild(ctx, root, built, pkg, flags); err != nil {
		return "", fmt.Errorf("building %s: %w", pkg, err)
	}
	return e.snapshot(built)
}

func goBuild(ctx context.Context, root, output, pkg string, flags []string) error {
	args := append([]string{"build", "-buildvcs=false", "-o", output}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = root
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, tail(complaints.String(), 60))
	}
	return nil
}

// snapshot copies an executable to where the next build does not replace it.
func (e *Env) snapshot(executable string) (string, error) {
	dir, err := os.MkdirTemp(e.dir, "bin-")
	if err != nil {
		return "", err
	}
	from, err := os.Open(executable)
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	to := filepath.Join(dir, filepath.Base(executable))
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(file, from)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	return to, nil
}
