package tmc

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
	clocktesting "k8s.io/utils/clock/testing"
)

// A certificate that is replaced on disk is served without a restart; one that is being replaced changes nothing.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(file string, content []byte) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(name string) (certificate, key []byte) {
		t.Helper()
		certificate, key, err := cert.GenerateSelfSignedCertKey(name, []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return certificate, key
	}
	clock := clocktesting.NewFakeClock(time.Now())
	if _, err := NewCertificate(certFile, keyFile, clock); err == nil {
		t.Fatal("a certificate that is not there was read")
	}
	certificate, key := issue("one")
	write(certFile, certificate)
	write(keyFile, key)
	served, err := NewCertificate(certFile, keyFile, clock)
	if err != nil {
		t.Fatal(err)
	}
	isFor := func(name string) {
		t.Helper()
		pair, err := served.TLS().GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	isFor("one")
	certificate, key = issue("two")
	write(certFile, certificate)
	clock.Step(certificatePeriod + time.Second)
	isFor("one") // the key is still the old one
	write(keyFile, key)
	isFor("one") // it was looked a moment ago
	clock.Step(certificatePeriod + time.Second)
	isFor("two")
}
