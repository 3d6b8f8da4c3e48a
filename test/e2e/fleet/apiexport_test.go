package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/util/retry"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

const (
	crdKind        = "apiextensions.k8s.io/v1 CustomResourceDefinition"
	importKind     = "apiresource.kcp.io/v1alpha1 APIResourceImport"
	negotiatedKind = "apiresource.kcp.io/v1alpha1 NegotiatedAPIResource"
	exportKind     = "apis.kcp.io/v1alpha2 APIExport"
)

// widgets are a type of a test's own that physical clusters serve.
type widgets struct {
	t        *testing.T
	group    string
	provider *harness.Side
	// manager of the provider.
	manager *harness.Program
	east    *harness.Target
	west    *harness.Target
	tenant  *harness.Workspace
}

func newWidgets(t *testing.T) *widgets {
	t.Helper()
	p := harness.NewProvider(t)
	if err := bind.Bind(t.Context(), p.KCP.AdminConfig(), p.Path, p.Path, []string{config.WorkloadExport}, t.Output()); err != nil {
		t.Fatal(err)
	}
	w := &widgets{t: t, group: "w" + rand.String(6) + ".example.com", provider: harness.NewSide(t, p.KCP.WorkspaceConfig(p.Path))}
	w.manager = p.StartManager(t, unusedSchemasGo)
	w.tenant = p.NewTenant(t)
	targets := p.NewTargetWorkspace(t)
	exported := fmt.Sprintf("exportedResources: [widgets.%s]", w.group)
	w.east, w.west = targets.NewTarget("east", east, "labels: {side: east}", exported), targets.NewTarget("west", west, "", exported)
	return w
}

func (w *widgets) kind() string { return w.group + "/v1 Widget" }

// install makes the CustomResourceDefinition in a cluster, with these fields of spec, in YAML's flow style.
func (w *widgets) install(in *harness.Target, fields string) {
	w.t.Helper()
	in.Down.Create(w.crd(fields))
	crds := in.Down.Of(crdKind, "")
	w.t.Cleanup(func() { // the test's own context has ended by then
		if err := crds.Delete(context.Background(), "widgets."+w.group, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			w.t.Errorf("cleaning up: %v", err)
		}
	})
}

func (w *widgets) crd(fields string) string {
	return fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Size, type: string, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {%[2]s}}
          status: {type: object, properties: {phase: {type: string}}}
