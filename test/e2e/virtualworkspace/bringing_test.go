package virtualworkspace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// bringing is the part of a syncer's test that is about what comes up.
type bringing struct {
	t         *testing.T
	w         *world
	tenant    *workspace
	east      *target
	down      dynamic.Interface
	namespace string
	volume    string
}

// prepare makes what has to be there before the syncer starts: types, a workload whose pods come up, and a Service whose
// Endpoints do, and its EndpointSlices do not. Who looks at his workspace finds an object of his own there as well.
func (b *bringing) prepare() {
	b.t.Helper()
	b.w.serveGadgets(b.t)
	b.east.bringsUp(upsynced...)
	crd := parsed(b.t, `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: `+gadgetsName+`},
	  spec: {group: example.com, names: `+gadgetsNames+`, scope: Namespaced, versions: [`+
		strings.Replace(gadgetVersion, "SCHEMA", `{openAPIV3Schema: `+gadgetSchema+`}`, 1)+`]}}`)
	must(b.down.Resource(crds).Create(b.t.Context(), crd, metav1.CreateOptions{}))(b.t)
	b.t.Cleanup(func() { _ = b.down.Resource(crds).Delete(context.Background(), gadgetsName, metav1.DeleteOptions{}) })
	up := b.east.client(b.t)
	env.Eventually(b.t, until, func() error { // kcp takes the type up, and the server what kcp serves
		if r := up.get(b.east.url("upsyncer") + "*/apis/example.com/v1/gadgets"); r.code != 200 {
			return fmt.Errorf("gadgets are answered %d %s", r.code, r.body)
		}
		return nil
	})
	const derived = workloadv1alpha1.UpsyncDerivedResourcesAnnotation
	b.tenant.create(deployments, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: shown, namespace: web, labels: `+labels(b.east)+`, annotations: {`+derived+`: "pods, nonsense"}},
	  spec: {replicas: 2, selector: {matchLabels: {app: shown}}, template: {metadata: {labels: {app: shown}}, spec: {containers: [{name: c, image: nginx}]}}}}`)
	b.tenant.create(services, `{apiVersion: v1, kind: Service, metadata: {name: shown, namespace: web, labels: `+labels(b.east)+`, annotations: {`+derived+`: endpoints}},
	  spec: {selector: {app: shown}, ports: [{port: 80}]}}`)
	b.tenant.create(gadgets, `{apiVersion: example.com/v1, kind: Gadget, metadata: {name: taken, namespace: web}, spec: {owner: tenant}}`)
}

// summarizes: an object's own rules say which fields the target reports, and whether they become the object's.
func (b *bringing) summarizes(west *target) {
	t := b.t
	t.Helper()
	rules := func(text string) string { return workloadv1alpha1.SummarizingAnnotation + ": '" + text + "'" }
	b.tenant.create(services, `{apiVersion: v1, kind: Service, metadata: {name: ruled, namespace: web, labels: `+labels(b.east)+`, annotations: {`+
		rules(`[{"fieldPath":"status","promoteToUpstream":true},{"fieldPath":"spec.clusterIP","promoteToUpstream":true}]`)+`}}, spec: {selector: {app: shown}, ports: [{port: 80}]}}`)
	b.tenant.create(deployments, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: ruled, namespace: web, labels: `+labels(b.east)+`, annotations: {`+
		rules(`[{"fieldPath":"status"}]`)+`}}, spec: {replicas: 1, selector: {matchLabels: {app: ruled}}, template: {metadata: {labels: {app: ruled}}, spec: {containers: [{name: c, image: nginx}]}}}}`)
	view := func(u *unstructured.Unstructured) map[string]any {
		return must(workloadv1alpha1.ReadSyncerView(u.GetAnnotations()[workloadv1alpha1.SyncerViewAnnotation(b.east.key)]))(t)
	}
	promoted := func() error {
		u := b.tenant.get(services, "web", "ruled")
		address, _, _ := unstructured.NestedString(u.Object, "spec", "clusterIP")
		if said := view(u); address == "" || said["spec.clusterIP"] != workloadv1alpha1.PromotedField || said["status"] != workloadv1alpha1.PromotedField {
			return fmt.Errorf("the Service has the address %q, and the view is %v", address, said)
		}
		return nil
	}
	env.Eventually(t, soon, promoted)
	env.Eventually(t, soon, func() error {
		u := b.tenant.get(deployments, "web", "ruled")
		ready, _, _ := unstructured.NestedInt64(view(u), "status", "readyReplicas")
		if own, _, _ := unstructured.NestedMap(u.Object, "status"); ready != 1 || len(own) > 0 {
			return fmt.Errorf("the view is %v, the object's own status %v", view(u), own)
		}
		return nil
	})

	// With another target nothing is the object's; when that has gone, everything is again.
	state := workloadv1alpha1.StateLabel(west.key)
	b.tenant.merge(services, "web", "ruled", fmt.Sprintf(`{metadata: {labels: {%s: Sync}}}`, state))
	env.Eventually(t, soon, func() error {
		u := b.tenant.get(services, "web", "ruled")
		address, _, _ := unstructured.NestedString(u.Object, "spec", "clusterIP")
		if said := view(u); said["spec.clusterIP"] != address || said["status"] == workloadv1alpha1.PromotedField {
			return fmt.Errorf("the Service has the address %q, and the view is %v", address, said)
		}
		return nil
	})
	if r := west.client(t).get(west.url("syncer") + string(b.tenant.Cluster) + "/api/v1/namespaces/web/services/ruled"); r.code != 200 || strings.Contains(r.body, b.east.key) || r.object()["status"] != nil {
		t.Errorf("the other target sees %d %s", r.code, r.body)
	}
	b.tenant.merge(services, "web", "ruled", fmt.Sprintf(`{metadata: {labels: {%s: null}}}`, state))
	env.Eventually(t, soon, promoted)

	own := b.east.url("syncer") + string(b.tenant.Cluster) + "/apis/apps/v1/namespaces/web/deployments/ruled"
	for what, tc := range map[string]struct{ path, patch, says string }{
		"a field that no rule names":          {"", `{metadata: {annotations: {VIEW: '{"spec.replicas":99}'}}}`, "does not name"},
		"what is promoted":                    {"", `{metadata: {annotations: {VIEW: '{"status":"##promoted##"}'}}}`, "not its to say"},
		"a status past the rules":             {"/status", `{status: {replicas: 99}}`, "goes to the annotation"},
		"more than there is room for":         {"", `{metadata: {annotations: {VIEW: '{"status":{"x":"` + strings.Repeat("x", 20<<10) + `"}}'}}}`, "more than"},
		"another target's":                    {"", strings.ReplaceAll(`{metadata: {annotations: {WEST: '{}'}}}`, "WEST", workloadv1alpha1.SyncerViewAnnotation(west.key)), "annotation"},
		"a field of an object without rules":  {"/../app", `{metadata: {annotations: {VIEW: '{"spec.replicas":99}'}}}`, "no annotation"},
		"the rules themselves":                {"", `{metadata: {annotations: {` + workloadv1alpha1.SummarizingAnnotation + `: '[]'}}}`, "annotation"},
		"a promoted field, without the rules": {"", `{spec: {replicas: 99}}`, "spec"},
	} {
		address := own + tc.path
		if before, found := strings.CutSuffix(address, "ruled/../app"); found {
			address = before + "app"
		}
		r := b.east.client(t).patch(address, strings.ReplaceAll(tc.patch, "VIEW", workloadv1alpha1.SyncerViewAnnotation(b.east.key)))
		if r.code != 403 || !strings.Contains(r.body, tc.says) {
			t.Errorf("%s: answered %d %s", what, r.code, r.body)
		}
	}
}

