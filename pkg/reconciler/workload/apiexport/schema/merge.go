// Package schema computes with structural schemas, as CustomResourceDefinitions have them: what two of them have in
// common, and what one accepts that another does not.
//
// A schema accepts an object if, once its defaults are set, the object is valid and has no field that the schema does not
// know. [Common] accepts exactly what both schemas accept: a field that only one of them knows is not in it. Where the
// two have nothing in common (a field is a text here and a number there, or required here and unknown there), there is no
// such schema, and every such field is named with the reason.
//
// It only computes: it reads no API and knows nothing of clusters.
package schema

import (
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Schema is the schema of a whole object or of a part of one.
type Schema = apiextensionsv1.JSONSchemaProps

// Problem is why two schemas have nothing in common at a field.
type Problem struct {
	// Path of the field, for example spec.ports[].protocol.
	Path string
	// Why there is nothing in common, in words that follow the path.
	Why string
}

func (p Problem) String() string { return p.Path + " " + p.Why }

// Common is the schema of whole objects that accepts exactly what both schemas accept. With problems there is none.
// Neither argument is modified. The order of the arguments does not matter for the schema, only for how problems are worded:
// a is what is offered, b what is compared with it.
func Common(a, b *Schema) (*Schema, []Problem) {
	m := &merger{}
	common := m.merge("", side{schema: normalRoot(a)}, side{schema: normalRoot(b)})
	if len(m.problems) > 0 {
		slices.SortFunc(m.problems, func(x, y Problem) int { return strings.Compare(x.String(), y.String()) })
		return nil, m.problems
	}
	return finish(common), nil
}

// Normal is the schema in the form in which Common returns schemas. It accepts the same.
func Normal(s *Schema) *Schema { return finish(normalRoot(s)) }

type merger struct{ problems []Problem }

func (m *merger) problem(path, format string, args ...any) {
	if path == "" {
		path = "the object"
	}
	m.problems = append(m.problems, Problem{Path: path, Why: fmt.Sprintf(format, args...)})
}

// side is one of the two schemas at the place where the merger is, in normal form.
type side struct {
	schema *Schema
	// name of the field that the schema, or the list or map that it is in, is of.
	name string
	// rules are the texts of the rules of this schema and of all around it: they may read what is in it.
	rules []string
	// conditions are the texts of the conditions around it, likewise.
	conditions []string
}

func (s side) child(name string, schema *Schema) side {
	return side{
		schema:     schema,
		name:       name,
		rules:      append(slices.Clone(s.rules), rulesOf(s.schema)...),
		conditions: append(slices.Clone(s.conditions), canonical(conditionsOf(s.schema))),
	}
}

func (s side) mentions(name string) bool {
	return slices.ContainsFunc(append(rulesOf(s.schema), s.rules...), func(rule string) bool { return mentions(rule, name) })
}

// isRead reports whether rules may read the value that the schema is of.
func (s side) isRead() bool {
	return len(s.schema.XValidations) > 0 || slices.ContainsFunc(s.rules, func(rule string) bool { return mentions(rule, s.name) })
}

// read is the schema of a field that rules of this side read, nil if none does.
func (s side) read(name string) *Schema {
	if !s.mentions(name) {
		return nil
	}
	return field(s.schema, name)
}

// relies reports whether it makes a difference to this side's conditions whether the field is there.
func (s side) relies(name string) bool {
	quoted := canonical(name)
	return s.mentions(name) || slices.ContainsFunc(append(s.conditions, canonical(conditionsOf(s.schema))), func(conditions string) bool {
		return strings.Contains(conditions, quoted)
	})
}

// merge makes a new schema of two in normal form. Its order is that of the questions that a field raises: is it the same
// kind of value at all, which values may it have, and what is inside.
func (m *merger) merge(path string, a, b side) *Schema {
	kind, ok := commonKind(kindOf(a.schema), kindOf(b.schema))
	if !ok {
		m.problem(path, "is offered as %s, but is %s", kindOf(a.schema), kindOf(b.schema))
		return &Schema{}
	}
	out := &Schema{
		Type: kind.typeName(), XIntOrString: kind == intOrString,
		Title: longest(a.schema.Title, b.schema.Title), Description: longest(a.schema.Description, b.schema.Description),
		Nullable: nullable(a.schema, b.schema),
		Default:  commonDefault(a.schema.Default, b.schema.Default),
	}
	m.mergeValues(path, out, a.schema, b.schema)
	m.mergeTypedFormat(path, out, a, b)
	m.mergeExtensions(path, out, a.schema, b.schema)
	out.XValidations = unionOfRules(a.schema.XValidations, b.schema.XValidations)
	m.mergeItems(path, out, a, b)
	m.mergeFields(path, out, a, b)
	m.checkKeys(path, out, a.schema, b.schema)
	return out
}

// typedFormats are those whose values are no texts to rules.
var typedFormats = []string{"date-time", "date", "duration", "byte"}

// mergeTypedFormat keeps the rules of a side that has no format working: in allOf the format holds all the same, and rules
// take the value for the text that it is.
func (m *merger) mergeTypedFormat(path string, out *Schema, a, b side) {
	inA, inB := a.schema.Format != "", b.schema.Format != ""
	switch {
	case !slices.Contains(typedFormats, out.Format) || inA && inB:
		return
	case inA && !b.isRead(), inB && !a.isRead():
		return
	case inA && a.isRead(), inB && b.isRead():
		m.problem(path, "has the format %s on one side only, and rules on both sides read it", out.Format)
	}
	untype(out)
}

func untype(s *Schema) {
	s.AllOf = distinct(append(s.AllOf, Schema{Format: s.Format}))
	s.Format = ""
}

// nullable: a value of any kind may be null.
func nullable(a, b *Schema) bool {
	switch {
	case kindOf(a) == anything && kindOf(b) == anything:
		return a.Nullable && b.Nullable
	case kindOf(a) == anything:
		return b.Nullable
	case kindOf(b) == anything:
		return a.Nullable
	}
	return a.Nullable && b.Nullable
}

// commonDefault is a default that both have. With different ones there is none: each cluster goes on to set its own.
func commonDefault(a, b *apiextensionsv1.JSON) *apiextensionsv1.JSON {
	if a == nil || b == nil || canonical(*a) != canonical(*b) {
		return nil
	}
	return a.DeepCopy()
}

func longest(a, b string) string {
	if len(a) > len(b) || len(a) == len(b) && a > b {
		return a
	}
	return b
}

func (m *merger) mergeItems(path string, out *Schema, a, b side) {
	switch ia, ib := itemsOf(a.schema), itemsOf(b.schema); {
	case ia != nil && ib != nil:
		out.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: m.merge(path+"[]", a.child(a.name, ia), b.child(b.name, ib))}
	case ia != nil:
		out.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: ia.DeepCopy()}
	case ib != nil:
		out.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: ib.DeepCopy()}
	}
}

