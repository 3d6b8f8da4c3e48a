package e2e

import (
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
)

// assign has objects of the workspace belong to a target, in that state.
func (s *side) assign(kind, namespace, name string, target *tenant, state workloadv1alpha1.State) {
	s.T.Helper()
	s.Merge(kind, namespace, name, fmt.Sprintf(`metadata: {labels: {%s: %q}}`, workloadv1alpha1.StateLabel(target.key), state))
}

// One target serves the workspaces whose objects are assigned to it, each apart from the others although namespaces and
// names are the same. What is not assigned, or waits for a coordinator, is left alone. An object that is asked to leave
// goes from the cluster and stays in its workspace, free of our marks.
func TestA45OneTargetServesManyWorkspaces(t *testing.T) {
	t.Parallel()
	one, two := newTenant(t), newTenant(t)
	one.startSyncer("--feed=assigned", "--feed-urls="+one.fleet.VirtualWorkspace(t, config.KubernetesExport))
	const kind = "apps/v1 Deployment"
	for i, tn := range []*tenant{one, two} {
		tn.up.Create(deployment("web", "hello", i+1), configMap("web", "settings", "of", fmt.Sprint("tenant-", i)),
			configMap("web", "stays", "of", "nobody"), configMap("web", "waits", "of", "nobody"))
		tn.up.assign(kind, "web", "hello", one, workloadv1alpha1.StateSync)
		tn.up.assign("ConfigMap", "web", "settings", one, workloadv1alpha1.StateSync)
		tn.up.assign("ConfigMap", "web", "waits", one, workloadv1alpha1.StatePending)
	}
	for i, tn := range []*tenant{one, two} {
		namespace := one.namespaceOf(tn, "web")
		tn.up.Eventually(kind, "web", "hello", all(has(i+1, "status", "availableReplicas"), one.saysNothing))
		one.down.Eventually("ConfigMap", namespace, "settings", all(has(fmt.Sprint("tenant-", i), "data", "of"), one.isOurs))
		for _, name := range []string{"stays", "waits"} {
			if _, err := one.down.Get("ConfigMap", namespace, name); !apierrors.IsNotFound(err) {
				t.Errorf("%s was synced, or: %v", name, err)
			}
		}
	}

	two.up.assign("ConfigMap", "web", "waits", one, workloadv1alpha1.StateSync)
	one.down.Eventually("ConfigMap", one.namespaceOf(two, "web"), "waits", nil)
	two.up.Merge("ConfigMap", "web", "waits", fmt.Sprintf(`metadata: {annotations: {%s: "2030-01-01T00:00:00Z"}}`, workloadv1alpha1.DeletionAnnotation(one.key)))
	one.down.EventuallyGone("ConfigMap", one.namespaceOf(two, "web"), "waits")
	two.up.Eventually("ConfigMap", "web", "waits", all(
		has(nil, "metadata", "finalizers"), has(nil, "metadata", "deletionTimestamp"),
		has(nil, "metadata", "labels", workloadv1alpha1.StateLabel(one.key)),
		has(nil, "metadata", "annotations", workloadv1alpha1.DeletionAnnotation(one.key))))

	// What is told reaches the right workspace through the virtual one.
	one.down.Create(configMap(one.namespaceOf(two, "web"), "taken", "of", "stranger"))
	two.up.Create(configMap("web", "taken", "of", "two"))
	two.up.assign("ConfigMap", "web", "taken", one, workloadv1alpha1.StateSync)
	two.up.Eventually("ConfigMap", "web", "taken", one.says(workloadv1alpha1.ReasonConflict))
	two.awaitEvent("web", "taken", workloadv1alpha1.ReasonConflict)

	for _, tn := range []*tenant{two, one} {
		tn.up.Delete(kind, "web", "hello")
		tn.up.EventuallyGone(kind, "web", "hello")
		one.down.EventuallyGone(kind, one.namespaceOf(tn, "web"), "hello")
	}
}
