package assignment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// resourceType is a type whose objects are assigned.
type resourceType struct {
	gvr  schema.GroupVersionResource
	kind string
	// status: it has a status subresource.
	status bool
}

// typeCache is a type with its objects.
type typeCache struct {
	resourceType
	*fleet.Cache[*object]
}

// types follows which types the export shows, and watches the objects of each. Types come and go with the APIExport.
type types struct {
	fleet    *fleet.Fleet
	informer cache.SharedIndexInformer
	// started prepares the cache of a type before anybody sees it.
	started func(*typeCache) error
	// changed hears that types have come or gone, or other ones are compute types now.
	changed func()
	// made are the types that clusters bring up: their objects are assigned to no target, and removed when theirs is gone.
	made sets.Set[schema.GroupResource]

	relook *tmc.Relook

	lock    sync.RWMutex
	running map[schema.GroupResource]*typeCache
	// compute are the export's own types; all others are claimed.
	compute sets.Set[schema.GroupResource]
	// complete: the types have been read once.
	complete bool
}

var (
	apiExports = apisv1alpha2.SchemeGroupVersion.WithResource("apiexports")
	namespaces = schema.GroupResource{Resource: "namespaces"}
)

func newTypes(f *fleet.Fleet, provider logicalcluster.Path, upsynced []schema.GroupResource) *types {
	onlyOurs := func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, workloadv1alpha1.KubernetesExport).String()
	}
	t := &types{
		fleet: f, running: map[schema.GroupResource]*typeCache{}, compute: sets.New[schema.GroupResource](),
		started: func(*typeCache) error { return nil }, changed: func() {},
		made: sets.New(workloadv1alpha1.ClusterMadeResources()...).Insert(upsynced...),
	}
	t.relook = tmc.NewRelook(tmc.RelookOptions{
		Task: "determining the types to assign", Look: t.look, Settling: settling, Period: func() time.Duration { return discoveryPeriod }, Retry: discoveryRetry, Clock: f.Clock(),
	})
	t.informer = cache.NewSharedIndexInformer(tmc.ListWatch(f.Workspace(provider).Resource(apiExports), onlyOurs, nil), &unstructured.Unstructured{}, 0, cache.Indexers{})
	return t
}

// How soon after a change of the APIExport the types are looked at: at once, and twice more, because kcp takes a moment
// until it serves what it accepted. Otherwise they are looked at every discoveryPeriod.
var settling = []time.Duration{0, 2 * time.Second, 10 * time.Second}

const (
	discoveryPeriod = 5 * time.Minute
	discoveryRetry  = 3 * time.Second
)

// run follows the types until ctx is done. It begins when the export has been seen.
func (t *types) run(ctx context.Context) error {
	again := func(any) { t.relook.Hint() }
	if _, err := t.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: again, UpdateFunc: func(_, obj any) { again(obj) }, DeleteFunc: again}); err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { t.informer.RunWithContext(ctx) })
	t.relook.Run(ctx)
	return nil
}

// look compares the types that are watched with those that should be.
func (t *types) look(ctx context.Context) error {
	compute, err := t.computeTypes()
	if err != nil {
		return err
	}
	wanted, partial, err := t.discover(ctx)
	if err != nil {
		return fmt.Errorf("discovering the types of export %s: %w", workloadv1alpha1.KubernetesExport, err)
	}
	start, stop := plan(wanted, t.runningTypes(), partial)
	for _, rt := range stop {
		klog.FromContext(ctx).Info("Stopping to assign a type", "resource", rt.gvr.GroupResource().String())
		t.drop(rt)
	}
	for _, rt := range start {
		klog.FromContext(ctx).Info("Starting to assign a type", "resource", rt.gvr.GroupResource().String(), "version", rt.gvr.Version, "compute", compute.Has(rt.gvr.GroupResource()))
		if err := t.start(rt); err != nil {
			return err
		}
	}
	if t.note(compute) || len(start)+len(stop) > 0 {
		t.changed()
	}
	return partial
}

func (t *types) note(compute sets.Set[schema.GroupResource]) (changed bool) {
	t.lock.Lock()
	defer t.lock.Unlock()
	changed = !t.complete || !t.compute.Equal(compute)
	t.compute, t.complete = compute, true
	return changed
}

// computeTypes are the resources of the APIExport itself.
func (t *types) computeTypes() (sets.Set[schema.GroupResource], error) {
	compute := sets.New[schema.GroupResource]()
	for _, obj := range t.informer.GetStore().List() {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		var export apisv1alpha2.APIExport
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &export); err != nil {
			return nil, fmt.Errorf("reading APIExport %s: %w", u.GetName(), err)
		}
		for _, resource := range export.Spec.Resources {
			if gr := (schema.GroupResource{Group: resource.Group, Resource: resource.Name}); !t.made.Has(gr) {
				compute.Insert(gr)
			}
		}
	}
	if compute.Len() == 0 {
		return nil, fmt.Errorf("the APIExport %s is not there, or has no resources", workloadv1alpha1.KubernetesExport)
	}
	return compute, nil
}

