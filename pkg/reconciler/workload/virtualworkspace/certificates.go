package virtualworkspace

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// certificates are the server's own and those that clients' are verified with, as the files have them.
type certificates struct {
	certFile, keyFile, clientCAFile string
	clock                           clock.WithTicker
	current                         atomic.Pointer[tls.Config]
	content                         []byte
}

// certificatesPeriod is how often the files are read. They may be links that are swapped, which tells nobody.
const certificatesPeriod = 10 * time.Second

func newCertificates(certFile, keyFile, clientCAFile string, c clock.WithTicker) (*certificates, error) {
	all := &certificates{certFile: certFile, keyFile: keyFile, clientCAFile: clientCAFile, clock: c}
	if err := all.read(); err != nil {
		return nil, err
	}
	return all, nil
}

// read takes the files up if they have changed. Files that do not fit together, as in the middle of being replaced, leave
// everything as it was.
func (c *certificates) read() error {
	cert, certErr := os.ReadFile(c.certFile)
	key, keyErr := os.ReadFile(c.keyFile)
	var clientCA []byte
	var caErr error
	if c.clientCAFile != "" {
		clientCA, caErr = os.ReadFile(c.clientCAFile)
	}
	if err := errors.Join(certErr, keyErr, caErr); err != nil {
		return fmt.Errorf("reading the certificates of the virtual workspace server: %w", err)
	}
	content := bytes.Join([][]byte{cert, key, clientCA}, []byte{0})
	if bytes.Equal(content, c.content) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("reading %s and %s: %w", c.certFile, c.keyFile, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if c.clientCAFile != "" {
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(clientCA) {
			return fmt.Errorf("reading %s: it has no certificate", c.clientCAFile)
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	c.content = content
	c.current.Store(config)
	return nil
}

// config gives each new connection what the files have now.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
	}
}

func (c *certificates) run(ctx context.Context) { every(ctx, c.clock, certificatesPeriod, c.refresh) }

func (c *certificates) refresh(ctx context.Context) {
	before := c.current.Load()
	err := c.read()
	switch {
	case err != nil:
		klog.FromContext(ctx).Error(err, "Keeping the certificates as they were")
	case c.current.Load() != before:
		klog.FromContext(ctx).Info("Took up changed certificates")
	}
}
