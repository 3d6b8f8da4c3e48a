package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Difference is a field of which another schema accepts less.
type Difference struct {
	// Path of the field.
	Path string
	// Unknown: the other schema does not have the field.
	Unknown bool
	// What the other schema asks for, if the field is not unknown.
	What string
}

func (d Difference) String() string {
	if d.Unknown {
		return d.Path + " is not known"
	}
	return d.Path + " " + d.What
}

// Narrower says in which fields the schema accepts less than the wide one does. It compares what Common makes of both
// with the wide one, so that it may name a field whose conditions are said in another way but mean the same.
// It is empty if everything that the wide schema accepts is accepted. Without anything in common, problems say why.
func Narrower(wide, schema *Schema) ([]Difference, []Problem) {
	common, problems := Common(wide, schema)
	if len(problems) > 0 {
		return nil, problems
	}
	var all []Difference
	compare(&all, "", Normal(wide), common)
	slices.SortFunc(all, func(a, b Difference) int { return cmp.Compare(a.Path, b.Path) })
	return all, nil
}

func compare(all *[]Difference, path string, wide, common *Schema) {
	if what := stricter(wide, common); what != "" {
		*all = append(*all, Difference{Path: cmp.Or(path, "the object"), What: what})
	}
	if isOpen(wide) && !isOpen(common) && common.Type != "" {
		*all = append(*all, Difference{Path: cmp.Or(path, "the object"), What: "may not have fields of any name"})
	}
	for _, name := range sets.List(sets.KeySet(wide.Properties).Union(sets.KeySet(common.Properties))) {
		switch before, now := known(wide, name), known(common, name); {
		case before != nil && now != nil:
			compare(all, join(path, name), before, now)
		case before != nil:
			*all = append(*all, Difference{Path: join(path, name), Unknown: true})
		}
	}
	if items, kept := itemsOf(wide), itemsOf(common); items != nil && kept != nil {
		compare(all, path+"[]", items, kept)
	}
	if values, kept := valuesOf(wide), valuesOf(common); values != nil && kept != nil {
		compare(all, path+"[]", values, kept)
	}
}

// stricter says which conditions on a value are not the same. All are in common that are in wide, so others are stricter.
func stricter(wide, common *Schema) string {
	var what []string
	for _, keyword := range []struct {
		name string
		of   func(*Schema) any
	}{
		{"type", func(s *Schema) any { return kindOf(s) }},
		{"enum", func(s *Schema) any { return s.Enum }},
		{"minimum", func(s *Schema) any { return []any{s.Minimum, s.ExclusiveMinimum} }},
		{"maximum", func(s *Schema) any { return []any{s.Maximum, s.ExclusiveMaximum} }},
		{"minLength", func(s *Schema) any { return s.MinLength }},
		{"maxLength", func(s *Schema) any { return s.MaxLength }},
		{"minItems", func(s *Schema) any { return s.MinItems }},
		{"maxItems", func(s *Schema) any { return s.MaxItems }},
		{"minProperties", func(s *Schema) any { return s.MinProperties }},
		{"maxProperties", func(s *Schema) any { return s.MaxProperties }},
		{"required", func(s *Schema) any { return s.Required }},
		{"null", func(s *Schema) any { return s.Nullable }},
		{"uniqueness of items", func(s *Schema) any { return []any{value(s.XListType), s.XListMapKeys, s.UniqueItems} }},
		{"pattern, format or combination of conditions", func(s *Schema) any { return distinct(conditionsOf(s)) }},
		{"validation rules", rulesToCompare},
	} {
		if canonical(keyword.of(wide)) != canonical(keyword.of(common)) {
			what = append(what, keyword.name)
		}
	}
	if len(what) == 0 {
		return ""
	}
	return fmt.Sprintf("is narrower (%s)", strings.Join(what, ", "))
}

// rulesToCompare are the rules but those that stand for unknown fields, which are told as such.
func rulesToCompare(s *Schema) any {
	var rules []string
	for _, rule := range s.XValidations {
		if !strings.HasSuffix(rule.Message, notKnown) {
			rules = append(rules, rule.Rule)
		}
	}
	return rules
}
