package transform

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// lastApplied is where kubectl keeps the whole object once more.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// dropServerMetadata keeps the name, the namespace, the labels and the annotations. What else metadata holds, today or in
// a later Kubernetes, is the server's (uid, generation, managedFields, ...) or has a meaning in its own API server only
// (finalizers, ownerReferences, generateName).
func dropServerMetadata(d *draft) error {
	metadata := look(d.object, "metadata")
	name, _ := metadata["name"].(string)
	if name == "" {
		return errors.New("metadata.name: must be set")
	}
	d.metadata = map[string]any{"name": name}
	if namespace, ok := metadata["namespace"].(string); ok && isNamespaced(d) {
		d.metadata["namespace"] = namespace
	}
	d.object["metadata"] = d.metadata

	var err error
	if d.labels, err = ownStrings(metadata, "labels"); err != nil {
		return err
	}
	d.annotations, err = ownStrings(metadata, "annotations")
	return err
}

// ownStrings is a copy of the labels or annotations.
func ownStrings(metadata map[string]any, name string) (map[string]any, error) {
	value := metadata[name]
	if value == nil {
		return map[string]any{}, nil
	}
	m, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("metadata.%s: must be an object, is %T", name, value)
	}
	for key, value := range m {
		if _, ok := value.(string); !ok {
			return nil, fmt.Errorf("metadata.%s[%s]: must be a string, is %T", name, key, value)
		}
	}
	return clone(m), nil
}

func dropStatus(d *draft) error {
	delete(d.object, "status")
	return nil
}

func dropLastApplied(d *draft) error {
	delete(d.annotations, lastApplied)
	return nil
}

func dropUpstreamOnly(d *draft) error {
	for _, m := range []map[string]any{d.labels, d.annotations} {
		for name := range m {
			if workloadv1alpha1.IsUpstreamOnly(name) {
				delete(m, name)
			}
		}
	}
	return nil
}

// controllerNotes are annotations that controllers and conversions write for themselves. Those of the upstream object
// tell of another life of it, those of the copy belong to the downstream controllers. A trailing slash stands for all
// names of that domain.
var controllerNotes = map[schema.GroupResource][]string{
	deployments:    {"deployment.kubernetes.io/"},
	replicaSets:    {"deployment.kubernetes.io/"},
	daemonSets:     {"deprecated.daemonset.template.generation"},
	jobs:           {"batch.kubernetes.io/job-tracking"},
	endpoints:      {"endpoints.kubernetes.io/last-change-trigger-time"},
	endpointSlices: {"endpoints.kubernetes.io/last-change-trigger-time"},
	persistentVolumeClaims: {
		"pv.kubernetes.io/", "volume.kubernetes.io/selected-node", "volume.kubernetes.io/storage-resizer",
		"volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner",
	},
	horizontalPodAutoscalers: {
		"autoscaling.alpha.kubernetes.io/conditions", "autoscaling.alpha.kubernetes.io/current-metrics",
	},
}

func dropControllerNotes(d *draft) error {
	for _, note := range controllerNotes[d.resource] {
		if !strings.HasSuffix(note, "/") {
			delete(d.annotations, note)
			continue
		}
		for name := range d.annotations {
			if strings.HasPrefix(name, note) {
				delete(d.annotations, name)
			}
		}
	}
	return nil
}

// mark says that the copy is this target's, and where a cluster-scoped one comes from: a namespaced one is found through
// its namespace.
func mark(d *draft) error {
	d.labels[workloadv1alpha1.DownstreamClusterLabel] = d.Key
	d.metadata["labels"] = d.labels
	if !isNamespaced(d) {
		d.annotations[workloadv1alpha1.NamespaceLocatorAnnotation] = d.Locator.String()
	}
	if len(d.annotations) > 0 {
		d.metadata["annotations"] = d.annotations
	}
	return nil
}
