package env

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Build builds a program of this repository, such as "./cmd/workload-syncer", and returns the path of the executable. Flags
// are for go build, such as "-race". Nothing is linked again as long as the source stays the same, also across processes.
func (e *Env) Build(ctx context.Context, pkg string, flags ...string) (string, error) {
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
	if _, err := io.Copy(file, from); err != nil {
		_ = file.Close()
		return "", err
	}
	return to, file.Close()
}
