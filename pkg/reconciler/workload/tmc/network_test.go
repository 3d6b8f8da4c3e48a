package tmc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// TestConnectionErrors has client-go meet every way in which there is no answer.
func TestConnectionErrors(t *testing.T) {
	secured := httptest.NewTLSServer(http.NotFoundHandler())
	defer secured.Close()
	trusted := rest.TLSClientConfig{CAData: pemOf(secured.Certificate().Raw)}

	for name, test := range map[string]struct {
		config  func(*testing.T) *rest.Config
		timeout time.Duration
		cancel  bool
		want    tmc.Category
	}{
		"nobody listens": {
			config: func(t *testing.T) *rest.Config { return &rest.Config{Host: closedAddress(t)} },
			want:   tmc.Unreachable,
		},
		"the name does not resolve": {
			config: func(*testing.T) *rest.Config { return &rest.Config{Host: "https://kcp.invalid:6443"} },
			want:   tmc.Unreachable,
		},
		"the connection is not made in time": {
			config: func(t *testing.T) *rest.Config {
				dialer := &net.Dialer{Timeout: time.Nanosecond}
				return &rest.Config{Host: closedAddress(t), Dial: dialer.DialContext}
			},
			want: tmc.Unreachable,
		},
		"the handshake does not end": {
			config: func(t *testing.T) *rest.Config {
				return &rest.Config{Host: "https://" + listen(t, func(net.Conn) {}), Transport: &http.Transport{TLSHandshakeTimeout: 50 * time.Millisecond}}
			},
			want: tmc.Unreachable,
		},
		"the server hangs up": {
			config: func(t *testing.T) *rest.Config {
				return &rest.Config{Host: "http://" + listen(t, func(c net.Conn) { _ = c.Close() })}
			},
			want: tmc.Network,
		},
		"the server resets": {
			config: func(t *testing.T) *rest.Config {
				return &rest.Config{Host: "http://" + listen(t, func(c net.Conn) {
					_, _ = c.Read(make([]byte, 1))
					_ = c.(*net.TCPConn).SetLinger(0)
					_ = c.Close()
				})}
			},
			want: tmc.Network,
		},
		"the answer breaks off": {
			config: func(t *testing.T) *rest.Config {
				return &rest.Config{Host: "http://" + listen(t, func(c net.Conn) {
					_, _ = c.Read(make([]byte, 1<<12))
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
					_ = c.Close()
				})}
			},
			want: tmc.Network,
		},
		"the server does not answer": {
			config: func(t *testing.T) *rest.Config {
				return &rest.Config{Host: "http://" + listen(t, func(net.Conn) {}), Timeout: 50 * time.Millisecond}
			},
			want: tmc.Timeout,
		},
		"our deadline passes": {
			config:  func(t *testing.T) *rest.Config { return &rest.Config{Host: "http://" + listen(t, func(net.Conn) {})} },
			timeout: 50 * time.Millisecond,
			want:    tmc.Timeout,
		},
		"we give up": {
			config: func(t *testing.T) *rest.Config { return &rest.Config{Host: "http://" + listen(t, func(net.Conn) {})} },
			cancel: true,
			want:   tmc.Canceled,
		},
		"we give up before we start": {
			config: func(t *testing.T) *rest.Config { return &rest.Config{Host: closedAddress(t)} },
			cancel: true, timeout: time.Nanosecond,
			want: tmc.Canceled,
		},
		"the authority is unknown": {
			config: func(*testing.T) *rest.Config { return &rest.Config{Host: secured.URL} },
			want:   tmc.Configuration,
		},
		"the certificate is another host's": {
			config: func(*testing.T) *rest.Config {
				other := trusted
				other.ServerName = "other.test"
				return &rest.Config{Host: secured.URL, TLSClientConfig: other}
			},
			want: tmc.Configuration,
		},
		"the certificate has expired": {
			config: expiredServer,
			want:   tmc.Configuration,
		},
		"the server speaks plain HTTP": {
			config: func(t *testing.T) *rest.Config {
				plain := httptest.NewServer(http.NotFoundHandler())
				t.Cleanup(plain.Close)
				return &rest.Config{Host: "https://" + plain.Listener.Addr().String()}
			},
			want: tmc.Configuration,
		},
		"the server wants a client certificate": {
			config: func(t *testing.T) *rest.Config { return demandingServer(t, nil) },
			want:   tmc.Authentication,
		},
		"the server does not like our client certificate": {
			config: func(t *testing.T) *rest.Config { return demandingServer(t, selfSigned(t)) },
			want:   tmc.Authentication,
		},
		"the token file is missing": {
			config: func(t *testing.T) *rest.Config {
				return &rest.Config{Host: secured.URL, TLSClientConfig: trusted, BearerTokenFile: filepath.Join(t.TempDir(), "absent")}
			},
			want: tmc.Authentication,
		},
		"the address is none": {
			config: func(*testing.T) *rest.Config { return &rest.Config{Host: "https://a b"} },
			want:   tmc.Configuration,
		},
		"the CA file is missing": {
			config: func(t *testing.T) *rest.Config {
				return &rest.Config{Host: secured.URL, TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(t.TempDir(), "absent")}}
			},
			want: tmc.Configuration,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			switch {
			case test.cancel:
				time.AfterFunc(test.timeout+50*time.Millisecond, cancel)
				if test.timeout > 0 {
					cancel()
				}
			case test.timeout > 0:
				ctx, cancel = context.WithTimeout(ctx, test.timeout)
				defer cancel()
			}
			err := getSomething(ctx, test.config(t))
			if got := tmc.CategoryOf(err); got != test.want {
				t.Errorf("got %s, want %s, for %#v: %v", got, test.want, err, err)
			}
		})
	}
}

func getSomething(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// client-go's own retries would only take time here.
	return client.CoreV1().RESTClient().Get().MaxRetries(0).Resource("configmaps").Namespace("default").Name("web").Do(ctx).Error()
}

func TestKubeconfigErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "absent")
	_, notThere := clientcmd.BuildConfigFromFlags("", missing)
	_, wrongContext := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{},
		&clientcmd.ConfigOverrides{CurrentContext: "absent"}).ClientConfig()
	for name, err := range map[string]error{
		"a file that is missing":     notThere,
		"a context that is missing":  wrongContext,
		"no cluster to be inside of": rest.ErrNotInCluster,
	} {
		if got := tmc.CategoryOf(err); got != tmc.Configuration {
			t.Errorf("%s: got %s for %v", name, got, err)
		}
	}
}

// listen has handle called with every connection; they are closed with the test.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			handle(conn)
		}
	}()
	return listener.Addr().String()
}

func closedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return "http://" + listener.Addr().String()
}

// demandingServer takes only client certificates of an authority that nobody knows.
func demandingServer(t *testing.T, certificate *tls.Certificate) *rest.Config {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: pemOf(server.Certificate().Raw)}}
	if certificate != nil {
		key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		config.CertData = pemOf(certificate.Certificate[0])
		config.KeyData = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
	return config
}

// expiredServer has a certificate that was good until an hour ago.
func expiredServer(t *testing.T) *rest.Config {
	t.Helper()
	certificate := signed(t, &x509.Certificate{
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
	})
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: pemOf(certificate.Certificate[0])}}
}

func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	return signed(t, &x509.Certificate{NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// signed is a certificate that has signed itself.
func signed(t *testing.T, template *x509.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.KeyUsage = big.NewInt(1), x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
