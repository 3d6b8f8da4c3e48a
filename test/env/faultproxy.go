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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fault answers a request in the server's place, or leaves it to the server and is false.
type Fault func(http.ResponseWriter, *http.Request) bool

// FaultProxy ends the TLS of its clients, so that it can answer in a server's place. A [Link] leads to it, see [Link.Through].
// Clients have to trust its authority, and to bring tokens, as their certificates end here.
type FaultProxy struct {
	certificate *ServerCertificate
	listener    net.Listener
	connections *handedOver
	server      *http.Server
	transport   *http.Transport
	goroutines  sync.WaitGroup
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

// NewFaultProxy starts one that leaves all requests to the servers.
func (e *Env) NewFaultProxy() (*FaultProxy, error) {
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
	p := &FaultProxy{certificate: certificate, listener: listener, connections: &handedOver{connections: make(chan net.Conn), closed: make(chan struct{}), addr: listener.Addr()}}
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
	p.goroutines.Go(p.accept)
	p.goroutines.Go(func() { _ = p.server.ServeTLS(p.connections, "", "") }) // ends with Close
	e.mu.Lock()
	defer e.mu.Unlock()
	e.proxies = append(e.proxies, p)
	return p, nil
}

// CA is the authority that clients have to trust, as PEM.
func (p *FaultProxy) CA() []byte { return p.certificate.CA }

// Inject has requests meet the fault from now on; nil leaves them to the servers.
func (p *FaultProxy) Inject(fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Hits is how many requests were answered in a server's place.
func (p *FaultProxy) Hits() int64 { return p.hits.Load() }

// close ends all connections and waits for all that the proxy started.
func (p *FaultProxy) close() {
	_ = p.listener.Close()
	close(p.connections.closed)
	_ = p.server.Close()
	p.goroutines.Wait()
	p.transport.CloseIdleConnections()
}

func (p *FaultProxy) handler() http.Handler {
	transport := &http.Transport{
		// The proxy is a part of the network, not of what is tested: whom it reaches on the loopback interface is no question.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		ForceAttemptHTTP2: true,
	}
	p.transport = transport
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "https"
			r.Out.URL.Host, _ = r.In.Context().Value(ledTo{}).(string)
		},
		Transport:     transport,
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

// accept takes connections of links, which say first where they lead to.
func (p *FaultProxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // it was closed
		}
		p.goroutines.Go(func() { p.connections.handOver(conn) })
	}
}

// ledConn is a connection of which the first line was read.
type ledConn struct {
	net.Conn
	reader *bufio.Reader
	target string
}

func (c *ledConn) Read(b []byte) (int, error) { return c.reader.Read(b) }

// handedOver is a listener for connections that somebody else has accepted.
type handedOver struct {
	connections chan net.Conn
	closed      chan struct{}
	addr        net.Addr
}

func (h *handedOver) handOver(conn net.Conn) {
	reader := bufio.NewReader(conn)
	target, err := reader.ReadString('\n')
	if err == nil {
		select {
		case h.connections <- &ledConn{conn, reader, strings.TrimSpace(target)}:
			return
		case <-h.closed:
		}
	}
	_ = conn.Close()
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