// pods are those that a tenant sees of the workload.
func (b *bringing) pods() []unstructured.Unstructured {
	b.t.Helper()
	return must(b.tenant.of(pods, "web").List(b.t.Context(), metav1.ListOptions{LabelSelector: "app=shown"}))(b.t).Items
}

// asDownstream checks that the tenant sees the pods as they are in the cluster, and no others.
func (b *bringing) asDownstream(count int) error {
	found := b.pods()
	if len(found) != count {
		return fmt.Errorf("the tenant sees %d pods, not %d", len(found), count)
	}
	for _, up := range found {
		down, err := b.down.Resource(pods).Namespace(b.namespace).Get(b.t.Context(), up.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		phase, _, _ := unstructured.NestedString(up.Object, "status", "phase")
		state := up.GetLabels()[workloadv1alpha1.StateLabel(b.east.key)]
		if phase != "Running" || state != "Upsync" || up.GetAnnotations()[workloadv1alpha1.UpsyncedVersionAnnotation] != down.GetResourceVersion() ||
			len(up.GetFinalizers()) != 1 || len(up.GetOwnerReferences()) != 0 || len(up.GetLabels()) != 3 {
			return fmt.Errorf("pod %s is %s, with %v; that of the cluster has version %s", up.GetName(), phase, up.Object["metadata"], down.GetResourceVersion())
		}
	}
	return nil
}

// comesUp: what the cluster makes is seen in the workspace, and follows; what is changed there is corrected.
func (b *bringing) comesUp() {
	t := b.t
	t.Helper()
	env.Eventually(t, soon, func() error { return b.asDownstream(2) })
	env.Eventually(t, soon, func() error {
		u, err := b.tenant.of(endpoints, "web").Get(t.Context(), "shown", metav1.GetOptions{})
		if err != nil {
			return err
		}
		subsets, _, _ := unstructured.NestedSlice(u.Object, "subsets")
		if text := fmt.Sprint(subsets); strings.Count(text, "namespace:web") != 2 || strings.Contains(text, b.namespace) || strings.Contains(text, "uid") {
			return fmt.Errorf("the Endpoints are %s", text)
		}
		return nil
	})
	if slices := must(b.tenant.of(endpointSlices, "web").List(t.Context(), listAll))(t); len(slices.Items) > 0 {
		t.Errorf("EndpointSlices that nobody asked for came up: %v", slices.Items)
	}

	// One with a status of its own, one that is taken, and a volume, which is where its claim is.
	label := workloadv1alpha1.StateLabel(b.east.key) + ": Upsync"
	for _, name := range []string{"own", "taken"} {
		b.createDown(gadgets, `{apiVersion: example.com/v1, kind: Gadget, metadata: {name: `+name+`, namespace: `+b.namespace+`, labels: {`+label+`}}, spec: {size: 1}}`)
		b.mergeDown(gadgets, b.namespace, name, `{status: {phase: Up}}`, "status")
	}
	b.volume = "volume-" + b.namespace
	b.createDown(volumes, `{apiVersion: v1, kind: PersistentVolume, metadata: {name: `+b.volume+`, labels: {`+label+`}}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce],
	  hostPath: {path: /tmp/x}, claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: `+b.namespace+`, name: data, uid: "1"}}}`)
	t.Cleanup(func() { _ = b.down.Resource(volumes).Delete(context.Background(), b.volume, metav1.DeleteOptions{}) })
	env.Eventually(t, soon, func() error {
		u, err := b.tenant.of(volumes, "").Get(t.Context(), b.volume, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if claim, _, _ := unstructured.NestedMap(u.Object, "spec", "claimRef"); claim["namespace"] != "web" || claim["uid"] != nil {
			return fmt.Errorf("the volume's claim is %v", claim)
		}
		return nil
	})
	env.Eventually(t, soon, func() error { return b.gadget("Up", 1) })
	b.mergeDown(gadgets, b.namespace, "own", `{spec: {size: 2}}`)
	b.mergeDown(gadgets, b.namespace, "own", `{status: {phase: Steady}}`, "status")
	env.Eventually(t, soon, func() error { return b.gadget("Steady", 2) })
	if owner, _, _ := unstructured.NestedString(b.tenant.get(gadgets, "web", "taken").Object, "spec", "owner"); owner != "tenant" {
		t.Error("the tenant's own object was overwritten")
	}
	env.Eventually(t, soon, func() error { return b.told("did not bring up") })
	b.isCorrected()
}

// gadget checks what came up of an object with a status of its own.
func (b *bringing) gadget(phase string, size int64) error {
	u, err := b.tenant.of(gadgets, "web").Get(b.t.Context(), "own", metav1.GetOptions{})
	if err != nil {
		return err
	}
	down := must(b.down.Resource(gadgets).Namespace(b.namespace).Get(b.t.Context(), "own", metav1.GetOptions{}))(b.t)
	gotPhase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	gotSize, _, _ := unstructured.NestedInt64(u.Object, "spec", "size")
	if gotPhase != phase || gotSize != size || u.GetAnnotations()[workloadv1alpha1.UpsyncedVersionAnnotation] != down.GetResourceVersion() {
		return fmt.Errorf("it is %v", u.Object)
	}
	return nil
}

// told: the SyncTarget says which objects cannot come up.
func (b *bringing) told(what string) error {
	resources, _, _ := unstructured.NestedSlice(b.east.ws.get(targets, "", b.east.st.Name).Object, "status", "syncedResources")
	for _, r := range resources {
		if r, ok := r.(map[string]any); ok && r["resource"] == "gadgets" && strings.Contains(fmt.Sprint(r["message"]), what) {
			return nil
		}
	}
	return fmt.Errorf("the SyncTarget says %v", resources)
}

// isCorrected: a tenant who changes or deletes what came up gets it back.
func (b *bringing) isCorrected() {
	t := b.t
	t.Helper()
	name := b.pods()[0].GetName()
	b.tenant.merge(pods, "web", name, `{metadata: {labels: {app: other}}, status: {phase: Failed}}`)
	env.Eventually(t, soon, func() error { return b.asDownstream(2) })
	uid := b.tenant.get(pods, "web", name).GetUID()
	if err := b.tenant.of(pods, "web").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, soon, func() error {
		u, err := b.tenant.of(pods, "web").Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && u.GetUID() == uid {
			return errors.New("it is the one that was deleted")
		}
		return errors.Join(err, b.asDownstream(2))
	})
	must(b.down.Resource(pods).Namespace(b.namespace).Get(t.Context(), name, metav1.GetOptions{}))(t)
}

// versions are those of all that came up.
func (b *bringing) versions() map[string]string {
	b.t.Helper()
	versions := map[string]string{}
	for _, gvr := range []schema.GroupVersionResource{pods, endpoints, gadgets} {
		for _, u := range must(b.tenant.of(gvr, "web").List(b.t.Context(), listAll))(b.t).Items {
			versions[gvr.Resource+"/"+u.GetName()] = u.GetResourceVersion()
		}
	}
	versions["volume"] = b.tenant.get(volumes, "", b.volume).GetResourceVersion()
	return versions
}

// stays: a syncer that starts anew writes nothing where nothing has changed. It has looked at everything when it is at work
// on what is new.
func (b *bringing) stays(before map[string]string) {
	t := b.t
	t.Helper()
	b.createDown(gadgets, `{apiVersion: example.com/v1, kind: Gadget, metadata: {name: later, namespace: `+b.namespace+`, labels: {`+workloadv1alpha1.StateLabel(b.east.key)+`: Upsync}}}`)
	env.Eventually(t, soon, func() error {
		_, err := b.tenant.of(gadgets, "web").Get(t.Context(), "later", metav1.GetOptions{})
		return err
	})
	b.mergeDown(gadgets, b.namespace, "later", `{spec: {size: 3}}`)
	env.Eventually(t, soon, func() error {
		size, _, _ := unstructured.NestedInt64(b.tenant.get(gadgets, "web", "later").Object, "spec", "size")
		if size != 3 {
			return fmt.Errorf("its size is %d", size)
		}
		return nil
	})
	after := b.versions()
	for name, version := range before {
		if after[name] != version {
			t.Errorf("%s was written to by a restart", name)
		}
	}
}

// goes: what the cluster has no more, or no longer brings up, goes from the workspace.
func (b *bringing) goes() {
	t := b.t
	t.Helper()
	b.tenant.merge(deployments, "web", "shown", `{spec: {replicas: 1}}`)
	env.Eventually(t, soon, func() error { return b.asDownstream(1) })
	b.mergeDown(gadgets, b.namespace, "own", fmt.Sprintf(`{metadata: {labels: {%s: null}}}`, workloadv1alpha1.StateLabel(b.east.key)))
	if err := b.tenant.of(deployments, "web").Delete(t.Context(), "shown", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, soon, func() error {
		_, err := b.tenant.of(gadgets, "web").Get(t.Context(), "own", metav1.GetOptions{})
		if len(b.pods()) > 0 || !apierrors.IsNotFound(err) {
			return errors.Join(fmt.Errorf("there are %d pods", len(b.pods())), err)
		}
		return nil
	})
	b.tenant.get(gadgets, "web", "taken") // the tenant's own
	must(b.down.Resource(gadgets).Namespace(b.namespace).Get(t.Context(), "own", metav1.GetOptions{}))(t)
}

func (b *bringing) createDown(gvr schema.GroupVersionResource, text string) {
	b.t.Helper()
	u := parsed(b.t, text)
	env.Eventually(b.t, soon, func() error { // a type that is new may be on its way
		_, err := b.down.Resource(gvr).Namespace(u.GetNamespace()).Create(b.t.Context(), u, metav1.CreateOptions{})
		return err
	})
}

func (b *bringing) mergeDown(gvr schema.GroupVersionResource, namespace, name, patch string, subresources ...string) {
	b.t.Helper()
	body := must(yaml.YAMLToJSON([]byte(patch)))(b.t)
	must(b.down.Resource(gvr).Namespace(namespace).Patch(b.t.Context(), name, types.MergePatchType, body, metav1.PatchOptions{}, subresources...))(b.t)
}
