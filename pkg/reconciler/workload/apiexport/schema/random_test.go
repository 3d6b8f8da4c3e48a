package schema

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// random makes schemas and objects, small ones with few names and values, so that they often meet.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 7))} }

func (r random) oneIn(n int) bool { return r.IntN(n) == 0 }

func pick[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

var fieldNames = []string{"a", "b", "c-d", "namespace"}

func (r random) root() *Schema {
	s := r.object(3)
	s.AdditionalProperties, s.XEmbeddedResource, s.Nullable, s.Default = nil, false, false, nil
	if len(s.Properties) == 0 {
		s.Properties = map[string]Schema{"a": *r.schema(2)}
	}
	return s
}

// variant is a schema like another one, as the next version of it could be.
func (r random) variant(s *Schema) *Schema {
	out := s.DeepCopy()
	r.vary(out, 3)
	return out
}

func (r random) vary(s *Schema, depth int) {
	for name, field := range s.Properties {
		switch n := r.IntN(8); {
		case n == 0:
			delete(s.Properties, name)
			s.Required = slices.DeleteFunc(s.Required, func(n string) bool { return n == name })
			s.XValidations = nil
			s.AnyOf, s.Not = nil, nil
		case n == 1:
			s.Properties[name] = *r.schema(depth - 1)
			s.XValidations = nil
		case n < 6:
			r.vary(&field, depth-1)
			s.Properties[name] = field
		}
	}
	switch {
	case s.Type == "object" && s.AdditionalProperties == nil && len(s.Properties) > 0:
		if r.oneIn(2) {
			setField(s, pick(r, fieldNames...), r.schema(depth-1))
			s.XValidations, s.AnyOf, s.Not = nil, nil, nil
		}
		r.fieldConditions(s)
	case s.Type == "string":
		r.textConditions(s)
	case s.Type == "integer" || s.Type == "number":
		r.numberConditions(s)
	}
}

func (r random) schema(depth int) *Schema {
	s := &Schema{}
	kinds := 6
	if depth > 0 {
		kinds = 11
	}
	switch r.IntN(kinds) {
	case 0, 1:
		s.Type = "string"
		r.textConditions(s)
	case 2:
		s.Type = pick(r, "integer", "number")
		r.numberConditions(s)
	case 3:
		s.Type = "boolean"
	case 4:
		s.XIntOrString = true
		if r.oneIn(2) {
			s.AnyOf = []Schema{{Type: "integer"}, {Type: "string"}}
		}
		r.numberConditions(s)
	case 5:
		s.XPreserveUnknownFields = new(true)
	case 6, 7:
		s = r.list(depth)
	default:
		s = r.object(depth)
	}
	s.Nullable = r.oneIn(6)
	r.defaultValue(s)
	return s
}

func (r random) textConditions(s *Schema) {
	switch r.IntN(8) {
	case 0:
		s.Enum = r.enum(`"x"`, `"y"`, `"xy"`, `""`)
	case 1:
		s.Pattern = pick(r, "^x", "y$", "^[xyz]*$")
	case 2:
		s.MinLength = new(int64(r.IntN(3)))
	case 3:
		s.MaxLength = new(int64(r.IntN(3)))
	case 4:
		s.Format = pick(r, "date-time", "unknown")
	case 5:
		s.XValidations = apiextensionsv1.ValidationRules{{Rule: pick(r, `self != "x"`, `!self.startsWith("y")`), Message: pick(r, "no", "never")}}
	}
}

func (r random) numberConditions(s *Schema) {
	switch r.IntN(6) {
	case 0:
		s.Minimum, s.ExclusiveMinimum = new(float64(r.IntN(3))), r.oneIn(2)
	case 1:
		s.Maximum, s.ExclusiveMaximum = new(float64(r.IntN(4))), r.oneIn(2)
	case 2:
		s.MultipleOf = new(float64(1 + r.IntN(3)))
	case 3:
		s.Format = pick(r, "int32", "int64")
	case 4:
		if s.Type == "integer" {
			s.Enum = r.enum("1", "2", "3")
		}
	}
}

func (r random) enum(values ...string) (out []apiextensionsv1.JSON) {
	for _, v := range values {
		if r.oneIn(2) {
			out = append(out, apiextensionsv1.JSON{Raw: []byte(v)})
		}
	}
	return out
}

func (r random) list(depth int) *Schema {
	s := &Schema{Type: "array"}
	items := r.schema(depth - 1)
	items.Default, items.Nullable = nil, false
	switch r.IntN(4) {
	case 0:
		items = &Schema{Type: "string"}
		r.textConditions(items)
		s.XListType = new("set")
	case 1:
		items = r.object(depth - 1)
		items.Nullable, items.Default, items.AdditionalProperties, items.XPreserveUnknownFields = false, nil, nil, nil
		setField(items, "a", &Schema{Type: "string"})
		setField(items, "b", &Schema{Type: "string"})
		items.XValidations, items.AnyOf, items.Not = nil, nil, nil
		items.Required = []string{"a", "b"}
		s.XListType, s.XListMapKeys = new("map"), pick(r, []string{"a"}, []string{"b"}, []string{"b", "a"})
	case 2:
		s.XListType = new("atomic")
	}
	s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: items}
	if r.oneIn(4) {
		s.MaxItems = new(int64(r.IntN(4)))
	}
	if r.oneIn(4) {
		s.MinItems = new(int64(r.IntN(2)))
	}
	return s
}

