package fleet

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// careless is a proxy on the way to kcp, for all of its addresses, that does to requests what the test says: it ends their TLS.
type careless struct {
	*httptest.Server
	ca []byte

	lock     sync.Mutex
	meddle   func(http.ResponseWriter, *http.Request) (answered bool)
	refusing bool
	conns    map[net.Conn]struct{}
}

func newCareless(t *testing.T, p *harness.Provider) *careless {
	t.Helper()
	certificate := harness.Must(p.Env.NewServerCertificate("careless"))(t)
	pair := harness.Must(tls.LoadX509KeyPair(certificate.CertFile, certificate.KeyFile))(t)
	c := &careless{ca: certificate.CA, conns: map[net.Conn]struct{}{}}
	handedOver := make(chan net.Conn)
	inner := &http.Server{Handler: c.toKCP(t, p), TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}} //nolint:gosec // only the test's own programs come
	closed := make(chan struct{})
	go func() { _ = inner.ServeTLS(&handed{handedOver, closed}, "", "") }()
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil || r.Method != http.MethodConnect || !c.admit(conn) {
			_ = conn.Close()
			return
		}
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		select {
		case handedOver <- conn:
		case <-closed:
		}
	}))
	t.Cleanup(func() { c.cut(); close(closed); _ = inner.Close(); c.Close() })
	return c
}

// handed is a listener for connections that somebody else has accepted.
type handed struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error   { return nil }
func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

func (c *careless) toKCP(t *testing.T, p *harness.Provider) http.Handler {
	t.Helper()
	admin := p.KCP.AdminConfig()
	trusting := harness.Must(rest.TLSConfigFor(&rest.Config{Host: admin.Host, TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData, CAFile: admin.CAFile}}))(t)
	kcp := harness.Must(url.Parse(admin.Host))(t)
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "https", kcp.Host },
		Transport:     &http.Transport{TLSClientConfig: trusting, ForceAttemptHTTP2: true},
		FlushInterval: -1, // watches
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.lock.Lock()
		meddle := c.meddle
		c.lock.Unlock()
		if meddle == nil || !meddle(w, r) {
			proxy.ServeHTTP(w, r)
		}
	})
}

func (c *careless) admit(conn net.Conn) bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.refusing {
		return false
	}
	c.conns[conn] = struct{}{}
	return true
}

// do has requests meddled with from now on, nil for not. All connections end, so that watches meet it too.
func (c *careless) do(meddle func(http.ResponseWriter, *http.Request) bool) { c.change(meddle, false) }

// cut ends all connections and takes no other.
func (c *careless) cut() { c.change(nil, true) }

func (c *careless) change(meddle func(http.ResponseWriter, *http.Request) bool, refusing bool) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.meddle, c.refusing = meddle, refusing
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
}

// config is that of a client which comes this way.
func (c *careless) config(of *rest.Config) *rest.Config {
	of = rest.CopyConfig(of)
	of.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: strings.TrimPrefix(c.URL, "http://")})
	of.CAData, of.CAFile = c.ca, ""
	return of
}

// hang lets no request be answered until release is called.
func (c *careless) hang() (release func()) {
	over := make(chan struct{})
	c.do(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-over:
		case <-r.Context().Done():
		}
		return false
	})
	return func() { close(over); c.do(nil) }
}

func refuseLists(resource string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/"+resource) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
			Message: "injected by the test",
		})
		return true
	}
}

// refusePatches has writes fail in a way that is tried again.
func refusePatches(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPatch {
		return false
	}
	http.Error(w, "injected by the test", http.StatusServiceUnavailable)
	return true
}

// loseSelectors has kcp show everything.
func loseSelectors(_ http.ResponseWriter, r *http.Request) bool {
	query := r.URL.Query()
	query.Del("labelSelector")
	r.URL.RawQuery = query.Encode()
	return false
}

// syncerAccount may serve the targets of the workspace through their views, and nothing else. It trusts this authority beside
// kcp's.
func syncerAccount(t *testing.T, targets *harness.Workspace, ca []byte) *rest.Config {
	t.Helper()
	p := targets.Provider
	account := harness.Must(p.KCP.ServiceAccount(t.Context(), targets.Path, env.ServiceAccount{Namespace: "default", Name: "syncer", Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, Verbs: []string{"get", "list", "watch", "sync"}},
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets/status"}, Verbs: []string{"patch"}},
		{APIGroups: []string{"apiresource.kcp.io"}, Resources: []string{"apiresourceimports"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"}},
	}}))(t)
	account.Host = p.KCP.AdminConfig().Host
	kcp := account.CAData
	if account.CAFile != "" {
		kcp = harness.Must(os.ReadFile(account.CAFile))(t)
	}
	account.CAData, account.CAFile = bytes.Join([][]byte{kcp, ca}, []byte("\n")), ""
	return account
}

