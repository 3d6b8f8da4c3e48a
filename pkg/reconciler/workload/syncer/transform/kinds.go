package transform

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// podSpecPaths says where kinds of Kubernetes hold a pod's spec.
var podSpecPaths = map[schema.GroupResource][]string{
	pods:                   {"spec"},
	podTemplates:           {"template", "spec"},
	replicationControllers: {"spec", "template", "spec"},
	replicaSets:            {"spec", "template", "spec"},
	deployments:            {"spec", "template", "spec"},
	daemonSets:             {"spec", "template", "spec"},
	statefulSets:           {"spec", "template", "spec"},
	jobs:                   {"spec", "template", "spec"},
	cronJobs:               {"spec", "jobTemplate", "spec", "template", "spec"},
}

// podSpecPath is the path to the pod's spec; append to it is safe.
func podSpecPath(resource schema.GroupResource) []string {
	path := podSpecPaths[resource]
	return path[:len(path):len(path)]
}

func hasPodTemplate(d *draft) bool { return podSpecPaths[d.resource] != nil }

// dropUnallocated drops the empty values by which a Service asks for an allocation. Sent, they would make us the owner of
// a field that is the allocator's. Values that are not empty were set by the user, as kcp allocates none; they are the
// user's wish, and a collision is the user's to know.
func dropUnallocated(d *draft) error {
	spec := own(d.object, "spec")
	for _, name := range []string{"clusterIP", "clusterIPs", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy"} {
		if isEmpty(spec[name]) {
			delete(spec, name)
		}
	}
	ownItems(spec, "ports", func(port map[string]any) {
		if isEmpty(port["nodePort"]) {
			delete(port, "nodePort")
		}
	})
	return nil
}

// jobLabels are set by the API server on a Job and its pods, and hold the Job's UID.
var jobLabels = []string{"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"}

// dropJobSelector drops the selector and the labels that an API server makes for each Job anew and then holds immutable,
// unless the user chose to make them.
func dropJobSelector(d *draft) error {
	if dropGeneratedSelector(d.object) {
		deleteAll(d.labels, jobLabels)
	}
	return nil
}

func dropJobTemplateSelector(d *draft) error {
	if template := own(d.object, "spec", "jobTemplate"); template != nil && dropGeneratedSelector(template) {
		if labels := own(template, "metadata", "labels"); labels != nil {
			deleteAll(labels, jobLabels)
		}
	}
	return nil
}

// dropGeneratedSelector works on a job, or what a job is made of, and says whether its selector is generated. The map
// must be the draft's own.
func dropGeneratedSelector(job map[string]any) bool {
	if manual, _ := look(job, "spec")["manualSelector"].(bool); manual {
		return false
	}
	if spec := own(job, "spec"); spec != nil {
		delete(spec, "selector")
	}
	if labels := own(job, "spec", "template", "metadata", "labels"); labels != nil {
		deleteAll(labels, jobLabels)
	}
	return true
}

// dropVolumeName leaves the choice of the volume to the physical cluster: its volumes are not the workspace's to name.
func dropVolumeName(d *draft) error {
	if spec := own(d.object, "spec"); spec != nil {
		delete(spec, "volumeName")
	}
	return nil
}

// dropClaimTemplateStatus drops the status that API servers put into the templates of a StatefulSet's claims.
func dropClaimTemplateStatus(d *draft) error {
	if spec := own(d.object, "spec"); spec != nil {
		ownItems(spec, "volumeClaimTemplates", func(template map[string]any) { delete(template, "status") })
	}
	return nil
}

// dropGeneratedSecrets drops the references to secrets that a cluster made for the account; their like downstream is
// that cluster's to make.
func dropGeneratedSecrets(d *draft) error {
	name, _ := d.metadata["name"].(string)
	for _, field := range []string{"secrets", "imagePullSecrets"} {
		references, ok := d.object[field].([]any)
		if !ok {
			continue
		}
		kept := make([]any, 0, len(references))
		for _, reference := range references {
			if !isGeneratedFor(name, reference) {
				kept = append(kept, reference)
			}
		}
		d.object[field] = kept
	}
	return nil
}

// isGeneratedFor knows the names that Kubernetes (before 1.24) and OpenShift give.
func isGeneratedFor(account string, reference any) bool {
	m, _ := reference.(map[string]any)
	name, _ := m["name"].(string)
	return strings.HasPrefix(name, account+"-token-") || strings.HasPrefix(name, account+"-dockercfg-")
}

// dropAggregatedRules leaves the rules of a role that is put together from others to who puts it together.
func dropAggregatedRules(d *draft) error {
	if look(d.object, "aggregationRule") != nil {
		delete(d.object, "rules")
	}
	return nil
}

func dropReplicas(d *draft) error {
	if spec := own(d.object, "spec"); spec != nil {
		delete(spec, "replicas")
	}
	return nil
}

func deleteAll(m map[string]any, names []string) {
	for _, name := range names {
		delete(m, name)
	}
}
