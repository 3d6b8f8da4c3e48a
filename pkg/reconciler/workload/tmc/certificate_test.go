package tmc

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	files := CertificateFiles{Cert: certFile, Key: keyFile, Protocols: []string{"h2"}}
	if _, err := NewCertificate(files, clock); err == nil {
		t.Fatal("a certificate that is not there was read")
	}
	certificate, key := issue("one")
	write(certFile, certificate)
	write(keyFile, key)
	served, err := NewCertificate(files, clock)
	if err != nil {
		t.Fatal(err)
	}
	isFor := func(name string) {
		t.Helper()
		config, err := served.TLS().GetConfigForClient(&tls.ClientHelloInfo{})
		if err != nil || !slices.Equal(config.NextProtos, files.Protocols) {
			t.Fatal(config, err)
		}
		leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
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

	files.ClientCA = filepath.Join(dir, "ca.crt")
	write(files.ClientCA, []byte("none"))
	if _, err := NewCertificate(files, clock); err == nil || !strings.Contains(err.Error(), "it has no certificate") {
		t.Errorf("an authority of clients that is none: %v", err)
	}
	write(files.ClientCA, certificate)
	if served, err = NewCertificate(files, clock); err != nil {
		t.Fatal(err)
	}
	authority := func() *x509.CertPool {
		t.Helper()
		config, err := served.TLS().GetConfigForClient(&tls.ClientHelloInfo{})
		if err != nil || config.ClientAuth != tls.VerifyClientCertIfGiven {
			t.Fatal(config, err)
		}
		return config.ClientCAs
	}
	before := authority()
	another, _ := issue("three")
	write(files.ClientCA, another)
	clock.Step(certificatePeriod + time.Second)
	if authority().Equal(before) {
		t.Error("another authority of clients is not taken up")
	}
}