func (r random) object(depth int) *Schema {
	s := &Schema{Type: "object"}
	switch r.IntN(6) {
	case 0:
		s.AdditionalProperties = values(r.schema(depth - 1))
		s.AdditionalProperties.Schema.Default = nil
		return s
	case 1:
		s.XPreserveUnknownFields = new(true)
	}
	for _, name := range fieldNames {
		if r.oneIn(2) {
			setField(s, name, r.schema(depth-1))
		}
	}
	r.fieldConditions(s)
	return s
}

// fieldConditions are those about several fields.
func (r random) fieldConditions(s *Schema) {
	var names []string
	for _, name := range fieldNames {
		if _, ok := s.Properties[name]; ok {
			names = append(names, name)
			if r.oneIn(5) && !slices.Contains(s.Required, name) {
				s.Required = append(s.Required, name)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	one, other := pick(r, names...), pick(r, names...)
	typed := visible(field(s, one)) && visible(field(s, other))
	oneInRule, _ := escape(one)
	otherInRule, _ := escape(other)
	switch n := r.IntN(8); {
	case n == 0 && typed:
		s.XValidations = append(s.XValidations, apiextensionsv1.ValidationRule{Rule: fmt.Sprintf("has(self.%s) == has(self.%s)", oneInRule, otherInRule)})
	case n == 1 && typed:
		s.XValidations = append(s.XValidations, apiextensionsv1.ValidationRule{Rule: fmt.Sprintf("has(self.%s) || has(self.%s)", oneInRule, otherInRule)})
	case n == 2:
		s.AnyOf = []Schema{{Required: []string{one}}, {Required: []string{other}}}
	case n == 3:
		s.Not = &Schema{Required: []string{one}}
	}
}

func (r random) defaultValue(s *Schema) {
	if !r.oneIn(5) {
		return
	}
	switch s.Type {
	case "string":
		s.Default = &apiextensionsv1.JSON{Raw: []byte(pick(r, `"x"`, `"y"`))}
	case "integer":
		s.Default = &apiextensionsv1.JSON{Raw: []byte(pick(r, `1`, `2`))}
	case "object":
		s.Default = &apiextensionsv1.JSON{Raw: []byte(`{}`)}
	}
}

// value of a schema, more or less: it need not be valid. It is never null, which servers take for nothing in some places
// and for a value in others; tables say what becomes of that.
func (r random) value(s *Schema, depth int) any {
	if r.oneIn(25) {
		return r.anything(2)
	}
	if len(s.Enum) > 0 && !r.oneIn(4) {
		var v any
		if json.Unmarshal(pick(r, s.Enum...).Raw, &v) == nil {
			if f, ok := v.(float64); ok {
				return int64(f)
			}
			return v
		}
	}
	switch kindOf(s) {
	case text:
		return pick(r, "x", "y", "xy", "", "yx", "2020-01-01T00:00:00Z", "z")
	case integer:
		return int64(r.IntN(6))
	case number:
		return pick[any](r, 1.5, 2.0, 0.5, int64(2), int64(3))
	case intOrString:
		return pick[any](r, int64(r.IntN(5)), "x", "10%")
	case anything:
		return r.anything(2)
	case "boolean":
		return r.oneIn(2)
	case "array":
		list := []any{}
		for range r.IntN(4) {
			if items := itemsOf(s); items != nil {
				list = append(list, r.value(items, depth-1))
			}
		}
		return list
	}
	return r.fields(s, depth)
}

func (r random) fields(s *Schema, depth int) map[string]any {
	out := map[string]any{}
	for _, name := range fieldNames {
		known := field(s, name)
		switch {
		case known != nil && (slices.Contains(s.Required, name) && !r.oneIn(15) || r.oneIn(2)):
			out[name] = r.value(known, depth-1)
		case known == nil && r.oneIn(25):
			out[name] = r.anything(1)
		}
	}
	return out
}

// anything but lists, which the validator takes for texts that have a format.
func (r random) anything(depth int) any {
	switch r.IntN(5) {
	case 0:
		return "x"
	case 1:
		return int64(1)
	case 2:
		return true
	case 3:
		return 1.5
	}
	if depth == 0 {
		return "y"
	}
	return map[string]any{pick(r, fieldNames...): r.anything(depth - 1)}
}

// visible reports whether rules can see a field: they must know its type.
func visible(s *Schema) bool {
	if items := itemsOf(s); items != nil && !visible(items) {
		return false
	}
	if values := valuesOf(s); values != nil && !visible(values) {
		return false
	}
	return kindOf(s) != anything
}
