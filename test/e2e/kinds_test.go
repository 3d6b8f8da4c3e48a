package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// Addresses and ports that nobody asked for are the physical cluster's to give: they are in the copy, stay what they are
// when the Service changes, and are not in the original. Its status comes home.
func TestA20AllocatedAddressesAreLeftToTheCluster(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	tn.up.Create(`
apiVersion: v1
kind: Service
metadata: {name: front, namespace: web}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  clusterIP: ""
  healthCheckNodePort: 0
  selector: {app: front}
  ports: [{name: http, port: 80, nodePort: 0}]
`)
	given := tn.copyOf("Service", "front", allocated)
	tn.up.Merge("Service", "web", "front", `spec: {ports: [{name: http, port: 8080}], selector: {app: back}}`)
	changed := tn.copyOf("Service", "front", all(has("back", "spec", "selector", "app"), allocated))
	for _, name := range []string{"clusterIP", "clusterIPs", "healthCheckNodePort"} {
		if err := has(field(given, "spec", name), "spec", name)(changed); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"clusterIP", "clusterIPs", "healthCheckNodePort", "nodePort"} {
		if owns(changed, `"f:`+name+`"`) {
			t.Errorf("we have made ourselves the owner of %s", name)
		}
	}
	tn.down.Merge("Service", tn.downNamespace("web"), "front", `status: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}`, "status")
	home := tn.up.Eventually("Service", "web", "front", func(u *unstructured.Unstructured) error {
		if ingress, _, _ := unstructured.NestedSlice(u.Object, "status", "loadBalancer", "ingress"); len(ingress) != 1 {
			return fmt.Errorf("status.loadBalancer.ingress is %v", ingress)
		}
		return nil
	})
	if allocated(home) == nil {
		t.Errorf("what the physical cluster allocated is in the original: %v", home.Object["spec"])
	}
	if err := tn.saysNothing(home); err != nil {
		t.Error(err)
	}
}

// owns reports whether the syncer is the manager of a field, written as in managed fields.
func owns(u *unstructured.Unstructured, field string) bool {
	for _, entry := range u.GetManagedFields() {
		if entry.Manager == workloadv1alpha1.FieldManager && strings.Contains(entry.FieldsV1.GetRawString(), field) {
			return true
		}
	}
	return false
}

// allocated checks that a Service has all that an API server gives to a LoadBalancer.
func allocated(u *unstructured.Unstructured) error {
	ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
	if len(ports) != 1 || ports[0].(map[string]any)["nodePort"] == nil {
		return fmt.Errorf("spec.ports is %v, without a nodePort", ports)
	}
	for _, name := range []string{"clusterIP", "healthCheckNodePort"} {
		if field(u, "spec", name) == nil {
			return fmt.Errorf("spec.%s is not set", name)
		}
	}
	return nil
}

// An address or port that the user asked for is sent. When it is taken, a condition says so, and when it is free again the
// copy is made.
func TestA20CollidingAddressIsTold(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	service := func(name, ip string, port int) string {
		return fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: web}, spec: {type: NodePort, clusterIP: %s, ports: [{port: 80, nodePort: %d}]}}`, name, ip, port)
	}
	const ip, port = "10.96.200.21", 31921
	tn.up.Create(service("first", ip, port))
	tn.copyOf("Service", "first", has(ip, "spec", "clusterIP"))

	tn.up.Create(service("same-address", ip, port+1), service("same-port", "10.96.200.22", port))
	tn.up.Eventually("Service", "web", "same-address", tn.says(workloadv1alpha1.ReasonInvalid, ip, "already allocated"))
	tn.awaitEvent("web", "same-address", workloadv1alpha1.ReasonInvalid)
	tn.up.Eventually("Service", "web", "same-port", tn.says(workloadv1alpha1.ReasonInvalid, strconv.Itoa(port), "already allocated"))

	tn.up.Delete("Service", "web", "first")
	tn.copyOf("Service", "same-address", has(ip, "spec", "clusterIP"))
	tn.copyOf("Service", "same-port", has("10.96.200.22", "spec", "clusterIP"))
	tn.up.Eventually("Service", "web", "same-address", tn.saysNothing)
}

// A Job runs once, also one that was exported from another cluster with the selector and labels that an API server gave
// it there. Its completion comes home, and what changes later in its metadata is applied to the same Job.
func TestA21JobRunsOnce(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	tn.up.Create(job("once", "{}"), `
apiVersion: batch/v1
kind: Job
metadata: {name: exported, namespace: web, labels: {batch.kubernetes.io/controller-uid: 11111111-2222-3333-4444-555555555555, batch.kubernetes.io/job-name: exported}}
spec:
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: 11111111-2222-3333-4444-555555555555}}
  template:
    metadata: {labels: {batch.kubernetes.io/controller-uid: 11111111-2222-3333-4444-555555555555, batch.kubernetes.io/job-name: exported, controller-uid: 11111111-2222-3333-4444-555555555555}}
    spec: {restartPolicy: Never, containers: [{name: main, image: "example.com/once:1"}]}
