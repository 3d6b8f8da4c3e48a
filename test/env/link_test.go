package env

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"k8s.io/client-go/rest"
)

// newEchoLink returns a link to a server that says every line back.
func newEchoLink(t *testing.T) *Link {
	t.Helper()
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	link, err := e.newLink(server.Addr().String(), false)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func dial(t *testing.T, link *Link) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", link.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// echo sends a line and waits for it to come back.
func echo(conn net.Conn, line string, timeout time.Duration) error {
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return err
	}
	return hear(conn, line, timeout)
}

func hear(conn net.Conn, line string, timeout time.Duration) error {
	_ = conn.SetReadDeadline(time.Now().Add(timeout))
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("heard %q", got)
	}
	return err
}

const (
	soon  = 5 * time.Second
	never = 100 * time.Millisecond // to see that nothing comes
)

func TestLinkCarriesBothWays(t *testing.T) {
	link := newEchoLink(t)
	conn := dial(t, link)
	if err := echo(conn, "hello", soon); err != nil {
		t.Fatal(err)
	}
	if got := link.Connections(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
	// The end of one direction is passed on and leaves the other open.
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	Eventually(t, soon, func() error {
		if got := link.Connections(); got != 0 {
			return fmt.Errorf("%d connections", got)
		}
		return nil
	})
}

func TestLinkCut(t *testing.T) {
	link := newEchoLink(t)
	conn := dial(t, link)
	if err := echo(conn, "hello", soon); err != nil {
		t.Fatal(err)
	}
	link.Cut()
	if err := hear(conn, "", soon); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection: %v, want a reset", err)
	}
	if _, err := net.Dial("tcp", link.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v, want it refused", err)
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	if err := echo(dial(t, link), "again", soon); err != nil {
		t.Errorf("after Restore: %v", err)
	}
}

func TestLinkHang(t *testing.T) {
	link := newEchoLink(t)
	before := dial(t, link)
	if err := echo(before, "hello", soon); err != nil {
		t.Fatal(err)
	}
	link.Hang()
	conns := map[string]net.Conn{"before": before, "new": dial(t, link)}
	for name, conn := range conns {
		if err := echo(conn, name, never); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %s: %v, want silence", name, err)
		}
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	for name, conn := range conns {
		if err := hear(conn, name, soon); err != nil {
			t.Errorf("connection %s after Restore: %v", name, err)
		}
	}
}

func TestLinkCutWhileHanging(t *testing.T) {
	link := newEchoLink(t)
	conn := dial(t, link)
	link.Hang()
	if err := echo(conn, "hello", never); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v, want silence", err)
	}
	link.Cut()
	if err := hear(conn, "", soon); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

func TestLinkAsProxy(t *testing.T) {
	link := newEchoLink(t)
	other := newEchoLink(t)
	conn := dial(t, link)
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", other.Addr(), other.Addr())
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, int64(len("HTTP/1.1 200 Connection established\r\n\r\n")))), nil)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", response, err)
	}
	_ = response.Body.Close()
	if err := echo(conn, "hello", soon); err != nil {
		t.Fatal(err)
	}
	if got := other.Connections(); got != 1 {
		t.Errorf("the host that CONNECT named has %d connections, want 1", got)
	}
}

func TestLinkCloses(t *testing.T) {
	link := newEchoLink(t)
	running := goleak.IgnoreCurrent()
	conn := dial(t, link)
	link.Hang()
	_ = echo(conn, "hello", never)
	link.Close()
	if err := link.Restore(); err == nil {
		t.Error("a closed link was restored")
	}
	_ = conn.Close()
	goleak.VerifyNone(t, running, goleak.IgnoreTopFunction("net.(*netFD).accept"))
}

func TestLinkConfig(t *testing.T) {
	config := &rest.Config{Host: "https://127.0.0.1:6443/clusters/root", BearerToken: "t"}
	direct := (&Link{addr: "127.0.0.1:1"}).Config(config)
	if direct.Host != "https://127.0.0.1:1/clusters/root" || direct.BearerToken != "t" || direct.Proxy != nil {
		t.Errorf("config %v", direct)
	}
	proxied := (&Link{addr: "127.0.0.1:1", asProxy: true}).Config(config)
	proxy, err := proxied.Proxy(&http.Request{})
	if err != nil || proxy.String() != "http://127.0.0.1:1" || proxied.Host != config.Host {
		t.Errorf("config %v with proxy %v, %v", proxied, proxy, err)
	}
}

func TestLinkSlow(t *testing.T) {
	link := newEchoLink(t)
	conn := dial(t, link)
	link.Slow(2 * never)
	if err := echo(conn, "hello", never); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want it to take longer", err)
	}
	if err := hear(conn, "hello", soon); err != nil {
		t.Errorf("it never came: %v", err)
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := echo(conn, "again", soon); err != nil {
		t.Errorf("after Restore: %v", err)
	}
	if took := time.Since(began); took > 2*never {
		t.Errorf("after Restore it took %s", took)
	}
}

func TestLinkForgets(t *testing.T) {
	link := newEchoLink(t)
	before := dial(t, link)
	if err := echo(before, "hello", soon); err != nil {
		t.Fatal(err)
	}
	link.Forget()
	if err := echo(before, "before", never); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a forgotten connection: %v, want silence", err)
	}
	if err := echo(dial(t, link), "new", soon); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	link.Cut()
	if err := hear(before, "", soon); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a forgotten connection after Cut: %v, want a reset", err)
	}
}
