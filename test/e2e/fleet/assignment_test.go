package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

const deploymentKind = "apps/v1 Deployment"

func byHand(team *harness.Workspace, targets ...*harness.Target) {
	var list []string
	for _, tg := range targets {
		list = append(list, fmt.Sprintf(`{key: %s, cluster: %q, name: %s, uid: %s, phase: Selected, reason: Chosen, since: "2026-01-01T00:00:00Z", score: 0}`, tg.Key, tg.Workspace.Cluster, tg.Name, tg.UID))
	}
	team.Merge("scheduling.kcp.io/v1alpha1 Placement", "", "all", "status: {selectedTargets: ["+strings.Join(list, ", ")+"]}", "status")
}

// place has the work of all namespaces of the team run on targets of the workspace.
func place(team, targets *harness.Workspace, spec string) {
	team.T.Helper()
	team.Create(fmt.Sprintf(`{apiVersion: scheduling.kcp.io/v1alpha1, kind: Placement, metadata: {name: all}, spec: {locationWorkspace: %q, namespaceSelector: {}%s}}`, targets.Path, spec))
}

func absent(side *harness.Side, kind, namespace string, names ...string) {
	side.T.Helper()
	for _, name := range names {
		if _, err := side.Get(kind, namespace, name); !apierrors.IsNotFound(err) {
			side.T.Errorf("%s %s exists, or: %v", kind, name, err)
		}
	}
}

func onlyOn(targets ...*harness.Target) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		keys := workloadv1alpha1.AssignedKeys(u.GetLabels())
		if len(keys) != len(targets) {
			return fmt.Errorf("%s is on %v", u.GetName(), keys)
		}
		for _, tg := range targets {
			if u.GetLabels()[workloadv1alpha1.StateLabel(tg.Key)] != string(workloadv1alpha1.StateSync) {
				return fmt.Errorf("%s is on %v and not on %s", u.GetName(), keys, tg.Name)
			}
		}
		return nil
	}
}

// A team applies what it wants to run, labels nothing, and it runs. What the pods need comes along; what nobody needs does
// not, least of all Secrets.
func TestATeamJustApplies(t *testing.T) {
	t.Parallel()
	p := harness.Shared(t)
	targets := p.NewTargetWorkspace(t)
	one := targets.NewTarget("one", east, "", "")
	team := p.NewTenant(t)
	one.StartSyncer()
	place(team, targets, "")
	byHand(team, one)
	team.Create(
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: web}, data: {color: blue}}`,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: wanted, namespace: web, labels: {workload.kcp.io/assign: "true"}}, data: {a: b}}`,
		`{apiVersion: v1, kind: Secret, metadata: {name: needed, namespace: web}, stringData: {password: sesame}}`,
		`{apiVersion: v1, kind: Secret, metadata: {name: private, namespace: web}, stringData: {password: sesame}}`,
		`{apiVersion: v1, kind: Secret, metadata: {name: registry, namespace: web}, stringData: {password: sesame}}`,
		`{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: web}, imagePullSecrets: [{name: registry}]}`,
		`{apiVersion: v1, kind: ServiceAccount, metadata: {name: idle, namespace: web}}`,
		`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, namespace: web}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}`,
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: hello, namespace: web}, spec: {selector: {matchLabels: {app: hello}}, template: {metadata: {labels: {app: hello}}, spec: {
			serviceAccountName: robot,
			containers: [{name: main, image: "example.com/hello:1", envFrom: [{configMapRef: {name: settings}}], env: [{name: P, valueFrom: {secretKeyRef: {name: needed, key: password}}}]}]}}}}`)
	team.Eventually(deploymentKind, "web", "hello", harness.All(onlyOn(one), harness.Has(1, "status", "availableReplicas")))
	down := one.NamespaceOf(team, "web")
	for kind, name := range map[string]string{"ConfigMap": "settings", "Secret": "needed", "ServiceAccount": "robot", "PersistentVolumeClaim": "data"} {
		one.Down.Eventually(kind, down, name, nil)
	}
	one.Down.Eventually("Secret", down, "registry", nil)
	one.Down.Eventually("ConfigMap", down, "wanted", nil)
	absent(one.Down, "Secret", down, "private")
	absent(one.Down, "ServiceAccount", down, "idle")
	_ = time.Second
	team.Delete(deploymentKind, "web", "hello")
	team.EventuallyGone(deploymentKind, "web", "hello")
	one.Down.EventuallyGone("Secret", down, "needed")
	team.Eventually("Secret", "web", "needed", onlyOn())
}