`)
	for _, name := range []string{"once", "exported"} {
		tn.up.Eventually("batch/v1 Job", "web", name, all(has(1, "status", "succeeded"), isComplete))
		before := tn.copyOf("batch/v1 Job", name, nil)
		tn.up.Merge("batch/v1 Job", "web", name, `{metadata: {labels: {later: change}}, spec: {ttlSecondsAfterFinished: 86400}}`)
		tn.copyOf("batch/v1 Job", name, all(
			has("change", "metadata", "labels", "later"), has(86400, "spec", "ttlSecondsAfterFinished"), has(before.GetUID(), "metadata", "uid")))
		tn.up.Eventually("batch/v1 Job", "web", name, tn.saysNothing)
		if pods := tn.podsOf("job-name=" + name); len(pods) != 1 {
			t.Errorf("%s has made %d pods", name, len(pods))
		}
	}
}

// A Job that the physical cluster cleans up once it has finished, at once or when somebody asks, has told its completion at
// home and is not run again: neither then, nor when its original changes, nor by a syncer that starts anew.
func TestA21FinishedJobIsNotRunAgain(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	namespace := tn.prepareNamespace()
	tn.up.Create(job("at-once", "{}"), job("by-hand", "{}"))
	tn.up.Merge("batch/v1 Job", "web", "at-once", `spec: {ttlSecondsAfterFinished: 0}`)
	tn.up.Eventually("batch/v1 Job", "web", "by-hand", isComplete)
	tn.down.Delete("batch/v1 Job", namespace, "by-hand")
	finished := []string{"at-once", "by-hand"}
	for _, name := range finished {
		tn.up.Eventually("batch/v1 Job", "web", name, all(isComplete, has(1, "status", "succeeded")))
		tn.down.EventuallyGone("batch/v1 Job", namespace, name)
		tn.up.Merge("batch/v1 Job", "web", name, `metadata: {labels: {later: change}}`)
	}
	s.Terminate()
	tn.startSyncer()
	tn.up.Create(job("last", "{}"))
	tn.copyOf("batch/v1 Job", "last", nil) // whatever was to be made is made by now
	remains(t, time.Second, func() error {
		for _, name := range finished {
			if _, err := tn.down.Get("batch/v1 Job", namespace, name); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s runs again, or: %w", name, err)
			}
		}
		return nil
	})
	for _, name := range finished {
		tn.up.Delete("batch/v1 Job", "web", name)
		tn.up.EventuallyGone("batch/v1 Job", "web", name)
	}
}

func isComplete(u *unstructured.Unstructured) error {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if c := c.(map[string]any); c["type"] == "Complete" && c["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("the Job is not complete: %v", conditions)
}

// job is one whose pods succeed at once.
func job(name, annotations string) string {
	return fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: web, annotations: %s}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "example.com/once:1"}]}}}
`, name, annotations)
}

