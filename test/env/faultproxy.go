package env

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // http.Server takes no other
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// Fault answers a request in the server's place, or leaves it to the server and is false.
type Fault func(http.ResponseWriter, *http.Request) bool

// FaultProxy ends the TLS of its clients, so that it can answer in a server's place. Clients have to trust its authority. It is
// reached in one of two ways:
//   - One of [Env.NewFaultProxy] is led to by links, see [Link.Through]. It has no credentials: clients have to bring tokens, as their
//     certificates end here.
//   - One of [Env.NewFaultProxyTo] stands before one server, by [FaultProxy.Config], and has the credentials itself.
type FaultProxy struct {
	certificate *ServerCertificate
	listener    net.Listener
	connections *handedOver
	server      *http.Server
	transport   http.RoundTripper
	config      *rest.Config
	goroutines  sync.WaitGroup
	closing     sync.Once
	hits        atomic.Int64

	mu    sync.Mutex
	fault Fault
}

// Refuse answers with a Status of that code, as an API server would.
func Refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: "injected by the test",
	})
}

// NewFaultProxy starts one that leaves all requests to the servers that links lead to.
func (e *Env) NewFaultProxy() (*FaultProxy, error) {
	return e.newFaultProxy("", &http.Transport{
		// The proxy is a part of the network, not of what is tested: whom it reaches on the loopback interface is no question.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		ForceAttemptHTTP2: true,
	})
}

// NewFaultProxyTo starts one that leaves all requests to the server of config, with the credentials of config.
func (e *Env) NewFaultProxyTo(config *rest.Config) (*FaultProxy, error) {
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	p, err := e.newFaultProxy(server.Host, transport)
	if err != nil {
		return nil, err
	}
	server.Host = p.listener.Addr().String()
	p.config = &rest.Config{Host: server.String(), TLSClientConfig: rest.TLSClientConfig{CAData: p.CA()}}
	return p, nil
}

// newFaultProxy starts one that leads to target; where that is empty, connections say themselves where they lead.
func (e *Env) newFaultProxy(target string, transport http.RoundTripper) (*FaultProxy, error) {
	certificate, err := e.NewServerCertificate("fault-proxy")
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(certificate.CertFile, certificate.KeyFile)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &FaultProxy{certificate: certificate, listener: listener, connections: newHandedOver(listener.Addr()), transport: transport}
	p.server = &http.Server{
		Handler:           p.handler(),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if led, ok := conn.(*tls.Conn).NetConn().(*ledConn); ok {
				return context.WithValue(ctx, ledTo{}, led.target)
			}
			return ctx
		},
	}
	p.goroutines.Go(func() { p.accept(target) })
	p.goroutines.Go(func() { _ = p.server.ServeTLS(p.connections, "", "") }) // ends with Close
	e.mu.Lock()
	defer e.mu.Unlock()
	e.proxies = append(e.proxies, p)
	return p, nil
}

// CA is the authority that clients have to trust, as PEM.
func (p *FaultProxy) CA() []byte { return p.certificate.CA }

// Config reaches the server that the proxy was made for. It brings no credentials.
func (p *FaultProxy) Config() *rest.Config { return rest.CopyConfig(p.config) }

// Inject has requests meet the fault from now on; nil leaves them to the servers. What is under way goes on.
func (p *FaultProxy) Inject(fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Break is Inject that ends what is under way, watches included, and has the hits counted anew.
func (p *FaultProxy) Break(fault Fault) {
	p.Inject(fault)
	p.hits.Store(0)
	p.connections.reset()
}

// Hits is how many requests were answered in a server's place, since the last Break if there was one.
func (p *FaultProxy) Hits() int64 { return p.hits.Load() }

// Close ends all connections and waits for all that the proxy started. Env.Close does so too.
func (p *FaultProxy) Close() {
	p.closing.Do(func() {
		_ = p.listener.Close()
		close(p.connections.closed)
		_ = p.server.Close()
		p.goroutines.Wait()
		utilnet.CloseIdleConnectionsFor(p.transport)
	})
}

func (p *FaultProxy) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "https"
			r.Out.URL.Host, _ = r.In.Context().Value(ledTo{}).(string)
		},
		Transport:     p.transport,
		FlushInterval: -1, // watches
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		fault := p.fault
		p.mu.Unlock()
		if fault != nil && fault(w, r) {
			p.hits.Add(1)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// ledTo is the key of the context for the address that a connection was led to.
type ledTo struct{}

// dial reaches the proxy, as somebody who wants to reach target.
func (p *FaultProxy) dial(target string) (net.Conn, error) {
	conn, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(conn, target); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// accept takes connections to target; where that is empty they are links', which say first where they lead to.
func (p *FaultProxy) accept(target string) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // it was closed
		}
		p.goroutines.Go(func() { p.connections.handOver(conn, target) })
	}
}

// ledConn is a connection of which the first line was read, if it was to say where it leads.
type ledConn struct {
	net.Conn
	reader *bufio.Reader
	target string
	gone   func()
}

func (c *ledConn) Read(b []byte) (int, error) { return c.reader.Read(b) }

func (c *ledConn) Close() error {
	c.gone()
	return c.Conn.Close()
}

// handedOver is a listener for connections that somebody else has accepted.
type handedOver struct {
	connections chan net.Conn
	closed      chan struct{}
	addr        net.Addr

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func newHandedOver(addr net.Addr) *handedOver {
	return &handedOver{connections: make(chan net.Conn), closed: make(chan struct{}), addr: addr, open: map[net.Conn]struct{}{}}
}

func (h *handedOver) handOver(conn net.Conn, target string) {
	h.note(conn, true)
	led := &ledConn{Conn: conn, reader: bufio.NewReader(conn), target: target, gone: func() { h.note(conn, false) }}
	var err error
	if target == "" {
		target, err = led.reader.ReadString('\n')
		led.target = strings.TrimSpace(target)
	}
	if err == nil {
		select {
		case h.connections <- led:
			return
		case <-h.closed:
		}
	}
	_ = led.Close()
}

// note remembers which connections are open.
func (h *handedOver) note(conn net.Conn, open bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if open {
		h.open[conn] = struct{}{}
	} else {
		delete(h.open, conn)
	}
}

// reset ends the connections that are open. Who handed them over and who took them close them when they see that.
func (h *handedOver) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.open {
		_ = conn.Close()
	}
}

// Accept is what http.Server calls.
func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case conn := <-h.connections:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close does nothing: the proxy closes.
func (h *handedOver) Close() error { return nil }

// Addr is where the connections were accepted.
func (h *handedOver) Addr() net.Addr { return h.addr }
