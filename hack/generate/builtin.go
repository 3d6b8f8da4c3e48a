package main

import "slices"

// builtin is a resource of a Kubernetes API server that kcp shall serve to tenants. Names, scope and subresources come from
// the server's discovery, the schema from its OpenAPI document; what neither tells is here.
type builtin struct {
	group, version, resource string
	columns                  []column
	// defaults are those that the server sets in code, which its OpenAPI document does not tell.
	//
	// Only fields of the object itself are here, and only those whose default does not depend on another field. Without
	// replicas an autoscaler, `kubectl scale` and the scale subresource do not work; without the update strategy's type
	// `kubectl rollout status` does not. The defaults of pod templates are left to the physical cluster: kcp runs no pods,
	// and a field that no user set must stay free for that cluster's own admission to choose.
	defaults []defaultValue
	// made: physical clusters make the objects, and their syncers bring them up. These own them as a whole, so their status is
	// no subresource: one write brings up everything.
	made bool
}

// column is a column of `kubectl get`; wide ones are shown by `-o wide` only.
type column struct {
	name, kind, path, description string
	wide                          bool
}

// defaultValue is the default of the field at path, as JSON. Each parent of the field must be there for it to be set.
type defaultValue struct {
	path, value string
}

func builtins() []builtin {
	return slices.Concat(apps(), batch(), networking(), others(), clusterMade())
}

func apps() []builtin {
	return []builtin{
		{
			group: "apps", version: "v1", resource: "deployments",
			columns: []column{
				{name: "Desired", kind: "integer", path: ".spec.replicas", description: "Pods that shall run"},
				{name: "Ready", kind: "integer", path: ".status.readyReplicas", description: "Pods that are ready"},
				{name: "Up-to-date", kind: "integer", path: ".status.updatedReplicas", description: "Pods with the latest template"},
				{name: "Available", kind: "integer", path: ".status.availableReplicas", description: "Pods that have been ready for long enough"},
				age(), containers(templateContainers), images(templateContainers),
			},
			defaults: []defaultValue{
				{"spec.replicas", `1`},
				{"spec.revisionHistoryLimit", `10`},
				{"spec.progressDeadlineSeconds", `600`},
				{"spec.strategy", `{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"25%","maxSurge":"25%"}}`},
				{"spec.strategy.type", `"RollingUpdate"`},
				{"spec.strategy.rollingUpdate.maxUnavailable", `"25%"`},
				{"spec.strategy.rollingUpdate.maxSurge", `"25%"`},
			},
		},
		{
			group: "apps", version: "v1", resource: "statefulsets",
			columns: []column{
				{name: "Desired", kind: "integer", path: ".spec.replicas", description: "Pods that shall run"},
				{name: "Ready", kind: "integer", path: ".status.readyReplicas", description: "Pods that are ready"},
				age(), containers(templateContainers), images(templateContainers),
			},
			defaults: []defaultValue{
				{"spec.replicas", `1`},
				{"spec.revisionHistoryLimit", `10`},
				{"spec.podManagementPolicy", `"OrderedReady"`},
				{"spec.updateStrategy", `{"type":"RollingUpdate","rollingUpdate":{"partition":0}}`},
				{"spec.updateStrategy.type", `"RollingUpdate"`},
				{"spec.updateStrategy.rollingUpdate.partition", `0`},
				{"spec.persistentVolumeClaimRetentionPolicy", `{"whenDeleted":"Retain","whenScaled":"Retain"}`},
				{"spec.persistentVolumeClaimRetentionPolicy.whenDeleted", `"Retain"`},
				{"spec.persistentVolumeClaimRetentionPolicy.whenScaled", `"Retain"`},
			},
		},
		{
			group: "apps", version: "v1", resource: "daemonsets",
			columns: []column{
				{name: "Desired", kind: "integer", path: ".status.desiredNumberScheduled", description: "Nodes that shall run a pod"},
				{name: "Current", kind: "integer", path: ".status.currentNumberScheduled", description: "Nodes that run a pod"},
				{name: "Ready", kind: "integer", path: ".status.numberReady", description: "Pods that are ready"},
				{name: "Up-to-date", kind: "integer", path: ".status.updatedNumberScheduled", description: "Pods with the latest template"},
				{name: "Available", kind: "integer", path: ".status.numberAvailable", description: "Pods that have been ready for long enough"},
				age(), containers(templateContainers), images(templateContainers),
			},
			defaults: []defaultValue{
				{"spec.revisionHistoryLimit", `10`},
				{"spec.updateStrategy", `{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":1,"maxSurge":0}}`},
				{"spec.updateStrategy.type", `"RollingUpdate"`},
				{"spec.updateStrategy.rollingUpdate.maxUnavailable", `1`},
				{"spec.updateStrategy.rollingUpdate.maxSurge", `0`},
			},
		},
	}
}