// mergeFields merges what is in an object: its fields by name, and those of any name.
func (m *merger) mergeFields(path string, out *Schema, a, b side) {
	out.Required = sets.List(sets.New(a.schema.Required...).Union(sets.New(b.schema.Required...)))
	out.XPreserveUnknownFields = boolPointer(isOpen(a.schema) && isOpen(b.schema))
	m.mergeNamed(path, out, a, b)
	m.mergeUnnamed(path, out, a, b)
	for _, name := range out.Required {
		if _, known := out.Properties[name]; !known && out.AdditionalProperties == nil && !isOpen(out) {
			m.problemOfRequired(join(path, name), name, a.schema, b.schema)
		}
	}
	if len(out.Properties) > 0 && out.AdditionalProperties != nil {
		m.problem(path, "is a map on one side and an object with fields of its own on the other")
	}
}

func (m *merger) problemOfRequired(path, name string, a, b *Schema) {
	switch inA, inB := slices.Contains(a.Required, name), slices.Contains(b.Required, name); {
	case inA && !inB:
		m.problem(path, "is required by what is offered, but not known")
	case inB && !inA:
		m.problem(path, "is required, but not known to what is offered")
	default:
		m.problem(path, "is required, but not known")
	}
}

func (m *merger) mergeNamed(path string, out *Schema, a, b side) {
	names := sets.KeySet(a.schema.Properties).Union(sets.KeySet(b.schema.Properties))
	for _, name := range sets.List(names) {
		pa, pb := known(a.schema, name), known(b.schema, name)
		switch {
		case pa != nil && pb != nil:
			m.checkDefault(join(path, name), name, a, b)
			setField(out, name, m.merge(join(path, name), a.child(name, pa), b.child(name, pb)))
		case slices.Contains(out.Required, name):
			// a problem, which mergeFields names
		default:
			m.mergeUnknown(path, name, out, a, b)
		}
	}
}

