package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// fileProblem is something wrong in a configuration file.
type fileProblem struct {
	line int
	// field is the path of the field; empty for the whole document.
	field   string
	problem string
}

// decoder reads a document over an object: what the document does not have stays as it was.
type decoder struct {
	lines    map[string]int
	problems []fileProblem
}

// decode reads the one YAML or JSON document in content over the object, whose own apiVersion and kind the document must
// have. It gives the line of each field, and everything that is wrong: unknown and repeated fields too.
func decode(content []byte, into runtime.Object) (lines map[string]int, problems []fileProblem) {
	d := &decoder{lines: map[string]int{}}
	if root := d.document(content); root != nil && d.sameKind(root, into) {
		d.value(root, reflect.ValueOf(into).Elem(), "")
	}
	return d.lines, d.problems
}

func (d *decoder) add(node *yaml.Node, field, format string, args ...any) {
	d.problems = append(d.problems, fileProblem{line: node.Line, field: field, problem: fmt.Sprintf(format, args...)})
}

// document gives the object that the file holds, nil if it holds none.
func (d *decoder) document(content []byte) *yaml.Node {
	reader := yaml.NewDecoder(bytes.NewReader(content))
	var document, next yaml.Node
	switch err := reader.Decode(&document); {
	case errors.Is(err, io.EOF):
		d.add(&yaml.Node{Line: 1}, "", "the file is empty: it has to name its apiVersion and kind")
		return nil
	case err != nil:
		d.add(&yaml.Node{Line: 1}, "", "the file is neither YAML nor JSON: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	if err := reader.Decode(&next); !errors.Is(err, io.EOF) {
		d.add(&next, "", "the file has more than one document")
		return nil
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		d.add(root, "", "the file is not an object with fields")
		return nil
	}
	return root
}

// sameKind: nothing else is told of a document that is for another program, or of another version.
func (d *decoder) sameKind(root *yaml.Node, into runtime.Object) bool {
	wantVersion, wantKind := into.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	for i, field := range []string{"apiVersion", "kind"} {
		want := []string{wantVersion, wantKind}[i]
		at := slices.IndexFunc(root.Content, func(n *yaml.Node) bool { return n.Value == field })
		switch {
		case at < 0:
			d.add(root, field, "missing: must be %s", want)
		case root.Content[at+1].Value != want:
			d.add(root.Content[at], field, "%q is not known here: must be %s", root.Content[at+1].Value, want)
		}
	}
	return len(d.problems) == 0
}

func (d *decoder) value(node *yaml.Node, into reflect.Value, path string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Tag == "!!null" { // as if the field was left out
		return
	}
	switch kind := into.Kind(); {
	case isLeaf(into.Type()):
		d.leaf(node, into, path)
	case kind == reflect.Struct:
		d.object(node, path, func(name string) (reflect.Value, []string) { return fieldOf(into, name) })
	case kind == reflect.Map:
		d.mapping(node, into, path)
	case kind == reflect.Slice:
		d.list(node, into, path)
	default:
		d.leaf(node, into, path)
	}
}

// object reads the fields of an object, each of which find has to know; it also gives the names of all.
func (d *decoder) object(node *yaml.Node, path string, find func(name string) (value reflect.Value, known []string)) {
	if node.Kind != yaml.MappingNode {
		d.add(node, path, "%s is not an object with fields", shown(node))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := join(path, key.Value)
		into, known := find(key.Value)
		switch {
		case seen[key.Value]:
			d.add(key, field, "repeated: it is in line %d already", d.lines[field])
			continue
		case !into.IsValid():
			d.add(key, field, "unknown field: here may be %s", strings.Join(known, ", "))
		default:
			d.lines[field] = key.Line
			d.value(value, into, field)
		}
		seen[key.Value] = true
		if _, told := d.lines[field]; !told {
			d.lines[field] = key.Line
		}
	}
}

func (d *decoder) mapping(node *yaml.Node, into reflect.Value, path string) {
	fresh := reflect.MakeMap(into.Type())
	values := map[string]reflect.Value{}
	d.object(node, path, func(name string) (reflect.Value, []string) {
		value := reflect.New(into.Type().Elem()).Elem()
		if _, repeated := values[name]; !repeated {
			values[name] = value
		}
		return value, nil
	})
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fresh.SetMapIndex(reflect.ValueOf(name), values[name])
	}
	into.Set(fresh)
}

func (d *decoder) list(node *yaml.Node, into reflect.Value, path string) {
	if node.Kind != yaml.SequenceNode {
		d.add(node, path, "%s is not a list", shown(node))
		return
	}
	fresh := reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		field := path + "[" + strconv.Itoa(i) + "]"
		d.lines[field] = item.Line
		d.value(item, fresh.Index(i), field)
	}
	into.Set(fresh)
}

// leaf reads a single value the way that its type reads JSON.
func (d *decoder) leaf(node *yaml.Node, into reflect.Value, path string) {
	var plain any
	err := node.Decode(&plain)
	if err == nil {
		var raw []byte
		if raw, err = json.Marshal(plain); err == nil {
			err = json.Unmarshal(raw, into.Addr().Interface())
		}
	}
	if err != nil {
		d.add(node, path, "%s is not %s", shown(node), wordFor(into.Type()))
	}
}

func shown(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "an object with fields"
	case yaml.SequenceNode:
		return "a list"
	default:
		return strconv.Quote(node.Value)
	}
}

func wordFor(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[metav1.Duration](), reflect.TypeFor[logsapi.TimeOrMetaDuration]():
		return "a duration, as 30s or 5m is"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint32, reflect.Uint64:
		return "a whole number from 0"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a text; put it in quotes"
	default:
		return "valid"
	}
}

// isLeaf: the type reads itself from JSON.
func isLeaf(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// fieldOf finds the field of that name in JSON, and gives the names of all.
func fieldOf(of reflect.Value, name string) (found reflect.Value, known []string) {
	eachField(of, func(field string, value reflect.Value) {
		known = append(known, field)
		if field == name {
			found = value
		}
	})
	return found, known
}

// eachField visits the fields of a struct by their names in JSON, and those of structs that are inlined.
func eachField(of reflect.Value, visit func(name string, value reflect.Value)) {
	for i := range of.NumField() {
		field := of.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case field.Anonymous && name == "":
			eachField(of.Field(i), visit)
		default:
			visit(name, of.Field(i))
		}
	}
}

// leaves are the settings of a configuration by their paths, apiVersion and kind aside. A list or map is one setting.
func leaves(configuration runtime.Object) map[string]any {
	all := map[string]any{}
	collectLeaves(reflect.ValueOf(configuration).Elem(), "", all)
	delete(all, "apiVersion")
	delete(all, "kind")
	return all
}

func collectLeaves(of reflect.Value, path string, into map[string]any) {
	if of.Kind() != reflect.Struct || isLeaf(of.Type()) {
		into[path] = of.Interface()
		return
	}
	eachField(of, func(name string, value reflect.Value) { collectLeaves(value, join(path, name), into) })
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
