package schema

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

const (
	listAtomic = "atomic"
	listMap    = "map"
	mapAtomic  = "atomic"
)

// mergeExtensions merges what a list or a map is to the API server, and whether an object is a whole one.
func (m *merger) mergeExtensions(path string, out, a, b *Schema) {
	m.mergeListType(path, out, a, b)
	if value(a.XMapType) == mapAtomic || value(b.XMapType) == mapAtomic {
		out.XMapType = new(mapAtomic)
	}
	out.XEmbeddedResource = a.XEmbeddedResource || b.XEmbeddedResource
	if a.XEmbeddedResource != b.XEmbeddedResource && !isOpen(a) && !isOpen(b) {
		m.problem(path, "is a whole object on one side and a part of one on the other")
	}
}

// mergeListType: a list whose items differ, as a whole or in some fields, is stricter than one that is just a list. Of two
// sets of fields in which items must differ the smaller one is stricter.
func (m *merger) mergeListType(path string, out, a, b *Schema) {
	ta, tb := value(a.XListType), value(b.XListType)
	switch {
	case tb == "":
		out.XListType, out.XListMapKeys = clone(a.XListType), slices.Clone(a.XListMapKeys)
	case ta == "":
		out.XListType, out.XListMapKeys = clone(b.XListType), slices.Clone(b.XListMapKeys)
	case ta != tb:
		m.problem(path, "is offered as a list of type %s, but is of type %s", ta, tb)
	case ta == listMap:
		out.XListType = new(listMap)
		ka, kb := sets.New(a.XListMapKeys...), sets.New(b.XListMapKeys...)
		both := ka.Intersection(kb)
		if !both.Equal(ka) && !both.Equal(kb) {
			m.problem(path, "is offered as a list with the keys %v, but has the keys %v", a.XListMapKeys, b.XListMapKeys)
		}
		out.XListMapKeys = sets.List(both)
	default:
		out.XListType = new(ta)
	}
}

// unionOfRules: an object must follow the rules of both sides. One of two rules that differ in what they tell only is enough.
func unionOfRules(a, b apiextensionsv1.ValidationRules) apiextensionsv1.ValidationRules {
	type identity struct {
		rule            string
		optionalOldSelf bool
	}
	byRule := map[identity]apiextensionsv1.ValidationRule{}
	for _, rule := range append(slices.Clone(a), b...) {
		id := identity{rule.Rule, rule.OptionalOldSelf != nil && *rule.OptionalOldSelf}
		if known, ok := byRule[id]; !ok || canonical(rule) < canonical(known) {
			byRule[id] = rule
		}
	}
	var out apiextensionsv1.ValidationRules
	for _, rule := range byRule {
		out = append(out, rule)
	}
	slices.SortFunc(out, func(x, y apiextensionsv1.ValidationRule) int {
		if cx, cy := canonical(x), canonical(y); cx < cy {
			return -1
		} else if cx > cy {
			return 1
		}
		return 0
	})
	return out
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