// mergeUnknown leaves out a field that one side does not know, if it can.
func (m *merger) mergeUnknown(path, name string, out *Schema, a, b side) {
	for _, s := range []side{a, b} {
		if field := known(s.schema, name); field != nil && field.Default != nil && s.relies(name) {
			m.problem(path, "has a default and a condition that reads it on one side, and is not known on the other")
			return
		}
	}
	fa, fb := a.read(name), b.read(name)
	switch {
	case fa != nil && fb != nil:
		forbid(out, name, m.merge(join(path, name), a.child(name, fa), b.child(name, fb)))
	case fa != nil:
		forbid(out, name, fa)
	case fb != nil:
		forbid(out, name, fb)
	}
}

// forbid has a field that one side does not know stay in the schema, because a rule of the other reads it: without it the
// rule could not be compiled. A rule of its own keeps objects from having it.
func forbid(out *Schema, name string, field *Schema) {
	field = field.DeepCopy()
	field.Default, field.Nullable = nil, false
	setField(out, name, field)
	out.XValidations = unionOfRules(out.XValidations, apiextensionsv1.ValidationRules{forbidding(name)})
}

// notKnown ends the message of the rule that keeps objects from having a field that some cluster does not know.
const notKnown = " is not known to every cluster"

func forbidding(name string) apiextensionsv1.ValidationRule {
	spelling, _ := escape(name) // a rule reads it
	return apiextensionsv1.ValidationRule{Rule: "!has(self." + spelling + ")", Message: name + notKnown}
}

// forbids reports whether an earlier comparison found the field to be unknown to some cluster.
func forbids(s *Schema, name string) bool {
	return slices.ContainsFunc(s.XValidations, func(rule apiextensionsv1.ValidationRule) bool {
		return rule.Rule == forbidding(name).Rule && rule.Message == forbidding(name).Message
	})
}

// known is the schema of the field of that name, nil if the object cannot have it.
func known(s *Schema, name string) *Schema {
	if forbids(s, name) {
		return nil
	}
	return field(s, name)
}

// checkDefault: what has a default on one side only has none in common. Conditions of that side that read the field rely on
// its being there, and would refuse objects without it that the cluster takes.
func (m *merger) checkDefault(path, name string, a, b side) {
	fa, fb := field(a.schema, name), field(b.schema, name)
	if fa.Default != nil && fb.Default != nil && canonical(*fa.Default) == canonical(*fb.Default) {
		return
	}
	if fa.Default != nil && a.relies(name) || fb.Default != nil && b.relies(name) {
		m.problem(path, "has different defaults (%s is offered, %s is set), and a condition reads it", defaultOf(fa), defaultOf(fb))
	}
}

func defaultOf(field *Schema) string {
	if field.Default == nil {
		return "none"
	}
	return string(field.Default.Raw)
}

func (m *merger) mergeUnnamed(path string, out *Schema, a, b side) {
	va, vb := valuesOf(a.schema), valuesOf(b.schema)
	switch {
	case va != nil && vb != nil:
		out.AdditionalProperties = values(m.merge(path+"[]", a.child(a.name, va), b.child(b.name, vb)))
	case va != nil && isOpen(b.schema):
		out.AdditionalProperties = values(va.DeepCopy())
	case vb != nil && isOpen(a.schema):
		out.AdditionalProperties = values(vb.DeepCopy())
	}
}

// checkKeys: without a value for each key, the items of a list that is a map could not be told apart.
func (m *merger) checkKeys(path string, out, a, b *Schema) {
	items := itemsOf(out)
	if items == nil {
		return
	}
	for _, key := range out.XListMapKeys {
		property, known := items.Properties[key]
		switch {
		case !known:
			m.problem(path+"[]."+key, "is a key of the list, but not known")
		case property.Default == nil && !slices.Contains(items.Required, key):
			m.problem(path+"[]."+key, "is a key of the list whose default is %s in what is offered, but %s", defaultText(a, key), defaultText(b, key))
		}
	}
}

func defaultText(list *Schema, key string) string {
	if items := itemsOf(list); items != nil {
		if property, ok := items.Properties[key]; ok && property.Default != nil {
			return string(property.Default.Raw)
		}
	}
	return "not set"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
