package references

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

var deployments = schema.GroupResource{Group: "apps", Resource: "deployments"}

func TestOf(t *testing.T) {
	for _, tc := range []struct{ what, resource, object, want string }{
		{"nothing is named", "deployments.apps", template(`containers: [{name: main}]`), ""},
		{
			"the environment, as a whole and by key", "deployments.apps",
			template(`containers: [{envFrom: [{configMapRef: {name: all}}, {secretRef: {name: all}}], env: [
				{name: A, value: plain}, {name: B, valueFrom: {configMapKeyRef: {name: one, key: b}}}, {name: C, valueFrom: {secretKeyRef: {name: one, key: c}}},
				{name: D, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]`),
			"configmaps/all configmaps/one secrets/all secrets/one",
		},
		{
			"of init containers and ephemeral containers too", "statefulsets.apps",
			template(`initContainers: [{envFrom: [{configMapRef: {name: first}}]}]
ephemeralContainers: [{envFrom: [{configMapRef: {name: later}}]}]`),
			"configmaps/first configmaps/later",
		},
		{
			"volumes", "daemonsets.apps",
			template(`volumes: [{configMap: {name: files}}, {secret: {secretName: keys}}, {persistentVolumeClaim: {claimName: data}}, {emptyDir: {}}, {hostPath: {path: /x}}]`),
			"configmaps/files persistentvolumeclaims/data secrets/keys",
		},
		{
			"what is projected into one volume", "replicasets.apps",
			template(`volumes: [{projected: {sources: [{configMap: {name: a}}, {secret: {name: b}}, {serviceAccountToken: {path: t}}, {downwardAPI: {}}]}}]`),
			"configmaps/a secrets/b",
		},
		{
			"the secrets of volume drivers", "replicationcontrollers",
			template(`volumes: [{azureFile: {secretName: a}}, {csi: {nodePublishSecretRef: {name: b}}}, {rbd: {secretRef: {name: c}}}, {iscsi: {secretRef: {name: d}}}]`),
			"secrets/a secrets/b secrets/c secrets/d",
		},
		{
			"the claim of an ephemeral volume is made by each cluster", "deployments.apps",
			template(`volumes: [{ephemeral: {volumeClaimTemplate: {spec: {volumeName: x}}}}]`), "",
		},
		{
			"so are the claims of a StatefulSet", "statefulsets.apps",
			"spec: {volumeClaimTemplates: [{metadata: {name: data}}], template: {spec: {volumes: [{configMap: {name: c}}]}}}", "configmaps/c",
		},
		{
			"accounts and the secrets to pull images", "jobs.batch",
			template(`{serviceAccountName: robot, serviceAccount: robot, imagePullSecrets: [{name: registry}]}`),
			"secrets/registry serviceaccounts/robot",
		},
		{
			"the template of a CronJob is further down", "cronjobs.batch",
			"spec: {jobTemplate: {spec: {template: {spec: {volumes: [{configMap: {name: nightly}}]}}}}}", "configmaps/nightly",
		},
		{"a pod is its own template", "pods", "spec: {serviceAccountName: robot}", "serviceaccounts/robot"},
		{"what is named twice is needed once", "deployments.apps", template(`volumes: [{configMap: {name: a}}, {configMap: {name: a}}]`), "configmaps/a"},
		{"an Ingress names the secrets of its hosts", "ingresses.networking.k8s.io", "spec: {tls: [{hosts: [a]}, {secretName: cert}]}", "secrets/cert"},
		{"an account names secrets", "serviceaccounts", "{imagePullSecrets: [{name: registry}], secrets: [{name: key}]}", "secrets/key secrets/registry"},
		{"other kinds name nothing", "services", "spec: {volumes: [{configMap: {name: a}}], template: {spec: {serviceAccountName: x}}}", ""},
		{"what makes no sense names nothing", "deployments.apps", template(`{volumes: {configMap: x}, containers: [1, null, {env: [{valueFrom: true}]}], serviceAccountName: 7}`), ""},
	} {
		t.Run(tc.what, func(t *testing.T) {
			object := parse(t, tc.object)
			var got []string
			for _, r := range Of(schema.ParseGroupResource(tc.resource), object) {
				got = append(got, r.GroupResource.String()+"/"+r.Name)
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !reflect.DeepEqual(object, parse(t, tc.object)) {
				t.Error("the object was modified")
			}
		})
	}
}

func template(podSpec string) string {
	return "spec:\n  template:\n    spec:\n      " + strings.ReplaceAll(strings.ReplaceAll(podSpec, "\t", " "), "\n", "\n      ")
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return object
}

// FuzzOf: whatever the object looks like, the answer is sorted, free of doubles and empty names, and the same each time.
func FuzzOf(f *testing.F) {
	for i := range inPods {
		f.Add(fmt.Sprintf(`{"spec":{"template":{"spec":{%q:[{"name":"x"}]}}}}`, inPods[i].path))
	}
	f.Add(`{"spec":{"template":{"spec":{"containers":[{"envFrom":[{"secretRef":{"name":"b"}},{"configMapRef":{"name":"a"}}]}]}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]any
		if json.Unmarshal([]byte(text), &object) != nil {
			return
		}
		found := Of(deployments, object)
		if !slices.IsSortedFunc(found, compare) || len(slices.Compact(slices.Clone(found))) != len(found) || !slices.Equal(found, Of(deployments, object)) {
			t.Fatalf("got %v", found)
		}
		for _, r := range found {
			if r.Name == "" || r.Resource == "" {
				t.Fatalf("got %+v", r)
			}
		}
	})
}
