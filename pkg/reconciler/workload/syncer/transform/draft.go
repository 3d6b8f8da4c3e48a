package transform

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// draft is a copy in the making. Its maps are the draft's own, those below them the input's until a step takes them with
// own or ownItems; a step may change only what is the draft's own.
type draft struct {
	Input
	resource schema.GroupResource

	object      map[string]any
	metadata    map[string]any
	labels      map[string]any
	annotations map[string]any
}

// clone is a shallow copy with room for one more entry.
func clone(m map[string]any) map[string]any {
	c := make(map[string]any, len(m)+1)
	maps.Copy(c, m)
	return c
}

// look is the map at the path, for reading; nil when there is none.
func look(m map[string]any, path ...string) map[string]any {
	for _, name := range path {
		m, _ = m[name].(map[string]any)
	}
	return m
}

// own is the map at the path, for changing: it and the maps on the way are replaced by copies. It is nil when there is
// none. The first map must be the draft's own.
func own(m map[string]any, path ...string) map[string]any {
	if look(m, path...) == nil {
		return nil
	}
	for _, name := range path {
		next := clone(m[name].(map[string]any))
		m[name] = next
		m = next
	}
	return m
}

// ownItems makes the maps of a list the draft's own and hands each to change. The map that holds the list must be the
// draft's own.
func ownItems(m map[string]any, name string, change func(item map[string]any)) {
	items, ok := m[name].([]any)
	if !ok {
		return
	}
	items = slices.Clone(items)
	for i := range items {
		if item, ok := items[i].(map[string]any); ok {
			item = clone(item)
			change(item)
			items[i] = item
		}
	}
	m[name] = items
}
