package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// views is a virtual workspace server, beside the APIExport's URL that is behind it. The process is asked like a syncer's.
type views struct {
	server *syncer
	// raw and shown end with /clusters/; each has a client with the credentials that it takes.
	raw, shown             string
	rawClient, shownClient *http.Client
	selector               string
}

// idleWatches are how many watches the memory is taken for.
const idleWatches = 1000

// measureViews compares what a target reads and writes through its virtual workspace with the same through the APIExport's.
func (b *bench) measureViews(ctx context.Context) error {
	t, err := b.newTenant(ctx, "views", 1)
	if err != nil {
		return err
	}
	if err := b.assignMany(ctx, t, configMaps, b.objects); err != nil {
		return err
	}
	if err := b.assignMany(ctx, t, deployments, b.singles); err != nil {
		return err
	}
	v, err := b.startViews(ctx, t)
	if err != nil {
		return err
	}
	for _, measure := range []func(context.Context, *tenant, *views) error{b.compareLists, b.compareEvents, b.compareStatuses, b.weighWatches} {
		if err := measure(ctx, t, v); err != nil {
			return fmt.Errorf("%w\nthe end of the server's log:\n%s", err, v.server.process.Tail(20))
		}
	}
	return v.server.stop(ctx)
}

func (b *bench) assignMany(ctx context.Context, t *tenant, resource schema.GroupVersionResource, count int) error {
	of := objectOf(resource)
	_, err := load{resource: resource, count: count, workers: 16, object: func(i int) (dynamic.Interface, *unstructured.Unstructured) {
		u := of(namespace, fmt.Sprintf("object-%d", i))
		t.assigned(u)
		return t.home(), u
	}}.create(ctx)
	return err
}

var servingViews = regexp.MustCompile(`"Serving" server="virtual-workspace" address="([^"]+)"`)

func (b *bench) startViews(ctx context.Context, t *tenant) (*views, error) {
	export, err := b.virtualWorkspace(ctx)
	if err != nil {
		return nil, err
	}
	binary, err := b.env.Build(ctx, "./cmd/workload-manager")
	if err != nil {
		return nil, err
	}
	cert, err := b.env.NewServerCertificate("views")
	if err != nil {
		return nil, err
	}
	kubeconfig, err := b.env.Kubeconfig(b.kcp.AdminConfig())
	if err != nil {
		return nil, err
	}
	v := &views{server: &syncer{began: time.Now()}, raw: export + "/clusters/", selector: url.QueryEscape(workloadv1alpha1.StateLabel(t.key) + "=" + string(workloadv1alpha1.StateSync))}
	v.server.process, err = b.env.Start(ctx, env.Command{Name: "views", Path: binary, Args: []string{
		"virtual-workspace", "--kcp-kubeconfig=" + kubeconfig, "--provider-workspace=" + provider.String(), "--bind-address=127.0.0.1",
		"--metrics-port=0", "--health-port=0", "--virtual-workspace-port=0", "--enable-profiling",
		"--virtual-workspace-cert-file=" + cert.CertFile, "--virtual-workspace-key-file=" + cert.KeyFile,
		fmt.Sprintf("--virtual-workspace-max-watches=%d", 2*idleWatches),
	}})
	if err != nil {
		return nil, err
	}
	if v.rawClient, err = rest.HTTPClientFor(b.kcp.AdminConfig()); err != nil {
		return nil, err
	}
	if err := v.reach(ctx, b, t, export, cert); err != nil {
		return nil, err
	}
	return v, nil
}

// reach waits until the target's view can be read.
func (v *views) reach(ctx context.Context, b *bench, t *tenant, export string, cert *env.ServerCertificate) error {
	account, err := b.kcp.ServiceAccount(ctx, t.workspaces[0].Path, env.ServiceAccount{Namespace: "default", Name: "views", Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, ResourceNames: []string{t.name}, Verbs: []string{"sync"},
	}}})
	if err != nil {
		return err
	}
	account.CAData = cert.CA
	if v.shownClient, err = rest.HTTPClientFor(account); err != nil {
		return err
	}
	return env.Poll(ctx, func(ctx context.Context) error {
		found := servingViews.FindStringSubmatch(v.server.process.Output())
		if found == nil {
			return fmt.Errorf("the server does not serve")
		}
		all := workloadv1alpha1.VirtualWorkspacesOf("https://"+found[1], []string{export}, string(t.workspaces[0].Cluster), t.name, t.target.GetUID())
		v.shown = all[0].SyncerURL + "/clusters/"
		_, err := v.list(ctx, v.shownClient, v.shown)
		return err
	})
}

// list reads the whole list and says how long that took.
func (v *views) list(ctx context.Context, client *http.Client, base string) (time.Duration, error) {
	began := time.Now()
	response, err := v.get(ctx, client, base+"*/api/v1/configmaps?labelSelector="+v.selector)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return time.Since(began), err
}

func (v *views) get(ctx context.Context, client *http.Client, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer func() { _ = response.Body.Close() }()
		said, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("%s is answered %s: %s", address, response.Status, said)
	}
	return response, nil
}

func (b *bench) compareLists(ctx context.Context, _ *tenant, v *views) error {
	var raw, shown []float64
	for range 9 { // one after the other, so that both have the same neighbors
		direct, err := v.list(ctx, v.rawClient, v.raw)
		if err != nil {
			return err
		}
		through, err := v.list(ctx, v.shownClient, v.shown)
		if err != nil {
			return err
		}
		raw, shown = append(raw, direct.Seconds()*1000), append(shown, through.Seconds()*1000)
	}
	b.add(fmt.Sprintf("list of %d through the APIExport's URL: median of 9", b.objects), quantile(raw, .5), "ms")
	b.add("the same through the target's view", quantile(shown, .5), "ms")
	b.judge("ratio of the two", quantile(shown, .5)/quantile(raw, .5), "", atMost(1.2))
	return nil
}

