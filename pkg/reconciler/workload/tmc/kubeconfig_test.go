package tmc_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func TestWatchKubeconfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "kubeconfig")
		write := func(content string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("first")
		var (
			lock     sync.Mutex
			seen     []string
			failures int
		)
		part := tmc.WatchKubeconfig(path, time.Second, clock.RealClock{}, func(context.Context) error {
			lock.Lock()
			defer lock.Unlock()
			content, err := os.ReadFile(path)
			seen = append(seen, string(content))
			if failures > 0 {
				failures--
				return errBroken
			}
			return err
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- part.Run(ctx) }()
		expect := func(name, want string) {
			t.Helper()
			pass(3500 * time.Millisecond)
			lock.Lock()
			defer lock.Unlock()
			if got := strings.Join(seen, " "); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
			seen = nil
		}

		expect("what is there at the start is no change", "")
		write("second")
		expect("a change is told once", "second")
		write("second")
		expect("writing the same is no change", "")
		write("")
		expect("an empty file is one that is being written", "")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		expect("a missing file is one that is being replaced", "")
		other := filepath.Join(dir, "other")
		if err := os.WriteFile(other, []byte("third"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(other, path); err != nil {
			t.Fatal(err)
		}
		lock.Lock()
		failures = 1
		lock.Unlock()
		expect("a change that could not be taken up is told again", "third third")
		stop()
		if err := <-ended; err != nil {
			t.Errorf("being stopped is no error: got %v", err)
		}
	})
}

func TestWatchKubeconfigNeedsOneToBeginWith(t *testing.T) {
	part := tmc.WatchKubeconfig(filepath.Join(t.TempDir(), "absent"), time.Second, clock.RealClock{}, nil)
	if err := part.Run(t.Context()); tmc.CategoryOf(err) != tmc.Configuration {
		t.Errorf("got %v", err)
	}
}
