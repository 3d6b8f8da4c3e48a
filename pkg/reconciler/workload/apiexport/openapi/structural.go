// Package openapi turns what a Kubernetes API server tells of its built-in types, in discovery and in OpenAPI v3 documents, into
// what a CustomResourceDefinition would say of them. hack/generate makes the export kubernetes of it, and syncers tell kcp what
// their cluster serves.
//
// It only computes; who reads the documents is the caller's matter.
package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

const (
	refPrefix     = "#/components/schemas/"
	intOrString   = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
	quantity      = "io.k8s.apimachinery.pkg.api.resource.Quantity"
	objectMeta    = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	rawExtension  = "io.k8s.apimachinery.pkg.runtime.RawExtension"
	quantityRegex = `^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$`
)

// kept are the keywords that mean the same in an OpenAPI document and in a structural schema.
var kept = []string{
	"type", "format", "enum", "pattern", "required", "nullable",
	"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems",
	"x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
}

// dropped are the keywords that a structural schema has no use for: they direct strategic merge patches, describe unions
// for documentation, or tell a type's identity.
var dropped = []string{
	"x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key", "x-kubernetes-unions", "x-kubernetes-group-version-kind",
}

// Document turns types of an API server's OpenAPI v3 document into structural schemas: references are replaced by what
// they refer to, and what a CustomResourceDefinition does not allow is left out or said in its way. A keyword that it
// does not know is an error, so that nothing is lost unnoticed.
type Document struct {
	schemas map[string]map[string]any
}

// Path is where an API server has the document of a group and version.
func Path(group, version string) string {
	if group == "" {
		return "/openapi/v3/api/" + version
	}
	return "/openapi/v3/apis/" + group + "/" + version
}

// Parse reads a document.
func Parse(raw []byte) (Document, error) {
	var document struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		return Document{}, fmt.Errorf("reading an OpenAPI document: %w", err)
	}
	return Document{schemas: document.Components.Schemas}, nil
}

// Schema is the structural schema of the kind's objects.
func (d Document) Schema(group, version, kind string) (*apiextensionsv1.JSONSchemaProps, error) {
	for name, schema := range d.schemas {
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		for _, entry := range kinds {
			gvk, _ := entry.(map[string]any)
			if gvk["group"] == group && gvk["version"] == version && gvk["kind"] == kind {
				return d.resource(name)
			}
		}
	}
	return nil, fmt.Errorf("no type in the document is the %s of %s/%s", kind, group, version)
}

// endsSentence matches a full stop that is none of an abbreviation, which a small letter follows.
const endsSentence = `\.\s+[A-Z]`

// resource is the schema of a whole object, whose metadata the server knows by itself.
func (d Document) resource(typeName string) (*apiextensionsv1.JSONSchemaProps, error) {
	schema, err := d.named(typeName, nil)
	if err != nil {
		return nil, err
	}
	properties, _ := schema["properties"].(map[string]any)
	if properties["metadata"] == nil {
		return nil, fmt.Errorf("type %s has no metadata", typeName)
	}
	properties["metadata"] = map[string]any{"type": "object"}

	raw, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	props := &apiextensionsv1.JSONSchemaProps{}
	return props, json.Unmarshal(raw, props)
}

// named is the schema of the type with that name. path is the types that it is being inlined into.
func (d Document) named(typeName string, path []string) (map[string]any, error) {
	if special, ok := d.special(typeName); ok {
		return special, nil
	}
	schema, ok := d.schemas[typeName]
	if !ok {
		return nil, fmt.Errorf("type %s is not in the document", typeName)
	}
	if slices.Contains(path, typeName) {
		return nil, fmt.Errorf("type %s contains itself: %s", typeName, strings.Join(path, " > "))
	}
	converted, err := d.convert(schema, append(slices.Clone(path), typeName))
	if err != nil {
		return nil, err
	}
	if typeName == objectMeta {
		dropManagedFields(converted)
	}
	return converted, nil
}

