package transform_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/transform"
)

// What a server made of a copy on which nobody else wrote has not drifted: observed.yaml holds what a real one returned
// some seconds after it was sent downstream.yaml, with defaults, allocations and status.
func TestServersDoNotDrift(t *testing.T) {
	for _, fixture := range fixtures {
		t.Run(fixture.dir, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join("testdata", fixture.dir, "observed.yaml")); err != nil {
				t.Skip("not sent to a server: differs from another fixture in nothing that a server looks at")
			}
			desired, observed := read(t, fixture.dir, "downstream.yaml"), read(t, fixture.dir, "observed.yaml")
			desiredBefore, observedBefore := desired.DeepCopy(), observed.DeepCopy()
			if field, drifted := transform.Drifted(desired, observed); drifted {
				t.Errorf("%s counts as drift", field)
			}
			mustEqual(t, "desired", desiredBefore, desired)
			mustEqual(t, "observed", observedBefore, observed)
		})
	}
}

func TestDrifted(t *testing.T) {
	const none = ""
	for _, test := range []struct {
		name              string
		desired, observed string
		field             string // the field that drifted
	}{
		// Fields.
		{"a changed field is drift", `spec: {replicas: 3}`, `spec: {replicas: 4}`, "spec.replicas"},
		{"a removed field is drift", `spec: {replicas: 3}`, `spec: {}`, "spec.replicas"},
		{"a removed map is drift", `spec: {strategy: {type: Recreate}}`, `spec: {}`, "spec.strategy.type"},
		{"a map that became a string is drift", `spec: {strategy: {}}`, `spec: {strategy: x}`, "spec.strategy"},
		{"a list that became a map is drift", `spec: {args: [a]}`, `spec: {args: {}}`, "spec.args"},
		{"somebody's field is theirs", `spec: {replicas: 3}`, `spec: {replicas: 3, paused: true}`, none},
		{"the first field in the order of names is told", `spec: {b: 1, a: {d: 1, c: 1}, e: 1}`, `spec: {}`, "spec.a.c"},
		{"a name with dots is bracketed", `data: {a.txt: x}`, `data: {}`, "data[a.txt]"},
		{"a secret's value is not told", `data: {password: czNjcmV0}`, `data: {password: eA==}`, "data.password"},

		// Metadata and status.
		{"a removed label is drift", `metadata: {labels: {a: b}}`, `metadata: {}`, "metadata.labels.a"},
		{"a removed empty label is drift", `metadata: {labels: {a: ""}}`, `metadata: {labels: {}}`, "metadata.labels.a"},
		{
			"a changed annotation is drift", `metadata: {annotations: {example.com/a: b}}`,
			`metadata: {annotations: {example.com/a: c}}`, "metadata.annotations[example.com/a]",
		},
		{"somebody's label is theirs", `metadata: {labels: {a: b}}`, `metadata: {labels: {a: b, c: d}}`, none},
		{
			"other metadata is not compared", `metadata: {finalizers: [a], ownerReferences: [{name: a}], uid: a}`,
			`metadata: {finalizers: [b], uid: b}`, none,
		},
		{"status is not compared", `status: {replicas: 1}`, `status: {replicas: 2}`, none},
		{"a field called status is", `spec: {status: a}`, `spec: {status: b}`, "spec.status"},

		// What a server makes of a value.
		{"an empty value equals none", `spec: {a: null, b: "", c: 0, d: false, e: {}, f: [], g: 0.0}`, `{}`, none},
		{"a map of empty values equals none", `spec: {a: {b: {c: false}}}`, `{}`, none},
		{"an empty value is not another", `spec: {paused: false}`, `spec: {paused: true}`, "spec.paused"},
		{"zero replicas are not some", `spec: {replicas: 0}`, `spec: {replicas: 1}`, "spec.replicas"},
		{"null leaves it to others", `spec: {replicas: null}`, `spec: {replicas: 1}`, none},
		{"an empty entry of data is one", `data: {a: ""}`, `data: {}`, "data.a"},
		{"whole floats equal integers", `spec: {a: 1.0, b: 2}`, `spec: {a: 1, b: 2.0}`, none},
		{"a number is not a string", `spec: {a: 1}`, `spec: {a: "1"}`, "spec.a"},
		{
			"quantities are compared by value", `spec: {requests: {cpu: 1000m, memory: 1024Mi, storage: 1}, limits: {cpu: 0.5}}`,
			`spec: {requests: {cpu: "1", memory: 1Gi, storage: "1"}, limits: {cpu: 500m}}`, none,
		},
		{"another quantity is drift", `spec: {requests: {cpu: 1000m}}`, `spec: {requests: {cpu: "2"}}`, "spec.requests.cpu"},
		{
			"what looks like a quantity elsewhere is text", `spec: {args: [1000m], value: 1000m}`,
			`spec: {args: ["1"], value: "1000m"}`, "spec.args[0]",
		},
		{
			"a quantity too large to compute is text", `spec: {limits: {cpu: "1e1000000000"}}`,
			`spec: {limits: {cpu: "2e1000000000"}}`, "spec.limits.cpu",
		},
		{
			"an empty value may be defaulted", `{apiVersion: apps/v1, kind: Deployment, spec: {dnsPolicy: ""}}`,
			`spec: {dnsPolicy: ClusterFirst}`, none,
		},
		{
			"an empty value in data may not", `{apiVersion: v1, kind: ConfigMap, data: {dnsPolicy: ""}}`,
			`data: {dnsPolicy: ClusterFirst}`, "data.dnsPolicy",
		},
		{
			"the server adds the second IP family", `{apiVersion: v1, kind: Service, spec: {ipFamilies: [IPv4]}}`,
			`spec: {ipFamilies: [IPv4, IPv6]}`, none,
		},
		{
			"another IP family is drift", `{apiVersion: v1, kind: Service, spec: {ipFamilies: [IPv6]}}`,
			`spec: {ipFamilies: [IPv4, IPv6]}`, "spec.ipFamilies[0]",
		},

		{
			"tolerations that every pod gets are no drift", `{apiVersion: v1, kind: Pod, spec: {tolerations: [{key: a}]}}`,
			`spec: {tolerations: [{key: a}, {key: node.kubernetes.io/not-ready}]}`, none,
		},
		{
			"one that was added to a Deployment is",
			`{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {tolerations: [{key: a}]}}}}`,
			`spec: {template: {spec: {tolerations: [{key: a}, {key: b}]}}}`, "spec.template.spec.tolerations",
		},

		// Lists.
		{"lists of values are compared as a whole", `spec: {args: [a]}`, `spec: {args: [a, b]}`, "spec.args"},
		{"their order counts", `spec: {args: [a, b]}`, `spec: {args: [b, a]}`, "spec.args[0]"},
		{
			"a container that was put in is somebody's",
			`{apiVersion: apps/v1, kind: Deployment, spec: {containers: [{name: a, image: x}, {name: b, image: y}]}}`,
			`spec: {containers: [{name: mesh}, {name: a, image: x}, {name: between}, {name: b, image: y}]}`, none,
		},
		{
			"a container with another image is drift",
			`{apiVersion: apps/v1, kind: Deployment, spec: {containers: [{name: a, image: x}]}}`,
			`spec: {containers: [{name: mesh, image: x}, {name: a, image: z}]}`, "spec.containers[name=a].image",
		},
		{
			"a removed container is drift",
			`{apiVersion: apps/v1, kind: Deployment, spec: {containers: [{name: a}, {name: b}]}}`,
			`spec: {containers: [{name: b}]}`, "spec.containers[name=a]",
		},
		{
			"containers in another order are the same",
			`{apiVersion: apps/v1, kind: Deployment, spec: {containers: [{name: a, image: x}, {name: b, image: y}]}}`,
			`spec: {containers: [{name: b, image: y}, {name: a, image: x}]}`, none,
		},
		{
			"the default protocol is one",
			`{apiVersion: v1, kind: Service, spec: {ports: [{port: 53}, {port: 53, protocol: UDP, name: udp}]}}`,
			`spec: {ports: [{port: 53, protocol: UDP, name: udp, nodePort: 30001}, {port: 53, protocol: TCP}]}`, none,
		},
		{
			"a port that was added to a Service is somebody's",
			`{apiVersion: v1, kind: Service, spec: {ports: [{port: 80}]}}`,
			`spec: {ports: [{port: 80, protocol: TCP}, {port: 81, protocol: TCP}]}`, none,
		},
		{
			"a port that was added to a NetworkPolicy is drift",
			`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {ports: [{port: 80}]}}`,
			`spec: {ports: [{port: 80, protocol: TCP}, {port: 81, protocol: TCP}]}`, "spec.ports",
		},
		{
			"a subject that was added to a RoleBinding is drift",
			`{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, subjects: [{kind: User, name: a}]}`,
			`subjects: [{kind: User, name: a}, {kind: User, name: mallory}]`, "subjects",
		},
		{
			"items of a custom resource with names are merged",
			`{apiVersion: example.com/v1, kind: Widget, spec: {parts: [{name: a, n: 1}]}}`,
			`spec: {parts: [{name: b}, {name: a, n: 1}]}`, none,
		},
		{
			"items of a custom resource without are not",
			`{apiVersion: example.com/v1, kind: Widget, spec: {parts: [{n: 1}]}}`,
			`spec: {parts: [{n: 1}, {n: 2}]}`, "spec.parts",
		},
		{
			"an empty list of a custom resource may be filled with such",
			`{apiVersion: example.com/v1, kind: Widget, spec: {parts: [], args: []}}`,
			`spec: {parts: [{name: b}], args: [a]}`, "spec.args",
		},
		{"lists in lists are compared", `spec: {a: [[{kind: x}]]}`, `spec: {a: [[{kind: y}]]}`, "spec.a[0][0].kind"},
		{"an emptied list is drift", `spec: {args: [a]}`, `spec: {}`, "spec.args"},
	} {
		t.Run(test.name, func(t *testing.T) {
			field, drifted := transform.Drifted(object(t, test.desired), object(t, test.observed))
			if field != test.field || drifted != (test.field != none) {
				t.Errorf("got %q, %t, want %q", field, drifted, test.field)
			}
		})
	}
}

func TestAMissingCopyDrifted(t *testing.T) {
	if _, drifted := transform.Drifted(read(t, "configmap", "downstream.yaml"), nil); !drifted {
		t.Error("want drift")
	}
}

func TestNothingIsAllocatedWithoutDrift(t *testing.T) {
	desired, observed := read(t, "statefulset", "downstream.yaml"), read(t, "statefulset", "observed.yaml")
	if allocs := testing.AllocsPerRun(10, func() { transform.Drifted(desired, observed) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// object is a core/v1 Thing where the text does not say what it is.
func object(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	if text == "{}" {
		text = ""
	}
	if !strings.Contains(text, "apiVersion") {
		text = "apiVersion: v1\nkind: Thing\n" + text
	}
	return parse(t, text)
}
