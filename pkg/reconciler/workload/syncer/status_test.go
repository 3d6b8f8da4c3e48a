package syncer

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// What keeps a type from being synced is told, also if it is the namespaces that cannot be read.
func TestTypeTellsWhatItCannotWatch(t *testing.T) {
	forbidden := errors.New("forbidden")
	for _, test := range []struct {
		name       string
		namespaced bool
		fail       func(*ResourceController)
		want       string
	}{
		{name: "nothing yet", namespaced: true, fail: func(*ResourceController) {}, want: "Pending not all objects"},
		{
			name: "the type upstream", namespaced: true, fail: func(c *ResourceController) { c.watchErrors.told(sideKCP)(forbidden) },
			want: "Degraded listing and watching in kcp: forbidden",
		},
		{
			name: "the type downstream", fail: func(c *ResourceController) { c.watchErrors.told(sideCluster)(forbidden) },
			want: "Degraded listing and watching in the physical cluster: forbidden",
		},
		{
			name: "namespaces downstream", namespaced: true, fail: func(c *ResourceController) { c.namespaces.watchErrors.told(sideCluster)(forbidden) },
			want: "Degraded listing and watching namespaces in the physical cluster: forbidden",
		},
		{
			name: "namespaces upstream", namespaced: true, fail: func(c *ResourceController) { c.selection.errors.told(sideKCP)(forbidden) },
			want: "Degraded listing and watching namespaces in kcp: forbidden",
		},
		{
			name: "namespaces, of which objects without one do not depend", fail: func(c *ResourceController) { c.namespaces.watchErrors.told(sideCluster)(forbidden) },
			want: "Pending not all objects",
		},
		{
			name: "what was mended", namespaced: true, want: "Pending not all objects",
			fail: func(c *ResourceController) {
				c.namespaces.watchErrors.told(sideCluster)(forbidden)
				c.namespaces.watchErrors.told(sideCluster)(nil)
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &ResourceController{
				resourceType: resourceType{gvr: schema.GroupVersionResource{Version: "v1", Resource: "things"}, namespaced: test.namespaced, servedDownstream: true},
				namespaces:   &namespaces{watchErrors: &watchErrors{}}, selection: &selection{settings: newLive(settings{})}, records: newRecords(),
			}
			test.fail(c)
			got := c.status()
			if text := string(got.State) + " " + got.Message; !strings.HasPrefix(text, test.want) {
				t.Errorf("got %q, want %q", text, test.want)
			}
			if (got.State == workloadv1alpha1.ResourceDegraded) != strings.Contains(test.want, "Degraded") {
				t.Errorf("state %s", got.State)
			}
		})
	}
}

// A type that is offered to tenants is looked for until it is seen, unless it would not be synced.
func TestEngineAwaitsOfferedTypes(t *testing.T) {
	widgets := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	services := schema.GroupResource{Resource: "services"}
	for _, test := range []struct {
		name             string
		offered, filters []schema.GroupResource
		running          []schema.GroupResource
		want             bool
	}{
		{name: "nothing is offered", running: []schema.GroupResource{services}},
		{name: "what is offered runs", offered: []schema.GroupResource{widgets}, running: []schema.GroupResource{services, widgets}},
		{name: "what is offered was not seen", offered: []schema.GroupResource{services, widgets}, running: []schema.GroupResource{services}, want: true},
		{name: "what is offered is filtered out", offered: []schema.GroupResource{widgets}, filters: []schema.GroupResource{services}},
	} {
		e := &Engine{
			controllerDeps: controllerDeps{settings: newLive(settings{filters: Filters{Resources: test.filters}})},
			running:        map[resourceType]*runningType{},
			offered:        func() []schema.GroupResource { return test.offered },
		}
		for _, gr := range test.running {
			e.running[resourceType{gvr: gr.WithVersion("v1")}] = &runningType{}
		}
		if got := e.awaitsType(); got != test.want {
			t.Errorf("%s: got %t", test.name, got)
		}
	}
}