// podsOf are the names of the pods in the copy of the namespace web.
func (tn *tenant) podsOf(selector string) []string {
	tn.t.Helper()
	list := must(tn.down.Typed.CoreV1().Pods(tn.downNamespace("web")).List(tn.t.Context(), metav1.ListOptions{LabelSelector: selector}))(tn.t)
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// A Job that is deleted upstream takes its pods along, in a namespace that stays.
func TestA22DeletedJobLeavesNoPods(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	namespace := tn.prepareNamespace()
	tn.up.Create(job("once", "{}"))
	tn.up.Eventually("batch/v1 Job", "web", "once", has(1, "status", "succeeded"))
	tn.up.Delete("batch/v1 Job", "web", "once")
	tn.up.EventuallyGone("batch/v1 Job", "web", "once")
	tn.down.EventuallyGone("batch/v1 Job", namespace, "once")
	eventually(t, func() error {
		if pods := tn.podsOf("job-name=once"); len(pods) > 0 {
			return fmt.Errorf("pods are left behind: %v", pods)
		}
		return nil
	})
	tn.copyOf("ConfigMap", "first", nil)
}

// A change of a field that cannot be changed is told by condition and Event, and taken back by reverting it. Where the
// user allows it the copy is made anew.
func TestA23ImmutableFieldIsTold(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	const kind = "apps/v1 Deployment"
	tn.up.Create(deployment("web", "fixed", 1))
	before := tn.copyOf(kind, "fixed", has(1, "status", "availableReplicas"))
	relabel := func(app string) string {
		return fmt.Sprintf(`spec: {selector: {matchLabels: {app: %[1]s}}, template: {metadata: {labels: {app: %[1]s}}}}`, app)
	}
	tn.up.Merge(kind, "web", "fixed", relabel("other"))
	tn.up.Eventually(kind, "web", "fixed", tn.says(workloadv1alpha1.ReasonImmutableField, "spec.selector", "immutable"))
	tn.awaitEvent("web", "fixed", workloadv1alpha1.ReasonImmutableField)
	tn.copyOf(kind, "fixed", all(has("fixed", "spec", "selector", "matchLabels", "app"), has(before.GetUID(), "metadata", "uid")))

	tn.up.Merge(kind, "web", "fixed", relabel("fixed"))
	tn.up.Eventually(kind, "web", "fixed", tn.saysNothing)

	tn.up.Merge(kind, "web", "fixed", relabel("other"))
	tn.up.Eventually(kind, "web", "fixed", tn.says(workloadv1alpha1.ReasonImmutableField))
	tn.up.Merge(kind, "web", "fixed", fmt.Sprintf(`metadata: {annotations: {%s: Recreate}}`, workloadv1alpha1.ImmutablePolicyAnnotation))
	tn.copyOf(kind, "fixed", all(has("other", "spec", "selector", "matchLabels", "app"), isNot(before)))
	tn.up.Eventually(kind, "web", "fixed", all(tn.saysNothing, has(1, "status", "availableReplicas"), has(4, "status", "observedGeneration")))
}

// A PersistentVolumeClaim is never made anew, whatever the policy: its data would be lost.
func TestA23ClaimIsNeverRecreated(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	class := tn.createVolume()
	tn.up.Create(claim("data", class, workloadv1alpha1.ImmutablePolicyAnnotation+": Recreate"))
	tn.up.Eventually("PersistentVolumeClaim", "web", "data", has("Bound", "status", "phase"))
	before := tn.copyOf("PersistentVolumeClaim", "data", nil)
	tn.up.Merge("PersistentVolumeClaim", "web", "data", `spec: {storageClassName: another}`)
	tn.up.Eventually("PersistentVolumeClaim", "web", "data", tn.says(workloadv1alpha1.ReasonImmutableField, "immutable"))
	remains(t, time.Second, func() error {
		return all(isSameAs(before), has(class, "spec", "storageClassName"), has("Bound", "status", "phase"))(tn.copyOf("PersistentVolumeClaim", "data", nil))
	})
}

func claim(name, class string, annotations ...string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %s, namespace: web, annotations: {%s}},
  spec: {storageClassName: %s, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`, name, strings.Join(annotations, ", "), class)
}

// createVolume makes a PersistentVolume in the physical cluster, in a storage class of its own.
func (tn *tenant) createVolume() (class string) {
	tn.t.Helper()
	class = "e2e-" + rand.String(8)
	tn.down.Create(fmt.Sprintf(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: %[1]s},
  spec: {storageClassName: %[1]s, accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /tmp}}}`, class))
	volumes := tn.down.Of("PersistentVolume", "")
	tn.t.Cleanup(func() { _ = volumes.Delete(context.Background(), class, metav1.DeleteOptions{}) })
	return class
}

