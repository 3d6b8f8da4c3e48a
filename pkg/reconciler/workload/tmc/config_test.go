package tmc

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"k8s.io/utils/clock"
)

// followed is a configuration file that a program follows. Its content is the configuration, but "bad" is not valid, and
// what begins with "port" needs a restart.
type followed struct {
	t       *testing.T
	path    string
	file    *ConfigFile[string]
	adopted chan string
}

func follow(t *testing.T, path string) *followed {
	t.Helper()
	f := &followed{t: t, path: path, adopted: make(chan string, 10)}
	start, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f.file = NewConfigFile(ConfigFileOptions[string]{
		Source: ConfigSource[string]{
			Path: path, Content: start,
			Reload: func(content []byte) (candidate ConfigCandidate[string], err error) {
				text := string(content)
				if text == "bad" {
					return candidate, errors.New("line 1: bad\nline 2: worse")
				}
				if strings.HasPrefix(text, "port") {
					candidate.Restart = []string{"serving.metricsPort"}
				}
				candidate.Config, candidate.Commit = &text, func() {}
				return candidate, nil
			},
		},
		Use: func(now *string) { f.adopted <- *now }, Registerer: prometheus.NewRegistry(), Clock: clock.RealClock{},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- RunParts(ctx, time.Second, f.file.Parts()...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *followed) write(path, content string) {
	f.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *followed) awaitAdopted(want string) {
	f.t.Helper()
	select {
	case got := <-f.adopted:
		if got != want {
			f.t.Fatalf("%q was taken up instead of %q", got, want)
		}
	case <-time.After(20 * time.Second):
		f.t.Fatalf("%q was not taken up", want)
	}
	f.awaitState(ConfigInForce, "")
}

func (f *followed) awaitState(verdict ConfigVerdict, message string) {
	f.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for f.file.State().Verdict != verdict || !strings.Contains(f.file.State().Message, message) {
		if time.Now().After(deadline) {
			f.t.Fatalf("it is %+v, want %s %q", f.file.State(), verdict, message)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func newFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAConfigurationFileIsFollowed(t *testing.T) {
	t.Parallel()
	f := follow(t, newFile(t, "one"))
	f.write(f.path, "two")
	f.awaitAdopted("two")

	f.write(f.path+".new", "three") // as editors do
	if err := os.Rename(f.path+".new", f.path); err != nil {
		t.Fatal(err)
	}
	f.awaitAdopted("three")

	f.write(f.path, "bad")
	f.awaitState(ConfigRejected, "line 1: bad; line 2: worse")
	err := f.file.Check().Run(t.Context())
	if level := (Result{Err: err}).Level(); level != LevelDegraded {
		t.Errorf("the check is %v: %v", level, err)
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	f.awaitState(ConfigRejected, "no such file")
	f.write(f.path, "port 1")
	f.awaitState(ConfigNeedsRestart, "a restart is needed to take up serving.metricsPort of "+f.path)
	if now := testutil.ToFloat64(f.file.metrics.restarts); now != 1 {
		t.Errorf("the metric for a restart is %v", now)
	}
	f.write(f.path, "three") // nothing of all that was used
	f.awaitAdopted("three")
	if err := f.file.Check().Run(t.Context()); err != nil {
		t.Errorf("the check says %v", err)
	}

	m := f.file.metrics
	for result, want := range map[ConfigVerdict]float64{ConfigInForce: 4, ConfigRejected: 2, ConfigNeedsRestart: 1} {
		if got := testutil.ToFloat64(m.reloads.WithLabelValues(string(result))); got != want {
			t.Errorf("%v reloads are %s, want %v", got, result, want)
		}
		if testutil.ToFloat64(m.last.WithLabelValues(string(result))) == 0 {
			t.Errorf("no time of the last that was %s", result)
		}
	}
	if testutil.ToFloat64(m.successful) != 1 || testutil.ToFloat64(m.restarts) != 0 || testutil.CollectAndCount(m.info) != 1 {
		t.Error("the metrics do not tell that the file is in force")
	}
}

// A ConfigMap is mounted as a link to a link to a folder, which is swapped.
func TestAMountedConfigMapIsFollowed(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	at := func(name ...string) string { return filepath.Join(append([]string{mount}, name...)...) }
	put := func(folder, content string) {
		t.Helper()
		if err := errors.Join(os.Mkdir(at(folder), 0o700), os.WriteFile(at(folder, "config.yaml"), []byte(content), 0o600),
			os.Symlink(folder, at("..data_tmp")), os.Rename(at("..data_tmp"), at("..data"))); err != nil {
			t.Fatal(err)
		}
	}
	put("..2026_1", "one")
	if err := os.Symlink(filepath.Join("..data", "config.yaml"), at("config.yaml")); err != nil {
		t.Fatal(err)
	}
	f := follow(t, at("config.yaml"))
	for i, content := range []string{"two", "three"} {
		put("..2026_"+string(rune('2'+i)), content)
		f.awaitAdopted(content)
	}
}

// A link to a file elsewhere.
func TestALinkedFileIsFollowed(t *testing.T) {
	t.Parallel()
	target, link := newFile(t, "one"), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	f := follow(t, link)
	f.write(target, "two")
	f.awaitAdopted("two")
}

func TestWithoutAFileNothingIsFollowed(t *testing.T) {
	file := NewConfigFile(ConfigFileOptions[string]{Registerer: prometheus.NewRegistry(), Clock: clock.RealClock{}})
	if parts := file.Parts(); len(parts) > 0 || file.State().Err() != nil {
		t.Errorf("%v, %+v", parts, file.State())
	}
	if testutil.ToFloat64(file.metrics.successful) != 1 { // for the alert: nothing was rejected
		t.Error("the metric says that a file was not taken up")
	}
}

func TestConfigz(t *testing.T) {
	page := ConfigSource[string]{InForce: func() any { return map[string]any{"kind": "X", "workers": 3} }}.Page()
	answer := httptest.NewRecorder()
	page.Handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", page.Path, nil))
	if page.Path != "/configz" || answer.Body.String() != "{\n  \"kind\": \"X\",\n  \"workers\": 3\n}\n" {
		t.Errorf("%s: %s", page.Path, answer.Body)
	}
}

func TestTheRateOfALinkCanChange(t *testing.T) {
	l := newLimiter()
	take := func() (taken int) {
		for range 100 {
			if l.TryAccept() {
				taken++
			}
		}
		return taken
	}
	for _, tc := range []struct {
		qps   float32
		burst int
		want  int
	}{{-1, 0, 100}, {0.001, 5, 5}, {0.001, 5, 0}, {-1, 0, 100}} {
		l.limit(tc.qps, tc.burst)
		if got := take(); got != tc.want {
			t.Errorf("at %v with a burst of %d, %d of 100 went at once, want %d", tc.qps, tc.burst, got, tc.want)
		}
	}
}
