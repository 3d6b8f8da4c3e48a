package env

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestCacheKey(t *testing.T) {
	key := func(files map[string]string, inputs ...string) string {
		t.Helper()
		dir := t.TempDir()
		for name, content := range files {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := cacheKey(dir, inputs...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	files := map[string]string{"go.mod": "module m", "etcd/main.go": "package main"}
	same := key(files, "go1.26", "linux")
	for _, tc := range []struct {
		name   string
		key    string
		differ bool
	}{
		{"the same in another directory", key(files, "go1.26", "linux"), false},
		{"another Go", key(files, "go1.27", "linux"), true},
		{"inputs cut elsewhere", key(files, "go1.26linux", ""), true},
		{"a changed file", key(map[string]string{"go.mod": "module n", "etcd/main.go": "package main"}, "go1.26", "linux"), true},
		{"a renamed file", key(map[string]string{"go.mod": "module m", "etcd/etcd.go": "package main"}, "go1.26", "linux"), true},
		{"one file less", key(map[string]string{"go.mod": "module m"}, "go1.26", "linux"), true},
		{"text moved between files", key(map[string]string{"go.mod": "module mpackage", "etcd/main.go": " main"}, "go1.26", "linux"), true},
	} {
		if differs := tc.key != same; differs != tc.differ {
			t.Errorf("%s: the key differs: %t, want %t", tc.name, differs, tc.differ)
		}
	}
}

func TestModFileVersion(t *testing.T) {
	module := modFile(`module m

require k8s.io/single v1.0.0

require (
	k8s.io/kubernetes v1.36.1 // indirect
	k8s.io/kubernetes-more v9.9.9
)

replace (
	k8s.io/replaced => example.com/fork v1.2.3
)
`)
	for name, want := range map[string]string{
		"k8s.io/kubernetes": "v1.36.1",
		"k8s.io/single":     "v1.0.0",
		"k8s.io/replaced":   "unknown",
		"k8s.io/missing":    "unknown",
	} {
		if got := module.version(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestVersionFlags(t *testing.T) {
	got := strings.Join(versionFlags("v1.32.3+kcp-v0.28.1"), "\n")
	for _, want := range []string{
		"-X k8s.io/component-base/version.gitVersion=v1.32.3+kcp-v0.28.1",
		"-X k8s.io/client-go/pkg/version.gitVersion=v1.32.3+kcp-v0.28.1",
		"-X k8s.io/component-base/version.gitMajor=1",
		"-X k8s.io/component-base/version.gitMinor=32",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

func TestServerModulesAreThere(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range serverModules() {
		gomod, err := os.ReadFile(filepath.Join(root, "hack", "servers", module.name, "go.mod"))
		if err != nil {
			t.Error(err)
		}
		if modFile(gomod).version(module.pinned) == "unknown" {
			t.Errorf("module %s does not pin %s", module.name, module.pinned)
		}
	}
}

func TestMakeOnce(t *testing.T) {
	final := filepath.Join(t.TempDir(), "cache", "made")
	failing := makeOnce(t.Context(), final, func() {}, func(partial string) error {
		return errors.Join(os.Mkdir(partial, 0o755), errors.New("broken"))
	})
	if failing == nil || isDir(final) || isDir(final+".partial") {
		t.Fatalf("a failure left something behind: %v", failing)
	}
	if err := os.Mkdir(final+".partial", 0o755); err != nil { // as a killed process leaves it
		t.Fatal(err)
	}
	var mu sync.Mutex
	var made int
	var makers sync.WaitGroup
	for range 5 {
		makers.Go(func() {
			err := makeOnce(t.Context(), final, func() {}, func(partial string) error {
				mu.Lock()
				defer mu.Unlock()
				made++
				return os.Mkdir(partial, 0o755)
			})
			if err != nil || !isDir(final) {
				t.Errorf("not made: %v", err)
			}
		})
	}
	makers.Wait()
	if made != 1 {
		t.Errorf("made %d times, want once", made)
	}
}

func TestLockWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryLock(path); !errors.Is(err, errLocked) {
		t.Errorf("a held lock: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), never)
	defer cancel()
	if _, err := lock(ctx, path, func() {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a held lock: %v", err)
	}
	got, err := lock(t.Context(), path, func() { _ = held.Close() })
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Close()
}

func TestPortsAreClaimedOnce(t *testing.T) {
	dir := t.TempDir()
	one, two := &portClaims{dir: dir}, &portClaims{dir: dir}
	defer one.release()
	defer two.release()
	seen := map[int]bool{}
	for range 50 {
		var a, b int
		if err := errors.Join(one.claimAll(&a), two.claimAll(&b)); err != nil {
			t.Fatal(err)
		}
		if seen[a] || seen[b] || a == b {
			t.Fatalf("%d or %d was claimed before", a, b)
		}
		if a < firstPort || a > lastPort {
			t.Errorf("%d is out of range", a)
		}
		seen[a], seen[b] = true, true
	}
}

func TestPortsInUseAreNotClaimed(t *testing.T) {
	claims := &portClaims{dir: t.TempDir()}
	defer claims.release()
	var port int
	if err := claims.claimAll(&port); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	claims.release()
	if ok, err := claims.tryClaim(port); ok || err != nil {
		t.Errorf("a port on which somebody listens was claimed: %t, %v", ok, err)
	}
}

func TestWriteKubeconfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	configs := map[string]*rest.Config{
		"token": {Host: "https://127.0.0.1:1/clusters/root", BearerToken: "t", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("ca"), ServerName: "kcp"}},
		"cert":  {Host: "https://127.0.0.1:2", TLSClientConfig: rest.TLSClientConfig{CertData: []byte("c"), KeyData: []byte("k")}},
		"proxy": {Host: "https://127.0.0.1:3", Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:4"})},
	}
	if err := WriteKubeconfig(path, "token", configs); err != nil {
		t.Fatal(err)
	}
	for name, want := range configs {
		got, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: path}, &clientcmd.ConfigOverrides{CurrentContext: name}).ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		if describe(got) != describe(want) {
			t.Errorf("context %s:\n%s\nwant\n%s", name, describe(got), describe(want))
		}
	}
}

func describe(config *rest.Config) string {
	proxy := "none"
	if config.Proxy != nil {
		target, err := config.Proxy(&http.Request{})
		proxy = fmt.Sprint(target, err)
	}
	tls := config.TLSClientConfig
	return fmt.Sprint(config.Host, config.BearerToken, string(tls.CAData), tls.ServerName, string(tls.CertData), string(tls.KeyData), proxy)
}

func TestPollTellsTheLastAnswer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*pollFirst)
	defer cancel()
	calls := 0
	err := Poll(ctx, func(ctx context.Context) error {
		calls++
		if calls > 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return errors.New("replicas are 1, want 3")
	})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "replicas are 1, want 3") {
		t.Errorf("error is %v", err)
	}
}

// failing is a test that notes its failure.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatalf(format string, args ...any) { f.message = fmt.Sprintf(format, args...) }

func TestEventuallyTellsWhatItSaw(t *testing.T) {
	test := &failing{TB: t}
	calls := 0
	Eventually(test, 5*pollFirst, func() error {
		calls++
		return fmt.Errorf("replicas are %d", min(calls, 3))
	})
	for _, want := range []string{"not within 250ms", "from 0s: replicas are 1", "replicas are 2", "replicas are 3"} {
		if !strings.Contains(test.message, want) {
			t.Errorf("%q is missing in:\n%s", want, test.message)
		}
	}
	if got := strings.Count(test.message, "replicas are 3"); got != 1 {
		t.Errorf("the same answer is told %d times:\n%s", got, test.message)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	for i := range 100 {
		h.add(fmt.Errorf("answer %d", i))
	}
	if got := h.String(); strings.Count(got, "\n")+1 != historyLength || !strings.Contains(got, "answer 99") {
		t.Errorf("history is\n%s", got)
	}
}

func TestWarmServersAreFoundWithoutGo(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real servers, which -short leaves out")
	}
	if _, err := EnsureServers(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "") // a warm call that needs the go command would fail
	began := time.Now()
	binaries, err := EnsureServers(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("found within %s", time.Since(began))
	for _, path := range []string{binaries.KCP, binaries.Etcd, binaries.KubeAPIServer, binaries.KubeControllerManager, binaries.KubeScheduler, binaries.Kwok, binaries.KwokStages} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
