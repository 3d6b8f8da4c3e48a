package tmc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log" //nolint:depguard // http.Server takes no other logger; it writes to ours
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/klog/v2"
)

const (
	// A client that is slow to say what it wants does not hold a connection.
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 90 * time.Second
	maxHeaderBytes    = 64 << 10
	// serverStopTimeout is how long requests under way may take after the server was told to stop.
	serverStopTimeout = 2 * time.Second
)

// ServePart listens at address at once, so that a port that is taken is an error at start, and returns the part that
// serves there and a function that tells the address (of use with port 0). Name is the part's name and says in errors
// what was configured wrongly: "metrics (--metrics-port)".
//
// Answers may take as long as they like (a CPU profile does) while the part runs; when it is stopped, requests under
// way are given two seconds.
func ServePart(name, address string, handler http.Handler) (Part, func() string, error) {
	return ServeTLSPart(name, address, nil, handler)
}

// ServeTLSPart is ServePart with TLS, unless the config is nil.
func ServeTLSPart(name, address string, config *tls.Config, handler http.Handler) (Part, func() string, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return Part{}, nil, fmt.Errorf("serving %s at %s: %w", name, address, err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	run := func(ctx context.Context) error { return serve(ctx, name, listener, handler) }
	return Part{Name: name, Run: run}, func() string { return listener.Addr().String() }, nil
}

func serve(ctx context.Context, name string, listener net.Listener, handler http.Handler) error {
	return Serve(ctx, name, listener, &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	})
}

// Serve serves at the listener until ctx is done, and returns when nothing runs any more that it started. What the server
// demands of its clients is the caller's to say; what it logs, and the context of its requests, are set here. When it is to
// stop, requests under way are given two seconds, after what the server was given by RegisterOnShutdown has begun.
func Serve(ctx context.Context, name string, listener net.Listener, server *http.Server) error {
	logger := klog.FromContext(ctx).WithValues("server", name)
	server.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	server.ErrorLog = connectionLog(logger)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	logger.Info("Serving", "address", listener.Addr().String())

	select {
	case err := <-served:
		return fmt.Errorf("serving %s at %s: %w", name, listener.Addr(), err)
	case <-ctx.Done():
	}
	stopServer(server)
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stopServer lets requests under way finish, and cuts those that do not.
func stopServer(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), serverStopTimeout)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close() // all it can say is that a connection was broken already
	}
}

// connectionLog is the ErrorLog of an http.Server, which takes no other logger. What it says goes to logger at V(4).
func connectionLog(logger klog.Logger) *log.Logger { return log.New(logWriter(logger), "", 0) }

// logWriter takes what net/http has to say about single connections: clients' mistakes, not ours.
type logWriter klog.Logger

func (w logWriter) Write(line []byte) (int, error) {
	klog.Logger(w).V(4).Info("Serving a connection", "problem", strings.TrimSpace(string(line)))
	return len(line), nil
}
