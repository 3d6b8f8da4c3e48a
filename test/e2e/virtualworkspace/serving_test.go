package virtualworkspace

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// The certificate is taken up from disk while connections stay; users come with certificates of their own as well.
func TestA43Certificates(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	serial := func() string {
		dialer := &tls.Dialer{Config: must(rest.TLSConfigFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: s.w.cert.CA}}))(t)}
		connection := must(dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.w.address, "https://")))(t)
		defer connection.Close()
		return connection.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	if err := s.w.cert.Renew(); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, soon, func() error {
		if serial() == before {
			return fmt.Errorf("the certificate is the old one")
		}
		return nil
	})

	// Users of kcp need access to a workspace, whatever else they may do in it.
	s.home.create(clusterRoles, `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: ann}, rules: [
	  {nonResourceURLs: [/], verbs: [access]}, {apiGroups: [workload.kcp.io], resources: [synctargets], resourceNames: [east], verbs: [sync]}]}`)
	s.home.create(clusterRoleBindings, `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: ann}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ann}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}]}`)
	for user, code := range map[string]int{"ann": 200, "bob": 403} {
		cert, key, err := s.w.cert.Client(user)
		if err != nil {
			t.Fatal(err)
		}
		config := must(rest.TLSConfigFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: s.w.cert.CA, CertData: cert, KeyData: key}}))(t)
		c := &client{t: t, http: &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}}
		env.Eventually(t, soon, func() error {
			if r := c.get(s.east.url("syncer") + "*/api/v1/secrets"); r.code != code {
				return fmt.Errorf("%s is answered %d %s", user, r.code, r.body)
			}
			return nil
		})
	}
}

