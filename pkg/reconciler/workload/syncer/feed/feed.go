// Package feed knows where upstream objects come from: the workspace that holds the SyncTarget, or the virtual
// workspace of each kcp shard. Nothing above it can tell which one it is.
//
// It reads; it never writes.
package feed

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	kcpdynamic "github.com/kcp-dev/client-go/dynamic"
	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Feed is a set of sources and the rule by which their objects belong to the target.
type Feed struct {
	sources []*Source
	// up are where the objects are that the target itself brings up.
	up       []*Source
	key      string
	assigned bool
}

// NewWorkspace feeds all objects of one workspace. base reaches kcp, without /clusters.
func NewWorkspace(base *rest.Config, cluster logicalcluster.Name, key string) (*Feed, error) {
	source, err := newSource(base, cluster.Path(), "")
	if err != nil {
		return nil, err
	}
	up := *source
	up.selector = selects(key, workloadv1alpha1.StateUpsync)
	return &Feed{sources: []*Source{source}, up: []*Source{&up}, key: key}, nil
}

// NewViews feeds what the target's own virtual workspaces show, one of each kind per kcp shard. The credentials are those of
// base.
func NewViews(base *rest.Config, views []workloadv1alpha1.VirtualWorkspace, key string) (*Feed, error) {
	f := &Feed{key: key, assigned: true}
	for _, view := range views {
		source, err := newWildcard(base, view.SyncerURL, selects(key, workloadv1alpha1.StateSync))
		if err != nil {
			return nil, err
		}
		source.view = true
		f.sources = append(f.sources, source)
		if view.UpsyncerURL == "" {
			continue
		}
		if source, err = newWildcard(base, view.UpsyncerURL, selects(key, workloadv1alpha1.StateUpsync)); err != nil {
			return nil, err
		}
		source.view = true
		f.up = append(f.up, source)
	}
	return f, nil
}

// selects is the selector of what the target has in that state.
func selects(key string, state workloadv1alpha1.State) string {
	return labels.Set{workloadv1alpha1.StateLabel(key): string(state)}.String()
}

// NewAssigned feeds the objects of all workspaces whose state label says Sync for the target's key.
// The credentials are those of base; each URL is the virtual workspace of an APIExport, one per kcp shard.
func NewAssigned(base *rest.Config, urls []string, key string) (*Feed, error) {
	f := &Feed{key: key, assigned: true}
	for _, address := range urls {
		source, err := newWildcard(base, address, selects(key, workloadv1alpha1.StateSync))
		if err != nil {
			return nil, err
		}
		up := *source
		up.selector = selects(key, workloadv1alpha1.StateUpsync)
		f.sources, f.up = append(f.sources, source), append(f.up, &up)
	}
	return f, nil
}

// newWildcard is a source with the objects of all workspaces at the address.
func newWildcard(base *rest.Config, address, selector string) (*Source, error) {
	if _, err := url.ParseRequestURI(address); err != nil {
		return nil, fmt.Errorf("virtual workspace URL %q: %w", address, err)
	}
	config := rest.CopyConfig(base)
	config.Host = strings.TrimSuffix(address, "/")
	return newSource(config, logicalcluster.Wildcard, selector)
}

// Sources are where to watch; their number does not change.
func (f *Feed) Sources() []*Source { return f.sources }

// UpSources are where the objects are that the target brings up; none if there is no such place.
func (f *Feed) UpSources() []*Source { return f.up }

// Selects reports whether an object with these labels belongs to the target, filters aside.
func (f *Feed) Selects(objectLabels map[string]string) bool {
	return !f.assigned || objectLabels[workloadv1alpha1.StateLabel(f.key)] == string(workloadv1alpha1.StateSync)
}

// Source is one place that upstream objects come from, and where what is said about them goes.
type Source struct {
	scope    logicalcluster.Path
	config   *rest.Config
	http     *http.Client
	selector string
	client   kcpdynamic.ClusterInterface
	// view: it shows objects as they hold for this target.
	view bool
}

func newSource(config *rest.Config, scope logicalcluster.Path, selector string) (*Source, error) {
	client, err := kcpdynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	scoped := rest.CopyConfig(config)
	scoped.Host += scope.RequestPath()
	httpClient, err := rest.HTTPClientFor(scoped)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", scoped.Host, err)
	}
	return &Source{scope: scope, config: scoped, http: httpClient, selector: selector, client: client}, nil
}

// String is the source's URL, for people.
func (s *Source) String() string { return s.config.Host }

// IsView reports whether the source shows objects as they hold for this target alone: their status is all this target's.
func (s *Source) IsView() bool { return s.view }

// Discovery says which types the source serves, until ctx is done.
func (s *Source) Discovery(ctx context.Context) (discovery.DiscoveryInterface, error) {
	return tmc.Discovery(ctx, s.config, s.http)
}

// Cluster reaches the objects of one logical cluster through this source.
func (s *Source) Cluster(name logicalcluster.Name) dynamic.Interface {
	return s.client.Cluster(name.Path())
}

// Endpoint is where objects are listed and watched, over all the source's workspaces.
func (s *Source) Endpoint() (*rest.Config, *http.Client) { return s.config, s.http }

// Selector selects what belongs to the target by its labels.
func (s *Source) Selector() string { return s.selector }

// resource is scoped to one workspace, or to all of them.
func (s *Source) resource(gvr schema.GroupVersionResource) tmc.Listable[*unstructured.UnstructuredList] {
	if s.scope == logicalcluster.Wildcard {
		return s.client.Resource(gvr)
	}
	return s.client.Resource(gvr).Cluster(s.scope)
}
