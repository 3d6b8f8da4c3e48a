package tmc_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/yaml"

	"github.com/kcp-dev/workload-syncer/test/env"
)

var update = flag.Bool("update", false, "record the answers of real servers anew")

// servers is an Env of this test's own, as only the recording needs one.
func servers(t *testing.T) *env.Env {
	t.Helper()
	if !*update {
		t.Skip("records only with -update")
	}
	e, err := env.New(env.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// step is one request to a real server. If it has a name its answer is recorded.
type step struct {
	name string
	// as is who asks: the admin, or a key of recorder.users.
	as string
	// do is method and path.
	do string
	// with is the body, as YAML, of the type; application/yaml if that is empty.
	with, contentType string
	// until is the code to ask for again and again, and has what is then in the body; without them a step without a name must
	// succeed at once.
	until int
	has   string
}

const (
	apply     = "application/apply-patch+yaml"
	merge     = "application/merge-patch+json"
	jsonPatch = "application/json-patch+json"
)

type recorder struct {
	admin *rest.Config
	users map[string]*rest.Config
	recording
}

func (r *recorder) run(t *testing.T, steps ...step) {
	t.Helper()
	for _, s := range steps {
		r.step(t, s)
	}
}

func (r *recorder) step(t *testing.T, s step) {
	t.Helper()
	var answer recordedAnswer
	env.Eventually(t, time.Minute, func() error {
		answer = r.ask(t, s)
		if s.until != 0 && answer.Code != s.until || !strings.Contains(answer.Body, s.has) {
			return fmt.Errorf("%s: %d %s", s.do, answer.Code, answer.Body)
		}
		return nil
	})
	switch {
	case s.name != "":
		t.Logf("%s: %d %s", s.name, answer.Code, answer.Body)
		answer.Name = s.name
		r.Answers = append(r.Answers, answer)
	case s.until == 0 && answer.Code >= http.StatusBadRequest:
		t.Fatalf("%s: %d %s", s.do, answer.Code, answer.Body)
	}
}

func (r *recorder) ask(t *testing.T, s step) recordedAnswer {
	t.Helper()
	answer, err := r.send(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func (r *recorder) send(ctx context.Context, s step) (recordedAnswer, error) {
	config := r.admin
	if s.as != "" {
		config = r.users[s.as]
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return recordedAnswer{}, err
	}
	method, path, _ := strings.Cut(s.do, " ")
	request, err := http.NewRequestWithContext(ctx, method, config.Host+path, strings.NewReader(s.with))
	if err != nil {
		return recordedAnswer{}, err
	}
	request.Header.Set("Accept", "application/json")
	if s.with != "" {
		request.Header.Set("Content-Type", cmp.Or(s.contentType, "application/yaml"))
	}
	answer, err := client.Do(request)
	if err != nil {
		return recordedAnswer{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return recordedAnswer{}, err
	}
	recorded := recordedAnswer{Request: s.do, Sent: shorten(s.with), Code: answer.StatusCode, Header: map[string]string{}, Body: string(bytes.TrimSpace(body))}
	for _, name := range []string{"Content-Type", "Retry-After"} {
		if value := answer.Header.Get(name); value != "" {
			recorded.Header[name] = value
		}
	}
	return recorded, nil
}

// shorten keeps a body that is big on purpose out of the recording.
func shorten(body string) string {
	if len(body) > 2000 {
		return body[:80] + "…"
	}
	return body
}

// configMap is a manifest; data is what is below "data:" or beside it.
func configMap(name, more string) string {
	return "{apiVersion: v1, kind: ConfigMap, metadata: {name: " + name + "}, " + more + "}"
}

func bigPod(size int) string {
	return "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: a, env: [{name: a, value: " + strings.Repeat("a", size) + "}]}]}}"
}

func deployment(name, label, replicas string) string {
	return fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s}, spec: {replicas: %s, selector: {matchLabels: {app: %s}},
  template: {metadata: {labels: {app: %s}}, spec: {containers: [{name: web, image: web}]}}}}`, name, replicas, label, label)
}

// TestRecordKubeAPIServer records the answers of a real kube-apiserver. It is run by hand, with -update.
func TestRecordKubeAPIServer(t *testing.T) {
	cluster, err := servers(t).StartCluster(t.Context(), "recorded", env.WithNodes(0),
		env.WithAPIServerArgs("--etcd-compaction-interval=5s"))
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{admin: cluster.AdminConfig(), users: map[string]*rest.Config{}, recording: recording{Server: "kube-apiserver"}}
	for name, rules := range map[string][]rbacv1.PolicyRule{
		"limited":   {{APIGroups: []string{"rbac.authorization.k8s.io"}, Resources: []string{"roles"}, Verbs: []string{"create"}}},
		"throttled": {{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
		"dismissed": {{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
	} {
		config, err := cluster.ServiceAccount(t.Context(), env.ServiceAccount{Namespace: "default", Name: name, Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		r.users[name] = config
	}
	r.users["unknown"], r.users["expired"] = badToken(r.admin), expiredToken(t, r.users["limited"], filepath.Join(filepath.Dir(cluster.AuditLog()), "service-accounts.key"))
	webhook := startWebhook(t)

	const core, apps = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
	r.run(t,
		step{name: "an object that does not exist", do: "GET " + apps + "/deployments/absent"},
		step{name: "the status of an object that does not exist", do: "PATCH " + apps + "/deployments/absent/status", contentType: merge, with: `{"status":{}}`},
		step{name: "a list of a group that is not served", do: "GET /apis/example.com/v1/widgets"},
		step{name: "an object of a group that is not served", do: "GET /apis/example.com/v1/namespaces/default/widgets/absent"},
		step{name: "an object of a type that is not served", do: "GET " + apps + "/widgets/absent"},
		step{name: "creating in a namespace that does not exist", do: "POST /api/v1/namespaces/absent/configmaps", with: configMap("a", "")},
		step{name: "a method that is not allowed", do: "POST /api/v1/componentstatuses", with: "{apiVersion: v1, kind: ComponentStatus}"},
		step{name: "a patch of an unknown type", do: "PATCH " + core + "/configmaps/a", contentType: "text/plain", with: "a"},

		step{do: "POST " + core + "/configmaps", with: configMap("taken", "data: {a: b}")},
		step{name: "creating what exists", do: "POST " + core + "/configmaps", with: configMap("taken", "")},
		step{
			name: "a stale update", do: "PUT " + core + "/configmaps/taken",
			with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: taken, resourceVersion: '1'}}",
		},
		step{
			name: "an update of an object that was replaced", do: "PUT " + core + "/configmaps/taken",
			with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: taken, uid: 00000000-0000-0000-0000-000000000001}}",
		},
		step{
			name: "deleting an object that was replaced", do: "DELETE " + core + "/configmaps/taken",
			with: "{apiVersion: v1, kind: DeleteOptions, preconditions: {uid: 00000000-0000-0000-0000-000000000001}}",
		},
		step{name: "applying what another manager owns", do: "PATCH " + core + "/configmaps/taken?fieldManager=we", contentType: apply, with: configMap("taken", "data: {a: c}")},
		step{name: "a stale patch", do: "PATCH " + core + "/configmaps/taken", contentType: merge, with: `{"metadata":{"resourceVersion":"1"},"data":{"a":"c"}}`},
		step{name: "a patch of an object that was replaced", do: "PATCH " + core + "/configmaps/taken", contentType: merge, with: `{"metadata":{"uid":"00000000-0000-0000-0000-000000000001"}}`},
		step{name: "a JSON patch that tests for something else", do: "PATCH " + core + "/configmaps/taken", contentType: jsonPatch, with: `[{"op":"test","path":"/data/a","value":"z"}]`},
		step{name: "a stale apply", do: "PATCH " + core + "/configmaps/taken?fieldManager=we&force=true", contentType: apply, with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: taken, resourceVersion: '1'}, data: {a: c}}"},
		step{name: "applying to an object that was replaced", do: "PATCH " + core + "/configmaps/taken?fieldManager=we&force=true", contentType: apply, with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: taken, uid: 00000000-0000-0000-0000-000000000001}}"},
		step{name: "applying to an object that went", do: "PATCH " + core + "/configmaps/absent?fieldManager=we&force=true", contentType: apply, with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: absent, uid: 00000000-0000-0000-0000-000000000001}}"},
		step{name: "creating with a version", do: "POST " + core + "/configmaps", with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, resourceVersion: '1'}}"},
		step{name: "creating with a body of an unknown type", do: "POST " + core + "/configmaps", contentType: "text/plain", with: "a"},
		step{name: "a version that is none", do: "GET " + core + "/configmaps?resourceVersion=abc"},
		step{name: "a malformed object", do: "POST " + core + "/configmaps", contentType: "application/json", with: "{"},
		step{name: "an unknown field, strictly", do: "POST " + core + "/configmaps?fieldValidation=Strict", with: configMap("a", "unknown: 1")},
		step{name: "an object that is too large", do: "POST " + core + "/configmaps", with: configMap("a", "data: {a: "+strings.Repeat("a", 4<<20)+"}")},
		step{name: "an object that is too large for a message to etcd", do: "POST " + core + "/pods", with: bigPod(2 << 20)},
		step{name: "an object that etcd finds too large", do: "POST " + core + "/pods", with: bigPod(7 << 18)},

		step{do: "POST " + apps + "/deployments", with: deployment("web", "a", "0")},
		step{name: "an invalid object", do: "POST " + apps + "/deployments", with: strings.Replace(deployment("bad", "a", "-1"), "image: web", "image: ''", 1)},
		step{name: "a change of an immutable selector", do: "PATCH " + apps + "/deployments/web?fieldManager=we&force=true", contentType: apply, with: deployment("web", "b", "0")},
		step{name: "a change of an immutable selector and another mistake", do: "PATCH " + apps + "/deployments/web?fieldManager=we&force=true", contentType: apply, with: deployment("web", "b", "-1")},
		step{do: "POST " + core + "/configmaps", with: configMap("frozen", "data: {a: b}, immutable: true")},
		step{name: "a change of an immutable ConfigMap", do: "PATCH " + core + "/configmaps/frozen", contentType: merge, with: `{"data":{"a":"c"}}`},
		step{do: "POST " + core + "/services", with: "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, clusterIP: 10.96.0.77, ports: [{port: 80, nodePort: 30777}]}}"},
		step{name: "a change of an immutable clusterIP", do: "PATCH " + core + "/services/web", contentType: merge, with: `{"spec":{"clusterIP":"10.96.0.78","clusterIPs":["10.96.0.78"]}}`},
		step{name: "a nodePort that is taken", do: "POST " + core + "/services", with: "{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30777}]}}"},
		step{name: "a clusterIP that is taken", do: "POST " + core + "/services", with: "{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {clusterIP: 10.96.0.77, ports: [{port: 80}]}}"},
		step{do: "POST " + core + "/persistentvolumeclaims", with: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], storageClassName: a, resources: {requests: {storage: 1Gi}}}}"},
		step{name: "a change of an immutable claim", do: "PATCH " + core + "/persistentvolumeclaims/data", contentType: merge, with: `{"spec":{"storageClassName":"b"}}`},
		step{do: "POST " + apps + "/statefulsets", with: strings.Replace(strings.Replace(deployment("db", "a", "0"), "Deployment", "StatefulSet", 1), "spec: {replicas", "spec: {serviceName: a, replicas", 1)},
		step{name: "a change of an immutable StatefulSet", do: "PATCH " + apps + "/statefulsets/db", contentType: merge, with: `{"spec":{"serviceName":"b"}}`},
		step{do: "POST /apis/batch/v1/namespaces/default/jobs", with: "{apiVersion: batch/v1, kind: Job, metadata: {name: once}, spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}}"},
		step{name: "a change of an immutable Job", do: "PATCH /apis/batch/v1/namespaces/default/jobs/once", contentType: merge, with: `{"spec":{"template":{"spec":{"restartPolicy":"OnFailure"}}}}`},
		step{do: "POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", with: "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}}"},
		step{name: "a change of an immutable roleRef", do: "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/a", contentType: merge, with: `{"roleRef":{"name":"b"}}`},

		step{name: "a credential that is not valid", as: "unknown", do: "GET " + core + "/configmaps"},
		step{name: "a token that has expired", as: "expired", do: "GET " + core + "/configmaps"},
		step{do: "DELETE " + core + "/serviceaccounts/dismissed"},
		step{name: "the token of a ServiceAccount that was deleted", as: "dismissed", do: "GET " + core + "/configmaps", until: 401},
		step{name: "a read without permission", as: "limited", do: "GET " + core + "/secrets/absent"},
		step{name: "a write without permission", as: "limited", do: "POST " + core + "/configmaps", with: configMap("a", "")},
		step{name: "a list of all namespaces without permission", as: "limited", do: "GET " + "/apis/apps/v1/deployments"},
		step{
			name: "granting more than one has", as: "limited", do: "POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
			with: "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: a}, rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]}",
		},

		step{do: "POST /api/v1/namespaces", with: "{apiVersion: v1, kind: Namespace, metadata: {name: narrow, labels: {pod-security.kubernetes.io/enforce: restricted}}}"},
		step{do: "POST /api/v1/namespaces/narrow/resourcequotas", with: "{apiVersion: v1, kind: ResourceQuota, metadata: {name: few}, spec: {hard: {count/secrets: 0, requests.cpu: 1}}}"},
		step{name: "more than the quota has of the type", do: "POST /api/v1/namespaces/narrow/pods?dryRun=All", until: 403, with: "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: a, image: a, resources: {requests: {cpu: 2}}, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}}"},
		step{name: "more than the quota", do: "POST /api/v1/namespaces/narrow/secrets?dryRun=All", with: "{apiVersion: v1, kind: Secret, metadata: {name: a}}", until: 403},
		step{
			name: "a privileged pod where that is not allowed", do: "POST /api/v1/namespaces/narrow/pods", until: 403,
			with: "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {hostNetwork: true, containers: [{name: a, image: a, resources: {requests: {cpu: 1m}}}]}}",
		},
		step{do: "POST /api/v1/namespaces", with: "{apiVersion: v1, kind: Namespace, metadata: {name: limits}}"},
		step{do: "GET /api/v1/namespaces/limits/serviceaccounts/default", until: 200},
		step{do: "POST /api/v1/namespaces/limits/resourcequotas", with: "{apiVersion: v1, kind: ResourceQuota, metadata: {name: few}, spec: {hard: {requests.cpu: 1}}}"},
		step{
			name: "no request where a quota wants one", do: "POST /api/v1/namespaces/limits/pods?dryRun=All", until: 403,
			with: "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: a}]}}",
		},
		step{do: "POST /api/v1/namespaces/limits/limitranges", with: "{apiVersion: v1, kind: LimitRange, metadata: {name: few}, spec: {limits: [{type: Container, max: {memory: 1Mi}}]}}"},
		step{
			name: "more than a limit range allows", do: "POST /api/v1/namespaces/limits/pods?dryRun=All", until: 403,
			with: "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: a, resources: {requests: {cpu: 1m}, limits: {memory: 2Mi}}}]}}",
		},
		step{
			name: "a pod of a ServiceAccount that does not exist", do: "POST " + core + "/pods",
			with: "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {serviceAccountName: absent, containers: [{name: a, image: a}]}}",
		},
		step{
			name: "a pod of a priority class that does not exist", do: "POST " + core + "/pods",
			with: "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {priorityClassName: absent, containers: [{name: a, image: a}]}}",
		},

		webhook.configure("denies", "/deny", ""),
		step{name: "a webhook that denies", do: "POST " + core + "/configmaps", with: configMap("denies", ""), until: 400},
		webhook.configure("denies-with-code", "/deny-with-code", ""),
		step{name: "a webhook that denies with a code of its own", do: "POST " + core + "/configmaps", with: configMap("denies-with-code", ""), until: 422},
		webhook.configure("hangs", "/hang", "timeoutSeconds: 1,"),
		step{name: "a webhook that hangs", do: "POST " + core + "/configmaps", with: configMap("hangs", ""), until: 500},
		webhook.configure("refused", "", "timeoutSeconds: 1,"),
		step{name: "a webhook that cannot be reached", do: "POST " + core + "/configmaps", with: configMap("refused", ""), until: 500},
		webhook.configure("slow", "/hang", "timeoutSeconds: 20,"),
		step{name: "a request that takes too long", do: "POST " + core + "/configmaps?timeout=1s", with: configMap("slow", ""), until: 504},
		step{do: "POST /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", with: `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: policy},
  spec: {matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]},
    validations: [{expression: "object.metadata.name != 'policy'", message: 'no such name'}]}}`},
		step{do: "POST /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", with: "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: policy}, spec: {policyName: policy, validationActions: [Deny]}}"},
		step{name: "a policy that denies", do: "POST " + core + "/configmaps?dryRun=All", with: configMap("policy", ""), until: 422},

		step{do: "POST /api/v1/namespaces", with: "{apiVersion: v1, kind: Namespace, metadata: {name: leaving}}"},
		step{do: "POST /api/v1/namespaces/leaving/configmaps", with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: stays, finalizers: [example.com/stay]}}"},
		step{do: "DELETE /api/v1/namespaces/leaving"},
		step{name: "creating in a namespace that is being deleted", do: "POST /api/v1/namespaces/leaving/configmaps", with: configMap("a", ""), until: 403},
		step{name: "creating a namespace that is being deleted", do: "POST /api/v1/namespaces", with: "{apiVersion: v1, kind: Namespace, metadata: {name: leaving}}"},
		step{do: "POST " + core + "/configmaps", with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: stays, finalizers: [example.com/stay]}}"},
		step{do: "DELETE " + core + "/configmaps/stays"},
		step{name: "creating an object that is being deleted", do: "POST " + core + "/configmaps", with: configMap("stays", "")},

		step{do: "POST " + core + "/pods", with: "{apiVersion: v1, kind: Pod, metadata: {name: needed, labels: {app: needed}}, spec: {containers: [{name: a, image: a}]}}"},
		step{do: "PATCH " + core + "/pods/needed/status", contentType: merge, with: `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`},
		step{do: "POST /apis/policy/v1/namespaces/default/poddisruptionbudgets", with: "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: needed}, spec: {minAvailable: 1, selector: {matchLabels: {app: needed}}}}"},
		step{name: "an eviction that a disruption budget forbids", do: "POST " + core + "/pods/needed/eviction?dryRun=All", with: "{apiVersion: policy/v1, kind: Eviction, metadata: {name: needed}}", until: 429},
		step{do: "POST /apis/apiregistration.k8s.io/v1/apiservices", with: "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.down.example.com}, spec: {group: down.example.com, version: v1, groupPriorityMinimum: 1, versionPriority: 1, insecureSkipTLSVerify: true, service: {namespace: default, name: absent}}}"},
		step{name: "an aggregated API that is down", do: "GET /apis/down.example.com/v1/widgets", until: 503},
		step{do: "POST /apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", with: "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: none}, spec: {type: Limited, limited: {nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}}"},
		step{do: "POST /apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", with: `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: none}, spec: {matchingPrecedence: 2, priorityLevelConfiguration: {name: none},
  rules: [{subjects: [{kind: ServiceAccount, serviceAccount: {namespace: default, name: throttled}}], resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true}]}]}}`},
	)
	// No seat at all still lets one request through, so a slow one has to take that.
	const fromTheFuture = "GET " + core + "/configmaps?resourceVersion=999999999&resourceVersionMatch=NotOlderThan"
	go func() {
		for t.Context().Err() == nil {
			_, _ = r.send(t.Context(), step{as: "throttled", do: fromTheFuture})
		}
	}()
	r.run(t,
		step{name: "too many requests", as: "throttled", do: "GET " + core + "/configmaps", until: 429},
		step{name: "a version from the future", do: fromTheFuture, until: 504},
		step{name: "a watch from a version that was compacted", do: "GET " + core + "/events?watch=1&resourceVersion=1&timeoutSeconds=5", has: `"code":410`},
		step{name: "the rest of a list that was compacted", do: "GET /apis/rbac.authorization.k8s.io/v1/clusterroles?limit=1&continue=" + url.QueryEscape(r.continueToken(t)), until: 410},
	)
	cluster.Etcd.Kill()
	r.run(t, step{name: "a write without etcd", do: "POST " + core + "/configmaps?timeout=2s", with: configMap("late", "")})
	r.write(t, "kube-apiserver")
}

// continueToken is that of a list, for when it is out of date.
func (r *recorder) continueToken(t *testing.T) string {
	t.Helper()
	var list struct {
		Metadata struct{ Continue string }
	}
	answer := r.ask(t, step{do: "GET /apis/rbac.authorization.k8s.io/v1/clusterroles?limit=1"})
	if err := json.Unmarshal([]byte(answer.Body), &list); err != nil {
		t.Fatal(err)
	}
	return list.Metadata.Continue
}

// expiredToken is the ServiceAccount's of config, as the server with this key would have made it long ago.
func expiredToken(t *testing.T, config *rest.Config, keyFile string) *rest.Config {
	t.Helper()
	content, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keyutil.ParsePrivateKeyPEM(content)
	if err != nil {
		t.Fatal(err)
	}
	header, body, _ := strings.Cut(config.BearerToken, ".")
	payload, _, _ := strings.Cut(body, ".")
	claims, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]any{}
	if err := json.Unmarshal(claims, &said); err != nil {
		t.Fatal(err)
	}
	said["iat"], said["nbf"], said["exp"] = 1000000000, 1000000000, 1000003600
	if claims, err = json.Marshal(said); err != nil {
		t.Fatal(err)
	}
	signed := header + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(signed))
	a, b, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	expired := rest.AnonymousClientConfig(config)
	expired.Proxy = config.Proxy
	expired.BearerToken = signed + "." + base64.RawURLEncoding.EncodeToString(append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...))
	return expired
}

func badToken(config *rest.Config) *rest.Config {
	bad := rest.AnonymousClientConfig(config)
	bad.Proxy, bad.BearerToken = config.Proxy, "not-a-token"
	return bad
}

// TestRecordKCP records the answers of a real kcp. It is run by hand, with -update.
func TestRecordKCP(t *testing.T) {
	kcp, err := servers(t).StartKCP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	provider, team := createWorkspace(t, kcp, "provider"), createWorkspace(t, kcp, "team")
	r := &recorder{admin: kcp.AdminConfig(), users: map[string]*rest.Config{}, recording: recording{Server: "kcp"}}
	member, err := kcp.ServiceAccount(t.Context(), team.Path, env.ServiceAccount{Namespace: "default", Name: "member"})
	if err != nil {
		t.Fatal(err)
	}
	member.Host = r.admin.Host
	r.users["member"], r.users["unknown"] = member, badToken(r.admin)
	dismissed, err := kcp.ServiceAccount(t.Context(), team.Path, env.ServiceAccount{Namespace: "default", Name: "dismissed"})
	if err != nil {
		t.Fatal(err)
	}
	dismissed.Host = r.admin.Host
	r.users["dismissed"] = dismissed
	webhook := startWebhook(t)

	const at = "/clusters/root:team"
	const core, apps = at + "/api/v1/namespaces/default", at + "/apis/apps/v1/namespaces/default"
	r.run(t,
		step{name: "an object that does not exist", do: "GET " + core + "/configmaps/absent"},
		step{name: "an object in a namespace that does not exist", do: "GET " + at + "/api/v1/namespaces/absent/configmaps/absent"},
		step{name: "creating in a namespace that does not exist", do: "POST " + at + "/api/v1/namespaces/absent/configmaps", with: configMap("a", "")},
		step{name: "a list of a type without binding", do: "GET " + at + "/apis/apps/v1/deployments"},
		step{name: "an object of a type without binding", do: "GET " + apps + "/deployments/web"},
		step{name: "a workspace that does not exist", do: "GET /clusters/root:absent/api/v1/namespaces/default/configmaps/web"},
		step{name: "a workspace below one that does not exist", do: "GET /clusters/root:absent:team/api/v1/namespaces/default/configmaps/web"},
		step{name: "a logical cluster that does not exist", do: "GET /clusters/absent/api/v1/namespaces/default/configmaps/web"},
		step{name: "a workspace that does not exist, as a ServiceAccount", as: "member", do: "GET /clusters/root:absent/api/v1/namespaces/default/configmaps/web"},
		step{name: "a workspace that one may not enter", as: "member", do: "GET /clusters/root:provider/api/v1/namespaces/default/configmaps/web"},
		step{name: "a read without permission", as: "member", do: "GET " + core + "/secrets/web"},
		step{name: "a credential that is not valid", as: "unknown", do: "GET " + core + "/configmaps/web"},
		step{name: "a virtual workspace that does not exist", do: "GET /services/absent/root/clusters/*/api/v1/configmaps"},
		step{name: "an object in a virtual workspace that does not exist", do: "GET /services/absent/root/clusters/" + team.Cluster.String() + "/api/v1/namespaces/default/configmaps/web"},
		step{name: "a list through an export that does not exist", do: "GET /services/apiexport/" + provider.Cluster.String() + "/absent/clusters/*/apis/example.com/v1/widgets"},
		step{name: "an object through an export that does not exist", do: "GET /services/apiexport/" + provider.Cluster.String() + "/absent/clusters/" + team.Cluster.String() + "/apis/example.com/v1/namespaces/default/widgets/web"},

		step{do: "POST " + core + "/configmaps", with: configMap("taken", "data: {a: b}")},
		step{name: "creating what exists", do: "POST " + core + "/configmaps", with: configMap("taken", "")},
		step{name: "a stale update", do: "PUT " + core + "/configmaps/taken", with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: taken, resourceVersion: '1'}}"},
		step{name: "applying what another manager owns", do: "PATCH " + core + "/configmaps/taken?fieldManager=we", contentType: apply, with: configMap("taken", "data: {a: c}")},
		step{name: "a stale patch", do: "PATCH " + core + "/configmaps/taken", contentType: merge, with: `{"metadata":{"resourceVersion":"1"},"data":{"a":"c"}}`},
		step{name: "a patch of an object that was replaced", do: "PATCH " + core + "/configmaps/taken", contentType: merge, with: `{"metadata":{"uid":"00000000-0000-0000-0000-000000000001"}}`},
		step{name: "applying to an object that went", do: "PATCH " + core + "/configmaps/absent?fieldManager=we&force=true", contentType: apply, with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: absent, uid: 00000000-0000-0000-0000-000000000001}}"},
		step{name: "deleting an object that was replaced", do: "DELETE " + core + "/configmaps/taken", with: "{apiVersion: v1, kind: DeleteOptions, preconditions: {uid: 00000000-0000-0000-0000-000000000001}}"},
		step{name: "a patch of an unknown type", do: "PATCH " + core + "/configmaps/taken", contentType: "text/plain", with: "a"},
		step{name: "an object that is too large", do: "POST " + core + "/configmaps", with: configMap("a", "data: {a: "+strings.Repeat("a", 4<<20)+"}")},
		step{name: "a version from the future", do: "GET " + core + "/configmaps?resourceVersion=999999999&resourceVersionMatch=NotOlderThan"},
		step{name: "a watch from a version that was compacted", do: "GET " + core + "/configmaps?watch=1&resourceVersion=1&timeoutSeconds=5"},
		step{name: "a write without permission", as: "member", do: "POST " + core + "/configmaps", with: configMap("a", "")},
		step{do: "DELETE " + core + "/serviceaccounts/dismissed"},
		step{name: "the token of a ServiceAccount that was deleted", as: "dismissed", do: "GET " + core + "/configmaps/taken", until: 401},
		step{do: "POST " + at + "/api/v1/namespaces", with: "{apiVersion: v1, kind: Namespace, metadata: {name: narrow}}"},
		step{do: "POST " + at + "/api/v1/namespaces/narrow/resourcequotas", with: "{apiVersion: v1, kind: ResourceQuota, metadata: {name: few}, spec: {hard: {count/secrets: 0}}}"},
		step{name: "more than the quota", do: "POST " + at + "/api/v1/namespaces/narrow/secrets?dryRun=All", with: "{apiVersion: v1, kind: Secret, metadata: {name: a}}", until: 403},
		step{do: "POST " + at + "/api/v1/namespaces", with: "{apiVersion: v1, kind: Namespace, metadata: {name: leaving}}"},
		step{do: "POST " + at + "/api/v1/namespaces/leaving/configmaps", with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: stays, finalizers: [example.com/stay]}}"},
		step{do: "DELETE " + at + "/api/v1/namespaces/leaving"},
		step{name: "creating in a namespace that is being deleted", do: "POST " + at + "/api/v1/namespaces/leaving/configmaps", with: configMap("a", ""), until: 403},
		step{do: "PATCH " + at + "/api/v1/namespaces/leaving/configmaps/stays", contentType: merge, with: `{"metadata":{"finalizers":null}}`},

		step{do: "POST /clusters/root:provider/apis/tenancy.kcp.io/v1alpha1/workspacetypes", with: "{apiVersion: tenancy.kcp.io/v1alpha1, kind: WorkspaceType, metadata: {name: slow}, spec: {initializer: true, extend: {with: [{name: universal, path: root}]}}}"},
		step{do: "GET /clusters/root:provider/apis/tenancy.kcp.io/v1alpha1/workspacetypes/slow", has: `"virtualWorkspaces":[`},
		step{do: "POST /clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces", with: "{apiVersion: tenancy.kcp.io/v1alpha1, kind: Workspace, metadata: {name: unborn}, spec: {type: {name: slow, path: 'root:provider'}}}"},
		step{do: "GET /clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces/unborn", has: `"phase":"Initializing"`},
		step{name: "a workspace that is being created", do: "GET /clusters/root:unborn/api/v1/namespaces/default/configmaps/web"},
		step{name: "a workspace that is being created, as a ServiceAccount", as: "member", do: "GET /clusters/root:unborn/api/v1/namespaces/default/configmaps/web"},

		step{do: "POST /clusters/root:provider/apis/apis.kcp.io/v1alpha1/apiexports", with: "{apiVersion: apis.kcp.io/v1alpha1, kind: APIExport, metadata: {name: hollow.example.com}, spec: {latestResourceSchemas: [v1.gadgets.hollow.example.com]}}"},
		step{do: "POST " + at + "/apis/apis.kcp.io/v1alpha1/apibindings", with: "{apiVersion: apis.kcp.io/v1alpha1, kind: APIBinding, metadata: {name: hollow}, spec: {reference: {export: {path: 'root:provider', name: hollow.example.com}}}}", until: 201},
		step{do: "GET " + at + "/apis/apis.kcp.io/v1alpha1/apibindings/hollow", has: `"phase":"Binding"`},
		step{name: "an object of a type whose binding is not bound", do: "GET " + at + "/apis/hollow.example.com/v1/namespaces/default/gadgets/web"},
		step{name: "a list of a type whose binding is not bound", do: "GET " + at + "/apis/hollow.example.com/v1/gadgets"},
		step{name: "a binding to an export that does not exist", do: "POST " + at + "/apis/apis.kcp.io/v1alpha1/apibindings", with: "{apiVersion: apis.kcp.io/v1alpha1, kind: APIBinding, metadata: {name: absent}, spec: {reference: {export: {path: 'root:provider', name: absent.example.com}}}}"},

		step{do: "POST /clusters/root:provider/apis/apis.kcp.io/v1alpha1/apiresourceschemas", with: `{apiVersion: apis.kcp.io/v1alpha1, kind: APIResourceSchema, metadata: {name: v1.widgets.example.com},
  spec: {group: example.com, scope: Namespaced, names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList},
    versions: [{name: v1, served: true, storage: true, schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer, maximum: 3}}, x-kubernetes-validations: [{rule: 'self == oldSelf', message: 'Value is immutable'}]}}}}]}}`},
		step{do: "POST /clusters/root:provider/apis/apis.kcp.io/v1alpha1/apiexports", with: "{apiVersion: apis.kcp.io/v1alpha1, kind: APIExport, metadata: {name: example.com}, spec: {latestResourceSchemas: [v1.widgets.example.com]}}"},
		step{do: "POST " + at + "/apis/apis.kcp.io/v1alpha1/apibindings", with: "{apiVersion: apis.kcp.io/v1alpha1, kind: APIBinding, metadata: {name: example.com}, spec: {reference: {export: {path: 'root:provider', name: example.com}}}}", until: 201},
		step{do: "GET " + at + "/apis/example.com/v1/widgets", until: 200},
	)
	const widgets = "/apis/example.com/v1/namespaces/default/widgets"
	view := "/services/apiexport/" + provider.Cluster.String() + "/example.com/clusters/" + team.Cluster.String()
	r.run(t,
		step{do: "GET " + view + "/apis/example.com/v1/widgets", until: 200},
		step{name: "an object of a bound type that does not exist", do: "GET " + at + widgets + "/absent"},
		step{name: "an object through an export that does not have it", do: "GET " + view + widgets + "/absent"},
		step{name: "a type that an export does not have", do: "GET " + view + "/api/v1/namespaces/default/configmaps/taken"},
		step{name: "an export that one may not use", as: "member", do: "GET " + view + widgets + "/web"},
		step{name: "an invalid object of a bound type", do: "POST " + at + widgets, with: "{apiVersion: example.com/v1, kind: Widget, metadata: {name: bad}, spec: {size: 4}}"},
		step{do: "POST " + at + widgets, with: "{apiVersion: example.com/v1, kind: Widget, metadata: {name: web}, spec: {size: 2}}"},
		webhook.inWorkspace("denies", "/deny"),
		step{name: "a webhook that denies", do: "POST " + at + widgets, with: "{apiVersion: example.com/v1, kind: Widget, metadata: {name: denies}}", until: 400},
		webhook.inWorkspace("hangs", "/hang"),
		step{name: "a webhook that hangs", do: "POST " + at + widgets, with: "{apiVersion: example.com/v1, kind: Widget, metadata: {name: hangs}}", until: 500},
		webhook.inWorkspace("refused", ""),
		step{name: "a webhook that cannot be reached", do: "POST " + at + widgets, with: "{apiVersion: example.com/v1, kind: Widget, metadata: {name: refused}}", until: 500},
		step{name: "a change that a rule says is immutable", do: "PATCH " + at + widgets + "/web", contentType: merge, with: `{"spec":{"size":3}}`},
		step{do: "DELETE " + at + "/apis/apis.kcp.io/v1alpha1/apibindings/example.com"},
		step{name: "an object of a type whose binding went, and so did the object", do: "GET " + at + widgets + "/web", until: 404},
	)
	createWorkspace(t, kcp, "held")
	r.run(t,
		step{do: "POST /clusters/root:held/api/v1/namespaces/default/configmaps", with: "{apiVersion: v1, kind: ConfigMap, metadata: {name: stays, finalizers: [example.com/stay]}}"},
		step{do: "DELETE /clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces/held"},
		step{do: "GET /clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces/held", has: `"deletionTimestamp"`},
		step{name: "an object that went with the workspace that is being deleted", do: "GET /clusters/root:held/api/v1/namespaces/default/configmaps/web"},
	)
	if err := kcp.DeleteWorkspace(t.Context(), team.Path); err != nil {
		t.Fatal(err)
	}
	r.run(t, step{name: "a workspace that was deleted", do: "GET " + core + "/configmaps/taken"},
		step{name: "the logical cluster of a workspace that was deleted", do: "GET /clusters/" + team.Cluster.String() + "/api/v1/namespaces/default/configmaps/taken", until: 403})
	r.write(t, "kcp")
}

func createWorkspace(t *testing.T, kcp *env.KCP, name string) env.Workspace {
	t.Helper()
	workspace, err := kcp.CreateWorkspace(t.Context(), env.Root, name)
	if err != nil {
		t.Fatal(err)
	}
	return workspace
}

// webhook is an admission webhook that a real API server calls.
type webhook struct {
	url string
	ca  string
}

func startWebhook(t *testing.T) webhook {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/deny", func(w http.ResponseWriter, r *http.Request) { review(w, r, `{"allowed":false}`) })
	mux.HandleFunc("/deny-with-code", func(w http.ResponseWriter, r *http.Request) {
		review(w, r, `{"allowed":false,"status":{"code":422,"reason":"Invalid","message":"not in this house"}}`)
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the caller hangs up
		<-r.Context().Done()
	})
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return webhook{url: server.URL, ca: string(ca)}
}

func review(w http.ResponseWriter, r *http.Request, response string) {
	var asked struct {
		Request struct {
			UID string `json:"uid"`
		} `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":%s}`,
		strings.Replace(response, "{", fmt.Sprintf(`{"uid":%q,`, asked.Request.UID), 1))
}

