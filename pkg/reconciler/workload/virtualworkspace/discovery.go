package virtualworkspace

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
)

// discover answers what tells of types. It is the same for every logical cluster, so that it does not tell which there are.
func (s *Server) discover(x *exchange, set *typeSet) error {
	shown := x.views.shown(set, x.up)
	path := x.discovery
	if path[0] == "version" || path[0] == "openapi" {
		return s.describe(x, shown)
	}
	answer := discoveryAnswer(path, set, shown)
	if answer == nil {
		return notServed()
	}
	writeJSON(x.out, http.StatusOK, answer)
	return nil
}

// describe asks kcp for its version and for schemas.
func (s *Server) describe(x *exchange, shown []servedType) error {
	groupVersion := strings.TrimPrefix(strings.TrimPrefix(strings.Join(x.discovery, "/"), "openapi/v3"), "/")
	if x.discovery[0] == "openapi" && (len(x.discovery) < 2 || x.discovery[1] != "v3" || groupVersion != "" && !versionsOf(shown)[groupVersion]) {
		return notServed()
	}
	began := s.clock.Now()
	raw, err := s.upstream.ask(x.in.Context(), call{
		method: http.MethodGet, base: x.shardURL, cluster: everyCluster, path: "/" + strings.Join(x.discovery, "/"),
	})
	x.waited += s.clock.Since(began)
	if err != nil {
		return passOn(err)
	}
	if x.discovery[0] == "openapi" {
		if raw, err = narrowOpenAPI(raw, groupVersion, shown); err != nil {
			return err
		}
	}
	x.out.Header().Set("Content-Type", "application/json")
	_, err = x.out.Write(raw)
	return err
}

// versionsOf are the groups and versions that are shown, as OpenAPI names them.
func versionsOf(shown []servedType) map[string]bool {
	versions := map[string]bool{}
	for _, t := range shown {
		versions[openAPIName(t.gvr.GroupVersion())] = true
	}
	return versions
}

func openAPIName(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.String()
}

// narrowOpenAPI leaves in the index, or in the document of one version, just the paths of what is shown.
func narrowOpenAPI(raw []byte, groupVersion string, shown []servedType) ([]byte, error) {
	var document map[string]json.RawMessage
	var paths map[string]json.RawMessage
	if err := json.Unmarshal(raw, &document); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(document["paths"], &paths); err != nil {
		return nil, err
	}
	versions, resources := versionsOf(shown), sets.New[string]()
	for _, t := range shown {
		if openAPIName(t.gvr.GroupVersion()) == groupVersion {
			resources.Insert(t.gvr.Resource)
		}
	}
	for path := range paths {
		below := strings.Trim(strings.TrimPrefix(path, "/"+groupVersion), "/")
		below = strings.TrimPrefix(below, "namespaces/{namespace}/")
		resource, _, _ := strings.Cut(below, "/")
		if groupVersion == "" && !versions[path] || groupVersion != "" && !resources.Has(resource) {
			delete(paths, path)
		}
	}
	var err error
	if document["paths"], err = json.Marshal(paths); err != nil {
		return nil, err
	}
	return json.Marshal(document)
}

func discoveryAnswer(path []string, set *typeSet, shown []servedType) any {
	groups := groupsOf(set, shown)
	switch {
	case path[0] == "api" && len(path) == 1:
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	case path[0] == "api":
		return resourcesOf(schema.GroupVersion{Version: path[1]}, shown)
	case len(path) == 1:
		return metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: groups}
	case len(path) == 2:
		if i := slices.IndexFunc(groups, func(g metav1.APIGroup) bool { return g.Name == path[1] }); i >= 0 {
			group := groups[i]
			group.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			return group
		}
		return nil
	}
	return resourcesOf(schema.GroupVersion{Group: path[1], Version: path[2]}, shown)
}

// groupsOf are the named groups with a type that is shown, with the versions in kcp's order.
func groupsOf(set *typeSet, shown []servedType) []metav1.APIGroup {
	versions := sets.New[schema.GroupVersion]()
	for _, t := range shown {
		versions.Insert(t.gvr.GroupVersion())
	}
	groups := []metav1.APIGroup{}
	for _, g := range set.groups {
		if g.Name == "" {
			continue
		}
		group := metav1.APIGroup{Name: g.Name}
		for _, v := range g.Versions {
			if versions.Has(schema.GroupVersion{Group: g.Name, Version: v.Version}) {
				group.Versions = append(group.Versions, v)
			}
		}
		if len(group.Versions) == 0 {
			continue
		}
		group.PreferredVersion = group.Versions[0]
		if slices.Contains(group.Versions, g.PreferredVersion) {
			group.PreferredVersion = g.PreferredVersion
		}
		groups = append(groups, group)
	}
	return groups
}

// resourcesOf is the list of a version's types, nil if it has none.
func resourcesOf(gv schema.GroupVersion, shown []servedType) any {
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for _, t := range shown {
		if t.gvr.GroupVersion() != gv {
			continue
		}
		resource := t.APIResource
		resource.StorageVersionHash = ""
		list.APIResources = append(list.APIResources, resource)
		if t.hasStatus && slices.Contains(resource.Verbs, verbPatch) {
			resource.Name += "/status"
			resource.Verbs = slices.DeleteFunc(slices.Clone(resource.Verbs), func(verb string) bool { return !statusVerbs.Has(verb) })
			resource.SingularName, resource.ShortNames, resource.Categories = "", nil, nil
			list.APIResources = append(list.APIResources, resource)
		}
	}
	if len(list.APIResources) == 0 {
		return nil
	}
	return list
}
