package transform

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// nature is something that every cluster makes for itself, so that a copy would be fought over.
type nature struct {
	resource schema.GroupResource
	is       func(*unstructured.Unstructured) bool
	why      string
}

var natures = []nature{
	{
		configMaps, isNamed("kube-root-ca.crt", "openshift-service-ca.crt"),
		"every cluster publishes its own CA in this ConfigMap",
	},
	{
		serviceAccounts, isNamed("default"),
		"every namespace has its own default ServiceAccount",
	},
	{
		secrets, isAccountToken,
		"the token in it is valid at the API server that issued it only",
	},
	{
		services, isKubernetesService,
		"it is the way to this workspace's API server",
	},
	{
		endpoints, isKubernetesService,
		"it is the way to this workspace's API server",
	},
	{
		endpointSlices, isControlledBy("Service", "Endpoints"),
		"the cluster derives it from the Service",
	},
	{
		replicaSets, isControlledBy("Deployment"),
		"the cluster derives it from the Deployment",
	},
	{
		controllerRevisions, isControlledBy("StatefulSet", "DaemonSet"),
		"the cluster derives it from its owner",
	},
	{
		jobs, isControlledBy("CronJob"),
		"the cluster derives it from the CronJob",
	},
	{
		pods,
		isControlledBy("ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"),
		"the cluster derives it from its owner",
	},
	{
		clusterRoles, isBootstrapped,
		"every API server makes its own default roles",
	},
	{
		clusterRoleBindings, isBootstrapped,
		"every API server makes its own default roles",
	},
}

// Skip says whether the object is of those that every cluster makes for itself and so is not synced, and why.
func Skip(gvr schema.GroupVersionResource, upstream *unstructured.Unstructured) (why string, skip bool) {
	for i := range natures {
		if natures[i].resource == gvr.GroupResource() && natures[i].is(upstream) {
			return natures[i].why, true
		}
	}
	return "", false
}

func isNamed(names ...string) func(*unstructured.Unstructured) bool {
	return func(object *unstructured.Unstructured) bool { return slices.Contains(names, object.GetName()) }
}

func isAccountToken(secret *unstructured.Unstructured) bool {
	return secret.Object["type"] == "kubernetes.io/service-account-token"
}

func isKubernetesService(object *unstructured.Unstructured) bool {
	return object.GetNamespace() == "default" && object.GetName() == "kubernetes"
}

func isBootstrapped(object *unstructured.Unstructured) bool {
	return object.GetLabels()["kubernetes.io/bootstrapping"] == "rbac-defaults"
}

func isControlledBy(kinds ...string) func(*unstructured.Unstructured) bool {
	return func(object *unstructured.Unstructured) bool {
		for _, owner := range object.GetOwnerReferences() {
			if owner.Controller != nil && *owner.Controller && slices.Contains(kinds, owner.Kind) {
				return true
			}
		}
		return false
	}
}
