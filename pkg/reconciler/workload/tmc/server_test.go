package tmc_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func TestServePart(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/quick", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "late")
	})
	part, address, err := tmc.ServePart("metrics (--metrics-port)", "127.0.0.1:0", mux)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := tmc.ServePart("metrics (--metrics-port)", address(), mux); err == nil ||
		!strings.Contains(err.Error(), "metrics (--metrics-port)") || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is taken is an error that says whose it was to be: got %v", err)
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- part.Run(ctx) }()
	if got := fetch(t, address(), "/quick"); got != "here" {
		t.Errorf("it serves: got %q", got)
	}
	slow := make(chan string, 1)
	go func() { slow <- fetch(t, address(), "/slow") }()
	<-entered
	stop()
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if got := <-slow; got != "late" {
		t.Errorf("a request under way is answered while it stops: got %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("being stopped is no error: got %v", err)
	}
	if got := fetch(t, address(), "/quick"); got != "" {
		t.Errorf("nobody serves any more: got %q", got)
	}
}

func TestServePartCutsWhatHangs(t *testing.T) {
	entered, hang := make(chan struct{}), make(chan struct{})
	defer close(hang)
	part, address, err := tmc.ServePart("health", "127.0.0.1:0", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-hang
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- part.Run(ctx) }()
	go fetch(t, address(), "/")
	<-entered
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a request that hangs holds up the stop")
	}
}

// fetch returns the body, or nothing if there was no answer.
func fetch(t *testing.T, address, path string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + address + path)
	if err != nil {
		return ""
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Log(err)
	}
	return string(body)
}
