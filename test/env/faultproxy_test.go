package env

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"k8s.io/client-go/rest"
)

// A link leads to the server, then through the proxy, which leaves some requests to the server and answers others.
func TestFaultProxyAnswersInTheServersPlace(t *testing.T) {
	running := goleak.IgnoreCurrent()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s of %s by %s", r.URL.Path, r.Host, r.Header.Get("Authorization"))
	}))
	defer server.Close()
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := e.NewFaultProxy()
	if err != nil {
		t.Fatal(err)
	}
	proxy.Inject(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/broken" {
			return false
		}
		w.WriteHeader(http.StatusTeapot)
		return true
	})
	target := strings.TrimPrefix(server.URL, "https://")
	for _, asProxy := range []bool{false, true} {
		link, err := e.newLink(target, asProxy)
		if err != nil {
			t.Fatal(err)
		}
		link.Through(proxy)
		config := link.Config(&rest.Config{Host: server.URL, BearerToken: "t", TLSClientConfig: rest.TLSClientConfig{CAData: proxy.CA()}})
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		host := strings.TrimPrefix(config.Host, "https://")
		if code, body := get(t, client, config.Host+"/well"); code != http.StatusOK || body != "/well of "+host+" by Bearer t" {
			t.Errorf("through a link (as proxy: %t): %d %q", asProxy, code, body)
		}
		if code, _ := get(t, client, config.Host+"/broken"); code != http.StatusTeapot {
			t.Errorf("the fault (as proxy: %t): %d", asProxy, code)
		}
		client.CloseIdleConnections()
	}
	if got := proxy.Hits(); got != 2 {
		t.Errorf("%d requests were answered in the server's place, want 2", got)
	}
	server.Close()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, running)
}

// A proxy that stands before one server has the credentials itself. What breaks the way ends what is under way too.
func TestFaultProxyBeforeAServer(t *testing.T) {
	running := goleak.IgnoreCurrent()
	ended := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s by %s", r.URL.Path, r.Header.Get("Authorization"))
		if strings.HasSuffix(r.URL.Path, "/watch") {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(ended)
		}
	}))
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	trusted := rest.TLSClientConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})}
	proxy, err := e.NewFaultProxyTo(&rest.Config{Host: server.URL + "/base", BearerToken: "t", TLSClientConfig: trusted})
	if err != nil {
		t.Fatal(err)
	}
	config := proxy.Config()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	if code, body := get(t, client, config.Host+"/well"); code != http.StatusOK || body != "/base/well by Bearer t" {
		t.Errorf("through the proxy: %d %q", code, body)
	}

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+"/watch", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	proxy.Break(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusTeapot)
		return true
	})
	if seen, err := io.ReadAll(watch.Body); err == nil {
		t.Errorf("the watch ended as if all were well, after %q", seen)
	}
	_ = watch.Body.Close()
	<-ended
	for range 3 {
		if code, _ := get(t, client, config.Host+"/well"); code != http.StatusTeapot {
			t.Errorf("the fault: %d", code)
		}
	}
	if got := proxy.Hits(); got != 3 {
		t.Errorf("%d requests were answered in the server's place, want 3", got)
	}
	proxy.Break(nil)
	if code, _ := get(t, client, config.Host+"/well"); code != http.StatusOK || proxy.Hits() != 0 {
		t.Errorf("when the way is mended: %d after %d hits", code, proxy.Hits())
	}
	client.CloseIdleConnections()
	proxy.Close()
	server.Close()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, running)
}

// get asks again when a connection has ended that the client did not know to be dead.
func get(t *testing.T, client *http.Client, url string) (code int, body string) {
	t.Helper()
	Eventually(t, time.Minute, func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		raw, err := io.ReadAll(response.Body)
		code, body = response.StatusCode, string(raw)
		return err
	})
	return code, body
}
