// Package coordination makes one object of many copies: it splits the replicas of a workload that is on several targets,
// and puts together one status of what these report.
//
// It is pure. The assignment uses it in the same pass, and the same patch, in which it assigns an object, so that there is
// no moment at which a target knows of the object and not of its share.
package coordination

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Splits reports whether objects of the resource have replicas that several targets share.
func Splits(resource schema.GroupResource) bool {
	return resource.Group == "apps" && (resource.Resource == "deployments" || resource.Resource == "statefulsets")
}

// Split gives each of the targets an equal share, and the remainder to the first by name. A workload that does not say how
// many replicas it wants wants one.
func Split(replicas *int64, keys []string) map[string]int64 {
	total := int64(1)
	if replicas != nil {
		total = max(*replicas, 0)
	}
	shares := make(map[string]int64, len(keys))
	if len(keys) == 0 {
		return shares
	}
	each := total / int64(len(keys))
	for _, key := range keys {
		shares[key] = each
	}
	shares[slices.Min(keys)] += total - each*int64(len(keys))
	return shares
}

// replicasPath is where a JSON Patch of a spec finds the replicas.
const replicasPath = "/replicas"

type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// WithReplicas is the JSON Patch with the target's share of the replicas in it; what else the patch does is kept. Text that
// says so already comes back as it is.
func WithReplicas(patch string, replicas int64) (string, error) {
	value := json.RawMessage(strconv.FormatInt(replicas, 10))
	operations, err := parse(patch)
	if err != nil {
		return "", err
	}
	mine := func(o operation) bool { return o.Path == replicasPath }
	if last := slices.IndexFunc(operations, mine); last >= 0 && last == len(operations)-1 && saysSo(operations[last], value) {
		return patch, nil
	}
	// "add" and not "replace": it holds also for a workload that does not say how many replicas it wants.
	operations = append(slices.DeleteFunc(operations, mine), operation{Op: "add", Path: replicasPath, Value: value})
	return format(operations)
}

func saysSo(o operation, value json.RawMessage) bool {
	return (o.Op == "add" || o.Op == "replace") && string(o.Value) == string(value)
}

// WithoutReplicas is the JSON Patch without what it does to the replicas; empty if nothing is left.
func WithoutReplicas(patch string) (string, error) {
	operations, err := parse(patch)
	if err != nil {
		return "", err
	}
	kept := slices.DeleteFunc(slices.Clone(operations), func(o operation) bool { return o.Path == replicasPath })
	switch len(kept) {
	case 0:
		return "", nil
	case len(operations):
		return patch, nil
	}
	return format(kept)
}

func parse(patch string) ([]operation, error) {
	if patch == "" {
		return nil, nil
	}
	var operations []operation
	if err := json.Unmarshal([]byte(patch), &operations); err != nil {
		return nil, fmt.Errorf("not a JSON Patch: %w", err)
	}
	return operations, nil
}

func format(operations []operation) (string, error) {
	text, err := json.Marshal(operations)
	return string(text), err
}

// ReplicasIn is the number of replicas that a JSON Patch of a spec sets; ok is false if it sets none.
func ReplicasIn(patch string) (replicas int64, ok bool) {
	operations, err := parse(patch)
	if err != nil {
		return 0, false
	}
	for _, o := range operations {
		if o.Path == replicasPath && (o.Op == "add" || o.Op == "replace") {
			ok = json.Unmarshal(o.Value, &replicas) == nil
		}
	}
	return replicas, ok
}
