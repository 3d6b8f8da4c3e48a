package env

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}