`, w.group, fields)
}

// change gives the CustomResourceDefinition of a cluster other fields.
func (w *widgets) change(in *harness.Target, fields string) {
	w.t.Helper()
	versions := harness.Parse(w.t, w.crd(fields)).Object["spec"].(map[string]any)["versions"]
	if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the server writes its conditions
		u := in.Down.MustGet(crdKind, "", "widgets."+w.group)
		u.Object["spec"].(map[string]any)["versions"] = versions
		_, err := in.Down.Client(u).Update(w.t.Context(), u, metav1.UpdateOptions{})
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}

// negotiated waits for a condition of the NegotiatedAPIResource.
func (w *widgets) negotiated(condition, reason, message string) *unstructured.Unstructured {
	w.t.Helper()
	return w.provider.Eventually(negotiatedKind, "", "widgets.v1."+w.group, conditionSays(condition, reason, message))
}

// state waits for what a SyncTarget says of widgets.
func (w *widgets) state(of *harness.Target, state workloadv1alpha1.ResourceState, message string) {
	w.t.Helper()
	of.Await(w.resource(state, message))
}

func (w *widgets) resource(state workloadv1alpha1.ResourceState, message string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		entries, _, _ := unstructured.NestedSlice(u.Object, "status", "syncedResources")
		for _, e := range entries {
			entry, _ := e.(map[string]any)
			if entry["group"] != w.group {
				continue
			}
			text, _ := entry["message"].(string)
			if entry["state"] != string(state) || !strings.Contains(text, message) || message == "" && text != "" {
				return fmt.Errorf("widgets are %v: %s", entry["state"], text)
			}
			return nil
		}
		return fmt.Errorf("nothing is said of widgets: %v", entries)
	}
}

// offered is the APIResourceSchema by which tenants are offered widgets, empty if they are not.
func (w *widgets) offered() string {
	w.t.Helper()
	entries, _, _ := unstructured.NestedSlice(w.provider.MustGet(exportKind, "", "kubernetes").Object, "spec", "resources")
	for _, e := range entries {
		if entry, _ := e.(map[string]any); entry["group"] == w.group {
			return entry["schema"].(string)
		}
	}
	return ""
}

func (w *widgets) widget(name, spec string) *unstructured.Unstructured {
	return harness.Parse(w.t, fmt.Sprintf(`{apiVersion: %s/v1, kind: Widget, metadata: {name: %s, namespace: web}, spec: {%s}}`, w.group, name, spec))
}

// refused tries to create a widget that tenants are not offered.
func (w *widgets) refused(spec, why string) {
	w.t.Helper()
	harness.Eventually(w.t, func() error {
		u := w.widget("refused", spec)
		_, err := w.tenant.Client(u).Create(w.t.Context(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll}})
		switch {
		case err == nil:
			return fmt.Errorf("a widget with %s is taken", spec)
		case !strings.Contains(err.Error(), why):
			return fmt.Errorf("a widget with %s: %w, want %q", spec, err, why)
		}
		return nil
	})
}

// conditionSays checks a condition: its reason, and a part of its message.
func conditionSays(condition, reason, message string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range conditions {
			entry, _ := c.(map[string]any)
			if entry["type"] != condition {
				continue
			}
			if text, _ := entry["message"].(string); entry["reason"] != reason || !strings.Contains(text, message) {
				return fmt.Errorf("%s is %v: %s", condition, entry["reason"], text)
			}
			return nil
		}
		return fmt.Errorf("there is no condition %s: %v", condition, conditions)
	}
}

// A type that both clusters serve, in versions that are not the same, is offered to tenants as far as both serve it; a
// tenant uses it as any other. Restarts write nothing. A cluster whose type becomes another is told which field is in the
// way, and the others go on. What a tenant uses stays as it is.
func TestClustersOfferACustomResource(t *testing.T) {
	t.Parallel()
	w := newWidgets(t)
	w.install(w.east, "size: {type: integer, maximum: 10}, color: {type: string}")
	w.install(w.west, "size: {type: integer}, weight: {type: integer}")
	syncers := []*harness.Program{w.east.StartSyncer(), w.west.StartSyncer()}

	w.negotiated("Published", "Published", "")
	negotiated := w.provider.Eventually(negotiatedKind, "", "widgets.v1."+w.group, harness.All(
		conditionSays("Compatible", "Negotiated", ""), harness.Has(2, "status", "imports")))
	fields, _, _ := unstructured.NestedMap(negotiated.Object, "status", "negotiated", "schema", "properties", "spec", "properties")
	if len(fields) != 1 || fields["size"] == nil {
		t.Errorf("negotiated %v, want size only", fields)
	}
	for _, target := range []*harness.Target{w.east, w.west} {
		w.state(target, workloadv1alpha1.ResourceAccepted, "")
		target.Workspace.Eventually(importKind, "", "deployments.v1.apps."+target.Name, conditionSays("Compatible", "AcceptsAll", ""))
	}
	w.provider.Eventually(negotiatedKind, "", "deployments.v1.apps", conditionSays("Published", "Installed", ""))
	w.refused("size: 11", "less than or equal to 10")
	w.refused("size: 1, color: red", `unknown field "spec.color"`)

	place(w.tenant, w.east.Workspace, "affinity: {required: [{matchLabels: {side: east}}]}")
	w.tenant.Eventually("scheduling.kcp.io/v1alpha1 Placement", "", "all", conditionSays("Scheduled", "TargetsSelected", ""))
	thing := w.widget("thing", "size: 5")
	harness.Must(w.tenant.Client(thing).Create(t.Context(), thing, metav1.CreateOptions{}))(t)
	namespace := w.east.NamespaceOf(w.tenant, "web")
	w.east.Down.Eventually(w.kind(), namespace, "thing", harness.Has(5, "spec", "size"))
	w.east.Down.Merge(w.kind(), namespace, "thing", `status: {phase: Spinning}`, "status")
	w.tenant.Eventually(w.kind(), "web", "thing", harness.Has("Spinning", "status", "phase"))

	before := w.atRest()
	for i, target := range []*harness.Target{w.east, w.west} {
		syncers[i].Stop()
		syncers[i] = target.StartSyncer()
		w.state(target, workloadv1alpha1.ResourceAccepted, "")
	}
	w.manager.Stop()
	w.manager = w.tenant.Provider.StartManager(t, unusedSchemasGo)
	harness.Remains(t, 3*time.Second, func() error {
		if after := w.versions(); !slices.Equal(before, after) {
			return fmt.Errorf("a restart wrote:\n%v\n%v", before, after)
		}
		if sum := harness.Sum(w.manager.Scrape(), "workload_manager_writes_total", "reconciler=apiexport"); sum != 0 {
			return fmt.Errorf("the manager wrote %v times", sum)
		}
		return nil
	})

	w.change(w.west, "size: {type: string}, weight: {type: integer}")
	w.negotiated("Compatible", "SomeIncompatible", "spec.size is offered as integer, but is string")
	w.west.Workspace.Eventually(importKind, "", "widgets.v1."+w.group+".west", conditionSays("Compatible", "Incompatible", "spec.size"))
	w.state(w.west, workloadv1alpha1.ResourceIncompatible, "spec.size is offered as integer, but is string")
	w.state(w.east, workloadv1alpha1.ResourceAccepted, "")
	w.tenant.Merge(w.kind(), "web", "thing", `spec: {size: 6}`)
	w.east.Down.Eventually(w.kind(), namespace, "thing", harness.Has(6, "spec", "size"))

	w.west.Down.Delete(crdKind, "", "widgets."+w.group)
	w.west.Down.EventuallyGone(crdKind, "", "widgets."+w.group) // it is made again below
	w.west.Workspace.EventuallyGone(importKind, "", "widgets.v1."+w.group+".west")
	w.state(w.west, workloadv1alpha1.ResourceIncompatible, "does not serve it")
	w.negotiated("Compatible", "Negotiated", "")

	w.isNotTakenFromItsUsers()
}

// isNotTakenFromItsUsers: a cluster that serves less is told, and neither it nor the operator makes the type go before its last
// object has.
func (w *widgets) isNotTakenFromItsUsers() {
	w.t.Helper()
	offered := w.offered()
	w.install(w.west, "size: {type: integer, maximum: 3}") // an older cluster
	w.negotiated("Published", "NarrowingHeldBack", "spec.color is not known; spec.size is narrower (maximum)")
	w.state(w.west, workloadv1alpha1.ResourceAccepted, "spec.color is not known")
	if now := w.offered(); now != offered {
		w.t.Errorf("tenants are offered %s instead of %s", now, offered)
	}

	// What gets wider is offered at once.
	w.change(w.east, "size: {type: integer}, color: {type: string}, weight: {type: integer}")
	w.change(w.west, "size: {type: integer}, color: {type: string}, weight: {type: integer}")
	w.negotiated("Published", "Published", "")
	w.tenant.Merge(w.kind(), "web", "thing", `spec: {weight: 7}`)
	harness.Eventually(w.t, w.noneIsUnused)

	w.provider.Merge(negotiatedKind, "", "widgets.v1."+w.group, `spec: {publish: false}`)
	w.negotiated("Published", "StillUsed", "")
	w.tenant.Delete(w.kind(), "web", "thing")
	w.tenant.EventuallyGone(w.kind(), "web", "thing")
	w.provider.Merge(negotiatedKind, "", "widgets.v1."+w.group, `metadata: {annotations: {look: again}}`)
	w.negotiated("Published", "NotPublished", "")
	harness.Eventually(w.t, w.isOffered(false))

	w.provider.Merge(negotiatedKind, "", "widgets.v1."+w.group, `spec: {publish: true}`)
	harness.Eventually(w.t, w.isOffered(true))
	for _, target := range []*harness.Target{w.east, w.west} {
		target.Workspace.Merge(harness.SyncTargetKind, "", target.Name, `spec: {exportedResources: []}`)
	}
	w.provider.EventuallyGone(negotiatedKind, "", "widgets.v1."+w.group)
	harness.Eventually(w.t, w.isOffered(false))
}

// unusedSchemasGo soon.
const unusedSchemasGo = "--unused-schema-grace=1s"

// noneIsUnused: of all schemas that were negotiated for the resource, those are left by which the tenant is bound or that are offered.
func (w *widgets) noneIsUnused() error {
	var left []string
	list, err := w.provider.Of("apis.kcp.io/v1alpha1 APIResourceSchema", "").List(w.t.Context(), metav1.ListOptions{LabelSelector: workloadv1alpha1.NegotiatedSchemaLabel})
	if err != nil {
		return err
	}
	for _, u := range list.Items {
		if strings.HasSuffix(u.GetName(), "."+w.group) {
			left = append(left, u.GetName())
		}
	}
	if len(left) != 1 || left[0] != w.offered() {
		return fmt.Errorf("tenants are offered %q, and there are %v", w.offered(), left)
	}
	return nil
}

func (w *widgets) isOffered(want bool) func() error {
	return func() error {
		if now := w.offered(); (now != "") != want {
			return fmt.Errorf("tenants are offered %q", now)
		}
		return nil
	}
}

// atRest waits until no schema is left to be swept and nothing of what the negotiation writes has changed for a while, and gives
// the versions then. Clusters publish dozens of types, which takes longer than what the test looks at.
func (w *widgets) atRest() (versions []string) {
	w.t.Helper()
	harness.Eventually(w.t, w.noneIsUnused)
	var since time.Time
	harness.Eventually(w.t, func() error {
		if now := w.versions(); !slices.Equal(now, versions) {
			versions, since = now, time.Now()
		}
		if quiet := time.Since(since); quiet < 5*time.Second {
			return fmt.Errorf("something was written %s ago", quiet)
		}
		return nil
	})
	return versions
}

// versions are those of all that the negotiation writes.
func (w *widgets) versions() (all []string) {
	w.t.Helper()
	for side, kinds := range map[*harness.Side][]string{w.provider: {negotiatedKind, exportKind}, w.east.Workspace.Side: {importKind}} {
		for _, kind := range kinds {
			for _, u := range harness.Must(side.Of(kind, "").List(w.t.Context(), metav1.ListOptions{}))(w.t).Items {
				all = append(all, u.GetKind()+" "+u.GetName()+" "+u.GetResourceVersion())
			}
		}
	}
	slices.Sort(all)
	return all
}