// viewFlags have the manager serve the virtual workspaces.
func viewFlags(t *testing.T, p *harness.Provider) (flags []string, address string, ca []byte) {
	t.Helper()
	listener := harness.Must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	address = listener.Addr().String()
	_ = listener.Close()
	certificate := harness.Must(p.Env.NewServerCertificate("views"))(t)
	_, port, _ := net.SplitHostPort(address)
	return []string{
		"--virtual-workspace-port=" + port, "--virtual-workspace-url=https://" + address,
		"--virtual-workspace-cert-file=" + certificate.CertFile, "--virtual-workspace-key-file=" + certificate.KeyFile,
	}, address, certificate.CA
}

// Every documented metric of the manager and its virtual workspaces is seen to change while what it tells of happens, and none is
// exposed that is not documented.
func TestA51EveryDocumentedMetricOfTheManagerChanges(t *testing.T) {
	t.Parallel()
	p := harness.NewProvider(t)
	targets := p.NewTargetWorkspace(t)
	way := newCareless(t, p)
	account := harness.Must(p.Env.Kubeconfig(way.config(p.ManagerAccount(t))))(t)
	views, address, ca := viewFlags(t, p)
	file := harness.NewConfigFile(t, "ManagerConfiguration")
	m := harness.Start(t, p.Env, p.ManagerCommand(t, append(append(webhookFlags(t), views...),
		"--kcp-kubeconfig="+account, "--config="+file.Path, "--heartbeat-grace=3s", "--assignment-workers=1")...))
	seen := m.Observe()
	m.AwaitReady()
	m.Follows(file)
	one := targets.NewTarget("one", east, "", "")
	team := p.NewTenant(t) // the third export is bound only now
	place(team, targets, "")
	command := one.SyncerCommand("--kcp-kubeconfig=" + harness.Must(p.Env.Kubeconfig(syncerAccount(t, targets, ca)))(t))
	command.Args = without(command.Args, "--feed-urls") // it finds the virtual workspace by its SyncTarget
	syncer := harness.Start(t, p.Env, command)
	syncer.AwaitReady()
	team.Create(harness.Deployment("web", "front", 1))
	team.Eventually(deploymentKind, "web", "front", harness.Has(1, "status", "availableReplicas"))

	metric := func(name string, labels ...string) {
		t.Helper()
		harness.Eventually(t, func() error {
			if harness.Sum(m.Scrape(), name, labels...) == 0 {
				return fmt.Errorf("%s %v is 0", name, labels)
			}
			return nil
		})
	}
	tries := 0 // the webhook; kcp learns of it in its own time
	harness.Eventually(t, func() error {
		tries++
		return onlyOn(one)(team.Create(service(fmt.Sprint("try-", tries))))
	})
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: harness.Must(rest.TLSConfigFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}}))(t)}}
	if answer, err := stranger.Get("https://" + address + "/services/syncer/x/clusters/*/api/v1/configmaps"); err == nil {
		_ = answer.Body.Close()
	}
	metric("workload_virtual_workspace_denials_total")

	team.Create(fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: astray, namespace: web, labels: {%s: Sync}}}`, // on a target that nobody has
		workloadv1alpha1.StateLabel(workloadv1alpha1.SyncTargetKey("nowhere", "none"))))
	metric("workload_manager_unseen_sync_targets")

	way.do(loseSelectors) // kcp shows what is not the target's
	team.Create(strings.Replace(configMapObject("unassigned"), "true", "never", 1))
	metric("workload_virtual_workspace_hidden_objects_total")

	way.do(refuseLists("placements"))
	metric("workload_manager_resource_degraded", "resource=placements")
	way.do(refusePatches)
	team.Create(configMapObject("retried"))
	metric("workload_manager_retries_total")
	release := way.hang()
	team.Create(configMapObject("late"))
	metric("workqueue_longest_running_processor_seconds")
	release()
	way.cut()
	metric("recovery_circuit_probes_total", "result=unanswered")
	way.do(nil)
	team.Eventually("ConfigMap", "web", "late", onlyOn(one))
	m.AwaitReady()
	syncer.Kill() // and its target falls silent
	metric("workload_manager_sync_targets", "state=silent")
	seen.NamesNone("retried", "late", string(team.Cluster), string(targets.Cluster), team.Path.Base(), one.Key)
	seen.Changed(filepath.Join("..", "..", "..", "docs", "reference", "metrics.md"), "workload-manager")
}
