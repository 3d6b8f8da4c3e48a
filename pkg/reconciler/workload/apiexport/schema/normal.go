package schema

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// normalRoot is a copy of a whole object's schema in normal form: what can be said in several ways is said in one.
func normalRoot(s *Schema) *Schema {
	out := s.DeepCopy()
	if out.Type == "" {
		out.Type = "object"
	}
	addMeta(out)
	normalise(out)
	return out
}

// addMeta names the fields that every whole object has. Its metadata is open here: the API server knows what is in it.
func addMeta(s *Schema) {
	for name, schema := range map[string]Schema{
		"apiVersion": {Type: "string"}, "kind": {Type: "string"}, "metadata": {Type: "object"},
	} {
		if field, ok := s.Properties[name]; ok {
			schema = field
		}
		if name == "metadata" {
			schema.XPreserveUnknownFields = new(true)
		}
		setField(s, name, &schema)
	}
}

func normalise(s *Schema) {
	if s.XEmbeddedResource {
		addMeta(s)
	}
	s.ID, s.Schema, s.ExternalDocs, s.Example = "", "", nil, nil
	if s.XIntOrString {
		s.Type, s.AnyOf = "", slices.DeleteFunc(s.AnyOf, func(c Schema) bool { return c.Type != "" })
		s.AllOf = slices.DeleteFunc(s.AllOf, func(c Schema) bool { return isIntOrStringPattern(c.AnyOf) })
	}
	if value(s.XListType) == listAtomic {
		s.XListType = nil
	}
	if value(s.XMapType) != mapAtomic {
		s.XMapType = nil
	}
	if s.XPreserveUnknownFields != nil && !*s.XPreserveUnknownFields {
		s.XPreserveUnknownFields = nil
	}
	slices.Sort(s.XListMapKeys)
	s.Enum = normalEnum(s.Enum)
	normaliseConditions(s)
	s.XValidations = unionOfRules(s.XValidations, nil)
	if items := itemsOf(s); items != nil {
		normalise(items)
	}
	if values := valuesOf(s); values != nil {
		normalise(values)
	}
	for name, field := range s.Properties {
		normalise(&field)
		s.Properties[name] = field
	}
	s.Required = requiredOf(s)
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema == nil {
		s.AdditionalProperties = nil
	}
}

// normaliseConditions leaves a format where it is: that says what the value is to rules.
func normaliseConditions(s *Schema) {
	typed := slices.Contains(typedFormats, s.Format)
	setConditions(s, conditionsOf(s))
	if slices.Contains(typedFormats, s.Format) && !typed {
		untype(s)
	}
}

// requiredOf are the fields that an object must be given: not those that have a default.
func requiredOf(s *Schema) []string {
	required := sets.New(s.Required...)
	for name, field := range s.Properties {
		if field.Default != nil {
			required.Delete(name)
		}
	}
	if len(required) == 0 {
		return nil
	}
	return sets.List(required)
}

func normalEnum(values []apiextensionsv1.JSON) []apiextensionsv1.JSON {
	byText := map[string]apiextensionsv1.JSON{}
	for _, v := range values {
		byText[canonical(v)] = v
	}
	var out []apiextensionsv1.JSON
	for _, key := range sets.List(sets.KeySet(byText)) {
		out = append(out, byText[key])
	}
	return out
}

// finish turns the normal form into what API servers ask for.
func finish(s *Schema) *Schema {
	finishObject(s)
	finishMeta(s)
	return s
}

func finishObject(s *Schema) {
	if s.XIntOrString {
		pattern := []Schema{{Type: string(integer)}, {Type: string(text)}}
		if len(s.AnyOf) > 0 {
			s.AllOf = append([]Schema{{AnyOf: s.AnyOf}}, s.AllOf...)
		}
		s.AnyOf = pattern
	}
	if len(s.Required) == 0 {
		s.Required = nil
	}
	if items := itemsOf(s); items != nil {
		finishObject(items)
	}
	if values := valuesOf(s); values != nil {
		finishObject(values)
	}
	for name, field := range s.Properties {
		finishObject(&field)
		s.Properties[name] = field
	}
	finishConditions(s)
	if s.XEmbeddedResource {
		finishMeta(s)
	}
}

// finishConditions: a condition on a field that the schema does not have any more is always met.
func finishConditions(s *Schema) {
	for _, conditions := range [][]Schema{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range conditions {
			dropUnknown(&conditions[i], s)
		}
	}
	if s.Not != nil {
		dropUnknown(s.Not, s)
	}
}

func dropUnknown(condition, known *Schema) {
	for name, inner := range condition.Properties {
		field := field(known, name)
		if field == nil {
			delete(condition.Properties, name)
			continue
		}
		dropUnknown(&inner, field)
		condition.Properties[name] = inner
	}
	if len(condition.Properties) == 0 {
		condition.Properties = nil
	}
	if items, knownItems := itemsOf(condition), itemsOf(known); items != nil && knownItems != nil {
		dropUnknown(items, knownItems)
	}
	for _, conditions := range [][]Schema{condition.AllOf, condition.AnyOf, condition.OneOf} {
		for i := range conditions {
			dropUnknown(&conditions[i], known)
		}
	}
	if condition.Not != nil {
		dropUnknown(condition.Not, known)
	}
}

func finishMeta(s *Schema) {
	if meta, ok := s.Properties["metadata"]; ok {
		meta.XPreserveUnknownFields = nil
		s.Properties["metadata"] = meta
	}
}

func isIntOrStringPattern(anyOf []Schema) bool {
	return len(anyOf) == 2 && anyOf[0].Type == string(integer) && anyOf[1].Type == string(text)
}

func itemsOf(s *Schema) *Schema {
	if s.Items == nil {
		return nil
	}
	return s.Items.Schema
}

// valuesOf is the schema of a map's values.
func valuesOf(s *Schema) *Schema {
	if s.AdditionalProperties == nil {
		return nil
	}
	if s.AdditionalProperties.Schema == nil && s.AdditionalProperties.Allows {
		return &Schema{XPreserveUnknownFields: new(true)}
	}
	return s.AdditionalProperties.Schema
}

func values(schema *Schema) *apiextensionsv1.JSONSchemaPropsOrBool {
	return &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: schema}
}

// isOpen: fields that the schema does not name are kept, whatever they are.
func isOpen(s *Schema) bool {
	return s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields && valuesOf(s) == nil
}

// field is the schema of the field of that name, nil if the object cannot have it.
func field(s *Schema, name string) *Schema {
	if property, ok := s.Properties[name]; ok {
		return &property
	}
	if values := valuesOf(s); values != nil {
		return values
	}
	if isOpen(s) {
		return &Schema{XPreserveUnknownFields: new(true)}
	}
	return nil
}

func setField(s *Schema, name string, field *Schema) {
	if s.Properties == nil {
		s.Properties = map[string]Schema{}
	}
	s.Properties[name] = *field
}

func boolPointer(b bool) *bool {
	if !b {
		return nil
	}
	return new(true)
}
