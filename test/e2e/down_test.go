package e2e

import "testing"

// A ConfigMap is copied, changed, and removed with its original.
func TestConfigMapRoundTrip(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	tn.up.Create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: web}, data: {mode: fast}}`)
	tn.copyOf("ConfigMap", "settings", has("fast", "data", "mode"))
	tn.up.Merge("ConfigMap", "web", "settings", `data: {mode: null, shade: blue}`)
	tn.copyOf("ConfigMap", "settings", all(has("blue", "data", "shade"), has(nil, "data", "mode")))
	tn.up.Delete("ConfigMap", "web", "settings")
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "settings")
	tn.up.EventuallyGone("ConfigMap", "web", "settings")
	tn.down.EventuallyGone("Namespace", "", tn.downNamespace("web"))
}

// The main job: a Deployment in a workspace becomes Available there, because it runs in the physical cluster.
func TestDeploymentRuns(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	tn.startSyncer()
	tn.up.Create(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, namespace: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec: {containers: [{name: hello, image: "example.com/hello:1"}]}
`)
	tn.up.Eventually("apps/v1 Deployment", "web", "hello", all(has(2, "status", "availableReplicas"), has(1, "status", "observedGeneration")))
	tn.up.Merge("apps/v1 Deployment", "web", "hello", `spec: {replicas: 3}`)
	tn.up.Eventually("apps/v1 Deployment", "web", "hello", all(has(3, "status", "availableReplicas"), has(2, "status", "observedGeneration")))
}