// An object as big as it may be is copied, without the copy of itself that kubectl keeps in an annotation, and what we note
// on either side does not grow with it.
func TestA24BigObjectsAndLastAppliedAnnotation(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	big, value := parse(t, configMap("web", "big", "mode", "ours")), strings.Repeat("0123456789abcdef", 40<<10)
	big.SetAnnotations(map[string]string{lastApplied: strings.Repeat("y", 200<<10), "example.com/note": "kept"})
	_ = unstructured.SetNestedField(big.Object, value, "data", "big")
	must(tn.up.Client(big).Create(t.Context(), big, metav1.CreateOptions{}))(t)

	copied := tn.copyOf("ConfigMap", "big", all(has("kept", "metadata", "annotations", "example.com/note"), has("ours", "data", "mode")))
	tn.up.Merge("ConfigMap", "web", "big", `data: {mode: changed}`)
	copied = tn.copyOf("ConfigMap", "big", all(has("changed", "data", "mode"), isSameAs(copied)))
	if field(copied, "data", "big") != value {
		t.Error("the content is another one")
	}
	original := tn.up.MustGet("ConfigMap", "web", "big")
	if len(original.GetAnnotations()[lastApplied]) != 200<<10 {
		t.Error("the annotation of the original was touched")
	}
	for _, u := range []*unstructured.Unstructured{original, copied} {
		for name, value := range u.GetAnnotations() {
			if (name != lastApplied || u == copied) && len(value) > 100 {
				t.Errorf("annotation %s has %d bytes", name, len(value))
			}
		}
	}
}

func isSameAs(before *unstructured.Unstructured) func(*unstructured.Unstructured) error {
	return has(before.GetUID(), "metadata", "uid")
}

// What every cluster makes in every namespace by itself is neither copied nor touched. ServiceAccounts of users are
// copied, their tokens are not: those are good for the API server that issued them only.
func TestA25ServiceAccounts(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	namespace := tn.prepareNamespace()
	certificate := tn.down.Eventually("ConfigMap", namespace, "kube-root-ca.crt", nil)
	account := tn.down.Eventually("ServiceAccount", namespace, "default", nil)
	tn.up.Eventually("ConfigMap", "web", "kube-root-ca.crt", has(nil, "metadata", "finalizers"))
	tn.up.Eventually("ServiceAccount", "web", "default", has(nil, "metadata", "finalizers"))

	tn.up.Merge("ServiceAccount", "web", "default", `metadata: {labels: {app: web}}`)
	tn.up.Create(
		`{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: token, namespace: web, annotations: {kubernetes.io/service-account.name: default}}}`,
		`{apiVersion: v1, kind: Secret, metadata: {name: pull, namespace: web}, stringData: {password: secret}}`,
		`{apiVersion: v1, kind: ServiceAccount, metadata: {name: builder, namespace: web}, imagePullSecrets: [{name: pull}]}`,
	)
	builder := tn.copyOf("ServiceAccount", "builder", tn.isOurs)
	if names, _, _ := unstructured.NestedSlice(builder.Object, "imagePullSecrets"); len(names) != 1 {
		t.Errorf("imagePullSecrets is %v", names)
	}
	tn.copyOf("Secret", "pull", tn.isOurs)
	tn.up.Merge("ServiceAccount", "web", "builder", `metadata: {labels: {app: web}}`)
	tn.copyOf("ServiceAccount", "builder", has("web", "metadata", "labels", "app")) // by now the others would be there too
	remains(t, time.Second, func() error {
		_, err := tn.down.Get("Secret", namespace, "token")
		if err == nil {
			return errors.New("the token was copied")
		}
		return errors.Join(tn.down.unchanged(certificate)(), tn.down.unchanged(account)())
	})
	for _, object := range []string{"ConfigMap kube-root-ca.crt", "ServiceAccount default", "Secret token"} {
		kind, name, _ := strings.Cut(object, " ")
		if err := all(has(nil, "metadata", "finalizers"), tn.saysNothing)(tn.up.MustGet(kind, "web", name)); err != nil {
			t.Error(err)
		}
	}
}

