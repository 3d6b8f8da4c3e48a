package tmc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Certificate is a server's certificate and key as their files have them: who replaces the files needs no restart.
type Certificate struct {
	certFile, keyFile string
	clock             clock.PassiveClock

	lock    sync.Mutex
	pair    *tls.Certificate
	content []byte
	looked  time.Time
}

// certificatePeriod is how old what was read may be. The files may be links that are swapped, which tells nobody.
const certificatePeriod = 10 * time.Second

// NewCertificate reads the files; that they cannot be used is an error at start.
func NewCertificate(certFile, keyFile string, c clock.PassiveClock) (*Certificate, error) {
	certificate := &Certificate{certFile: certFile, keyFile: keyFile, clock: c}
	if err := certificate.read(); err != nil {
		return nil, err
	}
	return certificate, nil
}

// TLS is how a server uses it.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil }}
}

// current is what the files have now. Files that do not fit together, as in the middle of being replaced, change nothing.
func (c *Certificate) current() *tls.Certificate {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.clock.Since(c.looked) > certificatePeriod {
		_ = c.read() // what was read before goes on to hold
	}
	return c.pair
}

// Check is a [Check.Run].
func (c *Certificate) Check(context.Context) error {
	return CheckCertificate(c.current(), c.clock.Now())
}

// CheckCertificate fails when a server's certificate is not valid, and tells when little of its time is left: a tenth.
func CheckCertificate(pair *tls.Certificate, now time.Time) error {
	leaf := pair.Leaf
	if leaf == nil { // never for a pair that was read from files
		return errors.New("the certificate was not parsed")
	}
	left := leaf.NotAfter.Sub(now)
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is valid only from %s on", leaf.NotBefore.UTC().Format(time.RFC3339))
	case left <= 0:
		return fmt.Errorf("the certificate has expired at %s; replace its file", leaf.NotAfter.UTC().Format(time.RFC3339))
	case left < leaf.NotAfter.Sub(leaf.NotBefore)/10:
		return Degraded(fmt.Errorf("the certificate expires at %s; replace its file", leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	return nil
}

func (c *Certificate) read() error {
	c.looked = c.clock.Now()
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return fmt.Errorf("reading the certificate's key: %w", err)
	}
	content := bytes.Join([][]byte{cert, key}, []byte{0})
	if bytes.Equal(content, c.content) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("reading %s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.content = &pair, content
	return nil
}
