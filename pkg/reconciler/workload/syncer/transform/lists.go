package transform

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// keyedLists are the lists that an API server merges item by item, by the name of their field, with the keys that tell
// the items apart. Others may have items in them. All other lists are replaced as a whole.
type keyedLists map[string][]string

var (
	podLists = keyedLists{
		"containers":                {"name"},
		"initContainers":            {"name"},
		"ephemeralContainers":       {"name"},
		"volumes":                   {"name"},
		"env":                       {"name"},
		"imagePullSecrets":          {"name"},
		"resourceClaims":            {"name"},
		"claims":                    {"name"},
		"schedulingGates":           {"name"},
		"ports":                     {"containerPort", "protocol"},
		"volumeMounts":              {"mountPath"},
		"volumeDevices":             {"devicePath"},
		"hostAliases":               {"ip"},
		"topologySpreadConstraints": {"topologyKey", "whenUnsatisfiable"},
	}
	serviceLists = keyedLists{"ports": {"port", "protocol"}}
	accountLists = keyedLists{"secrets": {"name"}, "imagePullSecrets": {"name"}}
	// The server sorts the addresses of Endpoints, which comes to the same as merging them.
	endpointsLists = keyedLists{"addresses": {"ip"}, "notReadyAddresses": {"ip"}, "ports": {"port", "protocol"}}
	webhookLists   = keyedLists{"webhooks": {"name"}, "matchConditions": {"name"}}

	// The second address family of a dual-stack Service, and the tolerations that admission gives to every pod.
	serviceAppends = map[string]bool{"ipFamilies": true, "clusterIPs": true}
	podAppends     = map[string]bool{"tolerations": true}
)

// comparisonFor knows the kinds of Kubernetes by group and kind, as their lists are not told apart by name alone: "ports"
// of a Service are merged, those of a NetworkPolicy replaced, and a port that somebody added there is drift.
func comparisonFor(object *unstructured.Unstructured) comparison {
	group, _, ok := strings.Cut(object.GetAPIVersion(), "/")
	if !ok {
		group = ""
	}
	switch group {
	case "":
		return coreComparison(object.GetKind())
	case "apps", "batch":
		return comparison{keyed: podLists}
	case "admissionregistration.k8s.io":
		return comparison{keyed: webhookLists}
	case "apiextensions.k8s.io", "autoscaling", "coordination.k8s.io", "discovery.k8s.io", "networking.k8s.io",
		"node.k8s.io", "policy", "rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io":
		return comparison{}
	}
	return comparison{custom: true}
}

func coreComparison(kind string) comparison {
	switch kind {
	case "Pod":
		return comparison{keyed: podLists, appended: podAppends}
	case "PodTemplate", "ReplicationController":
		return comparison{keyed: podLists}
	case "Service":
		return comparison{keyed: serviceLists, appended: serviceAppends}
	case "ServiceAccount":
		return comparison{keyed: accountLists}
	case "Endpoints":
		return comparison{keyed: endpointsLists}
	}
	return comparison{}
}

// keysOf are the keys of the list, nil when it is replaced as a whole. Without a schema the lists of custom resources are
// judged by their items: correcting a list that is merged would be in vain and never end, so what can be told apart
// counts as merged.
func (c comparison) keysOf(at place, want, have []any) []string {
	if !c.custom {
		return c.keyed[at.name]
	}
	items := want
	if len(items) == 0 {
		items = have
	}
	for i, key := range customKeys {
		if allHave(items, key) {
			return customKeys[i : i+1]
		}
	}
	return nil
}

var customKeys = []string{"name", "key", "id", "type"}

func allHave(items []any, key string) bool {
	for _, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			return false
		}
		if value, ok := m[key].(string); !ok || value == "" {
			return false
		}
	}
	return len(items) > 0
}

// isAppended: the server appends to what the user wrote into the list.
func (c comparison) isAppended(at place) bool { return at.parent == "spec" && c.appended[at.name] }

// isDefaulted: for an empty value of that field the server chooses one.
func (c comparison) isDefaulted(at place) bool {
	return !c.custom && defaulted[at.name] && !isFreeForm[at.parent]
}

// defaulted are the fields of Kubernetes' kinds in which an empty value that is written counts as none.
var defaulted = map[string]bool{
	// pods
	"dnsPolicy": true, "restartPolicy": true, "schedulerName": true, "imagePullPolicy": true, "terminationMessagePath": true,
	"terminationMessagePolicy": true, "protocol": true, "scheme": true, "apiVersion": true,
	"timeoutSeconds": true, "periodSeconds": true, "successThreshold": true, "failureThreshold": true,
	// workloads
	"type": true, "podManagementPolicy": true, "concurrencyPolicy": true, "completionMode": true,
	// services and network policies
	"sessionAffinity": true, "targetPort": true, "clusterIP": true, "clusterIPs": true, "nodePort": true,
	"healthCheckNodePort": true, "ipFamilies": true, "ipFamilyPolicy": true, "internalTrafficPolicy": true,
	"externalTrafficPolicy": true, "policyTypes": true, "pathType": true,
	// volumes
	"volumeMode": true,
	// roles
	"apiGroup": true,
}
