package coordination

import (
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Merge puts together one status of what each target reports; nil stands for one that has reported nothing yet. The order
// of the statuses is that of the targets' keys. Nothing that it is given is modified, and parts of it are shared.
//
// Counts are summed. A condition holds if it holds everywhere, one that tells of trouble if it holds anywhere. Addresses
// come together. Of all else, the first target that has it is believed.
func Merge(resource schema.GroupResource, statuses []map[string]any) map[string]any {
	merged := map[string]any{}
	reported := slices.DeleteFunc(slices.Clone(statuses), func(s map[string]any) bool { return s == nil })
	for _, status := range reported {
		for name, value := range status {
			if _, taken := merged[name]; !taken {
				merged[name] = value
			}
		}
	}
	for name := range maps.Clone(merged) {
		if value, ok := mergeField(resource, name, reported); ok {
			merged[name] = value
		}
	}
	if conditions := mergeConditions(reported, len(reported) == len(statuses)); len(conditions) > 0 {
		merged["conditions"] = conditions
	} else {
		delete(merged, "conditions")
	}
	return merged
}

// mergeField puts together a field of a kind of its own; ok is false for all others.
func mergeField(resource schema.GroupResource, name string, statuses []map[string]any) (value any, ok bool) {
	switch {
	case name == "observedGeneration":
		return least(numbers(statuses, name)), true
	case name == "loadBalancer":
		return mergeAddresses(statuses), true
	case countsIn(resource) && name != "collisionCount" && len(numbers(statuses, name)) > 0:
		return sum(numbers(statuses, name)), true
	}
	return nil, false
}

// countsIn reports whether the numbers in the status of a resource count things.
func countsIn(resource schema.GroupResource) bool {
	switch resource.Group {
	case "apps", "batch", "policy", "autoscaling":
		return true
	}
	return resource == schema.GroupResource{Resource: "replicationcontrollers"}
}

func numbers(statuses []map[string]any, name string) []int64 {
	var found []int64
	for _, status := range statuses {
		switch n := status[name].(type) {
		case int64:
			found = append(found, n)
		case float64:
			found = append(found, int64(n))
		}
	}
	return found
}

func sum(numbers []int64) int64 {
	total := int64(0)
	for _, n := range numbers {
		total += n
	}
	return total
}

func least(numbers []int64) int64 {
	if len(numbers) == 0 {
		return 0
	}
	return slices.Min(numbers)
}

func mergeAddresses(statuses []map[string]any) map[string]any {
	var all []any
	for _, status := range statuses {
		balancer, _ := status["loadBalancer"].(map[string]any)
		addresses, _ := balancer["ingress"].([]any)
		for _, address := range addresses {
			if !slices.ContainsFunc(all, func(known any) bool { return reflect.DeepEqual(known, address) }) {
				all = append(all, address)
			}
		}
	}
	if len(all) == 0 {
		return map[string]any{}
	}
	return map[string]any{"ingress": all}
}

// trouble are conditions that tell of something bad, or of a halt: one target that has it is enough.
var trouble = []string{"ReplicaFailure", "Failed", "FailureTarget", "Suspended", "Stalled", "Degraded", "ScalingLimited", "FileSystemResizePending"}

// final are conditions after which nothing more happens: they do not hold before every target has told of them.
var final = []string{"Complete", "SuccessCriteriaMet"}

func mergeConditions(statuses []map[string]any, allReported bool) []any {
	byType := map[string][]map[string]any{}
	var order []string
	for _, status := range statuses {
		conditions, _ := status["conditions"].([]any)
		for _, c := range conditions {
			condition, _ := c.(map[string]any)
			name, _ := condition["type"].(string)
			if name == "" {
				continue
			}
			if byType[name] == nil {
				order = append(order, name)
			}
			byType[name] = append(byType[name], condition)
		}
	}
	var merged []any
	for _, name := range order {
		if slices.Contains(final, name) && (!allReported || len(byType[name]) < len(statuses)) {
			continue
		}
		merged = append(merged, worst(byType[name], severities(name)))
	}
	return merged
}

// severities are the statuses of a condition, the one that prevails first.
func severities(conditionType string) []string {
	if slices.Contains(trouble, conditionType) {
		return []string{"True", "Unknown", "False"}
	}
	return []string{"False", "Unknown", "True"}
}

func worst(conditions []map[string]any, severities []string) map[string]any {
	for _, severity := range severities {
		for _, condition := range conditions {
			if condition["status"] == severity {
				return condition
			}
		}
	}
	return conditions[0]
}
