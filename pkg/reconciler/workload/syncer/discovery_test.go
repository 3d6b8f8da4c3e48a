package syncer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
)

func version(name string, verbs ...string) servedVersion {
	return servedVersion{version: name, kind: "Widget", namespaced: true, verbs: sets.New(verbs...)}
}

var (
	widgets   = schema.GroupResource{Group: "example.io", Resource: "widgets"}
	allVerbs  = append(append([]string{}, upstreamVerbs...), downstreamVerbs...)
	readVerbs = []string{"get", "list", "watch"}
)

func serving(gr schema.GroupResource, versions ...servedVersion) served {
	return served{types: map[schema.GroupResource][]servedVersion{gr: versions}, unknown: sets.New[string]()}
}

func TestWantedTypes(t *testing.T) {
	all := func(schema.GroupResource) bool { return true }
	none := func(schema.GroupResource) bool { return false }
	want := func(version string, served bool) []resourceType {
		return []resourceType{{
			gvr: widgets.WithVersion(version), gvk: schema.GroupVersionKind{Group: "example.io", Version: version, Kind: "Widget"},
			namespaced: true, servedDownstream: served,
		}}
	}
	unknown := served{types: map[schema.GroupResource][]servedVersion{}, unknown: sets.New("example.io")}
	for _, tc := range []struct {
		name     string
		up, down served
		accepted func(schema.GroupResource) bool
		only     []schema.GroupResource
		running  []resourceType
		want     []resourceType
	}{
		{"a type that both sides serve", serving(widgets, version("v1", allVerbs...)), serving(widgets, version("v1", allVerbs...)), all, nil, nil, want("v1", true)},
		{
			"in the version that upstream prefers of those that downstream serves",
			serving(widgets, version("v2", allVerbs...), version("v1", allVerbs...), version("v1beta1", allVerbs...)),
			serving(widgets, version("v1beta1", allVerbs...), version("v1", allVerbs...)), all, nil, nil, want("v1", true),
		},
		{
			"a type without a common version is kept for its claims only",
			serving(widgets, version("v2", allVerbs...)), serving(widgets, version("v1", allVerbs...)), all, nil, nil, want("v2", false),
		},
		{"a type that is not served downstream too", serving(widgets, version("v1", allVerbs...)), served{}, all, nil, nil, want("v1", false)},
		{"a type that the cluster lets us only read is as if it were not served", serving(widgets, version("v1", allVerbs...)), serving(widgets, version("v1", readVerbs...)), all, nil, nil, want("v1", false)},
		{"not a type that is not accepted", serving(widgets, version("v1", allVerbs...)), serving(widgets, version("v1", allVerbs...)), none, nil, nil, nil},
		{
			"not a type that the filter leaves out",
			serving(widgets, version("v1", allVerbs...)), serving(widgets, version("v1", allVerbs...)), all,
			[]schema.GroupResource{{Resource: "configmaps"}},
			nil, nil,
		},
		{"not a type that cannot be listed and watched upstream", serving(widgets, version("v1", "create")), serving(widgets, version("v1", allVerbs...)), all, nil, nil, nil},
		{"not a type that can only be read upstream", serving(widgets, version("v1", readVerbs...)), serving(widgets, version("v1", allVerbs...)), all, nil, nil, nil},
		{
			"a type that is being deleted upstream, until its claims are released",
			serving(widgets, version("v1", "delete", "deletecollection", "get", "list", "watch")), serving(widgets, version("v1", allVerbs...)), all, nil,
			want("v1", true), want("v1", true),
		},
		{"not namespaces: they are made as objects need them", serving(schema.GroupResource{Resource: "namespaces"}, version("v1", allVerbs...)), served{}, all, nil, nil, nil},
		{"what runs goes on while the cluster does not answer for its group", serving(widgets, version("v1", allVerbs...)), unknown, all, nil, want("v1", true), want("v1", true)},
		{"what runs goes on while kcp does not answer for its group", unknown, serving(widgets, version("v1", allVerbs...)), all, nil, want("v1", true), want("v1", true)},
		{"nothing new starts while the cluster does not answer for its group", serving(widgets, version("v1", allVerbs...)), unknown, all, nil, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := wantedTypes(tc.up, tc.down, tc.accepted, tc.only, tc.running)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(resourceType{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	v1, v2 := resourceType{gvr: widgets.WithVersion("v1")}, resourceType{gvr: widgets.WithVersion("v2")}
	for _, tc := range []struct {
		name                         string
		wanted, running, start, stop []resourceType
	}{
		{"starts what is wanted", []resourceType{v1}, nil, []resourceType{v1}, nil},
		{"stops what is not", nil, []resourceType{v1}, nil, []resourceType{v1}},
		{"leaves alone what runs", []resourceType{v1}, []resourceType{v1}, nil, nil},
		{"replaces what changed", []resourceType{v2}, []resourceType{v1}, []resourceType{v2}, []resourceType{v1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start, stop := plan(tc.wanted, tc.running)
			if diff := cmp.Diff([][]resourceType{tc.start, tc.stop}, [][]resourceType{start, stop}, cmp.AllowUnexported(resourceType{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