// configure has the webhook called for the ConfigMap of that name; at a port where nobody is if the path is empty.
func (w webhook) configure(name, path, more string) step {
	return w.configureFor(name, path, more, "apiGroups: [''], apiVersions: [v1], resources: [configmaps]")
}

// inWorkspace has it called for the Widget of that name, in all workspaces that are bound to the export of this one.
func (w webhook) inWorkspace(name, path string) step {
	s := w.configureFor(name, path, "timeoutSeconds: 1,", "apiGroups: [example.com], apiVersions: [v1], resources: [widgets]")
	s.do = strings.Replace(s.do, "/apis", "/clusters/root:provider/apis", 1)
	return s
}

// configureFor has it called for the object of that name of other types.
func (w webhook) configureFor(name, path, more, types string) step {
	target := w.url + path
	if path == "" {
		target = "https://127.0.0.1:1/"
	}
	ca, err := yaml.Marshal([]byte(w.ca))
	if err != nil {
		panic(errors.Join(errors.New("marshaling bytes"), err))
	}
	return step{do: "POST /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", with: fmt.Sprintf(
		`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: %s}, webhooks: [{name: %s.example.com, %s
  sideEffects: None, admissionReviewVersions: [v1], failurePolicy: Fail, clientConfig: {url: %q, caBundle: %s},
  matchConditions: [{name: name, expression: "object.metadata.name == '%s'"}],
  rules: [{operations: [CREATE], %s}]}]}`,
		name, name, more, target, strings.TrimSpace(string(ca)), name, types)}
}
