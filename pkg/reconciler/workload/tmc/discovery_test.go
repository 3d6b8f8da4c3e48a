package tmc_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func TestDiscoveryEndsWithItsContext(t *testing.T) {
	entered := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"gitVersion":"v1.2.3"}`)
			return
		}
		entered <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client, err := tmc.Discovery(ctx, &rest.Config{Host: server.URL}, &http.Client{})
	if err != nil {
		t.Fatal(err)
	}
	if version, err := client.ServerVersion(); err != nil || version.GitVersion != "v1.2.3" {
		t.Errorf("it works while the context lasts: got %v, %v", version, err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := client.ServerResourcesForGroupVersion("apps/v1")
		ended <- err
	}()
	<-entered
	cancel()
	select {
	case err := <-ended:
		if tmc.CategoryOf(err) != tmc.Canceled {
			t.Errorf("a request under way is canceled: got %s: %v", tmc.CategoryOf(err), err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a request outlives the context")
	}
	if _, err := client.ServerVersion(); tmc.CategoryOf(err) != tmc.Canceled {
		t.Errorf("nothing is asked after that: got %v", err)
	}
}
