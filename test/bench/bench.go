package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// bench holds the servers, one tenant and its syncer.
type bench struct {
	out           io.Writer
	docs          string
	singles, many int
	verbose       bool

	env     *env.Env
	kcp     *env.KCP
	cluster *env.Cluster
	up      dynamic.Interface
	down    dynamic.Interface
	ws      env.Workspace
	target  *unstructured.Unstructured
	syncer  *env.Process
	http    http.Client
	figures []figure
}

var (
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	ingresses   = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}
	syncTargets = workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")
)

const namespace = "bench"

func (b *bench) run(ctx context.Context) (err error) {
	if b.env, err = env.New(env.Options{Progress: os.Stderr}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.env.Close()) }()
	for _, step := range []func(context.Context) error{
		b.startServers, b.prepare, b.measureRaw, b.startSyncer, b.measureSingles, b.measureMany, b.measureRestart, b.report,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) startServers(ctx context.Context) (err error) {
	if b.kcp, err = b.env.StartKCP(ctx); err != nil {
		return err
	}
	b.cluster, err = b.env.StartCluster(ctx, "bench")
	return err
}

// prepare makes a provider and a tenant with a SyncTarget.
func (b *bench) prepare(ctx context.Context) (err error) {
	provider := logicalcluster.NewPath("root:compute")
	if _, err = setup.Apply(ctx, b.kcp.AdminConfig(), provider, io.Discard); err != nil {
		return err
	}
	if b.ws, err = b.kcp.CreateWorkspace(ctx, env.Root, "team"); err != nil {
		return err
	}
	if err := bind.Bind(ctx, b.kcp.AdminConfig(), b.ws.Path, provider, []string{config.WorkloadExport, config.KubernetesExport}, io.Discard); err != nil {
		return err
	}
	if b.up, err = unlimited(b.kcp.WorkspaceConfig(b.ws.Path)); err != nil {
		return err
	}
	if b.down, err = unlimited(b.cluster.AdminConfig()); err != nil {
		return err
	}
	for _, side := range []dynamic.Interface{b.up, b.down} {
		if err := createNamespace(ctx, side, namespace); err != nil {
			return err
		}
	}
	b.target, err = b.up.Resource(syncTargets).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": workloadv1alpha1.SchemeGroupVersion.String(), "kind": "SyncTarget", "metadata": map[string]any{"name": "bench"},
	}}, metav1.CreateOptions{})
	return err
}

// unlimited is a client without a rate limit of its own.
func unlimited(of *rest.Config) (dynamic.Interface, error) {
	of.QPS = -1
	return dynamic.NewForConfig(of)
}

func createNamespace(ctx context.Context, side dynamic.Interface, name string) error {
	_, err := side.Resource(namespaces).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (b *bench) startSyncer(ctx context.Context) error {
	binary, err := b.env.Build(ctx, "./cmd/workload-syncer")
	if err != nil {
		return err
	}
	kcpFile, err := b.env.Kubeconfig(b.kcp.AdminConfig())
	if err != nil {
		return err
	}
	clusterFile, err := b.env.Kubeconfig(b.cluster.AdminConfig())
	if err != nil {
		return err
	}
	args := []string{
		"--kcp-kubeconfig=" + kcpFile, "--cluster-kubeconfig=" + clusterFile, "--sync-target-workspace=" + b.ws.Path.String(),
		"--sync-target-name=bench", "--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0",
	}
	if b.verbose {
		args = append(args, "-v=2")
	}
	b.syncer, err = b.env.Start(ctx, env.Command{Name: "syncer", Path: binary, Args: args, Ready: b.ready})
	return err
}

var serving = regexp.MustCompile(`"Serving" server="(\w+)" address="([^"]+)"`)

// ask reads a page of one of the syncer's servers. The last start's address counts.
func (b *bench) ask(ctx context.Context, server, path string) (int, string, error) {
	address := ""
	for _, match := range serving.FindAllStringSubmatch(b.syncer.Output(), -1) {
		if match[1] == server {
			address = match[2]
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	response, err := b.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func (b *bench) ready(ctx context.Context) error {
	if b.syncer == nil {
		return nil // Start has not returned; awaitReady asks
	}
	code, body, err := b.ask(ctx, "health", "/readyz?verbose")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("readyz: %s", body)
	}
	return err
}

// requests are what the syncer sent to a server since it started, by method.
func (b *bench) requests(ctx context.Context, server string) (map[string]float64, error) {
	_, body, err := b.ask(ctx, "metrics", "/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	byMethod := map[string]float64{}
	for _, metric := range families["rest_client_requests_total"].GetMetric() {
		labels := map[string]string{}
		for _, l := range metric.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["server"] == server {
			byMethod[labels["method"]] += metric.GetCounter().GetValue()
		}
	}
	return byMethod, nil
}

func writesOf(byMethod map[string]float64) float64 {
	total := 0.0
	for method, n := range byMethod {
		if method != http.MethodGet {
			total += n
		}
	}
	return total
}

// rss is the syncer's resident memory in MiB.
func (b *bench) rss() float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.syncer.PID()))
	if err != nil {
		return 0
	}
	var kib float64
	for line := range strings.SplitSeq(string(raw), "\n") {
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			break
		}
	}
	return kib / 1024
}

// downNamespace is where the tenant's objects go.
func (b *bench) downNamespace() string {
	return workloadv1alpha1.NamespaceLocator{
		SyncTarget:  workloadv1alpha1.SyncTargetLocator{ClusterName: string(b.ws.Cluster), Name: b.target.GetName(), UID: b.target.GetUID()},
		ClusterName: string(b.ws.Cluster), Namespace: namespace,
	}.DownstreamNamespace()
}

// restartSyncer stops the syncer and starts it anew, and gives the milliseconds from the start until it is ready.
func (b *bench) restartSyncer(ctx context.Context) (float64, error) {
	b.syncer.Signal(syscall.SIGTERM)
	if _, err := b.syncer.Wait(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := b.syncer.Restart(ctx); err != nil {
		return 0, err
	}
	err := b.awaitReady(ctx)
	return since(start), err
}

func (b *bench) awaitReady(ctx context.Context) error {
	return env.Poll(ctx, func(ctx context.Context) error { return b.ready(ctx) })
}

// since is a duration in milliseconds.
func since(start time.Time) float64 { return float64(time.Since(start).Microseconds()) / 1000 }
