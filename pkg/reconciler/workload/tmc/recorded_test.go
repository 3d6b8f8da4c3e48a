package tmc_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// recording is what one real server answered, in the order in which it was asked.
type recording struct {
	Server  string           `json:"server"`
	Answers []recordedAnswer `json:"answers"`
}

type recordedAnswer struct {
	// Name says what the server was asked for, in words.
	Name string `json:"name"`
	// Request is the line that was sent, and Sent its body if that says more.
	Request string            `json:"request"`
	Sent    string            `json:"sent,omitempty"`
	Code    int               `json:"code"`
	Header  map[string]string `json:"header,omitempty"`
	Body    string            `json:"body"`
}

func recordingFile(server string) string {
	return filepath.Join("testdata", "answers", server+".yaml")
}

func readRecording(t testing.TB, server string) recording {
	t.Helper()
	content, err := os.ReadFile(recordingFile(server))
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := yaml.UnmarshalStrict(content, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r recording) write(t testing.TB, server string) {
	t.Helper()
	content, err := yaml.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(recordingFile(server)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recordingFile(server), content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// asError is the error that client-go makes of the answer when the program asks as the recorded request did: for a
// type, and perhaps a name, that it knows.
func (a recordedAnswer) asError(t testing.TB) error {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range a.Header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(a.Code)
		fmt.Fprint(w, a.Body)
	}))
	defer server.Close()
	client := restClient(t, server.URL, a.target().GroupVersion())
	method, _, _ := strings.Cut(a.Request, " ")
	request := client.Verb(method).MaxRetries(0).NamespaceIfScoped(a.target().namespace, a.target().namespace != "").Resource(a.target().Resource)
	if name := a.target().name; name != "" {
		request = request.Name(name)
	}
	if query, _ := url.ParseQuery(after(a.Request, "?")); query.Get("watch") != "" && a.Code == http.StatusOK {
		return firstEvent(t, request)
	}
	return request.Do(t.Context()).Error()
}

// firstEvent is the error that a watch begins with: such a request is answered well.
func firstEvent(t testing.TB, request *rest.Request) error {
	t.Helper()
	watching, err := request.Watch(t.Context())
	if err != nil {
		return err
	}
	defer watching.Stop()
	event := <-watching.ResultChan()
	return apierrors.FromObject(event.Object)
}

func after(text, separator string) string {
	_, tail, _ := strings.Cut(text, separator)
	return tail
}

func restClient(t testing.TB, host string, version schema.GroupVersion) rest.Interface {
	t.Helper()
	config := dynamic.ConfigFor(&rest.Config{Host: host})
	config.GroupVersion, config.APIPath = &version, "/apis"
	client, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// target is the type and object that a request's path names.
type target struct {
	schema.GroupVersionResource
	namespace, name string
}

// target reads /api/v1/… and /apis/<group>/<version>/… wherever they are in the path.
func (a recordedAnswer) target() target {
	path, _, _ := strings.Cut(after(a.Request, " "), "?")
	words := strings.Split(strings.Trim(path, "/"), "/")
	var t target
	for i, word := range words {
		if word == "apis" && i+2 < len(words) {
			t.Group, t.Version, words = words[i+1], words[i+2], words[i+3:]
			break
		}
		if word == "api" && i+1 < len(words) {
			t.Version, words = words[i+1], words[i+2:]
			break
		}
	}
	if len(words) > 2 && words[0] == "namespaces" && t.Version != "" {
		t.namespace, words = words[1], words[2:]
	}
	t.Resource = words[0]
	if len(words) > 1 {
		t.name = words[1]
	}
	return t
}