// Custom resources sync both ways, with and without a status subresource, in a version that both sides serve.
func TestA26CustomResourcesSyncBothWays(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	types := map[string]customType{
		"with-status": newCustomType("Gear", "Namespaced", "v1").withStatus(),
		"without":     newCustomType("Gear", "Namespaced", "v1"),
	}
	for name, down := range types {
		up := down.in("v1", "v2")
		tn.down.define(down)
		tn.up.define(up)
		tn.up.Create(up.object("web", name, "size: 1"))
	}
	tn.startSyncer()
	for name, down := range types {
		up := down.in("v1", "v2")
		tn.copyOf(down.kind(), name, all(tn.isOurs, has(1, "spec", "size")))
		var subresources []string
		if down.status {
			subresources = []string{"status"}
		}
		tn.down.Merge(down.kind(), tn.downNamespace("web"), name, `status: {phase: Running}`, subresources...)
		tn.up.Eventually(up.kind(), "web", name, has("Running", "status", "phase"))
		tn.up.Merge(up.kind(), "web", name, `spec: {size: 2, mode: fast}`)
		tn.copyOf(down.kind(), name, all(has(2, "spec", "size"), has("fast", "spec", "mode"), has("Running", "status", "phase")))
		tn.up.Delete(up.kind(), "web", name)
		tn.up.EventuallyGone(up.kind(), "web", name)
	}
}

// A type that comes to one side after the other is synced once both have it. Until then the user is told what is missing.
func TestA26TypeThatAppearsLaterIsPickedUp(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	upFirst, downFirst := newCustomType("Gear", "Namespaced", "v1"), newCustomType("Wheel", "Namespaced", "v1")
	tn.up.define(upFirst)
	tn.down.define(downFirst)
	tn.up.Create(upFirst.object("web", "early", "size: 1"))
	tn.up.define(downFirst)
	tn.up.Create(downFirst.object("web", "late", "size: 1"))
	tn.copyOf(downFirst.kind(), "late", has(1, "spec", "size"))

	tn.up.Eventually(upFirst.kind(), "web", "early", tn.says(workloadv1alpha1.ReasonNotServed, upFirst.crd()))
	tn.down.define(upFirst)
	tn.copyOf(upFirst.kind(), "early", has(1, "spec", "size"))
	tn.up.Eventually(upFirst.kind(), "web", "early", tn.saysNothing)
}

// When the physical cluster no longer serves a type, its objects upstream live on, are told why nothing happens, and can be
// deleted: their claims are released. When it is upstream that gives the type up, the copies go.
func TestA26TypeThatGoesAway(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	s := tn.startSyncer()
	below, above := newCustomType("Gear", "Namespaced", "v1"), newCustomType("Wheel", "Namespaced", "v1")
	for _, c := range []customType{below, above} {
		tn.down.define(c)
		tn.up.define(c)
		tn.up.Create(c.object("web", "thing", "size: 1"))
		tn.copyOf(c.kind(), "thing", nil)
		tn.up.Eventually(c.kind(), "web", "thing", tn.claimed)
	}
	tn.up.Create(configMap("web", "other", "mode", "first"))

	tn.down.Delete(crdKind, "", below.crd())
	tn.down.EventuallyGone(crdKind, "", below.crd())
	tn.up.Eventually(below.kind(), "web", "thing", tn.says(workloadv1alpha1.ReasonNotServed, below.crd()))
	tn.up.Delete(below.kind(), "web", "thing")
	tn.up.EventuallyGone(below.kind(), "web", "thing")

	tn.up.Delete(crdKind, "", above.crd())
	tn.up.EventuallyGone(crdKind, "", above.crd())
	tn.down.EventuallyGone(above.kind(), tn.downNamespace("web"), "thing")

	tn.up.Merge("ConfigMap", "web", "other", `data: {mode: second}`) // nothing else is concerned
	tn.copyOf("ConfigMap", "other", has("second", "data", "mode"))
	if code, body := s.Ask("health", "/readyz?verbose"); code != 200 {
		t.Errorf("readyz: %d\n%s", code, body)
	}
	tn.up.Eventually("workload.kcp.io/v1alpha1 SyncTarget", "", "target", func(u *unstructured.Unstructured) error {
		resources, _, _ := unstructured.NestedSlice(u.Object, "status", "syncedResources")
		for _, r := range resources {
			if group := r.(map[string]any)["group"]; group == above.group {
				return fmt.Errorf("the type that is gone is still listed: %v", r)
			}
		}
		return nil
	})
}

// kindCase is an object of some kind, what its controller downstream does to it, and what is then seen upstream.
type kindCase struct {
	kind, name, spec string
	// controller plays one that the physical cluster of the tests lacks.
	controller func(*tenant)
	// home is what the object shows upstream in the end.
	home func(*unstructured.Unstructured) error
	// change is applied upstream, and seen is what the copy holds then.
	change string
	seen   func(*unstructured.Unstructured) error
}

