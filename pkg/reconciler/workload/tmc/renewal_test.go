package tmc_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func TestFingerprintTellsCredentialsApart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := func(change func(*rest.Config)) *rest.Config {
		c := &rest.Config{Host: "https://kcp", BearerTokenFile: file}
		if change != nil {
			change(c)
		}
		return c
	}
	of := func(c *rest.Config) string {
		t.Helper()
		sum, err := tmc.Fingerprint(c)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	write("a")
	first := of(config(nil))
	if of(config(nil)) != first {
		t.Error("the same is the same")
	}
	for what, change := range map[string]func(*rest.Config){
		"address":     func(c *rest.Config) { c.Host = "https://other" },
		"authority":   func(c *rest.Config) { c.CAData = []byte("ca") },
		"certificate": func(c *rest.Config) { c.CertData = []byte("cert") },
		"password":    func(c *rest.Config) { c.Password = "b" },
	} {
		if of(config(change)) == first {
			t.Errorf("another %s is another way", what)
		}
	}
	write("b")
	if of(config(nil)) == first {
		t.Error("another token in the same file is another way")
	}
	if _, err := tmc.Fingerprint(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: file + "-absent"}}); tmc.CategoryOf(err) != tmc.Configuration {
		t.Errorf("got %v", err)
	}
	if _, err := tmc.Fingerprint(&rest.Config{BearerTokenFile: file + "-absent"}); tmc.CategoryOf(err) != tmc.Authentication {
		t.Errorf("got %v", err)
	}
}

// Credentials that a server does not accept are read again, and used if they are others.
func TestRenew(t *testing.T) {
	current, inUse, used := "old", "old", make(chan string, 10)
	r := &tmc.Renewal[string]{
		Reread:      func() (string, error) { return current, nil },
		Use:         func(c string) error { inUse = c; return nil },
		Fingerprint: func(c string) (string, error) { return c, nil },
	}
	r.InUse("old")
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() {
		stopped <- r.KeepWorking(ctx, func(ctx context.Context) error {
			used <- inUse
			<-ctx.Done()
			return nil
		})
	}()
	<-used
	if err := r.Renew(ctx); tmc.CategoryOf(err) != tmc.Authentication {
		t.Errorf("the same again is of no use: %v", err)
	}
	current = "new"
	if err := r.Renew(ctx); err != nil {
		t.Error(err)
	}
	if got := <-used; got != "new" {
		t.Errorf("the work goes on with %s", got)
	}
	if err := r.Renew(ctx); err == nil {
		t.Error("they are in use now")
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// What was renewed is not started with once more when the watch of its file hears of the change too; any other change is.
func TestRenewedOnceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		write := func(content string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("old")
		starts := 0
		r := &tmc.Renewal[string]{
			Files: []string{file},
			Reread: func() (string, error) {
				content, err := os.ReadFile(file)
				return string(content), err
			},
			Use:         func(string) error { return nil },
			Fingerprint: func(c string) (string, error) { return c, nil },
		}
		r.InUse("old")
		parts := append(r.Parts(clock.RealClock{}), tmc.Part{Name: "work", Run: func(ctx context.Context) error {
			return r.KeepWorking(ctx, func(ctx context.Context) error {
				starts++
				<-ctx.Done()
				return nil
			})
		}})
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- tmc.RunParts(ctx, time.Second, parts...) }()
		synctest.Wait()
		expect := func(what string, want int) {
			t.Helper()
			pass(20 * time.Second)
			synctest.Wait()
			if starts != want {
				t.Errorf("%s: %d starts, want %d", what, starts, want)
			}
		}
		write("new")
		if err := r.Renew(ctx); err != nil {
			t.Error(err)
		}
		expect("renewed", 2)
		write("newer")
		expect("another file", 3)
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// A link tells the recovery that it is refused, and when it is accepted again.
func TestLinkTellsWhetherItIsAccepted(t *testing.T) {
	code := http.StatusUnauthorized
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
	t.Cleanup(server.Close)
	registry := prometheus.NewRegistry()
	tracing, err := tmc.NewTracing(t.Context(), "test", tmc.TracingConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r := tmc.NewRecovery(tmc.RecoveryOptions{Enabled: true, Registerer: registry, Strategies: []tmc.Strategy{{Name: "authentication", Component: tmc.LinkComponent}}})
	l := tmc.NewLink("kcp", "kcp", tmc.NewClientMetrics(registry, clock.RealClock{}), tracing, r)
	if err := l.Use(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAFile: "absent"}}); tmc.CategoryOf(err) != tmc.Configuration {
		t.Errorf("an authority that is not there: %v", err)
	}
	if err := l.Use(&rest.Config{Host: server.URL}); err != nil {
		t.Fatal(err)
	}
	if err := l.Accepted(t.Context()); tmc.CategoryOf(err) != tmc.Authentication {
		t.Errorf("got %v", err)
	}
	if active := r.Active(); len(active) != 1 || active[0].Category != tmc.Authentication || active[0].Name != "kcp" {
		t.Errorf("got %+v", active)
	}
	code = http.StatusForbidden // we are known
	if err := errors.Join(l.Accepted(t.Context())); err != nil || len(r.Active()) != 0 {
		t.Errorf("got %v, %+v", err, r.Active())
	}
}
