package syncer

import (
	"context"
	"errors"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// served is what one side serves. It is partial when some groups did not answer.
type served struct {
	types map[schema.GroupResource][]servedVersion
	// unknown are the groups of which nothing can be said at the moment.
	unknown sets.Set[string]
}

// servedVersion is one version of a type; those of a type are in the server's order of preference.
type servedVersion struct {
	version    string
	kind       string
	namespaced bool
	verbs      sets.Set[string]
	status     bool
}

// discover asks a server for its types.
func discover(ctx context.Context, connect func(context.Context) (discovery.DiscoveryInterface, error)) (served, error) {
	s := served{types: map[schema.GroupResource][]servedVersion{}, unknown: sets.New[string]()}
	client, err := connect(ctx)
	if err != nil {
		return s, err
	}
	groups, lists, err := client.ServerGroupsAndResources()
	var partial *discovery.ErrGroupDiscoveryFailed
	switch {
	case errors.As(err, &partial):
		for gv := range partial.Groups {
			s.unknown.Insert(gv.Group)
		}
	case err != nil:
		return s, err
	}
	for _, list := range lists {
		s.add(list)
	}
	s.order(groups)
	return s, nil
}

func (s *served) add(list *metav1.APIResourceList) {
	gv, err := schema.ParseGroupVersion(list.GroupVersion)
	if err != nil {
		return
	}
	hasStatus := sets.New[string]()
	for _, r := range list.APIResources {
		if name, sub, found := strings.Cut(r.Name, "/"); found && sub == "status" {
			hasStatus.Insert(name)
		}
	}
	for _, r := range list.APIResources {
		if _, _, found := strings.Cut(r.Name, "/"); found {
			continue
		}
		gr := schema.GroupResource{Group: gv.Group, Resource: r.Name}
		s.types[gr] = append(s.types[gr], servedVersion{
			version: gv.Version, kind: r.Kind, namespaced: r.Namespaced, verbs: sets.New(r.Verbs...), status: hasStatus.Has(r.Name),
		})
	}
}

// order puts the versions of each type in the order in which the server prefers them.
func (s *served) order(groups []*metav1.APIGroup) {
	rank := map[schema.GroupVersion]int{}
	for _, g := range groups {
		for i, v := range g.Versions {
			rank[schema.GroupVersion{Group: g.Name, Version: v.Version}] = i + 1
		}
		rank[schema.GroupVersion{Group: g.Name, Version: g.PreferredVersion.Version}] = 0
	}
	for gr, versions := range s.types {
		slices.SortStableFunc(versions, func(a, b servedVersion) int {
			return rank[schema.GroupVersion{Group: gr.Group, Version: a.version}] - rank[schema.GroupVersion{Group: gr.Group, Version: b.version}]
		})
	}
}

// merge adds what another source of the same side serves.
func (s *served) merge(other served) {
	s.unknown = s.unknown.Union(other.unknown)
	for gr, versions := range other.types {
		if _, ok := s.types[gr]; !ok {
			s.types[gr] = versions
		}
	}
}

// What the syncer does with objects on each side. Types that do not allow it are not synced.
var (
	upstreamVerbs   = []string{"get", "list", "watch"}
	downstreamVerbs = []string{"get", "list", "watch", "create", "patch", "delete"}
	// What it does with the objects that come up.
	upsyncVerbs       = []string{"get", "list", "watch", "create", "patch", "delete"}
	upsyncedFromVerbs = []string{"list", "watch"}
)

// common is the first version, by upstream's preference, that both sides serve as the syncer needs it.
func common(up, down []servedVersion, downstreamVerbs []string) (servedVersion, bool) {
	for _, u := range up {
		for _, d := range down {
			if u.version == d.version && u.namespaced == d.namespaced && d.verbs.HasAll(downstreamVerbs...) {
				return u, true
			}
		}
	}
	return servedVersion{}, false
}

// notDesiredState are types whose objects say what is or was, not what should be: they are never synced down.
// Namespaces are made as objects need them. What clusters make by themselves comes up instead.
func isDesiredState(gr schema.GroupResource) bool {
	return !slices.Contains([]string{"namespaces", "events", "events.events.k8s.io"}, gr.String()) && !slices.Contains(workloadv1alpha1.ClusterMadeResources(), gr)
}

// wantedTypes are the accepted types of upstream that pass the filter. Those that downstream does not serve are among
// them, marked as such, because what was claimed of them must still be released. running types of groups that did not
// answer stay as they are.
func wantedTypes(up, down served, accepted func(schema.GroupResource) bool, only []schema.GroupResource, running []resourceType) []resourceType {
	var wanted []resourceType
	for gr, versions := range up.types {
		versions = usable(versions)
		if len(versions) == 0 || !isDesiredState(gr) || !accepted(gr) || len(only) > 0 && !slices.Contains(only, gr) || down.unknown.Has(gr.Group) {
			continue
		}
		v, servedDownstream := common(versions, down.types[gr], downstreamVerbs)
		if !servedDownstream {
			v = versions[0]
		}
		wanted = append(wanted, resourceType{
			gvr: gr.WithVersion(v.version), gvk: schema.GroupVersionKind{Group: gr.Group, Version: v.version, Kind: v.kind},
			namespaced: v.namespaced, statusUpstream: v.status, servedDownstream: servedDownstream,
		})
	}
	for _, rt := range running {
		if !rt.up && (up.unknown.Has(rt.gvr.Group) || down.unknown.Has(rt.gvr.Group)) {
			wanted = append(wanted, rt)
		}
	}
	return wanted
}

// upsyncedTypes are the allowed types that pass the filter and that both sides serve as it takes. running types of groups that
// did not answer stay as they are.
func upsyncedTypes(up, down served, allowed, only []schema.GroupResource, running []resourceType) []resourceType {
	var wanted []resourceType
	for _, gr := range allowed {
		versions := slices.DeleteFunc(slices.Clone(up.types[gr]), func(v servedVersion) bool { return !v.verbs.HasAll(upsyncVerbs...) })
		v, ok := common(versions, down.types[gr], upsyncedFromVerbs)
		if !ok || len(only) > 0 && !slices.Contains(only, gr) || up.unknown.Has(gr.Group) || down.unknown.Has(gr.Group) {
			continue
		}
		wanted = append(wanted, resourceType{
			gvr: gr.WithVersion(v.version), gvk: schema.GroupVersionKind{Group: gr.Group, Version: v.version, Kind: v.kind},
			namespaced: v.namespaced, statusUpstream: v.status, servedDownstream: true, up: true,
		})
	}
	for _, rt := range running {
		if rt.up && slices.Contains(allowed, rt.gvr.GroupResource()) && (up.unknown.Has(rt.gvr.Group) || down.unknown.Has(rt.gvr.Group)) {
			wanted = append(wanted, rt)
		}
	}
	return wanted
}

// usable versions can be watched, and patched. A type whose CustomResourceDefinition is being deleted no longer offers to
// be patched but to be deleted; it takes patches all the same, and waits for ours: they release its last objects.
func usable(versions []servedVersion) []servedVersion {
	return slices.DeleteFunc(slices.Clone(versions), func(v servedVersion) bool {
		return !v.verbs.HasAll(upstreamVerbs...) || !v.verbs.HasAny("patch", "delete")
	})
}

// plan compares what should run with what runs.
func plan(wanted, running []resourceType) (start, stop []resourceType) {
	want, have := sets.New(wanted...), sets.New(running...)
	return want.Difference(have).UnsortedList(), have.Difference(want).UnsortedList()
}
