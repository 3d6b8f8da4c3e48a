package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/cert"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/test/env"
)

var (
	placements = schema.GroupVersionResource{Group: "scheduling.kcp.io", Version: "v1alpha1", Resource: "placements"}
	locations  = schema.GroupVersionResource{Group: "scheduling.kcp.io", Version: "v1alpha1", Resource: "locations"}
)

// measureAssignment measures the manager alone: the syncer of its only target is played. Objects are there before anybody
// places them; then they are created in namespaces that are placed, first without the webhook, then with it.
func (b *bench) measureAssignment(ctx context.Context) error {
	t, err := b.newTenant(ctx, "assigned", b.assignedWorkspaces)
	if err != nil {
		return err
	}
	for _, w := range t.workspaces {
		if err := bind.Bind(ctx, b.kcp.AdminConfig(), w.Path, provider, []string{config.SchedulingExport}, io.Discard); err != nil {
			return err
		}
	}
	playing, stop := context.WithCancel(ctx)
	defer stop()
	if err := b.playSyncer(playing, t); err != nil {
		return err
	}
	if err := b.createUnplaced(ctx, t); err != nil {
		return err
	}
	m, err := b.startManager(ctx, nil)
	if err != nil {
		return err
	}
	if err := b.assignBacklog(ctx, t, m); err != nil {
		return err
	}
	if err := b.assignNew(ctx, t, m, "without the webhook", atMost(1)); err != nil {
		return err
	}
	if err := m.stop(ctx); err != nil {
		return err
	}
	flags, remove, err := webhookFlags()
	if err != nil {
		return err
	}
	defer remove()
	if m, err = b.startManager(ctx, flags); err != nil {
		return err
	}
	if err := b.awaitWebhook(ctx, t); err != nil {
		return err
	}
	return errors.Join(b.assignNew(ctx, t, m, "with the webhook", atMost(.1)), m.stop(ctx))
}

// createUnplaced makes the objects that nobody has placed yet.
func (b *bench) createUnplaced(ctx context.Context, t *tenant) error {
	made, err := b.spread(t, "early", b.assigned).create(ctx)
	if err == nil {
		b.add(fmt.Sprintf("creates into kcp alone, 16 workers, %d Deployments over %d workspaces", b.assigned, len(t.workspaces)), made.perSecond(), "per second")
	}
	return err
}

// spread is a load over all workspaces of the tenant.
func (b *bench) spread(t *tenant, prefix string, count int) load {
	return load{resource: deployments, count: count, workers: 16, object: func(i int) (dynamic.Interface, *unstructured.Unstructured) {
		return t.workspaces[i%len(t.workspaces)].objects, deployment(namespace, fmt.Sprintf("%s-%d", prefix, i))
	}}
}

// playSyncer has the target look as if a syncer served it.
func (b *bench) playSyncer(ctx context.Context, t *tenant) error {
	report := func() error {
		now := time.Now().UTC().Format(time.RFC3339)
		var conditions []string
		for _, condition := range []string{workloadv1alpha1.ConditionReady, workloadv1alpha1.ConditionSyncerReady, workloadv1alpha1.ConditionHeartbeatHealthy, workloadv1alpha1.ConditionAPIsReady} {
			conditions = append(conditions, fmt.Sprintf(`{"type":%q,"status":"True","reason":"Played","message":"","lastTransitionTime":%q}`, condition, now))
		}
		patch := fmt.Sprintf(`{"status":{"feed":"assigned","lastSyncerHeartbeatTime":%q,"allocatable":{"cpu":"1000"},"conditions":[%s],"syncedResources":[{"group":"apps","resource":"deployments","state":"Accepted"}]}}`,
			now, strings.Join(conditions, ","))
		_, err := t.home().Resource(syncTargets).Patch(ctx, t.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
		return err
	}
	if err := report(); err != nil {
		return err
	}
	go func() { // ends with ctx
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
				_ = report() // the next one will do
			}
		}
	}()
	_, err := t.home().Resource(locations).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Location", "metadata": map[string]any{"name": "open"},
		"spec": map[string]any{"instanceSelector": map[string]any{}, "consumers": []any{"root"}},
	}}, metav1.CreateOptions{})
	return err
}

// startManager starts one and waits until it is ready. It is asked as a syncer is.
func (b *bench) startManager(ctx context.Context, flags []string) (*syncer, error) {
	binary, err := b.env.Build(ctx, "./cmd/workload-manager")
	if err != nil {
		return nil, err
	}
	kubeconfig, err := b.env.Kubeconfig(b.kcp.AdminConfig())
	if err != nil {
		return nil, err
	}
	m := &syncer{began: time.Now()}
	m.process, err = b.env.Start(ctx, env.Command{Name: "manager", Path: binary, Args: append([]string{
		"--kcp-kubeconfig=" + kubeconfig, "--provider-workspace=" + provider.String(), "--leader-elect=false",
		"--bind-address=127.0.0.1", "--metrics-port=0", "--health-port=0",
	}, flags...)})
	b.syncer = m
	if err != nil {
		return nil, err
	}
	if err := m.awaitServing(ctx); err != nil {
		return nil, err
	}
	if err := m.awaitObjects(ctx, b.assigned); err != nil {
		return nil, err
	}
	return m, nil
}

