package apiexport

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func schemaObject(name string, ours bool) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": map[string]any{"name": name, "uid": "uid-" + name}}}
	if ours {
		u.SetLabels(map[string]string{workloadv1alpha1.NegotiatedSchemaLabel: "true"})
	}
	return u
}

func exportObject(name string, schemas ...string) *unstructured.Unstructured {
	var resources []any
	for _, s := range schemas {
		resources = append(resources, map[string]any{"group": "example.com", "name": s, "schema": s})
	}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": map[string]any{"name": name}, "spec": map[string]any{"resources": resources}}}
}

func bindingTo(schemas ...string) unstructured.Unstructured {
	var bound []any
	for _, s := range schemas {
		bound = append(bound, map[string]any{"group": "example.com", "resource": s, "schema": map[string]any{"name": s}})
	}
	return unstructured.Unstructured{Object: map[string]any{"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": map[string]any{"name": "b"}, "status": map[string]any{"boundResources": bound}}}
}

// What nobody uses goes after its time, and nothing else does.
func TestSweep(t *testing.T) {
	ctx, clock := t.Context(), testingclock.NewFakeClock(time.Now())
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{schemasGVR: "APIResourceSchemaList", exportsGVR: "APIExportList"},
		schemaObject("old", true), schemaObject("offered", true), schemaObject("elsewhere", true), schemaObject("bound", true), schemaObject("installed", false),
		exportObject(workloadv1alpha1.KubernetesExport, "offered"), exportObject("administrators-own", "elsewhere"))
	bindings, unseen := []unstructured.Unstructured{bindingTo("offered"), bindingTo("bound", "offered")}, error(nil)
	s := &sweeper{
		provider: newProvider(client, logicalcluster.NewPath("root:compute")), grace: time.Hour, clock: clock, since: map[types.UID]time.Time{},
		bindings: func(context.Context) ([]unstructured.Unstructured, error) { return bindings, unseen },
	}
	sweep := func(what string, want ...string) {
		t.Helper()
		if err := s.sweep(ctx); !errors.Is(err, unseen) {
			t.Errorf("%s: %v", what, err)
		}
		list, err := client.Resource(schemasGVR).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, u := range list.Items {
			names = append(names, u.GetName())
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			t.Errorf("%s: there are %v, want %v", what, names, want)
		}
	}
	all := []string{"bound", "elsewhere", "installed", "offered", "old"}
	sweep("at first sight", all...)
	clock.Step(59 * time.Minute)
	sweep("before its time", all...)
	clock.Step(2 * time.Minute)
	unseen = errors.New("a shard does not answer")
	sweep("while a shard does not answer", all...)
	unseen = nil
	sweep("then the one goes that nobody uses", "bound", "elsewhere", "installed", "offered")
	bindings = bindings[:1]
	sweep("the last workspace is bound anew", "bound", "elsewhere", "installed", "offered")
	clock.Step(30 * time.Minute)
	bindings = append(bindings, bindingTo("bound"))
	sweep("it is used again", "bound", "elsewhere", "installed", "offered")
	bindings = bindings[:1]
	clock.Step(31 * time.Minute)
	sweep("its time begins anew", "bound", "elsewhere", "installed", "offered")
	clock.Step(time.Hour)
	sweep("and ends", "elsewhere", "installed", "offered")
	if s.grace = time.Minute; s.period() > 2*time.Minute {
		t.Errorf("nobody looks before %s whether a workspace is bound anew", s.period())
	}
	sweep("nothing is left", "elsewhere", "installed", "offered")
	if s.period() != sweepPeriod {
		t.Errorf("with nothing to remove it is looked every %s", s.period())
	}
	if err := client.Resource(exportsGVR).Delete(ctx, workloadv1alpha1.KubernetesExport, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	clock.Step(2 * time.Hour)
	if err := s.sweep(ctx); err == nil {
		t.Error("without the export nobody knows what is used")
	}
}