// What one target takes is bounded, long lists are compressed, and all of it is counted.
func TestA53Limits(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	target := s.home.newTarget("greedy")
	c := target.client(t)
	long := s.w.newWorkspace(t, "long")
	for i := range 20 {
		long.create(configMaps, fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: c%d, namespace: default, labels: %s}, data: {text: %s}}`, i, labels(target), strings.Repeat("x", 10<<10)))
	}
	lists := target.url("syncer") + "*/api/v1/configmaps"
	env.Eventually(t, soon, func() error {
		response := c.open(t.Context(), http.MethodGet, lists, "", "", "Accept-Encoding", "gzip")
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Encoding") != "gzip" || response.ProtoMajor != 2 {
			return fmt.Errorf("a long list is answered %s %s %v", response.Proto, response.Status, response.Header)
		}
		return nil
	})
	if r := c.get(lists); len(r.names()) != 20 { // the library decompresses
		t.Errorf("the list has %v", r.names())
	}
	if r := s.w.oldClient(t, c.token).do(http.MethodGet, lists, "", "", "X-Large", strings.Repeat("x", 64<<10)); r.code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large headers are answered %d", r.code)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range maxWatches {
		c.follow(ctx, lists+"?watch=true")
	}
	if open := s.w.metric(t, `workload_virtual_workspace_open_watches{view="syncer"}`); open < maxWatches {
		t.Errorf("%v watches are counted", open)
	}
	if r := c.get(lists + "?watch=true"); r.code != http.StatusTooManyRequests {
		t.Errorf("one watch too many is answered %d %s", r.code, r.body)
	}
	stop()
	env.Eventually(t, soon, func() error {
		if r := c.get(lists + "?watch=true&timeoutSeconds=1"); r.code != 200 {
			return fmt.Errorf("after the others have ended, a watch is answered %d", r.code)
		}
		return nil
	})
	c.get(target.url("syncer") + "nonexistent/api/v1/secrets")
	for _, metric := range []string{
		`workload_virtual_workspace_requests_total{code="200",resource="configmaps",verb="list",view="syncer"}`,
		`workload_virtual_workspace_requests_total{code="200",resource="configmaps",verb="watch",view="syncer"}`,
		`workload_virtual_workspace_denials_total{reason="Limit",view="syncer"}`,
		`workload_virtual_workspace_denials_total{reason="NotAssigned",view="syncer"}`,
		`workload_virtual_workspace_request_duration_seconds_count{verb="list",view="syncer"}`,
		`workload_virtual_workspace_added_seconds_count{verb="list",view="syncer"}`,
		`workload_virtual_workspace_reviews_total{question="authentication",result="yes"}`,
		`workload_virtual_workspace_reviews_total{question="synctarget",result="yes"}`,
	} {
		if s.w.metric(t, metric) == 0 {
			t.Errorf("%s is 0", metric)
		}
	}
	if hidden := s.w.metric(t, "workload_virtual_workspace_hidden_objects_total"); hidden != 0 {
		t.Errorf("kcp returned %v objects that were not selected", hidden)
	}
}

// Any replica answers any request; one that is told to stop ends its watches and is gone.
func TestA07Replicas(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	second := *s.w
	second.address, second.metrics = "", ""
	second.startServer(t, "--virtual-workspace-max-requests=1")
	own := *s.east
	home := *s.home
	home.w = &second
	own.ws = &home
	c := s.east.client(t)
	s.tenant.add("web", "replicated", labels(s.east), "shown")
	object := string(s.tenant.Cluster) + "/apis/apps/v1/namespaces/web/deployments/replicated"
	for i, url := range []string{s.east.url("syncer"), own.url("syncer"), s.east.url("syncer")} {
		if r := c.do("PATCH", url+object+"/status", "application/json-patch+json", fmt.Sprintf(`[{"op":"add","path":"/status","value":{"replicas":%d}}]`, i)); r.code != 200 {
			t.Fatalf("a status is answered %d %s", r.code, r.body)
		}
	}
	s.crowd(t, c, own.url("syncer"))
	events := c.follow(t.Context(), own.url("syncer")+"*/apis/apps/v1/deployments?watch=true")
	began := time.Now()
	second.server.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if code := must(second.server.Wait(ctx))(t); code != 0 {
		t.Errorf("it exits with %d:\n%s", code, second.server.Tail(20))
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	ended(t, events)
}

// crowd sends many requests at once to a server that lets a target have one under way: one too many is told to come back, and when;
// a watch is none of them.
func (s *stage) crowd(t *testing.T, c *client, url string) {
	t.Helper()
	env.Eventually(t, soon, func() error {
		var group errgroup.Group
		var turnedAway, served atomic.Int32
		for range 30 {
			group.Go(func() error {
				response := c.open(t.Context(), http.MethodGet, url+"*/api/v1/secrets", "", "")
				defer response.Body.Close()
				switch {
				case response.StatusCode == http.StatusOK:
					served.Add(1)
				case response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") == "1":
					turnedAway.Add(1)
				default:
					return fmt.Errorf("a request is answered %s, Retry-After %q", response.Status, response.Header.Get("Retry-After"))
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil || served.Load() == 0 || turnedAway.Load() == 0 {
			return errors.Join(fmt.Errorf("%d are served, %d turned away", served.Load(), turnedAway.Load()), err)
		}
		return nil
	})
	if r := c.get(url + "*/api/v1/secrets?watch=true&timeoutSeconds=1"); r.code != http.StatusOK {
		t.Errorf("a watch is answered %d %s", r.code, r.body)
	}
}

// The command tells all that is wrong at once.
func TestMistakes(t *testing.T) {
	t.Parallel()
	w := shared(t)
	binary := must(w.env.Build(t.Context(), "./cmd/workload-manager"))(t)
	p := must(w.env.Start(t.Context(), env.Command{Name: "mistakes", Path: binary, Args: []string{
		"virtual-workspace", "--kcp-kubeconfig=" + must(w.env.Kubeconfig(w.kcp.AdminConfig()))(t), "--virtual-workspace-cert-file=missing",
		"--virtual-workspace-max-watches=0", "--virtual-workspace-max-requests=0", "--upsync-resources=Pods", "--virtual-workspace-port=70000",
	}}))(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if code := must(p.Wait(ctx))(t); code != 2 {
		t.Errorf("it exits with %d", code)
	}
	for _, flag := range []string{"cert-file", "key-file", "max-watches", "max-requests", "port"} {
		if !bytes.Contains([]byte(p.Output()), []byte("--virtual-workspace-"+flag)) {
			t.Errorf("nothing is said about --virtual-workspace-%s:\n%s", flag, p.Output())
		}
	}
	if !strings.Contains(p.Output(), "--upsync-resources") {
		t.Errorf("nothing is said about --upsync-resources:\n%s", p.Output())
	}
}
