package openapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestStructural(t *testing.T) {
	for _, test := range []struct{ name, fields, others, want string }{{
		name:   "a reference is replaced by what it refers to, and its own description wins",
		fields: `"spec":{"description":"Mine.","allOf":[{"$ref":"#/components/schemas/Spec"}]}`,
		others: `"Spec":{"description":"Its.","type":"object","properties":{"a":{"type":"string"}}}`,
		want:   `"spec":{"description":"Mine.","properties":{"a":{"type":"string"}},"type":"object"}`,
	}, {
		name:   "descriptions end with their first sentence, not with an abbreviation",
		fields: `"a":{"type":"string","description":"A name, e.g. of\na thing. More of it.\n\nAnd more."}`,
		want:   `"a":{"description":"A name, e.g. of a thing.","type":"string"}`,
	}, {
		name:   "what is a number or a text stays so, and a quantity has a pattern",
		fields: `"a":{"$ref":"#/components/schemas/` + intOrString + `"}`,
		want:   `"a":{"anyOf":[{"type":"integer"},{"type":"string"}],"x-kubernetes-int-or-string":true}`,
	}, {
		name:   "defaults that say something are kept, empty ones are not",
		fields: `"a":{"type":"string","default":"TCP"},"b":{"type":"string","default":""},"c":{"type":"object","default":{}},"d":{"type":"integer","default":0}`,
		want:   `"a":{"default":"TCP","type":"string"},"b":{"type":"string"},"c":{"type":"object"},"d":{"type":"integer"}`,
	}, {
		name: "merge keys are kept, the hints of strategic merge patches are not; an optional key is given a default",
		fields: `"a":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"}}},
			"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],"x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge"}`,
		want: `"a":{"items":{"properties":{"name":{"default":"","type":"string"}},"type":"object"},"type":"array","x-kubernetes-list-map-keys":["name"],"x-kubernetes-list-type":"map"}`,
	}, {
		name:   "embedded metadata has its fields, but not those that the server alone writes",
		fields: `"template":{"type":"object","properties":{"metadata":{"$ref":"#/components/schemas/` + objectMeta + `"}}}`,
		others: `"` + objectMeta + `":{"type":"object","properties":{"labels":{"type":"object","additionalProperties":{"type":"string"}},"managedFields":{"type":"array","items":{"type":"object"}}}}`,
		want:   `"template":{"properties":{"metadata":{"properties":{"labels":{"additionalProperties":{"type":"string"},"type":"object"}},"type":"object"}},"type":"object"}`,
	}} {
		t.Run(test.name, func(t *testing.T) {
			schema, err := document(t, test.fields, test.others).resource("Thing")
			if err != nil {
				t.Fatal(err)
			}
			delete(schema.Properties, "metadata")
			if diff := cmp.Diff(parse(t, "{"+test.want+"}"), schema.Properties); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestStructuralRefuses(t *testing.T) {
	for _, test := range []struct{ name, fields, others, want string }{
		{"a type that contains itself", `"a":{"$ref":"#/components/schemas/Loop"}`, `"Loop":{"properties":{"a":{"items":{"$ref":"#/components/schemas/Loop"}}}}`, "contains itself"},
		{"a keyword that it does not know", `"a":{"type":"string","not":{}}`, ``, "unknown keyword"},
		{"a reference to nothing", `"a":{"$ref":"#/components/schemas/Gone"}`, ``, "not in the document"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := document(t, test.fields, test.others).resource("Thing")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
}

func parse(t *testing.T, raw string) (properties map[string]apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), &properties); err != nil {
		t.Fatal(err)
	}
	return properties
}

// document has one type, Thing, with metadata and these fields, beside others.
func document(t *testing.T, fields, others string) Document {
	t.Helper()
	raw := `{"Thing":{"type":"object","properties":{"metadata":{"type":"object"},` + fields + `}}`
	if others != "" {
		raw += "," + others
	}
	var schemas map[string]map[string]any
	if err := json.Unmarshal([]byte(raw+"}"), &schemas); err != nil {
		t.Fatal(err)
	}
	return Document{schemas: schemas}
}
