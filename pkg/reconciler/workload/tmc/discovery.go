package tmc

import (
	"context"
	"io"
	"net/http"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// Discovery makes a discovery client whose requests end with ctx, which client-go's own do not: its methods take no
// context. The HTTP client is shared and keeps its connections.
func Discovery(ctx context.Context, config *rest.Config, client *http.Client) (discovery.DiscoveryInterface, error) {
	bound, next := *client, client.Transport
	if next == nil {
		next = http.DefaultTransport // as http.Client has it
	}
	bound.Transport = boundTransport{ctx: ctx, next: next}
	return discovery.NewDiscoveryClientForConfigAndClient(config, &bound)
}

type boundTransport struct {
	ctx  context.Context //nolint:containedctx // the point of the type: its requests come without one
	next http.RoundTripper
}

// RoundTrip sends the request until either its own context or that of the transport is done.
func (t boundTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := t.ctx.Err(); err != nil {
		return nil, err // what follows hears of it a little later
	}
	ctx, cancel := context.WithCancelCause(request.Context())
	stop := context.AfterFunc(t.ctx, func() { cancel(t.ctx.Err()) })
	response, err := t.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		stop()
		cancel(err)
		return nil, err
	}
	response.Body = &boundBody{ReadCloser: response.Body, done: func() { stop(); cancel(nil) }}
	return response, nil
}

// boundBody frees the context when the answer has been read.
type boundBody struct {
	io.ReadCloser
	done func()
}

func (b *boundBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