// special are the types whose own schema a structural one cannot express.
func (d Document) special(typeName string) (map[string]any, bool) {
	numberOrText := []any{map[string]any{"type": "integer"}, map[string]any{"type": "string"}}
	switch typeName {
	case intOrString:
		return map[string]any{"x-kubernetes-int-or-string": true, "anyOf": numberOrText}, true
	case quantity:
		return map[string]any{"x-kubernetes-int-or-string": true, "anyOf": numberOrText, "pattern": quantityRegex}, true
	case rawExtension:
		return map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}, true
	}
	return nil, false
}

// dropManagedFields takes from embedded metadata what only the server writes, and only to an object's own metadata.
func dropManagedFields(meta map[string]any) {
	if properties, ok := meta["properties"].(map[string]any); ok {
		delete(properties, "managedFields")
	}
}

// convert is one schema of the document, with everything below it.
func (d Document) convert(schema map[string]any, path []string) (map[string]any, error) {
	out, err := d.base(schema, path)
	if err != nil {
		return nil, err
	}
	for keyword, value := range schema {
		switch {
		case keyword == "$ref" || keyword == "allOf" || keyword == "default" || slices.Contains(dropped, keyword):
		case keyword == "description":
			out[keyword] = firstSentence(value.(string))
		case slices.Contains(kept, keyword):
			out[keyword] = value
		case keyword == "items" || keyword == "additionalProperties":
			out[keyword], err = d.child(value, path)
		case keyword == "properties":
			out[keyword], err = d.properties(value, path)
		default:
			err = errors.New("unknown keyword")
		}
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", keyword, path[len(path)-1], err)
		}
	}
	if value, ok := schema["default"]; ok && !isZero(value) {
		out["default"] = value
	}
	addDefaultsOfKeys(out)
	return out, nil
}

// base is what a schema refers to: the document writes a reference alone, or inside allOf when it has company.
func (d Document) base(schema map[string]any, path []string) (map[string]any, error) {
	ref, _ := schema["$ref"].(string)
	if all, ok := schema["allOf"].([]any); ok {
		if len(all) != 1 {
			return nil, fmt.Errorf("allOf with %d parts below %s", len(all), path[len(path)-1])
		}
		ref, _ = all[0].(map[string]any)["$ref"].(string)
	}
	if ref == "" {
		return map[string]any{}, nil
	}
	return d.named(strings.TrimPrefix(ref, refPrefix), path)
}

func (d Document) child(value any, path []string) (map[string]any, error) {
	schema, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%T instead of a schema", value)
	}
	return d.convert(schema, path)
}

func (d Document) properties(value any, path []string) (map[string]any, error) {
	out := map[string]any{}
	for name, schema := range value.(map[string]any) {
		converted, err := d.child(schema, path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = converted
	}
	return out, nil
}

// firstSentence is what `kubectl explain` shows in kcp. Whole descriptions, repeated at each use of a type, are three
// quarters of a schema, which kcp keeps and serves per export.
func firstSentence(description string) string {
	description, _, _ = strings.Cut(description, "\n\n")
	if end := regexp.MustCompile(endsSentence).FindStringIndex(description); end != nil {
		description = description[:end[0]+1]
	}
	return strings.Join(strings.Fields(description), " ")
}

// isZero is true for the defaults that the document has for each field that is no pointer in Go. They are not written to
// objects: to set them would make required fields optional, and empty ones appear in every object.
func isZero(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return len(v) == 0
	case string:
		return v == ""
	case float64:
		return v == 0
	case bool:
		return !v
	}
	return value == nil
}

// addDefaultsOfKeys gives an empty default to optional keys of a list, which a structural schema demands and with which
// the built-in types work too.
func addDefaultsOfKeys(list map[string]any) {
	items, _ := list["items"].(map[string]any)
	properties, _ := items["properties"].(map[string]any)
	required, _ := items["required"].([]any)
	keys, _ := list["x-kubernetes-list-map-keys"].([]any)
	for _, key := range keys {
		property, ok := properties[key.(string)].(map[string]any)
		if ok && !slices.Contains(required, key) && property["default"] == nil && property["type"] == "string" {
			property["default"] = ""
		}
	}
}