// discover asks all shards. partial says which groups did not answer.
func (t *types) discover(ctx context.Context) (found []resourceType, partial, err error) {
	clients, err := t.fleet.Discovery(ctx, workloadv1alpha1.KubernetesExport)
	if err != nil {
		return nil, nil, err
	}
	for _, client := range clients {
		groups, lists, err := client.ServerGroupsAndResources()
		var incomplete *discovery.ErrGroupDiscoveryFailed
		switch {
		case errors.As(err, &incomplete):
			partial = errors.Join(partial, err)
		case err != nil:
			return nil, nil, err
		}
		for _, rt := range assignable(preferredFirst(groups, lists), t.made) {
			if !slices.ContainsFunc(found, func(known resourceType) bool { return known.gvr.GroupResource() == rt.gvr.GroupResource() }) {
				found = append(found, rt)
			}
		}
	}
	return found, partial, nil
}

// preferredFirst puts the lists of the versions that the server prefers before all others.
func preferredFirst(groups []*metav1.APIGroup, lists []*metav1.APIResourceList) []*metav1.APIResourceList {
	preferred := sets.New[string]()
	for _, group := range groups {
		preferred.Insert(group.PreferredVersion.GroupVersion)
	}
	rank := func(list *metav1.APIResourceList) int {
		if preferred.Has(list.GroupVersion) {
			return 0
		}
		return 1
	}
	lists = slices.Clone(lists)
	slices.SortStableFunc(lists, func(a, b *metav1.APIResourceList) int { return rank(a) - rank(b) })
	return lists
}

// notAssigned are types whose objects say what was, or are assigned in a way of their own.
var notAssigned = sets.New("namespaces", "events", "events.events.k8s.io")

// assignable are the types that belong to namespaces, or are made by clusters, and can be watched and patched.
func assignable(lists []*metav1.APIResourceList, made sets.Set[schema.GroupResource]) []resourceType {
	var found []resourceType
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		hasStatus := sets.New[string]()
		for _, r := range list.APIResources {
			if name, sub, ok := strings.Cut(r.Name, "/"); ok && sub == "status" {
				hasStatus.Insert(name)
			}
		}
		for _, r := range list.APIResources {
			gvr := gv.WithResource(r.Name)
			usable := (r.Namespaced || made.Has(gvr.GroupResource())) && sets.New(r.Verbs...).HasAll("list", "watch", "patch") && !strings.Contains(r.Name, "/")
			if usable && !notAssigned.Has(gvr.GroupResource().String()) {
				found = append(found, resourceType{gvr: gvr, kind: r.Kind, status: hasStatus.Has(r.Name)})
			}
		}
	}
	return found
}

// plan compares what should run with what runs. While not all groups answer, nothing is stopped.
func plan(wanted, running []resourceType, partial error) (start, stop []resourceType) {
	want, have := sets.New(wanted...), sets.New(running...)
	stop = have.Difference(want).UnsortedList()
	if partial != nil {
		stop = slices.DeleteFunc(stop, func(rt resourceType) bool {
			return !slices.ContainsFunc(wanted, func(w resourceType) bool { return w.gvr.GroupResource() == rt.gvr.GroupResource() })
		})
	}
	return want.Difference(have).UnsortedList(), stop
}

func (t *types) start(rt resourceType) error {
	watched, err := fleet.Watch(t.fleet, workloadv1alpha1.KubernetesExport, rt.gvr, decodeAs(rt.gvr.GroupResource()))
	if err != nil {
		return err
	}
	started := &typeCache{resourceType: rt, Cache: watched}
	if err := t.started(started); err != nil {
		return err
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	t.running[rt.gvr.GroupResource()] = started
	return nil
}

func (t *types) drop(rt resourceType) {
	t.lock.Lock()
	delete(t.running, rt.gvr.GroupResource())
	t.lock.Unlock()
	t.fleet.Forget(workloadv1alpha1.KubernetesExport, rt.gvr)
}

func (t *types) runningTypes() []resourceType {
	var found []resourceType
	for _, c := range t.all() {
		found = append(found, c.resourceType)
	}
	return found
}

// all are the types that are watched.
func (t *types) all() []*typeCache {
	t.lock.RLock()
	defer t.lock.RUnlock()
	found := make([]*typeCache, 0, len(t.running))
	for _, c := range t.running {
		found = append(found, c)
	}
	return found
}

func (t *types) of(resource schema.GroupResource) (*typeCache, bool) {
	t.lock.RLock()
	defer t.lock.RUnlock()
	found, ok := t.running[resource]
	return found, ok
}

// isCompute reports whether the type is one of the export's own.
func (t *types) isCompute(resource schema.GroupResource) bool {
	t.lock.RLock()
	defer t.lock.RUnlock()
	return t.compute.Has(resource)
}

// computeResources are the types that are the export's own.
func (t *types) computeResources() []schema.GroupResource {
	t.lock.RLock()
	defer t.lock.RUnlock()
	return t.compute.UnsortedList()
}

// synced reports whether every object of every type has been seen. While it is not, what is not seen is not known to be gone.
func (t *types) synced() bool {
	t.lock.RLock()
	complete := t.complete
	t.lock.RUnlock()
	for _, c := range t.all() {
		complete = complete && c.Synced()
	}
	return complete
}