// follow notes when each change of an annotation arrives.
func (v *views) follow(ctx context.Context, client *http.Client, base, from string) (func(mark string) (time.Time, error), error) {
	//nolint:bodyclose // closed when the watch ends
	response, err := v.get(ctx, client, base+"*/api/v1/configmaps?watch=true&labelSelector="+v.selector+"&resourceVersion="+from)
	if err != nil {
		return nil, err
	}
	type arrival struct {
		mark string
		at   time.Time
	}
	arrivals := make(chan arrival, 1000)
	go func() { // ends with the context
		defer func() { _ = response.Body.Close() }()
		for lines := bufio.NewReaderSize(response.Body, 1<<20); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			at := time.Now()
			var event metav1.WatchEvent
			var about metav1.PartialObjectMetadata
			if json.Unmarshal(line, &event) == nil && json.Unmarshal(event.Object.Raw, &about) == nil {
				arrivals <- arrival{about.Annotations["mark"], at}
			}
		}
	}()
	return func(mark string) (time.Time, error) {
		for {
			select {
			case <-ctx.Done():
				return time.Time{}, ctx.Err()
			case <-time.After(patience):
				return time.Time{}, fmt.Errorf("the change %s did not arrive", mark)
			case a := <-arrivals:
				if a.mark == mark {
					return a.at, nil
				}
			}
		}
	}, nil
}

func (b *bench) compareEvents(ctx context.Context, t *tenant, v *views) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	list, err := t.home().Resource(configMaps).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	direct, err := v.follow(ctx, v.rawClient, v.raw, list.GetResourceVersion())
	if err != nil {
		return err
	}
	through, err := v.follow(ctx, v.shownClient, v.shown, list.GetResourceVersion())
	if err != nil {
		return err
	}
	var added []float64
	for i := range b.singles {
		mark := fmt.Sprintf("event-%d", i)
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"mark":%q}}}`, mark)
		if _, err := t.home().Resource(configMaps).Namespace(namespace).Patch(ctx, fmt.Sprintf("object-%d", i%b.objects), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
		first, err := direct(mark)
		if err != nil {
			return err
		}
		second, err := through(mark)
		if err != nil {
			return err
		}
		added = append(added, max(0, second.Sub(first).Seconds()*1000))
	}
	b.addLatency("watch event, later than at the APIExport's URL", added)
	b.judge("watch event, added latency: p99", quantile(added, .99), "ms", atMost(5))
	return nil
}

func (b *bench) compareStatuses(ctx context.Context, t *tenant, v *views) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watch, err := v.get(ctx, v.shownClient, v.shown+"*/apis/apps/v1/deployments?watch=true") // as a syncer has open
	if err != nil {
		return err
	}
	defer func() { _ = watch.Body.Close() }()
	go func() { _, _ = io.Copy(io.Discard, watch.Body) }() // ends with the context
	cluster := string(t.workspaces[0].Cluster)
	send := func(client *http.Client, base string, i int, kind types.PatchType, body string) (float64, error) {
		address := fmt.Sprintf("%s%s/apis/apps/v1/namespaces/%s/deployments/object-%d/status", base, cluster, namespace, i)
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, address, bytes.NewReader([]byte(body)))
		if err != nil {
			return 0, err
		}
		request.Header.Set("Content-Type", string(kind))
		began := time.Now()
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		defer func() { _ = response.Body.Close() }()
		said, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("a status is answered %s: %s", response.Status, said)
		}
		return time.Since(began).Seconds() * 1000, err
	}
	var raw, shown []float64
	for i := range b.singles {
		direct, err := send(v.rawClient, v.raw, i, types.MergePatchType, `{"status":{"replicas":1,"readyReplicas":1}}`)
		if err != nil {
			return err
		}
		through, err := send(v.shownClient, v.shown, i, types.JSONPatchType, `[{"op":"add","path":"/status","value":{"replicas":2,"readyReplicas":2}}]`)
		if err != nil {
			return err
		}
		raw, shown = append(raw, direct), append(shown, through)
	}
	b.addLatency("status written through the APIExport's URL", raw)
	b.addLatency("status written through the target's view", shown)
	return nil
}

// weighWatches takes the memory of the server with many watches in which nothing happens.
func (b *bench) weighWatches(ctx context.Context, _ *tenant, v *views) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	before, err := v.server.liveHeap(ctx)
	if err != nil {
		return err
	}
	residentBefore := v.server.status("VmRSS")
	var open []io.Closer
	defer func() {
		for _, body := range open {
			_ = body.Close()
		}
	}()
	for range idleWatches {
		response, err := v.get(ctx, v.shownClient, v.shown+"*/api/v1/secrets?watch=true") //nolint:bodyclose // closed together
		if err != nil {
			return err
		}
		open = append(open, response.Body)
	}
	after, err := v.server.liveHeap(ctx)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("live heap of %d idle watches", len(open)), (after-before)/(1<<20), "MiB")
	b.add(fmt.Sprintf("resident memory of %d idle watches", len(open)), v.server.status("VmRSS")-residentBefore, "MiB")
	slices.Reverse(open)
	return nil
}
