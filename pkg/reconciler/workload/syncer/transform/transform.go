// Package transform says what the copy of an upstream object shall look like downstream, and whether a copy still does.
//
// It is pure: the same input gives the same output, and nothing but the input is looked at. It decides neither whether
// an object is synced nor how it is written.
package transform

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Input is all that a copy depends on. What a server or another controller allocates downstream is not part of it: such
// fields are left out of the copy, and so stay as they are when it is applied.
type Input struct {
	// Upstream is the object in the workspace. It is never modified.
	Upstream *unstructured.Unstructured
	// GVR is its resource.
	GVR schema.GroupVersionResource
	// Key is the SyncTarget's key.
	Key string
	// Namespace is where the copy goes; empty for a cluster-scoped one.
	Namespace string
	// Locator says where the object comes from. It marks cluster-scoped copies, and with it references to other namespaces
	// of the workspace can be followed; while it is empty those stay as they are.
	Locator workloadv1alpha1.NamespaceLocator
	// AutoscaledReplicas: an autoscaler owns spec.replicas.
	AutoscaledReplicas bool
	// Upsynced are the resources that the target may bring up.
	Upsynced []schema.GroupResource
}

// Desired is the copy that shall exist downstream: every field that we own, and no other. Its metadata, labels and
// annotations are the caller's to change; below them it may share what no step changed with the input, so the rest is
// read-only.
//
// An error is for the user: it names the field of the upstream object to be corrected.
func Desired(in Input) (*unstructured.Unstructured, error) {
	if in.Upstream == nil || in.Key == "" {
		return nil, errors.New("an upstream object and the SyncTarget's key are needed")
	}
	d := &draft{Input: in, resource: in.GVR.GroupResource(), object: clone(in.Upstream.Object)}
	for _, step := range steps {
		if !step.when(d) {
			continue
		}
		if err := step.fn(d); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return &unstructured.Unstructured{Object: d.object}, nil
}

// step changes a draft in one respect.
type step struct {
	name string
	when func(*draft) bool
	fn   func(*draft) error
}

// steps are run in this order.
var steps = []step{
	// First: makes metadata, labels and annotations the draft's own, and nothing below may read what it drops.
	{"dropping server-set metadata", always, dropServerMetadata},
	{"dropping status", always, dropStatus},
	{"dropping kubectl's last-applied annotation", always, dropLastApplied},
	// Before the marks, which have such names: what a user forged is gone by then.
	{"dropping upstream-only labels and annotations", always, dropUpstreamOnly},
	// Before all that changes the spec: the patch is written by somebody who looks at the upstream object, and what it
	// adds is under the same rules as what the user wrote.
	{"applying the spec-diff", hasSpecDiff, applySpecDiff},
	// Before the rules per kind, which may then rely on names being downstream's.
	{"relocating", isNamespaced, relocate},
	{"relocating RBAC subjects", is(roleBindings, clusterRoleBindings), relocateSubjects},
	{"relocating network peers", is(networkPolicies), relocatePeers},
	{"relocating pod affinity", hasPodTemplate, relocateAffinity},
	// The rules per kind are independent of each other.
	{"dropping what controllers note in annotations", always, dropControllerNotes},
	{"leaving addresses and ports to the allocator", is(services), dropUnallocated},
	{"leaving selectors to the job controller", is(jobs), dropJobSelector},
	{"leaving selectors of future jobs to the job controller", is(cronJobs), dropJobTemplateSelector},
	{"leaving the volume to the binder", is(persistentVolumeClaims), dropVolumeName},
	{"dropping the status of claim templates", is(statefulSets), dropClaimTemplateStatus},
	{"dropping generated secrets", is(serviceAccounts), dropGeneratedSecrets},
	{"leaving aggregated rules to the controller", is(clusterRoles), dropAggregatedRules},
	// After the spec-diff, which may set replicas as well.
	{"leaving replicas to the autoscaler", isAutoscaled, dropReplicas},
	// After the spec-diff, and after names of kcp were dropped: it sets such names, which nobody else may.
	{"having what is derived come up", hasDerived, bringUpDerived},
	// Last: nothing above can remove or forge the mark.
	{"marking as ours", always, mark},
}

var (
	configMaps             = schema.GroupResource{Resource: "configmaps"}
	endpoints              = schema.GroupResource{Resource: "endpoints"}
	persistentVolumeClaims = schema.GroupResource{Resource: "persistentvolumeclaims"}
	pods                   = schema.GroupResource{Resource: "pods"}
	podTemplates           = schema.GroupResource{Resource: "podtemplates"}
	replicationControllers = schema.GroupResource{Resource: "replicationcontrollers"}
	secrets                = schema.GroupResource{Resource: "secrets"}
	serviceAccounts        = schema.GroupResource{Resource: "serviceaccounts"}
	services               = schema.GroupResource{Resource: "services"}

	controllerRevisions = schema.GroupResource{Group: "apps", Resource: "controllerrevisions"}
	daemonSets          = schema.GroupResource{Group: "apps", Resource: "daemonsets"}
	deployments         = schema.GroupResource{Group: "apps", Resource: "deployments"}
	replicaSets         = schema.GroupResource{Group: "apps", Resource: "replicasets"}
	statefulSets        = schema.GroupResource{Group: "apps", Resource: "statefulsets"}

	cronJobs                 = schema.GroupResource{Group: "batch", Resource: "cronjobs"}
	endpointSlices           = schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	horizontalPodAutoscalers = schema.GroupResource{Group: "autoscaling", Resource: "horizontalpodautoscalers"}
	jobs                     = schema.GroupResource{Group: "batch", Resource: "jobs"}
	networkPolicies          = schema.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}

	clusterRoleBindings = schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}
	clusterRoles        = schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}
	roleBindings        = schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}
)

func always(*draft) bool { return true }

func isNamespaced(d *draft) bool { return d.Namespace != "" }

func isAutoscaled(d *draft) bool { return d.AutoscaledReplicas }

func is(resources ...schema.GroupResource) func(*draft) bool {
	return func(d *draft) bool {
		for _, resource := range resources {
			if d.resource == resource {
				return true
			}
		}
		return false
	}
}
