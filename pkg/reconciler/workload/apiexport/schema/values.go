package schema

import (
	"encoding/json"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// mergeValues merges what says which values of a kind are allowed.
func (m *merger) mergeValues(path string, out, a, b *Schema) {
	out.Minimum, out.ExclusiveMinimum = bound(a.Minimum, a.ExclusiveMinimum, b.Minimum, b.ExclusiveMinimum, func(x, y float64) bool { return x > y })
	out.Maximum, out.ExclusiveMaximum = bound(a.Maximum, a.ExclusiveMaximum, b.Maximum, b.ExclusiveMaximum, func(x, y float64) bool { return x < y })
	out.MinLength, out.MaxLength = larger(a.MinLength, b.MinLength), smaller(a.MaxLength, b.MaxLength)
	out.MinItems, out.MaxItems = larger(a.MinItems, b.MinItems), smaller(a.MaxItems, b.MaxItems)
	out.MinProperties, out.MaxProperties = larger(a.MinProperties, b.MinProperties), smaller(a.MaxProperties, b.MaxProperties)
	out.UniqueItems = a.UniqueItems || b.UniqueItems
	m.mergeEnum(path, out, a, b)
	setConditions(out, append(conditionsOf(a), conditionsOf(b)...))

	if out.Minimum != nil && out.Maximum != nil && (*out.Minimum > *out.Maximum || *out.Minimum == *out.Maximum && (out.ExclusiveMinimum || out.ExclusiveMaximum)) {
		m.problem(path, "has no value that both allow: it is at least %v on one side and at most %v on the other", *out.Minimum, *out.Maximum)
	}
	m.checkRange(path, "length", out.MinLength, out.MaxLength)
	m.checkRange(path, "number of items", out.MinItems, out.MaxItems)
	m.checkRange(path, "number of entries", out.MinProperties, out.MaxProperties)
}

func (m *merger) checkRange(path, of string, least, most *int64) {
	if least != nil && most != nil && *least > *most {
		m.problem(path, "has no %s that both allow: it is at least %d on one side and at most %d on the other", of, *least, *most)
	}
}

func (m *merger) mergeEnum(path string, out, a, b *Schema) {
	switch {
	case a.Enum == nil:
		out.Enum = slices.Clone(b.Enum)
	case b.Enum == nil:
		out.Enum = slices.Clone(a.Enum)
	default:
		allowed := sets.New[string]()
		for _, value := range b.Enum {
			allowed.Insert(canonical(value))
		}
		for _, value := range a.Enum {
			if allowed.Has(canonical(value)) {
				out.Enum = append(out.Enum, value)
			}
		}
		if len(out.Enum) == 0 {
			m.problem(path, "is offered as one of %s, but is one of %s", enumText(a.Enum), enumText(b.Enum))
		}
	}
}

func enumText(values []apiextensionsv1.JSON) string {
	var all []string
	for _, value := range values {
		all = append(all, string(value.Raw))
	}
	return strings.Join(all, ", ")
}

// bound is the stricter of two bounds.
func bound(a *float64, aExclusive bool, b *float64, bExclusive bool, stricter func(x, y float64) bool) (*float64, bool) {
	switch {
	case a == nil && b == nil:
		return nil, false
	case b == nil || a != nil && stricter(*a, *b):
		return new(*a), aExclusive
	case a == nil || stricter(*b, *a):
		return new(*b), bExclusive
	}
	return new(*a), aExclusive || bExclusive
}

func larger(a, b *int64) *int64 {
	if a == nil || b != nil && *b > *a {
		a = b
	}
	return clone(a)
}

func smaller(a, b *int64) *int64 {
	if a == nil || b != nil && *b < *a {
		a = b
	}
	return clone(a)
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// conditionsOf are all further conditions on values, of which a schema can have one of each kind beside others in allOf:
// they are the same wherever they stand.
func conditionsOf(s *Schema) []Schema {
	conditions := slices.Clone(s.AllOf)
	if s.Pattern != "" {
		conditions = append(conditions, Schema{Pattern: s.Pattern})
	}
	if s.Format != "" {
		conditions = append(conditions, Schema{Format: s.Format})
	}
	if s.MultipleOf != nil {
		conditions = append(conditions, Schema{MultipleOf: clone(s.MultipleOf)})
	}
	if len(s.AnyOf) > 0 {
		conditions = append(conditions, Schema{AnyOf: s.AnyOf})
	}
	if len(s.OneOf) > 0 {
		conditions = append(conditions, Schema{OneOf: s.OneOf})
	}
	if s.Not != nil {
		conditions = append(conditions, Schema{Not: s.Not})
	}
	return conditions
}

// setConditions gives a schema the conditions: in their own keyword where there is one of a kind only, else in allOf.
func setConditions(s *Schema, conditions []Schema) {
	s.AllOf, s.Pattern, s.Format, s.MultipleOf, s.AnyOf, s.OneOf, s.Not = nil, "", "", nil, nil, nil, nil
	conditions = stricterFormats(s.Type, distinct(conditions))
	number := map[string]int{}
	for i := range conditions {
		number[keywordOf(&conditions[i])]++
	}
	for i := range conditions {
		condition := &conditions[i]
		keyword := keywordOf(condition)
		if keyword == "" || number[keyword] > 1 {
			s.AllOf = append(s.AllOf, *condition.DeepCopy())
			continue
		}
		switch keyword {
		case "pattern":
			s.Pattern = condition.Pattern
		case "format":
			s.Format = condition.Format
		case "multipleOf":
			s.MultipleOf = clone(condition.MultipleOf)
		case "anyOf":
			s.AnyOf = condition.DeepCopy().AnyOf
		case "oneOf":
			s.OneOf = condition.DeepCopy().OneOf
		case "not":
			s.Not = condition.DeepCopy().Not
		}
	}
}

// keywordOf is the one keyword that a condition has, or nothing if it has others too.
func keywordOf(s *Schema) string {
	content := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(canonical(s)), &content); err != nil || len(content) != 1 {
		return ""
	}
	for keyword := range content {
		if slices.Contains([]string{"pattern", "format", "multipleOf", "anyOf", "oneOf", "not"}, keyword) {
			return keyword
		}
	}
	return ""
}

// stricterFormats drops formats that another one implies, and those of fractions for an integer.
func stricterFormats(typeName string, conditions []Schema) []Schema {
	formats := sets.New[string]()
	for _, c := range conditions {
		formats.Insert(c.Format)
	}
	return slices.DeleteFunc(conditions, func(c Schema) bool {
		return keywordOf(&c) == "format" && (c.Format == "int64" && formats.Has("int32") ||
			c.Format == "double" && formats.Has("float") ||
			typeName == string(integer) && (c.Format == "double" || c.Format == "float"))
	})
}

// distinct sorts conditions and drops repeated ones.
func distinct(conditions []Schema) []Schema {
	byText := map[string]Schema{}
	for _, c := range conditions {
		byText[canonical(c)] = c
	}
	out := make([]Schema, 0, len(byText))
	for _, text := range sets.List(sets.KeySet(byText)) {
		out = append(out, byText[text])
	}
	return out
}

// canonical is JSON that is the same for equal values.
func canonical(value any) string {
	if raw, ok := value.(apiextensionsv1.JSON); ok {
		var parsed any
		if json.Unmarshal(raw.Raw, &parsed) == nil {
			value = parsed
		}
	}
	out, err := json.Marshal(value)
	if err != nil {
		return "" // a value that came from JSON
	}
	return string(out)
}
