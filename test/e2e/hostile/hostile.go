// Package hostile is what a syncer tries that has the right credentials and wants more: requests that a virtual workspace has to
// refuse, whoever sends them. Tests send them.
package hostile

import (
	"fmt"
	"strings"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

const mergePatch = "application/merge-patch+json"

// Attempt is one request, at a path below /clusters/ of a view.
type Attempt struct {
	Method, Path, ContentType, Body string
}

func (a Attempt) String() string { return a.Method + " " + a.Path + " " + a.ContentType }

// Attempts are every verb at every path that means something, or might be taken for it, in these logical clusters and of objects
// with these names, in the namespace web.
func Attempts(names []string, clusters ...string) []Attempt {
	hostile := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"labels":{"evil":"true"}},"spec":{"replicas":99},"data":{"evil":"true"}}`, names[0])
	writes := []Attempt{
		{Method: "POST", ContentType: "application/json", Body: hostile},
		{Method: "PUT", ContentType: "application/json", Body: hostile},
		{Method: "PATCH", ContentType: mergePatch, Body: hostile},
		{Method: "PATCH", ContentType: "application/strategic-merge-patch+json", Body: hostile},
		{Method: "PATCH", ContentType: "application/apply-patch+yaml", Body: hostile},
		{Method: "PATCH", ContentType: "application/json-patch+json", Body: `[{"op":"add","path":"/metadata/labels/evil","value":"true"}]`},
		{Method: "DELETE"},
		{Method: "OPTIONS"},
		{Method: "HEAD"},
		{Method: "CONNECT"},
		{Method: "TRACE"},
	}
	var all []Attempt
	for _, path := range paths(names, clusters) {
		all = append(all, Attempt{Method: "GET", Path: path}, Attempt{Method: "GET", Path: path + "?watch=true&timeoutSeconds=1"})
		for _, write := range writes {
			write.Path = path
			all = append(all, write)
		}
	}
	return all
}

func paths(names, clusters []string) []string {
	var paths []string
	for _, cluster := range clusters {
		for _, below := range []string{
			"", "/", "/api", "/apis", "/version", "/metrics", "/healthz", "/debug/pprof/", "/openapi/v2", "/logs",
			"/apis/apis.kcp.io/v1alpha1/apibindings", "/apis/core.kcp.io/v1alpha1/logicalclusters/cluster",
			"/apis/tenancy.kcp.io/v1alpha1/workspaces", "/apis/workload.kcp.io/v1alpha1/synctargets/west",
			"/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/authentication.k8s.io/v1/tokenreviews",
			"/api/v1/watch/secrets", "/api/v1/namespaces/web/pods/x/exec", "/api/v1/namespaces/web/pods", "/api/v1/nodes",
			"/api/v1/namespaces", "/api/v1/namespaces/web", "/api/v1/namespaces/hidden", "/api/v1/namespaces/web/finalize", "/api/v1/namespaces/web/status",
			"/api/v1/events", "/api/v1/namespaces/web/events", "/api/v1/namespaces/default/serviceaccounts/default/token",
			"/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/rbac.authorization.k8s.io/v1/namespaces/web/roles",
		} {
			paths = append(paths, cluster+below)
		}
		for _, resource := range []string{"/api/v1/%ssecrets", "/api/v1/%sconfigmaps", "/apis/apps/v1/%sdeployments"} {
			paths = append(paths, cluster+fmt.Sprintf(resource, ""), cluster+fmt.Sprintf(resource, "namespaces/web/"), cluster+fmt.Sprintf(resource, "namespaces/hidden/"))
			for _, name := range names {
				object := cluster + fmt.Sprintf(resource, "namespaces/web/") + "/" + name
				paths = append(paths, object, object+"/status", object+"/scale", object+"/proxy/x")
			}
		}
	}
	return paths
}

// Patch is a change of an object of the target's own, or of a subresource at a path below it, that is answered with that code and
// says why. It is YAML of a JSON merge patch.
type Patch struct {
	What, Path, Patch string
	Code              int
	Says              string
}

// Patches are changes that the protocol does not have, by the target with the key own, in whose place other is another's key.
func Patches(own, other string) []Patch {
	stateOf := workloadv1alpha1.StateLabel
	return []Patch{
		{"the spec", "", `{spec: {replicas: 99}}`, 403, "spec"},
		{"the spec, beside a status", "/status", `{status: {replicas: 1}, spec: {replicas: 99}}`, 403, "spec"},
		{"data", "", `{data: {a: b}}`, 403, "data"},
		{"a label", "", `{metadata: {labels: {app: evil}}}`, 403, "app"},
		{"another target's state", "", `{metadata: {labels: {` + stateOf(other) + `: ""}}}`, 403, "label"},
		{"taking another target's state away", "", `{metadata: {labels: {` + stateOf(other) + `: null}}}`, 403, "label"},
		{"all labels", "", `{metadata: {labels: null}}`, 200, ""},
		{"its own state, when nobody asked it to leave", "", `{metadata: {labels: {` + stateOf(own) + `: null}}}`, 403, "state label"},
		{"its own state as another one", "", `{metadata: {labels: {` + stateOf(own) + `: Upsync}}}`, 403, "label"},
		{"a user's annotation", "", `{metadata: {annotations: {note: evil}}}`, 403, "note"},
		{"another target's status", "", `{metadata: {annotations: {` + workloadv1alpha1.StatusAnnotation(other) + `: "{}"}}}`, 403, "annotation"},
		{"another target's request to leave", "", `{metadata: {annotations: {` + workloadv1alpha1.DeletionAnnotation(other) + `: "2030-01-01T00:00:00Z"}}}`, 403, "annotation"},
		{"its own request to leave", "", `{metadata: {annotations: {` + workloadv1alpha1.DeletionAnnotation(own) + `: "2030-01-01T00:00:00Z"}}}`, 403, "may not set"},
		{"its own spec-diff", "", `{metadata: {annotations: {` + workloadv1alpha1.SpecDiffAnnotation(own) + `: "[]"}}}`, 403, "may not set"},
		{"its own soft finalizer", "", `{metadata: {annotations: {` + workloadv1alpha1.SoftFinalizersAnnotation(own) + `: evil}}}`, 403, "annotation"},
		{"a policy", "", `{metadata: {annotations: {` + workloadv1alpha1.RemovalPolicyAnnotation + `: Orphan}}}`, 403, "annotation"},
		{"the workspace", "", `{metadata: {annotations: {kcp.io/cluster: root}}}`, 403, "annotation"},
		{"a finalizer", "", `{metadata: {finalizers: [evil.example.com/x]}}`, 403, "finalizer"},
		{"another target's claim", "", `{metadata: {finalizers: [` + workloadv1alpha1.SyncerFinalizer(other) + `]}}`, 403, "finalizer"},
		{"an owner", "", `{metadata: {ownerReferences: []}}`, 403, "ownerReferences"},
		{"a deletion", "", `{metadata: {deletionTimestamp: "2030-01-01T00:00:00Z"}}`, 403, "deletionTimestamp"},
		{"another name", "", `{metadata: {name: other}}`, 403, "name"},
		{"managed fields", "", `{metadata: {managedFields: []}}`, 403, "managedFields"},
		{"the status past its path", "", `{status: {replicas: 1}}`, 403, "own path"},
		{"metadata past the status", "/status", `{metadata: {annotations: {` + workloadv1alpha1.ConditionsAnnotation(own) + `: "[]"}}}`, 403, "only the status"},
		{"a status that is none", "/status", `{status: 5}`, 400, "status"},
		{"a status that fills the object", "/status", `{status: {evil: ` + strings.Repeat("x", 70<<10) + `}}`, 413, "larger"},
		{"conditions that fill the object", "", `{metadata: {annotations: {` + workloadv1alpha1.ConditionsAnnotation(own) + `: ` + strings.Repeat("x", 5<<10) + `}}}`, 413, "larger"},
		{"a version that is not the object's", "", `{metadata: {resourceVersion: "1", finalizers: [` + workloadv1alpha1.SyncerFinalizer(own) + `]}}`, 409, "modified"},
		{"another object", "", `{metadata: {uid: other, finalizers: [` + workloadv1alpha1.SyncerFinalizer(own) + `]}}`, 409, "UID"},
		{"a subresource", "/scale", `{spec: {replicas: 99}}`, 403, "scale"},
	}
}

// JSONPatches are such changes as JSON Patches of the status. All are answered 403.
func JSONPatches(other string) map[string]string {
	return map[string]string{
		"another path":    `[{"op":"add","path":"/spec/replicas","value":99}]`,
		"behind a status": `[{"op":"add","path":"/status","value":{}},{"op":"add","path":"/metadata/labels/evil","value":"x"}]`,
		"a move":          `[{"op":"move","from":"/spec","path":"/status"}]`,
		"a copy":          `[{"op":"copy","from":"/metadata","path":"/status"}]`,
		"a question":      `[{"op":"test","path":"/metadata/labels/` + strings.ReplaceAll(workloadv1alpha1.StateLabel(other), "/", "~1") + `","value":"Sync"},{"op":"add","path":"/status","value":{}}]`,
		"nothing":         `[]`,
	}
}
