package chaos

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/hostile"
)

// intruder has stolen the credentials of east's syncer for kcp, and tries with them what a syncer may not, all the while.
type intruder struct {
	stage    *stage
	attempts []hostile.Attempt
	// views are URLs up to the logical cluster: of east, and of west, where nothing is to be had at all.
	views  []view
	client *http.Client
	// secrets are what no answer may hold.
	secrets []string
	random  *rand.Rand

	mu             sync.Mutex
	complaints     []string
	tried, refused int
}

type view struct {
	url  string
	ours bool
}

func newIntruder(ctx context.Context, s *stage, seed uint64) (*intruder, error) {
	east, west := s.targets[string(East)], s.targets[string(West)]
	x := &intruder{
		stage: s, random: rand.New(rand.NewPCG(seed, 99)), //nolint:gosec // a script is no secret
		secrets: []string{west.key, base64.StdEncoding.EncodeToString([]byte("stranger")), "managedFields"},
	}
	for _, t := range []*target{east, west} {
		found, err := s.compute.Resource(syncTargets).Get(ctx, t.name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		st, err := typed[workloadv1alpha1.SyncTarget](found)
		if err != nil {
			return nil, err
		}
		for _, vw := range st.Status.VirtualWorkspaces {
			x.views = append(x.views, view{vw.SyncerURL + "/clusters/", t == east}, view{vw.UpsyncerURL + "/clusters/", t == east})
		}
	}
	if len(x.views) != 4 {
		return nil, fmt.Errorf("the SyncTargets have %d views, want 4", len(x.views))
	}
	var clusters []string
	for i := range min(5, len(s.workspaces)) {
		clusters = append(clusters, string(s.workspaces[i].Cluster))
	}
	names := []string{"thing-00", "thing-01", "thing-09", "private", taken, "missing"}
	x.attempts = hostile.Attempts(names, append(clusters, "*", east.locator.ClusterName, "nonexistent")...)
	for _, cluster := range clusters {
		x.attempts = append(x.attempts, changes(cluster, east.key, west.key)...)
	}
	transport, err := rest.TransportFor(&rest.Config{TLSClientConfig: east.toKCP.config.TLSClientConfig})
	if err != nil {
		return nil, err
	}
	x.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	return x, nil
}

// changes are those of objects that the target has, each many times over, as there are so many other attempts.
func changes(cluster, own, other string) (all []hostile.Attempt) {
	for _, object := range []string{"/apis/apps/v1/namespaces/web/deployments/thing-09", "/api/v1/namespaces/web/configmaps/thing-00"} {
		for _, p := range hostile.Patches(own, other) {
			if p.Code < http.StatusBadRequest {
				continue
			}
			body, err := yaml.YAMLToJSON([]byte(p.Patch))
			if err != nil {
				panic(err) // it stands in the source
			}
			all = append(all, hostile.Attempt{Method: http.MethodPatch, Path: cluster + object + p.Path, ContentType: "application/merge-patch+json", Body: string(body)})
		}
		for _, patch := range hostile.JSONPatches(other) {
			all = append(all, hostile.Attempt{Method: http.MethodPatch, Path: cluster + object + "/status", ContentType: "application/json-patch+json", Body: patch})
		}
	}
	return append(append(all, all...), all...)
}

// Run tries one after the other until ctx is done.
func (x *intruder) run(ctx context.Context) {
	for until(ctx, time.Now().Add(60*time.Millisecond)) {
		x.try(ctx, x.views[x.random.IntN(len(x.views))], x.attempts[x.random.IntN(len(x.attempts))])
	}
}

func (x *intruder) try(ctx context.Context, at view, a hostile.Attempt) {
	stolen, err := clientcmd.LoadFromFile(x.stage.targets[string(East)].toKCP.file)
	if err != nil || stolen.AuthInfos["default"] == nil {
		return // it is being written
	}
	request, err := http.NewRequestWithContext(ctx, a.Method, at.url, bytes.NewReader([]byte(a.Body)))
	if err != nil {
		return
	}
	request.URL.Opaque = "//" + strings.TrimPrefix(at.url, "https://") + a.Path // so that nothing is cleaned on the way
	request.Header.Set("Authorization", "Bearer "+stolen.AuthInfos["default"].Token)
	if a.ContentType != "" {
		request.Header.Set("Content-Type", a.ContentType)
	}
	response, err := x.client.Do(request)
	if err != nil {
		return // the server is away
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tried++
	if response.StatusCode >= http.StatusBadRequest {
		x.refused++
	}
	if complaint := judgeAnswer(a, at.ours, response.StatusCode, string(body), x.secrets); complaint != "" {
		x.complaints = append(x.complaints, complaint)
	}
}

// take gives the complaints since the last time.
func (x *intruder) take() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	complaints := x.complaints
	x.complaints = nil
	return complaints
}
