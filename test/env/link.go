package env

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Link is a way to a server that can be hurt without hurting the server: a TCP proxy on the loopback interface. TLS passes
// through it untouched. A client that comes with the HTTP method CONNECT is taken to the host that it names, any other to
// the server that the link was made for.
type Link struct {
	target string
	addr   string
	// asProxy has Config name the link as HTTP proxy, so that the other URLs of the same server take it too.
	asProxy bool

	goroutines sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	listener net.Listener  // nil while cut
	flowing  chan struct{} // closed while bytes may pass
	delay    time.Duration
	through  *FaultProxy // nil for the straight way
	passages map[*passage]struct{}
}

// newLink makes a link to the server at target.
func (e *Env) newLink(target string, asProxy bool) (*Link, error) {
	port, err := e.ports.claim()
	if err != nil {
		return nil, err
	}
	l := &Link{
		target: target, addr: address(port), asProxy: asProxy,
		flowing: make(chan struct{}), passages: map[*passage]struct{}{},
	}
	if err := l.Restore(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links = append(e.links, l)
	return l, nil
}

// Addr is the address that clients connect to.
func (l *Link) Addr() string { return l.addr }

// Config is a copy of config whose connections take the link.
func (l *Link) Config(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	if l.asProxy {
		config.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: l.addr})
		return config
	}
	if host, err := url.Parse(config.Host); err == nil { // else it does not work without the link either
		host.Host = l.addr
		config.Host = host.String()
	}
	return config
}

// Cut resets all connections; new ones are refused until Restore.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut()
}

// Hang lets no byte pass until Restore. Connections stay open and new ones are accepted, but nobody answers.
func (l *Link) Hang() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isFlowing() {
		l.flowing = make(chan struct{})
	}
}

// Slow holds back what passes in either direction, each time for delay, until Restore.
func (l *Link) Slow(delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = delay
}

// Forget lets no byte of the present connections pass any more, for good, and tells neither end: as a router does that lost its
// state. New connections are not affected.
func (l *Link) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.passages {
		p.forget()
	}
}

// Through leads connections through a proxy that can answer in the server's place, until it is called with nil. Present ones
// are reset, so that all take the new way.
func (l *Link) Through(proxy *FaultProxy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.through = proxy
	for p := range l.passages {
		p.reset()
	}
}

// Restore ends Cut, Hang and Slow. Bytes that Hang held back arrive.
func (l *Link) Restore() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("the link is closed")
	}
	if !l.isFlowing() {
		close(l.flowing)
	}
	l.delay = 0
	if l.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		return err
	}
	l.listener = listener
	l.goroutines.Go(func() { l.accept(listener) })
	return nil
}

// Connections is the number of clients that the link has taken to the server.
func (l *Link) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.passages)
}

// Close cuts the link for good and waits for all that it started.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.cut()
	l.mu.Unlock()
	l.goroutines.Wait()
}

// cut and isFlowing need the lock.
func (l *Link) cut() {
	if l.listener != nil {
		_ = l.listener.Close()
		l.listener = nil
	}
	for p := range l.passages {
		p.reset()
	}
}

func (l *Link) isFlowing() bool {
	select {
	case <-l.flowing:
		return true
	default:
		return false
	}
}

func (l *Link) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // the listener was closed
		}
		p := &passage{client: client.(*net.TCPConn), wasReset: make(chan struct{}), wasForgotten: make(chan struct{})}
		if !l.admit(p, listener) {
			p.reset()
			return
		}
		l.goroutines.Go(func() {
			defer l.dismiss(p)
			l.carry(p)
		})
	}
}

// admit refuses a connection that was accepted while the link was being cut.
func (l *Link) admit(p *passage, listener net.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != listener {
		return false
	}
	l.passages[p] = struct{}{}
	return true
}

func (l *Link) dismiss(p *passage) {
	p.reset()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.passages, p)
}

// carry takes bytes in both directions until both ends have finished or one has failed.
func (l *Link) carry(p *passage) {
	fromClient := bufio.NewReader(p.client)
	target, err := l.destination(fromClient, p.client)
	if err != nil {
		return
	}
	conn, err := l.dial(target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	if !p.setServer(server) {
		return
	}
	var upward sync.WaitGroup
	upward.Go(func() { l.copy(p, server, fromClient) })
	l.copy(p, p.client, server)
	upward.Wait()
}

func (l *Link) dial(target string) (net.Conn, error) {
	l.mu.Lock()
	through := l.through
	l.mu.Unlock()
	if through != nil {
		return through.dial(target)
	}
	return net.Dial("tcp", target)
}

// destination reads and answers a CONNECT request, if the client begins with one. TLS begins otherwise.
func (l *Link) destination(fromClient *bufio.Reader, client io.Writer) (string, error) {
	first, err := fromClient.Peek(1)
	if err != nil {
		return "", err
	}
	if first[0] != http.MethodConnect[0] {
		return l.target, nil
	}
	request, err := http.ReadRequest(fromClient)
	if err != nil {
		return "", err
	}
	_, err = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	return request.Host, err
}

// copy is io.Copy that stops to flow when the link does.
func (l *Link) copy(p *passage, to *net.TCPConn, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.awaitFlow(p) {
			return
		}
		if _, writeErr := to.Write(buffer[:n]); writeErr != nil {
			p.reset()
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite()
			return
		case err != nil:
			p.reset()
			return
		}
	}
}

// awaitFlow waits while the link hangs or is slow. It is false if the connection was reset meanwhile.
func (l *Link) awaitFlow(p *passage) bool {
	l.mu.Lock()
	flowing, delay := l.flowing, l.delay
	l.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-p.wasReset:
		}
	}
	select {
	case <-p.wasReset:
		return false
	case <-p.wasForgotten:
		<-p.wasReset
		return false
	default:
	}
	select {
	case <-flowing:
		return true
	case <-p.wasReset:
		return false
	}
}

// passage is one client's connection through a link.
type passage struct {
	client   *net.TCPConn
	wasReset chan struct{}
	// wasForgotten is closed when nothing shall pass any more.
	wasForgotten chan struct{}

	mu     sync.Mutex
	server *net.TCPConn
}

func (p *passage) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.wasForgotten:
	default:
		close(p.wasForgotten)
	}
}

// setServer is false if the passage was reset before.
func (p *passage) setServer(server *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.wasReset:
		_ = server.Close()
		return false
	default:
		p.server = server
		return true
	}
}

// reset closes both ends at once; each sees "connection reset by peer" if it had not finished.
func (p *passage) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.wasReset:
		return
	default:
		close(p.wasReset)
	}
	for _, conn := range []*net.TCPConn{p.client, p.server} {
		if conn != nil {
			_ = conn.SetLinger(0)
			_ = conn.Close()
		}
	}
}
