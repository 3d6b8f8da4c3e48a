package env

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"
)

// compact has an etcd forget all but the present state, by its JSON gateway.
func compact(ctx context.Context, etcd *rest.Config) error {
	var present struct {
		Header struct {
			Revision json.Number `json:"revision"`
		} `json:"header"`
	}
	if err := ask(ctx, etcd, "/v3/kv/range", map[string]any{"key": "AA==", "count_only": true}, &present); err != nil {
		return err
	}
	return ask(ctx, etcd, "/v3/kv/compaction", map[string]any{"revision": present.Header.Revision, "physical": true}, nil)
}

// ask posts a question to an etcd.
func ask(ctx context.Context, etcd *rest.Config, path string, question, answer any) error {
	client, err := rest.HTTPClientFor(etcd)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, etcd.Host+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd answers %s with %s", path, response.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
