package summarize

import "reflect"

// mergePatch is the smallest JSON merge patch (RFC 7386) that turns one object into the other, empty when they are equal.
// The other must be free of nulls, which such a patch cannot express; a null in the first counts as absent.
func mergePatch(from, to map[string]any) map[string]any {
	patch := map[string]any{}
	for name, value := range from {
		if _, kept := to[name]; !kept && value != nil {
			patch[name] = nil
		}
	}
	for name, value := range to {
		if change, differs := change(from[name], value); differs {
			patch[name] = change
		}
	}
	return patch
}

// isHollow: the patch does nothing but add or remove objects without content, such as the load balancer of a Service that
// has none.
func isHollow(patch, from map[string]any) bool {
	for name, value := range patch {
		before, isObject := from[name].(map[string]any)
		if from[name] != nil && !isObject {
			return false
		}
		switch value := value.(type) {
		case nil:
			if !isHollow(before, nil) {
				return false
			}
		case map[string]any:
			if !isHollow(value, before) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func change(from, to any) (patch any, differs bool) {
	toMap, ok := to.(map[string]any)
	if !ok {
		return to, !equal(from, to)
	}
	fromMap, ok := from.(map[string]any)
	if !ok {
		return to, true
	}
	changes := mergePatch(fromMap, toMap)
	return changes, len(changes) > 0
}

// equal compares JSON values. A number is the same as an integer and as a float: which one a decoder makes depends on its
// route.
func equal(a, b any) bool {
	switch b := b.(type) {
	case []any:
		return equalLists(a, b)
	case map[string]any:
		return equalMaps(a, b)
	case int64, float64:
		return equalNumbers(a, b)
	}
	return reflect.DeepEqual(a, b)
}

func equalLists(a any, b []any) bool {
	list, ok := a.([]any)
	if !ok || len(list) != len(b) {
		return false
	}
	for i := range b {
		if !equal(list[i], b[i]) {
			return false
		}
	}
	return true
}

func equalMaps(a any, b map[string]any) bool {
	m, ok := a.(map[string]any)
	if !ok || len(m) != len(b) {
		return false
	}
	for name := range b {
		value, ok := m[name]
		if !ok || !equal(value, b[name]) {
			return false
		}
	}
	return true
}

func equalNumbers(a, b any) bool {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(float64); ok {
			return float64(a) == b
		}
	case float64:
		if b, ok := b.(int64); ok {
			return a == float64(b)
		}
	}
	return a == b
}

// withoutNulls is a deep copy without nulls: fields that are null are absent, and lists have no such items.
func withoutNulls(m map[string]any) map[string]any {
	c := make(map[string]any, len(m))
	for name, value := range m {
		if value != nil {
			c[name] = valueWithoutNulls(value)
		}
	}
	return c
}

func valueWithoutNulls(value any) any {
	switch value := value.(type) {
	case map[string]any:
		return withoutNulls(value)
	case []any:
		c := make([]any, 0, len(value))
		for _, item := range value {
			if item != nil {
				c = append(c, valueWithoutNulls(item))
			}
		}
		return c
	}
	return value
}
