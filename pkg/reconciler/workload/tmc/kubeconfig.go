package tmc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// WatchKubeconfig returns a part that calls onChange after the content of the file at path changed. It is for
// credentials and CA data that a kubeconfig embeds: those that it or a rest.Config names by file are read again by
// client-go.
//
// The file is read every so often rather than watched: it may be a symbolic link that is swapped (as for mounted
// Secrets), be replaced by rename, or be on a file system that tells nothing. A file that is missing or empty, as in the
// middle of being written, is no change. If onChange fails, it is called again at the next look.
func WatchKubeconfig(path string, every time.Duration, c clock.WithTicker, onChange func(context.Context) error) Part {
	return Part{Name: "kubeconfig " + path, Run: func(ctx context.Context) error {
		seen, err := digest(path)
		if err != nil {
			return err
		}
		ticker := c.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C():
				seen = look(ctx, path, seen, onChange)
			}
		}
	}}
}

// look returns the digest that onChange was last told of.
func look(ctx context.Context, path string, seen []byte, onChange func(context.Context) error) []byte {
	logger := klog.FromContext(ctx).WithValues("path", path)
	now, err := digest(path)
	if err != nil {
		logger.V(2).Info("Keeping the kubeconfig as it was", "err", err)
		return seen
	}
	if bytes.Equal(seen, now) {
		return seen
	}
	logger.Info("Taking up a changed kubeconfig")
	if err := onChange(ctx); err != nil {
		logger.Error(err, "Taking up a changed kubeconfig")
		return seen
	}
	return now
}

func digest(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, fmt.Errorf("reading the kubeconfig: %s is empty", path)
	}
	sum := sha256.Sum256(content)
	return sum[:], nil
}
