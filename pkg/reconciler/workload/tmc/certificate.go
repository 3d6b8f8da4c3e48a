package tmc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// CertificateFiles are the files of a server's certificate.
type CertificateFiles struct {
	Cert, Key string
	// ClientCA verifies the certificates that clients may come with; empty if they come with none.
	ClientCA string
	// Protocols are spoken above TLS, the best first; HTTP/1.1 alone if empty.
	Protocols []string
}

// Certificate is a server's certificate and key as their files have them: who replaces the files needs no restart.
type Certificate struct {
	files CertificateFiles
	clock clock.PassiveClock

	lock    sync.Mutex
	pair    *tls.Certificate
	config  *tls.Config
	content []byte
	looked  time.Time
}

// certificatePeriod is how old what was read may be. The files may be links that are swapped, which tells nobody.
const certificatePeriod = 10 * time.Second

// NewCertificate reads the files; that they cannot be used is an error at start.
func NewCertificate(files CertificateFiles, c clock.PassiveClock) (*Certificate, error) {
	certificate := &Certificate{files: files, clock: c}
	if err := certificate.read(); err != nil {
		return nil, err
	}
	return certificate, nil
}

// TLS is how a server uses it: each new connection gets what the files have then.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: c.files.Protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			_, config := c.current()
			return config, nil
		},
	}
}

// current is what the files have now. Files that do not fit together, as in the middle of being replaced, change nothing.
func (c *Certificate) current() (*tls.Certificate, *tls.Config) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.clock.Since(c.looked) > certificatePeriod {
		before := c.config
		switch err := c.read(); {
		case err != nil: // what was read before goes on to hold
			klog.Background().Error(err, "Keeping the certificate as it was", "file", c.files.Cert)
		case c.config != before:
			klog.Background().Info("Took up a changed certificate", "file", c.files.Cert)
		}
	}
	return c.pair, c.config
}

// Check is a [Check.Run].
func (c *Certificate) Check(context.Context) error {
	pair, _ := c.current()
	return checkCertificate(pair, c.clock.Now())
}

// checkCertificate fails when a server's certificate is not valid, and tells when little of its time is left: a tenth.
func checkCertificate(pair *tls.Certificate, now time.Time) error {
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
	cert, err := os.ReadFile(c.files.Cert)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := os.ReadFile(c.files.Key)
	if err != nil {
		return fmt.Errorf("reading the certificate's key: %w", err)
	}
	var authority []byte
	if c.files.ClientCA != "" {
		if authority, err = os.ReadFile(c.files.ClientCA); err != nil {
			return fmt.Errorf("reading the authority of clients: %w", err)
		}
	}
	content := bytes.Join([][]byte{cert, key, authority}, []byte{0})
	if bytes.Equal(content, c.content) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("reading %s and %s: %w", c.files.Cert, c.files.Key, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: c.files.Protocols}
	if c.files.ClientCA != "" {
		config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(authority) {
			return fmt.Errorf("reading %s: it has no certificate", c.files.ClientCA)
		}
	}
	c.pair, c.config, c.content = &pair, config, content
	return nil
}
