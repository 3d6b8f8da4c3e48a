package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/runtime"
	cliflag "k8s.io/component-base/cli/flag"

	manager "github.com/kcp-dev/workload-syncer/cmd/workload-manager/options"
	syncer "github.com/kcp-dev/workload-syncer/cmd/workload-syncer/options"
)

const configTypes = "apis/config/v1alpha1"

// program is one that has a configuration file.
type program struct {
	name     string
	settings runtime.Object
	flags    cliflag.NamedFlagSets
	// fields by flags.
	fields map[string]string
	live   []string
}

// configuration is the reference of the configuration files.
func configuration() (string, error) {
	docs, err := readDocs(configTypes)
	if err != nil {
		return "", err
	}
	var page strings.Builder
	page.WriteString("# Configuration files\n\n" +
		"What every setting of a program means, in its file (`--config`), in a flag and in an environment variable: `--status-window` is\n" +
		"`WORKLOAD_SYNCER_FLAG_STATUS_WINDOW`, and for workload-manager the prefix is `WORKLOAD_MANAGER_FLAG_`. A flag goes before its\n" +
		"variable, that before the file, and that before the default. [Configuration](../configuration.md) tells how to work with them.\n\n" +
		"*live* settings are taken up when the file changes; the others need a restart.\n")
	s, m := syncer.New(), manager.New()
	for _, p := range []program{
		{"workload-syncer", s.Settings(), s.Flags(), syncer.Fields(), s.Live()},
		{"workload-manager", m.Settings(), m.Flags(), manager.Fields(), m.Live()},
	} {
		writeProgram(&page, p, docs)
	}
	return page.String(), nil
}

func writeProgram(page *strings.Builder, p program, docs map[string]string) {
	gvk := p.settings.GetObjectKind().GroupVersionKind()
	of := reflect.ValueOf(p.settings).Elem()
	fmt.Fprintf(page, "\n## %s\n\n    apiVersion: %s\n    kind: %s\n\n%s\n", p.name, gvk.GroupVersion(), gvk.Kind, docs[of.Type().Name()])
	table := func() {
		page.WriteString("\n| setting | default | flag | live | what it does |\n|---|---|---|---|---|\n")
	}
	table()
	each(of, func(name, _ string, value reflect.Value) {
		if !isObject(value) && name != "kind" && name != "apiVersion" {
			p.row(page, name, docs[of.Type().Name()+"."+name], value)
		}
	})
	each(of, func(name, _ string, value reflect.Value) {
		if !isObject(value) {
			return
		}
		fmt.Fprintf(page, "\n### %s\n\n%s\n", name, text(docs[of.Type().Name()+"."+name]))
		table()
		p.rows(page, name, value, docs)
	})
}

func (p program) rows(page *strings.Builder, path string, of reflect.Value, docs map[string]string) {
	each(of, func(name, owner string, value reflect.Value) {
		if isObject(value) {
			p.rows(page, path+"."+name, value, docs)
			return
		}
		p.row(page, path+"."+name, docs[owner+"."+name], value)
	})
}

func (p program) row(page *strings.Builder, path, doc string, value reflect.Value) {
	flag := p.flagOf(path)
	if flag == nil {
		return // of the logging library, which refuses it
	}
	if doc == "" { // a type of a library
		_, doc = pflag.UnquoteUsage(flag)
	}
	live := ""
	if slices.ContainsFunc(p.live, func(above string) bool { return path == above || strings.HasPrefix(path, above+".") }) {
		live = "live"
	}
	shown, err := json.Marshal(value.Interface())
	if err != nil || string(shown) == `""` {
		shown = nil
	}
	fmt.Fprintf(page, "| %s | %s | %s | %s | %s |\n", code(path), code(string(shown)), code(dashed(flag)), live, text(doc))
}

// flagOf finds the flag of a field.
func (p program) flagOf(field string) (found *pflag.Flag) {
	for _, section := range p.flags.FlagSets {
		section.VisitAll(func(f *pflag.Flag) {
			if p.fields[f.Name] == field {
				found = f
			}
		})
	}
	return found
}

// each visits the fields of a struct by their names in the file, with the type that declares them.
func each(of reflect.Value, visit func(name, owner string, value reflect.Value)) {
	for i := range of.NumField() {
		field := of.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			each(of.Field(i), visit)
		case field.IsExported() && name != "-":
			visit(name, of.Type().Name(), of.Field(i))
		}
	}
}

// isObject: it has fields, and is not one value to those who write it.
func isObject(value reflect.Value) bool {
	return value.Kind() == reflect.Struct && !reflect.PointerTo(value.Type()).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// readDocs gives the comments of types, and of fields by Type.name.
func readDocs(folder string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	docs := map[string]string{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, decl := range parsed.Decls {
			if types, ok := decl.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				noteDocs(docs, types)
			}
		}
	}
	return docs, nil
}

func noteDocs(docs map[string]string, types *ast.GenDecl) {
	for _, spec := range types.Specs {
		declared, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		about, _, _ := strings.Cut(types.Doc.Text(), "\n+") // what follows is for generators
		docs[declared.Name.Name] = strings.TrimSpace(about)
		object, ok := declared.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range object.Fields.List {
			if field.Tag == nil || len(field.Names) == 0 {
				continue
			}
			name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json"), ",")
			docs[declared.Name.Name+"."+name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
		}
	}
}
