// Package references says which other objects of its namespace an object needs to run: the ConfigMaps, Secrets,
// ServiceAccounts and PersistentVolumeClaims that a pod template names, the Secrets of an Ingress and of a ServiceAccount.
//
// It is pure, and reads names only. What does not look as it should names nothing: it is the API server's to refuse.
package references

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The resources that are named by others.
var (
	ConfigMaps             = schema.GroupResource{Resource: "configmaps"}
	Secrets                = schema.GroupResource{Resource: "secrets"}
	ServiceAccounts        = schema.GroupResource{Resource: "serviceaccounts"}
	PersistentVolumeClaims = schema.GroupResource{Resource: "persistentvolumeclaims"}
)

// Reference names an object in the namespace of the one that needs it.
type Reference struct {
	schema.GroupResource
	Name string
}

// podSpecs says where resources hold the spec of a pod.
var podSpecs = map[schema.GroupResource]string{
	{Resource: "pods"}:                        "spec",
	{Resource: "podtemplates"}:                "template.spec",
	{Resource: "replicationcontrollers"}:      "spec.template.spec",
	{Group: "apps", Resource: "replicasets"}:  "spec.template.spec",
	{Group: "apps", Resource: "deployments"}:  "spec.template.spec",
	{Group: "apps", Resource: "daemonsets"}:   "spec.template.spec",
	{Group: "apps", Resource: "statefulsets"}: "spec.template.spec",
	{Group: "batch", Resource: "jobs"}:        "spec.template.spec",
	{Group: "batch", Resource: "cronjobs"}:    "spec.jobTemplate.spec.template.spec",
}

// place is a path to names, and what they are names of. [] stands for each item of a list, and each of several lists or
// fields is separated by |.
type place struct {
	path string
	of   schema.GroupResource
}

// inPods are the places in the spec of a pod. The claims of ephemeral volumes and of a StatefulSet's templates are made by
// each cluster for itself.
var inPods = []place{
	{"serviceAccountName|serviceAccount", ServiceAccounts},
	{"imagePullSecrets[].name", Secrets},
	{"containers[]|initContainers[]|ephemeralContainers[].env[].valueFrom.configMapKeyRef.name", ConfigMaps},
	{"containers[]|initContainers[]|ephemeralContainers[].env[].valueFrom.secretKeyRef.name", Secrets},
	{"containers[]|initContainers[]|ephemeralContainers[].envFrom[].configMapRef.name", ConfigMaps},
	{"containers[]|initContainers[]|ephemeralContainers[].envFrom[].secretRef.name", Secrets},
	{"volumes[].configMap.name", ConfigMaps},
	{"volumes[].secret.secretName", Secrets},
	{"volumes[].projected.sources[].configMap.name", ConfigMaps},
	{"volumes[].projected.sources[].secret.name", Secrets},
	{"volumes[].persistentVolumeClaim.claimName", PersistentVolumeClaims},
	{"volumes[].azureFile.secretName", Secrets},
	{"volumes[].csi.nodePublishSecretRef.name", Secrets},
	{"volumes[].cephfs|cinder|flexVolume|iscsi|rbd|scaleIO|storageos.secretRef.name", Secrets},
}

// elsewhere are the places in other kinds.
var elsewhere = map[schema.GroupResource][]place{
	{Group: "networking.k8s.io", Resource: "ingresses"}: {{"spec.tls[].secretName", Secrets}},
	ServiceAccounts: {{"imagePullSecrets[].name", Secrets}, {"secrets[].name", Secrets}},
}

// IsWorkload reports whether objects of the resource run pods.
func IsWorkload(resource schema.GroupResource) bool { return podSpecs[resource] != "" }

// Of lists what the object needs, in order and each once.
func Of(resource schema.GroupResource, object map[string]any) []Reference {
	var found []Reference
	collect := func(from any, places []place) {
		for _, p := range places {
			each(from, p.path, func(value any) {
				if name, ok := value.(string); ok && name != "" {
					found = append(found, Reference{GroupResource: p.of, Name: name})
				}
			})
		}
	}
	if path := podSpecs[resource]; path != "" {
		each(object, path, func(spec any) { collect(spec, inPods) })
	}
	collect(object, elsewhere[resource])
	slices.SortFunc(found, compare)
	return slices.Compact(found)
}

func compare(a, b Reference) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Name, b.Name))
}

// each calls visit with every value at the path.
func each(from any, path string, visit func(any)) {
	if path == "" {
		visit(from)
		return
	}
	step, rest, _ := strings.Cut(path, ".")
	fields, ok := from.(map[string]any)
	if !ok {
		return
	}
	for name := range strings.SplitSeq(step, "|") {
		name, isList := strings.CutSuffix(name, "[]")
		if !isList {
			each(fields[name], rest, visit)
			continue
		}
		items, _ := fields[name].([]any)
		for _, item := range items {
			each(item, rest, visit)
		}
	}
}
