package fleet

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

// slowWrites is a way to a cluster, with its credentials, on which writes of a resource take longer.
func slowWrites(t *testing.T, config *rest.Config, resource string, by time.Duration) *rest.Config {
	t.Helper()
	cluster := harness.Must(url.Parse(config.Host))(t)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(cluster) }, Transport: harness.Must(rest.TransportFor(config))(t), FlushInterval: -1,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/"+resource) {
			<-time.After(by)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return &rest.Config{Host: server.URL}
}

// mean is that of all observations with the labels, in seconds.
func mean(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	n := harness.Sum(families, name, labels...)
	if n == 0 {
		return 0
	}
	return harness.Seconds(families, name, labels...) / n
}

// Every hop of a change on its way to the cluster, and of a status on its way home, has its latency, in the syncer and in the
// manager; and the hop that is slow is the one that looks slow.
func TestA52EachHopHasItsLatency(t *testing.T) {
	t.Parallel()
	p := harness.Shared(t)
	targets := p.NewTargetWorkspace(t)
	one := targets.NewTarget("one", east, "", "")
	team := p.NewTenant(t)
	before := p.Manager(t).Scrape()
	place(team, targets, "")
	const delay = 3 * time.Second
	way := harness.Must(p.Env.Kubeconfig(slowWrites(t, one.Cluster.AdminConfig(), "configmaps", delay)))(t)
	syncer := one.StartSyncer("--cluster-kubeconfig=" + way)
	team.Create(harness.Deployment("web", "front", 1), configMapObject("slow"))
	team.Eventually(deploymentKind, "web", "front", harness.Has(1, "status", "availableReplicas"))
	one.Down.Eventually("ConfigMap", one.NamespaceOf(team, "web"), "slow", nil)

	type series struct {
		name   string
		labels []string
	}
	var missing []string
	harness.Eventually(t, func() error {
		missing = nil
		families := syncer.Scrape()
		look := func(name string, labels ...string) {
			if harness.Sum(families, name, labels...) == 0 {
				missing = append(missing, fmt.Sprint(series{name, labels}))
			}
		}
		for _, hop := range []string{"queue", "write", "cluster", "collect", "report"} {
			look("workload_syncer_hop_duration_seconds", "resource=deployments.apps", "hop="+hop)
		}
		for _, step := range []string{"gather", "decide", "transform", "apply", "summarize", "report"} {
			look("workload_syncer_pass_step_duration_seconds", "resource=deployments.apps", "step="+step)
		}
		for _, direction := range []string{"down", "up"} {
			look("workload_syncer_lag_seconds", "resource=deployments.apps", "direction="+direction)
		}
		look("workload_syncer_lag_seconds", "resource=configmaps", "direction=down")
		look("workqueue_queue_duration_seconds", "name=deployments.apps")
		look("rest_client_request_duration_seconds", "server=cluster", "verb=POST")
		if len(missing) > 0 {
			return fmt.Errorf("no latency of %v", missing)
		}
		return nil
	})
	now := p.Manager(t).Scrape()
	for _, s := range []series{
		{"workload_manager_assignment_duration_seconds", nil},
		{"workload_manager_lag_seconds", []string{"reconciler=assignment"}},
		{"workload_manager_lag_seconds", []string{"reconciler=placement"}},
	} {
		if harness.Sum(now, s.name, s.labels...) <= harness.Sum(before, s.name, s.labels...) {
			t.Errorf("the manager observed no latency of %v", s)
		}
	}

	families := syncer.Scrape()
	hop := func(name string) float64 {
		return mean(families, "workload_syncer_hop_duration_seconds", "resource=configmaps", "hop="+name)
	}
	down := mean(families, "workload_syncer_lag_seconds", "resource=configmaps", "direction=down")
	if hop("write") < delay.Seconds() || hop("write") < hop("queue") || down < hop("write") {
		t.Errorf("writing takes %s; of %v s down, %v s are told to be in the queue, %v s in the writing", delay, down, hop("queue"), hop("write"))
	}
}