// awaitObjects waits until the manager has seen so many Deployments.
func (s *syncer) awaitObjects(ctx context.Context, count int) error {
	return env.Poll(ctx, func(ctx context.Context) error {
		families, err := s.metrics(ctx)
		if err != nil {
			return err
		}
		seen := 0.0
		for _, metric := range families["workload_manager_objects"].GetMetric() {
			if label(metric, "resource") == deployments.Resource {
				seen += metric.GetGauge().GetValue()
			}
		}
		if int(seen) < count {
			return fmt.Errorf("the manager has seen %v of %d objects", seen, count)
		}
		return nil
	})
}

// assignmentWrites are what the manager has written for assignment.
func (s *syncer) assignmentWrites(ctx context.Context) (float64, error) {
	families, err := s.metrics(ctx)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, metric := range families["workload_manager_writes_total"].GetMetric() {
		if label(metric, "reconciler") == "assignment" {
			sum += metric.GetCounter().GetValue()
		}
	}
	return sum, nil
}

// watchAssigned sees the objects of all workspaces once they are assigned to the target.
func (b *bench) watchAssigned(ctx context.Context, t *tenant) (*sightings, error) {
	address, err := b.virtualWorkspace(ctx)
	if err != nil {
		return nil, err
	}
	all := b.kcp.AdminConfig()
	all.Host = address + "/clusters/*"
	client, err := unlimited(all)
	if err != nil {
		return nil, err
	}
	return watchFor(ctx, client.Resource(deployments), workloadv1alpha1.StateLabel(t.key)+"="+string(workloadv1alpha1.StateSync), name)
}

// assignBacklog places everything that is there.
func (b *bench) assignBacklog(ctx context.Context, t *tenant, m *syncer) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	seen, err := b.watchAssigned(watching, t)
	if err != nil {
		return err
	}
	cpu := m.cpuSeconds()
	for _, w := range t.workspaces {
		_, err := w.objects.Resource(placements).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Placement", "metadata": map[string]any{"name": "all"},
			"spec": map[string]any{"namespaceSelector": map[string]any{}, "locationWorkspace": t.workspaces[0].Path.String()},
		}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
	}
	if err := seen.await(ctx, b.assigned); err != nil {
		return err
	}
	first, last := seen.span()
	b.add(fmt.Sprintf("%d Deployments in %d workspaces that are there already: assigned", b.assigned, len(t.workspaces)), float64(b.assigned)/last.Sub(first).Seconds(), "per second")
	b.add("CPU of the manager per object", (m.cpuSeconds()-cpu)/float64(b.assigned)*1000, "ms")
	// Namespaces are written too: there are two in each workspace.
	return b.judgeWrites(ctx, m, float64(2*len(t.workspaces)), "writes upstream per object", atMost(1))
}

// judgeWrites compares the writes since with the number of objects.
func (b *bench) judgeWrites(ctx context.Context, m *syncer, since float64, what string, g goal) error {
	written, err := m.assignmentWrites(ctx)
	if err != nil {
		return err
	}
	b.judge(what, (written-since)/float64(b.assigned), "", counted(g))
	return nil
}

// assignNew creates objects where they are placed.
func (b *bench) assignNew(ctx context.Context, t *tenant, m *syncer, how string, g goal) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	seen, err := b.watchAssigned(watching, t)
	if err != nil {
		return err
	}
	before, err := m.assignmentWrites(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	made, err := b.spread(t, strings.ReplaceAll(how, " ", "-"), b.assigned).create(ctx)
	if err != nil {
		return err
	}
	ended := time.Now()
	if err := seen.until(ctx, func() error {
		for mark := range made.at {
			if _, ok := seen.at[mark]; !ok {
				return fmt.Errorf("%s is not assigned", mark)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	took := time.Since(ended)
	b.add("created in placed namespaces "+how+", 16 workers: creates into kcp", made.perSecond(), "per second")
	b.add("lag from acknowledged to assigned "+how+": p50", quantile(seen.lags(made), .5), "ms")
	b.add("from the last creation until all are assigned "+how, took.Seconds(), "s")
	b.add("created and assigned "+how+", from the first creation to the last assignment", float64(b.assigned)/time.Since(began).Seconds(), "per second")
	return b.judgeWrites(ctx, m, before, "writes upstream per object "+how, g)
}

// awaitWebhook waits until kcp asks the webhook, of which it learns in its own time.
func (b *bench) awaitWebhook(ctx context.Context, t *tenant) error {
	tries := 0
	return env.Poll(ctx, func(ctx context.Context) error {
		tries++
		u, err := t.home().Resource(deployments).Namespace(namespace).Create(ctx, deployment(namespace, fmt.Sprintf("try-%d", tries)), metav1.CreateOptions{})
		if err == nil && u.GetLabels()[workloadv1alpha1.StateLabel(t.key)] == "" {
			err = errors.New("kcp does not ask the webhook yet")
		}
		return err
	})
}

// webhookFlags are for a webhook on the loopback interface with a certificate of its own.
func webhookFlags() (flags []string, remove func(), err error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	address := listener.Addr().String()
	_ = listener.Close()
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "bench-webhook-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if err := errors.Join(os.WriteFile(certFile, certificate, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		remove()
		return nil, nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	return []string{
		"--assignment-webhook-url=https://" + address, "--assignment-webhook-port=" + port, "--assignment-webhook-ca-file=" + certFile,
		"--assignment-webhook-cert-file=" + certFile, "--assignment-webhook-key-file=" + keyFile,
	}, remove, nil
}
