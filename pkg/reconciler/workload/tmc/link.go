package tmc

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// Link is the way to an API server, with its metrics, traces and circuit breaker.
type Link struct {
	name       string
	title      string
	connection *Connection
	breaker    *Breaker
	recovery   *Recovery
	wrap       []func(http.RoundTripper) http.RoundTripper
	// refused: the last answer was that the server does not accept who we are, or we do not accept who it is.
	refused atomic.Bool
	limiter limiter

	// wired is replaced as a whole when the credentials change.
	wired atomic.Pointer[wiring]
}

// wiring is a configuration with its HTTP client.
type wiring struct {
	config *rest.Config
	client *http.Client
}

// NewLink gives the way to a server its metrics, traces and circuit breaker. Name is the server's in metrics, title what
// people call it. Use has to follow.
func NewLink(name, title string, requests *ClientMetrics, tracing *Tracing, recovery *Recovery) *Link {
	l := &Link{name: name, title: title, connection: requests.Connection(name), recovery: recovery, limiter: newLimiter()}
	l.wrap = append(l.wrap, InstrumentTransport(requests, name), tracing.InstrumentTransport(name), l.watchCredentials)
	l.breaker = recovery.Breaker(name, l.Probe)
	l.connection.OnResult(l.breaker.Report)
	return l
}

// Limit sets how many requests per second are sent over the link, by all its clients together, from now on. A negative rate
// is no limit, which is what holds before the first call.
func (l *Link) Limit(qps float32, burst int) { l.limiter.limit(qps, burst) }

// Use has the link use this configuration from now on, but for its rate; see [Link.Limit]. No request is sent.
//
// An authority in a file is read here, because client-go would go on with the transport that it made for the file's name before,
// whatever the file has now.
func (l *Link) Use(config *rest.Config) error {
	w := &wiring{config: rest.CopyConfig(config)}
	w.config.RateLimiter = l.limiter
	if w.config.CAFile != "" && len(w.config.CAData) == 0 {
		authority, err := os.ReadFile(w.config.CAFile)
		if err != nil {
			return As(Configuration, fmt.Errorf("reading the authority of %s: %w", l.title, err))
		}
		w.config.CAData, w.config.CAFile = authority, ""
	}
	w.config.WarningHandlerWithContext = rest.NoWarnings{} // about types that we list, not about anybody's objects
	for _, wrap := range l.wrap {
		w.config.Wrap(wrap)
	}
	var err error
	if w.client, err = rest.HTTPClientFor(w.config); err != nil {
		return fmt.Errorf("connecting to %s: %w", l.title, err)
	}
	l.wired.Store(w)
	return nil
}

// Config reaches the server over this link. It is not to be changed.
func (l *Link) Config() *rest.Config { return l.wired.Load().config }

// Client is the HTTP client of the present configuration.
func (l *Link) Client() *http.Client { return l.wired.Load().client }

// Connection is what the requests have told about the way.
func (l *Link) Connection() *Connection { return l.connection }

// Breaker keeps workers from asking while the server does not answer.
func (l *Link) Breaker() *Breaker { return l.breaker }

// watchCredentials tells the recovery of answers that say that the server does not accept who we are, or that we do not
// accept who it is.
func (l *Link) watchCredentials(next http.RoundTripper) http.RoundTripper {
	return &credentialsWatcher{link: l, next: next}
}

// credentialsWatcher hears every answer.
type credentialsWatcher struct {
	link *Link
	next http.RoundTripper
}

// WrappedRoundTripper lets client-go find the transport below.
func (w *credentialsWatcher) WrappedRoundTripper() http.RoundTripper { return w.next }

// RoundTrip sends the request.
func (w *credentialsWatcher) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	w.link.noteCredentials(response, err)
	return response, err
}

func (l *Link) noteCredentials(response *http.Response, err error) {
	var refused error
	switch {
	case err != nil:
		if c := CategoryOf(err); c == Authentication || c == Configuration {
			refused = err
		}
	case response.StatusCode == http.StatusUnauthorized:
		refused = As(Authentication, fmt.Errorf("%s answers %s", l.title, response.Status))
	}
	switch {
	case refused != nil:
		l.refused.Store(true)
		l.recovery.Failed(Incident{Component: LinkComponent, Subject: Server(l.name), Err: refused})
	case err == nil && l.refused.Swap(false):
		l.recovery.Mended(LinkComponent, Server(l.name))
	}
}

// Accepted is a nil error if the server answers, and accepts who we are.
func (l *Link) Accepted(ctx context.Context) error {
	err := l.Probe(ctx)
	if err == nil && l.refused.Load() {
		err = As(Authentication, fmt.Errorf("%s does not accept the credentials", l.title))
	}
	return err
}

// Probe asks the server for something cheap. Any answer shows that it is there, except that it cannot answer.
func (l *Link) Probe(ctx context.Context) error {
	w := l.wired.Load()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.config.Host+"/version", http.NoBody)
	if err != nil {
		return err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%s answers %s", l.title, response.Status)
	}
	return nil
}

// Discovery asks the server for its types, until ctx is done.
func (l *Link) Discovery(ctx context.Context) (discovery.DiscoveryInterface, error) {
	w := l.wired.Load()
	return Discovery(ctx, w.config, w.client)
}

// State is why the server does not answer, nil if it does or was not asked yet.
func (l *Link) State() error {
	if state, err := l.connection.State(); state == Disconnected {
		return fmt.Errorf("%s does not answer: %w", l.title, err)
	}
	return nil
}
