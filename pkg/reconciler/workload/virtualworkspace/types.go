package virtualworkspace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"golang.org/x/sync/singleflight"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// servedType is a type that the APIExport's virtual workspace serves.
type servedType struct {
	metav1.APIResource

	gvr       schema.GroupVersionResource
	hasStatus bool
}

// typeSet is what one shard serves.
type typeSet struct {
	byResource map[schema.GroupVersionResource]servedType
	// groups as kcp has them, in its order.
	groups []*metav1.APIGroup
}

// typesFreshness is how old the knowledge of a shard's types may be. Types come and go with the APIExport's schemas.
const (
	typesFreshness = 30 * time.Second
	typesMissed    = 2 * time.Second
)

// catalog knows what the shards serve.
type catalog struct {
	upstream *upstream
	clock    clock.PassiveClock

	asking singleflight.Group
	lock   sync.Mutex
	known  map[string]knownTypes // by the shard's URL
}

type knownTypes struct {
	set   *typeSet
	since time.Time
}

func newCatalog(u *upstream, c clock.PassiveClock) *catalog {
	return &catalog{upstream: u, clock: c, known: map[string]knownTypes{}}
}

// of gives the types of a shard. What is known stays known while the shard does not answer.
func (t *catalog) of(ctx context.Context, shard string) (*typeSet, error) {
	return t.within(ctx, shard, typesFreshness)
}

func (t *catalog) within(ctx context.Context, shard string, freshness time.Duration) (*typeSet, error) {
	t.lock.Lock()
	known, ok := t.known[shard]
	t.lock.Unlock()
	if ok && t.clock.Since(known.since) < freshness {
		return known.set, nil
	}
	result, err, _ := t.asking.Do(shard, func() (any, error) { // for all who ask, so not with the context of one of them
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return t.discover(ctx, shard)
	})
	if err != nil {
		if ok {
			return known.set, nil // it was true a moment ago
		}
		return nil, errors.Join(unavailable("kcp does not tell which types it serves"), err)
	}
	set := result.(*typeSet)
	t.lock.Lock()
	defer t.lock.Unlock()
	t.known[shard] = knownTypes{set: set, since: t.clock.Now()}
	return set, nil
}

// find gives a type of a shard; ok is false if it is not served.
func (t *catalog) find(ctx context.Context, shard string, gvr schema.GroupVersionResource) (found servedType, ok bool, err error) {
	set, err := t.of(ctx, shard)
	if err != nil {
		return found, false, err
	}
	if found, ok = set.byResource[gvr]; ok {
		return found, true, nil
	}
	if set, err = t.within(ctx, shard, typesMissed); err != nil { // it may be new
		return found, false, err
	}
	found, ok = set.byResource[gvr]
	return found, ok, nil
}

func (t *catalog) discover(ctx context.Context, shard string) (*typeSet, error) {
	config := rest.CopyConfig(t.upstream.config)
	config.Host = strings.TrimSuffix(shard, "/") + "/clusters/" + string(everyCluster)
	client, err := tmc.Discovery(ctx, config, t.upstream.client)
	if err != nil {
		return nil, err
	}
	groups, lists, err := client.ServerGroupsAndResources()
	var partial *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partial) {
		return nil, fmt.Errorf("discovering the types of %s: %w", shard, err)
	}
	set := &typeSet{byResource: map[schema.GroupVersionResource]servedType{}, groups: groups}
	for _, list := range lists {
		set.add(list)
	}
	return set, nil
}

func (s *typeSet) add(list *metav1.APIResourceList) {
	gv, err := schema.ParseGroupVersion(list.GroupVersion)
	if err != nil || ofKCP(gv.Group) {
		return // kcp's own types are its own; a target has no use for them
	}
	statuses := sets.New[string]()
	for _, r := range list.APIResources {
		if name, subresource, found := strings.Cut(r.Name, "/"); found && subresource == "status" {
			statuses.Insert(name)
		}
	}
	for _, r := range list.APIResources {
		if strings.Contains(r.Name, "/") {
			continue
		}
		gvr := gv.WithResource(r.Name)
		r.Group, r.Version = gv.Group, gv.Version
		s.byResource[gvr] = servedType{APIResource: r, gvr: gvr, hasStatus: statuses.Has(r.Name)}
	}
}

// ofKind finds the type with that kind.
func (s *typeSet) ofKind(gvk schema.GroupVersionKind) (servedType, bool) {
	for gvr, t := range s.byResource {
		if gvr.GroupVersion() == gvk.GroupVersion() && t.Kind == gvk.Kind {
			return t, true
		}
	}
	return servedType{}, false
}

// Types with rules of their own.
var (
	events     = schema.GroupResource{Resource: "events"}
	namespaces = schema.GroupResource{Resource: "namespaces"}
)

// The verbs of each view. What kcp does not serve is taken off.
var (
	downVerbs      = sets.New(verbGet, verbList, verbWatch, verbPatch)
	upVerbs        = sets.New(verbGet, verbList, verbWatch, verbCreate, verbUpdate, verbPatch, verbDelete)
	namespaceVerbs = sets.New(verbGet, verbList, verbWatch)
	eventVerbs     = sets.New(verbCreate)
	statusVerbs    = sets.New(verbPatch, verbUpdate)
)

// views are what the two views of a target have in them.
type views struct {
	// upsynced are the types that some target may bring up, and allowed those that this one may.
	upsynced, allowed sets.Set[schema.GroupResource]
}

// viewsOf are those of a target: it brings up what both the operator of the manager and its own allow.
func viewsOf(upsynced sets.Set[schema.GroupResource], target *workloadv1alpha1.SyncTarget) views {
	return views{
		upsynced: upsynced.Union(sets.New(workloadv1alpha1.ClusterMadeResources()...)),
		allowed:  upsynced.Intersection(sets.New(target.UpsyncedResources()...)),
	}
}

// accepts says which verbs a view serves for a type; none for a type that it does not serve at all.
//
// What targets sync up is not in the view of what is synced down: a pod that one cluster runs is nothing for another one.
func (v views) accepts(t servedType, up bool) sets.Set[string] {
	served, gr := sets.New(t.Verbs...), t.gvr.GroupResource()
	switch {
	case gr == events && up, gr.Resource == events.Resource && gr.Group != "":
		return nil
	case gr == events:
		return served.Intersection(eventVerbs)
	case gr == namespaces:
		return served.Intersection(namespaceVerbs)
	case up && v.allowed.Has(gr):
		return served.Intersection(upVerbs)
	case up || v.upsynced.Has(gr) || !served.HasAll(verbGet, verbList, verbWatch):
		return nil
	}
	return served.Intersection(downVerbs)
}

// shown are the types of a view, in the order of their names.
func (v views) shown(s *typeSet, up bool) []servedType {
	var all []servedType
	for _, t := range s.byResource {
		if verbs := v.accepts(t, up); len(verbs) > 0 {
			t.Verbs = sets.List(verbs)
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b servedType) int { return strings.Compare(a.gvr.String(), b.gvr.String()) })
	return all
}