var kindCases = []kindCase{
	{
		kind: "batch/v1 CronJob", name: "often",
		spec:   `spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "example.com/often:1"}]}}}}}`,
		change: `spec: {successfulJobsHistoryLimit: 1}`, seen: has(1, "spec", "successfulJobsHistoryLimit"),
	},
	{
		kind: "apps/v1 StatefulSet", name: "ordered",
		spec: `spec: {serviceName: ordered, replicas: 2, selector: {matchLabels: {app: ordered}}, template: ` + podTemplate("ordered") + `}`,
		home: all(has(2, "status", "readyReplicas"), has(1, "status", "observedGeneration")), change: `spec: {replicas: 1}`,
		seen: has(1, "status", "replicas"),
	},
	{
		kind: "apps/v1 DaemonSet", name: "everywhere",
		spec: `spec: {selector: {matchLabels: {app: everywhere}}, template: ` + podTemplate("everywhere") + `}`,
		home: all(has(2, "status", "numberReady"), has(1, "status", "observedGeneration")), change: `spec: {minReadySeconds: 1}`,
		seen: has(1, "spec", "minReadySeconds"),
	},
	{
		kind: "networking.k8s.io/v1 Ingress", name: "entry",
		spec: `spec: {rules: [{host: example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: front, port: {number: 80}}}}]}}]}`,
		controller: func(tn *tenant) {
			tn.down.Merge("networking.k8s.io/v1 Ingress", tn.downNamespace("web"), "entry", `status: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}}`, "status")
		},
		home:   has("[map[ip:192.0.2.9]]", "status", "loadBalancer", "ingress"),
		change: `spec: {ingressClassName: other}`, seen: has("other", "spec", "ingressClassName"),
	},
	{
		kind: "networking.k8s.io/v1 NetworkPolicy", name: "closed",
		spec:   `spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: data}}}]}]}`,
		change: `spec: {podSelector: {matchLabels: {app: web}}}`, seen: has("web", "spec", "podSelector", "matchLabels", "app"),
	},
	{
		kind: "autoscaling/v2 HorizontalPodAutoscaler", name: "ordered",
		spec: `spec: {minReplicas: 1, maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: absent}}`,
		home: func(u *unstructured.Unstructured) error {
			if conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions"); len(conditions) == 0 {
				return errors.New("the HorizontalPodAutoscaler has no conditions")
			}
			return nil
		},
		change: `spec: {maxReplicas: 5}`, seen: has(5, "spec", "maxReplicas"),
	},
	{
		kind: "policy/v1 PodDisruptionBudget", name: "careful",
		spec: `spec: {minAvailable: 1, selector: {matchLabels: {app: everywhere}}}`,
		home: all(has(2, "status", "currentHealthy"), has(1, "status", "disruptionsAllowed")), change: `spec: {minAvailable: 2}`,
		seen: has(2, "spec", "minAvailable"),
	},
	{
		kind: "Secret", name: "password", spec: `stringData: {password: first}`,
		change: `stringData: {password: second}`, seen: has("c2Vjb25k", "data", "password"),
	},
	{
		kind: "ServiceAccount", name: "builder", spec: `automountServiceAccountToken: false`,
		change: `automountServiceAccountToken: true`, seen: has(true, "automountServiceAccountToken"),
	},
	{
		kind: "rbac.authorization.k8s.io/v1 Role", name: "reader", spec: `rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]`,
		change: `rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]`, seen: has("[map[apiGroups:[] resources:[pods] verbs:[list]]]", "rules"),
	},
	{
		kind: "rbac.authorization.k8s.io/v1 RoleBinding", name: "readers",
		spec: `
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: builder, namespace: web}, {kind: ServiceAccount, name: builder, namespace: data}]`,
		change: `metadata: {labels: {app: web}}`, seen: has("web", "metadata", "labels", "app"),
	},
}