func batch() []builtin {
	return []builtin{
		{
			group: "batch", version: "v1", resource: "jobs",
			columns: []column{
				{name: "Complete", kind: "string", path: `.status.conditions[?(@.type=="Complete")].status`, description: "Whether the job is done"},
				{name: "Completions", kind: "integer", path: ".spec.completions", description: "Pods that shall succeed"},
				{name: "Succeeded", kind: "integer", path: ".status.succeeded", description: "Pods that succeeded"},
				{name: "Failed", kind: "integer", path: ".status.failed", description: "Pods that failed"},
				{name: "Started", kind: "date", path: ".status.startTime", description: "When the job was started", wide: true},
				age(), containers(templateContainers), images(templateContainers),
			},
			defaults: []defaultValue{
				{"spec.parallelism", `1`},
				{"spec.completionMode", `"NonIndexed"`},
				{"spec.suspend", `false`},
			},
		},
		{
			group: "batch", version: "v1", resource: "cronjobs",
			columns: []column{
				{name: "Schedule", kind: "string", path: ".spec.schedule", description: "When jobs are started"},
				{name: "Timezone", kind: "string", path: ".spec.timeZone", description: "The time zone of the schedule"},
				{name: "Suspend", kind: "boolean", path: ".spec.suspend", description: "Whether no jobs are started"},
				{name: "Last schedule", kind: "date", path: ".status.lastScheduleTime", description: "When a job was last started"},
				age(), containers(jobContainers), images(jobContainers),
			},
			defaults: []defaultValue{
				{"spec.concurrencyPolicy", `"Allow"`},
				{"spec.suspend", `false`},
				{"spec.successfulJobsHistoryLimit", `3`},
				{"spec.failedJobsHistoryLimit", `1`},
			},
		},
	}
}

func networking() []builtin {
	return []builtin{
		{
			version: "v1", resource: "services",
			columns: []column{
				{name: "Type", kind: "string", path: ".spec.type", description: "How the service is exposed"},
				{name: "Cluster-IP", kind: "string", path: ".spec.clusterIP", description: "The address that the user asked for"},
				{name: "External-IP", kind: "string", path: ".status.loadBalancer.ingress[*].ip", description: "Addresses of the load balancer"},
				{name: "Port(s)", kind: "string", path: ".spec.ports[*].port", description: "Ports"},
				age(),
				{name: "Selector", kind: "string", path: ".spec.selector", description: "Labels of the pods", wide: true},
			},
			defaults: []defaultValue{
				{"spec.type", `"ClusterIP"`},
				{"spec.sessionAffinity", `"None"`},
			},
		},
		{
			group: "networking.k8s.io", version: "v1", resource: "ingresses",
			columns: []column{
				{name: "Class", kind: "string", path: ".spec.ingressClassName", description: "The controller that serves it"},
				{name: "Hosts", kind: "string", path: ".spec.rules[*].host", description: "Host names"},
				{name: "Address", kind: "string", path: ".status.loadBalancer.ingress[*].ip", description: "Addresses of the load balancer"},
				{name: "Ports", kind: "string", path: ".status.loadBalancer.ingress[*].ports[*].port", description: "Ports", wide: true},
				age(),
			},
		},
		{
			group: "networking.k8s.io", version: "v1", resource: "networkpolicies",
			columns: []column{
				{name: "Pod-Selector", kind: "string", path: ".spec.podSelector.matchLabels", description: "Labels of the pods"},
				age(),
			},
			defaults: []defaultValue{
				{"spec.ingress.[].ports.[].protocol", `"TCP"`},
				{"spec.egress.[].ports.[].protocol", `"TCP"`},
			},
		},
	}
}

