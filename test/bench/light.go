package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// lightUpstream serves what a virtual workspace serves, from a kube-apiserver: a proxy takes /clusters/<name> off the path,
// and each object carries its logical cluster as an annotation, as kcp would add it. Writing into it costs a fraction of
// writing into kcp, so that a hundred thousand objects are there within minutes.
type lightUpstream struct {
	cluster *env.Cluster
	objects dynamic.Interface
	proxy   *httptest.Server
}

func (b *bench) lightOne(ctx context.Context) (*lightUpstream, error) {
	if b.light != nil {
		return b.light, nil
	}
	cluster, err := b.env.StartCluster(ctx, "light", env.WithNodes(1))
	if err != nil {
		return nil, err
	}
	l := &lightUpstream{cluster: cluster}
	if l.objects, err = unlimited(cluster.AdminConfig()); err != nil {
		return nil, err
	}
	if l.proxy, err = withoutClusters(cluster.AdminConfig()); err != nil {
		return nil, err
	}
	b.light = l
	return l, nil
}

// withoutClusters passes requests on with the admin's credentials.
func withoutClusters(to *rest.Config) (*httptest.Server, error) {
	target, err := url.Parse(to.Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(to)
	if err != nil {
		return nil, err
	}
	server := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Authorization")
			if _, rest, found := strings.Cut(strings.TrimPrefix(r.In.URL.Path, "/clusters/"), "/"); found {
				r.Out.URL.Path = "/" + rest
			}
		},
		Transport: transport, FlushInterval: -1, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	server.EnableHTTP2 = true
	server.StartTLS()
	return server, nil
}

// trusting is a config for kcp that trusts the proxy too.
func (l *lightUpstream) trusting(kcp *rest.Config) *rest.Config {
	proxys := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.proxy.Certificate().Raw})
	kcp.CAData = append(append([]byte{}, kcp.CAData...), proxys...)
	return kcp
}

// lightTenant is a tenant whose objects are in the light upstream, spread over as many logical clusters with a namespace
// each.
type lightTenant struct {
	*tenant
	light  *lightUpstream
	spread int
	filled int
}

func (b *bench) newLightTenant(ctx context.Context, name string, spread int) (*lightTenant, error) {
	l, err := b.lightOne(ctx)
	if err != nil {
		return nil, err
	}
	t, err := b.newTenant(ctx, name, 1)
	if err != nil {
		return nil, err
	}
	t.flags = []string{"--feed=assigned", "--feed-urls=" + l.proxy.URL, "--resource-filters=configmaps"}
	lt := &lightTenant{tenant: t, light: l, spread: spread}
	for i := range spread {
		if err := createNamespace(ctx, l.objects, lt.place(i)); err != nil {
			return nil, err
		}
	}
	return lt, nil
}

// place is both the logical cluster and the namespace of an object.
func (t *lightTenant) place(i int) string { return fmt.Sprintf("%s-%d", t.name, i%t.spread) }

// fillTo creates objects until there are as many.
func (t *lightTenant) fillTo(ctx context.Context, count int) error {
	start := t.filled
	_, err := load{resource: configMaps, count: count - start, workers: 32, object: func(i int) (dynamic.Interface, *unstructured.Unstructured) {
		u := configMap(t.place(i), fmt.Sprintf("object-%d", start+i))
		u.SetAnnotations(map[string]string{logicalcluster.AnnotationKey: t.place(i)})
		t.assigned(u)
		t.claimed(u)
		return t.light.objects, u
	}}.create(ctx)
	t.filled = count
	return err
}

// jsonSize is how long the JSON of one object is on each side, without managed fields.
func (b *bench) jsonSize(ctx context.Context, t *lightTenant) (up, down int, err error) {
	if up, err = sizeOfOne(ctx, t.light.objects, metav1.ListOptions{LabelSelector: labelOf(t.tenant), Limit: 1}); err != nil {
		return 0, 0, err
	}
	down, err = sizeOfOne(ctx, b.down, metav1.ListOptions{LabelSelector: t.copies(), Limit: 1})
	return up, down, err
}

func labelOf(t *tenant) string {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	t.assigned(u)
	return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: u.GetLabels()})
}

func sizeOfOne(ctx context.Context, side dynamic.Interface, options metav1.ListOptions) (int, error) {
	list, err := side.Resource(configMaps).List(ctx, options)
	if err != nil {
		return 0, err
	}
	for _, u := range list.Items {
		u.SetManagedFields(nil)
		raw, err := json.Marshal(u.Object)
		return len(raw), err
	}
	return 0, fmt.Errorf("there is none that matches %s", options.LabelSelector)
}