// Every kind that tenants use is copied, runs, tells its status at home, follows changes, and goes with its original.
func TestKindsSync(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	class := tn.createVolume()
	tn.up.Create(claim("data", class))
	for _, c := range kindCases {
		apiVersion, kind, found := strings.Cut(c.kind, " ")
		if !found {
			apiVersion, kind = "v1", c.kind
		}
		tn.up.Create(fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: web}\n%s", apiVersion, kind, c.name, c.spec))
	}
	for _, c := range kindCases {
		tn.copyOf(c.kind, c.name, tn.isOurs)
		if c.controller != nil {
			c.controller(tn)
		}
		tn.up.Eventually(c.kind, "web", c.name, all(c.check, tn.saysNothing))
		tn.up.Merge(c.kind, "web", c.name, c.change)
		tn.copyOf(c.kind, c.name, c.seen)
	}
	tn.up.Eventually("PersistentVolumeClaim", "web", "data", all(has("Bound", "status", "phase"), has(nil, "spec", "volumeName")))
	tn.copyOf("PersistentVolumeClaim", "data", has(class, "spec", "volumeName"))
	tn.checkRelocated()
	env.Eventually(t, 2*soon, func() error { // its schedule has come up once
		if field(tn.up.MustGet("batch/v1 CronJob", "web", "often"), "status", "lastScheduleTime") == nil {
			return errors.New("the CronJob has not run yet")
		}
		return nil
	})
	for _, c := range kindCases {
		tn.up.Delete(c.kind, "web", c.name)
		tn.up.EventuallyGone(c.kind, "web", c.name)
		tn.down.EventuallyGone(c.kind, tn.downNamespace("web"), c.name)
	}
}

func (c kindCase) check(u *unstructured.Unstructured) error {
	if c.home == nil {
		return nil
	}
	return c.home(u)
}

// checkRelocated checks that what names namespaces of the workspace means their copies downstream.
func (tn *tenant) checkRelocated() {
	tn.t.Helper()
	web, data := tn.downNamespace("web"), tn.downNamespace("data")
	tn.copyOf("rbac.authorization.k8s.io/v1 RoleBinding", "readers",
		has(fmt.Sprintf("[map[kind:ServiceAccount name:builder namespace:%s] map[kind:ServiceAccount name:builder namespace:%s]]", web, data), "subjects"))
	tn.copyOf("networking.k8s.io/v1 NetworkPolicy", "closed",
		has(fmt.Sprintf("[map[from:[map[namespaceSelector:map[matchLabels:map[kubernetes.io/metadata.name:%s]]]]]]", data), "spec", "ingress"))
}

// Who waits for a rollout in the workspace, as kubectl rollout status does, waits until the new pods run: the observed
// generation is that of the original, also when the copy's own generation is ahead of it.
func TestRolloutStatusTellsTheTruth(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	const kind = "apps/v1 Deployment"
	tn.up.Create(deployment("web", "rolling", 2))
	tn.up.Eventually(kind, "web", "rolling", rolledOut)
	for _, replicas := range []int{3, 4} {
		tn.down.Merge(kind, tn.downNamespace("web"), "rolling", fmt.Sprintf(`spec: {replicas: %d}`, replicas))
		tn.copyOf(kind, "rolling", has(2, "spec", "replicas"))
	}
	place := func(node string) string {
		return fmt.Sprintf(`spec: {template: {spec: {nodeSelector: {place: %s}}}}`, node)
	}
	tn.up.Merge(kind, "web", "rolling", place("nowhere"))
	remains(t, 3*time.Second, func() error {
		if u := tn.up.MustGet(kind, "web", "rolling"); rolledOut(u) == nil {
			return fmt.Errorf("the rollout counts as done before a single new pod runs: %v", u.Object["status"])
		}
		return nil
	})
	tn.up.Merge(kind, "web", "rolling", place("null"))
	tn.up.Eventually(kind, "web", "rolling", rolledOut)
}

// rolledOut is how kubectl judges a Deployment.
func rolledOut(u *unstructured.Unstructured) error {
	number := func(path ...string) int64 {
		n, _, _ := unstructured.NestedInt64(u.Object, path...)
		return n
	}
	wanted, updated := number("spec", "replicas"), number("status", "updatedReplicas")
	switch {
	case number("status", "observedGeneration") < u.GetGeneration():
		return errors.New("the change has not been observed")
	case updated < wanted, number("status", "replicas") > updated, number("status", "availableReplicas") < updated:
		return fmt.Errorf("%d of %d pods are updated: %v", updated, wanted, u.Object["status"])
	}
	return nil
}
