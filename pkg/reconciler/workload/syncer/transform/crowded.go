package transform

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Crowded names the first list that is merged by key and in which the copy holds items beside those that are desired. Such items
// are others' and stay, unless a server accepts only one or the other: a Service of which somebody replaced the one port has two
// when ours is back, and those need names.
func Crowded(desired, observed *unstructured.Unstructured) (field string, crowded bool) {
	if observed == nil {
		return "", false
	}
	c := comparisonFor(desired)
	path, crowded := c.crowdedField(desired.Object, observed.Object, place{})
	return strings.TrimPrefix(path, "."), crowded
}

func (c comparison) crowdedField(want, have map[string]any, at place) (path string, crowded bool) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !isCompared(at, name) {
			continue
		}
		if rest, crowded := c.crowded(want[name], have[name], at.field(name)); crowded {
			return segment(name) + rest, true
		}
	}
	return "", false
}

func (c comparison) crowded(want, have any, at place) (path string, crowded bool) {
	switch want := want.(type) {
	case map[string]any:
		haveMap, _ := have.(map[string]any)
		return c.crowdedField(want, haveMap, at)
	case []any:
		haveList, _ := have.([]any)
		if keys := c.keysOf(at, want, haveList); keys != nil {
			return c.crowdedKeyed(want, haveList, at, keys)
		}
	}
	return "", false
}

func (c comparison) crowdedKeyed(want, have []any, at place, keys []string) (path string, crowded bool) {
	for _, item := range have {
		i := find(item, want, 0, keys)
		if i < 0 {
			return "", true
		}
		if rest, crowded := c.crowded(want[i], item, at.item()); crowded {
			return keyed(item, keys) + rest, true
		}
	}
	return "", false
}
