package fleet

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	kcpdynamic "github.com/kcp-dev/client-go/dynamic"
	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Deps are what a Fleet is made of.
type Deps struct {
	// Config reaches kcp, without a workspace in its host. Its credentials hold for the virtual workspaces too.
	Config *rest.Config
	// URLs are where the virtual workspaces are. Complete makes sure that those asked are all of an export; nil if that needs
	// no proof.
	URLs     URLs
	Complete func(ctx context.Context, export string, asked []string) error
	// Metrics of all fleets of the process.
	Metrics *Metrics
	// Memory outlives the fleet. Nil is for a fleet that is the only one of its process.
	Memory *Memory
	// Gates are waited for before each pass of a loop.
	Gates []func(context.Context) error
	// Recovery is told of failures. It may be nil.
	Recovery *tmc.Recovery
	// Health tells of resources that cannot be listed, and of reconcilers that are stuck. It may be nil.
	Health *tmc.Health
	// Tracing makes a span of each pass of a loop; nil for none.
	Tracing *tmc.Tracing
	Clock   clock.WithTicker
}

// Fleet is what all reconcilers share while the virtual workspaces stay the same.
type Fleet struct {
	deps       Deps
	workspaces kcpdynamic.ClusterInterface
	sources    map[string][]*source
	paths      *paths

	lock   sync.Mutex
	caches map[resourceID]cacheEntry
	// checks are those of the loops, which are told while the fleet runs. closing ends loops that did not come to run: what they
	// depend on had not been listed yet when the fleet ended.
	checks  []tmc.Check
	closing []func()
	running context.Context //nolint:containedctx // set while the fleet runs, for caches that are asked for later
	wait    sync.WaitGroup

	// shards are where logical clusters live, as far as an object of theirs was seen.
	shardsLock sync.RWMutex
	shards     map[logicalcluster.Name]string

	absencesLock sync.Mutex
	absences     *Absences
}

// cacheEntry is a cache with its type.
type cacheEntry struct {
	*resourceCache
	typed any
}

// source is the virtual workspace of one export on one shard.
type source struct {
	url    string
	shard  string
	config *rest.Config
	http   *http.Client
	client kcpdynamic.ClusterInterface
}

// New makes the clients and the caches that all need; no request is sent.
func New(deps Deps) (*Fleet, error) {
	if deps.Memory == nil {
		deps.Memory = NewMemory()
	}
	f := &Fleet{deps: deps, sources: map[string][]*source{}, caches: map[resourceID]cacheEntry{}, shards: map[logicalcluster.Name]string{}}
	var err error
	if f.workspaces, err = kcpdynamic.NewForConfig(deps.Config); err != nil {
		return nil, fmt.Errorf("connecting to kcp: %w", err)
	}
	for export, urls := range deps.URLs {
		for _, url := range urls {
			s, err := newSource(deps.Config, url)
			if err != nil {
				return nil, fmt.Errorf("connecting to the virtual workspace of export %s: %w", export, err)
			}
			f.sources[export] = append(f.sources[export], s)
		}
	}
	if f.paths, err = newPaths(f); err != nil {
		return nil, err
	}
	return f, nil
}

func newSource(base *rest.Config, url string) (*source, error) {
	config := rest.CopyConfig(base)
	config.Host = url
	client, err := kcpdynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	wildcard := rest.CopyConfig(config)
	wildcard.Host += logicalcluster.Wildcard.RequestPath()
	httpClient, err := rest.HTTPClientFor(wildcard)
	if err != nil {
		return nil, err
	}
	return &source{url: url, shard: shardOf(url), config: wildcard, http: httpClient, client: client}, nil
}

// shardOf is what the virtual workspaces of one shard have in common: the address before /services/apiexport.
func shardOf(url string) string {
	shard, _, _ := strings.Cut(url, "/services/")
	return shard
}

