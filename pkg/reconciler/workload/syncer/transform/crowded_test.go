package transform

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestCrowded(t *testing.T) {
	const service, pod = "apiVersion: v1\nkind: Service\n", "apiVersion: v1\nkind: Pod\n"
	for _, tc := range []struct{ name, desired, observed, want string }{
		{"the port that is desired", service + "spec: {ports: [{port: 80}]}", service + "spec: {ports: [{port: 80, protocol: TCP, nodePort: 30000}]}", ""},
		{"another port in its place", service + "spec: {ports: [{port: 80}]}", service + "spec: {ports: [{port: 81, protocol: TCP}]}", "spec.ports"},
		{"another port beside it", service + "spec: {ports: [{port: 80}]}", service + "spec: {ports: [{port: 80, protocol: TCP}, {port: 80, protocol: UDP}]}", "spec.ports"},
		{"a port that is missing", service + "spec: {ports: [{port: 80}, {port: 81}]}", service + "spec: {ports: [{port: 81, protocol: TCP}]}", ""},
		{"a field of others", service + "spec: {ports: [{port: 80}]}", service + "spec: {selector: {a: b}, ports: [{port: 80, protocol: TCP}]}", ""},
		{"a list that is replaced as a whole", pod + "spec: {dnsConfig: {nameservers: [a]}}", pod + "spec: {dnsConfig: {nameservers: [a, b]}}", ""},
		{"a variable in a container", pod + "spec: {containers: [{name: a, env: [{name: x}]}]}", pod + "spec: {containers: [{name: a, env: [{name: x}, {name: y}]}]}", "spec.containers[name=a].env"},
		{"a container that others put there", pod + "spec: {containers: [{name: a}]}", pod + "spec: {containers: [{name: b}, {name: a}]}", "spec.containers"},
		{"metadata that nobody compares", service + "metadata: {ownerReferences: [{uid: a}]}", service + "metadata: {ownerReferences: [{uid: b}]}", ""},
	} {
		field, crowded := Crowded(parsed(t, tc.desired), parsed(t, tc.observed))
		if field != tc.want || crowded != (tc.want != "") {
			t.Errorf("%s: %t %q, want %q", tc.name, crowded, field, tc.want)
		}
	}
	if _, crowded := Crowded(parsed(t, service), nil); crowded {
		t.Error("a missing copy is crowded")
	}
}

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}