func others() []builtin {
	return []builtin{
		{
			version: "v1", resource: "persistentvolumeclaims",
			columns: []column{
				{name: "Status", kind: "string", path: ".status.phase", description: "Whether the claim is bound"},
				{name: "Volume", kind: "string", path: ".spec.volumeName", description: "The volume that the user asked for"},
				{name: "Capacity", kind: "string", path: ".status.capacity.storage", description: "The size of the volume"},
				{name: "Access Modes", kind: "string", path: ".spec.accessModes", description: "How the volume can be mounted"},
				{name: "StorageClass", kind: "string", path: ".spec.storageClassName", description: "The class of storage"},
				age(),
				{name: "VolumeMode", kind: "string", path: ".spec.volumeMode", description: "Filesystem or Block", wide: true},
			},
			defaults: []defaultValue{
				{"spec.volumeMode", `"Filesystem"`},
			},
		},
		{
			group: "autoscaling", version: "v2", resource: "horizontalpodautoscalers",
			columns: []column{
				{name: "Reference", kind: "string", path: ".spec.scaleTargetRef.name", description: "What is scaled"},
				{name: "MinPods", kind: "integer", path: ".spec.minReplicas", description: "Fewest pods"},
				{name: "MaxPods", kind: "integer", path: ".spec.maxReplicas", description: "Most pods"},
				{name: "Replicas", kind: "integer", path: ".status.currentReplicas", description: "Pods that run"},
				age(),
			},
			defaults: []defaultValue{
				{"spec.minReplicas", `1`},
			},
		},
		{
			group: "policy", version: "v1", resource: "poddisruptionbudgets",
			columns: []column{
				{name: "Min Available", kind: "string", path: ".spec.minAvailable", description: "Pods that must stay"},
				{name: "Max Unavailable", kind: "string", path: ".spec.maxUnavailable", description: "Pods that may go"},
				{name: "Allowed Disruptions", kind: "integer", path: ".status.disruptionsAllowed", description: "Pods that may go now"},
				age(),
			},
		},
	}
}

// clusterMade are what physical clusters make by themselves for what they run.
func clusterMade() []builtin {
	return []builtin{
		{
			version: "v1", resource: "pods", made: true,
			columns: []column{
				{name: "Phase", kind: "string", path: ".status.phase", description: "Where the pod is in its life"},
				{name: "Ready", kind: "string", path: `.status.conditions[?(@.type=="Ready")].status`, description: "Whether the pod is ready"},
				{name: "Restarts", kind: "string", path: ".status.containerStatuses[*].restartCount", description: "How often each container was restarted"},
				age(),
				{name: "IP", kind: "string", path: ".status.podIP", description: "The address of the pod in its cluster", wide: true},
				{name: "Node", kind: "string", path: ".spec.nodeName", description: "The node that runs the pod", wide: true},
			},
		},
		{
			version: "v1", resource: "endpoints", made: true,
			columns: []column{
				{name: "Endpoints", kind: "string", path: ".subsets[*].addresses[*].ip", description: "Addresses that are ready"},
				age(),
			},
		},
		{
			group: "discovery.k8s.io", version: "v1", resource: "endpointslices", made: true,
			columns: []column{
				{name: "AddressType", kind: "string", path: ".addressType", description: "What the addresses are"},
				{name: "Ports", kind: "string", path: ".ports[*].port", description: "Ports"},
				{name: "Endpoints", kind: "string", path: ".endpoints[*].addresses[*]", description: "Addresses"},
				age(),
			},
		},
		{
			version: "v1", resource: "persistentvolumes", made: true,
			columns: []column{
				{name: "Capacity", kind: "string", path: ".spec.capacity.storage", description: "The size of the volume"},
				{name: "Access Modes", kind: "string", path: ".spec.accessModes", description: "How the volume can be mounted"},
				{name: "Reclaim Policy", kind: "string", path: ".spec.persistentVolumeReclaimPolicy", description: "What happens to the volume when its claim is gone"},
				{name: "Status", kind: "string", path: ".status.phase", description: "Whether the volume is bound"},
				{name: "Claim", kind: "string", path: ".spec.claimRef.name", description: "The claim that has the volume"},
				{name: "StorageClass", kind: "string", path: ".spec.storageClassName", description: "The class of storage"},
				age(),
			},
		},
	}
}

const (
	templateContainers = ".spec.template.spec.containers[*]"
	jobContainers      = ".spec.jobTemplate.spec.template.spec.containers[*]"
)

func age() column {
	return column{name: "Age", kind: "date", path: ".metadata.creationTimestamp"}
}

func containers(path string) column {
	return column{name: "Containers", kind: "string", path: path + ".name", description: "Names of the containers", wide: true}
}

func images(path string) column {
	return column{name: "Images", kind: "string", path: path + ".image", description: "Images of the containers", wide: true}
}