// Run fills the caches until ctx is done, and returns when every watch has stopped.
func (f *Fleet) Run(ctx context.Context) error {
	f.lock.Lock()
	f.running = ctx
	for _, entry := range f.caches {
		f.startLocked(entry.resourceCache)
	}
	var told []func()
	for _, check := range f.checks {
		told = append(told, f.tell(check))
	}
	f.lock.Unlock()
	defer func() {
		for _, unregister := range told {
			unregister()
		}
	}()
	f.deps.Metrics.follow(f)
	defer f.deps.Metrics.unfollow(f)
	<-ctx.Done()
	f.lock.Lock()
	f.running = nil
	f.lock.Unlock()
	f.wait.Wait()
	for _, end := range f.closing {
		end()
	}
	return nil
}

// startLocked fills a cache, if the fleet runs and it is not being filled.
func (f *Fleet) startLocked(c *resourceCache) {
	if f.running == nil || f.running.Err() != nil || c.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(f.running)
	c.stop = cancel
	unregister := f.tell(tmc.Check{Name: "resource/" + c.id.export + "/" + c.id.gvr.GroupResource().String(), Run: c.check})
	f.wait.Go(func() { <-ctx.Done(); unregister() })
	for _, shard := range c.shards {
		f.wait.Go(func() { shard.informer.RunWithContext(ctx) })
	}
}

// tell has the probes ask the check, until the function that it returns is called.
func (f *Fleet) tell(check tmc.Check) (unregister func()) {
	if f.deps.Health == nil {
		return func() {}
	}
	return f.deps.Health.Register(check)
}

// Forget stops to watch a resource. Whoever has its cache must not use it any more.
func (f *Fleet) Forget(export string, gvr schema.GroupVersionResource) {
	f.lock.Lock()
	defer f.lock.Unlock()
	id := resourceID{export: export, gvr: gvr}
	if entry, ok := f.caches[id]; ok && entry.stop != nil {
		entry.stop()
	}
	delete(f.caches, id)
}

// Bound reports whether an export has a virtual workspace, which it has once somebody binds it.
func (f *Fleet) Bound(export string) bool { return len(f.sources[export]) > 0 }

// URLs are where the virtual workspaces are.
func (f *Fleet) URLs() URLs { return f.deps.URLs }

// Tracing is that of this process.
func (f *Fleet) Tracing() *tmc.Tracing { return f.deps.Tracing }

// Clock is the time of this process.
func (f *Fleet) Clock() clock.WithTicker { return f.deps.Clock }

// Discovery says which types an export's virtual workspaces serve, one client per shard; their requests end with ctx.
func (f *Fleet) Discovery(ctx context.Context, export string) ([]discovery.DiscoveryInterface, error) {
	var all []discovery.DiscoveryInterface
	for _, s := range f.sources[export] {
		client, err := tmc.Discovery(ctx, s.config, s.http)
		if err != nil {
			return nil, err
		}
		all = append(all, client)
	}
	return all, nil
}

// Workspace reaches a workspace as the manager itself, not through an export: for the provider's own objects.
func (f *Fleet) Workspace(path logicalcluster.Path) dynamic.Interface {
	return f.workspaces.Cluster(path)
}

// locate remembers on which shard a logical cluster lives.
func (f *Fleet) locate(cluster logicalcluster.Name, shard string) {
	f.shardsLock.RLock()
	known := f.shards[cluster]
	f.shardsLock.RUnlock()
	if known == shard {
		return
	}
	f.shardsLock.Lock()
	defer f.shardsLock.Unlock()
	f.shards[cluster] = shard
}

// sourceFor is the virtual workspace of the export on the shard where the logical cluster lives.
func (f *Fleet) sourceFor(export string, cluster logicalcluster.Name) (*source, error) {
	sources := f.sources[export]
	if len(sources) == 1 {
		return sources[0], nil
	}
	f.shardsLock.RLock()
	shard, known := f.shards[cluster]
	f.shardsLock.RUnlock()
	for _, s := range sources {
		if known && s.shard == shard {
			return s, nil
		}
	}
	return nil, tmc.As(tmc.Unavailable, fmt.Errorf("no virtual workspace of APIExport %s is known for logical cluster %s: nothing there is bound to it yet", export, cluster))
}

// Reconciler is a duty of the manager. Run works until ctx is done, and returns when all that it started has stopped.
type Reconciler interface {
	Run(ctx context.Context) error
}
