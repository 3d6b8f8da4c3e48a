package main

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestSetDefault(t *testing.T) {
	schema := func() *apiextensionsv1.JSONSchemaProps {
		return &apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"taken": {Default: &apiextensionsv1.JSON{Raw: []byte(`1`)}},
			"list": {Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{
				Properties: map[string]apiextensionsv1.JSONSchemaProps{"free": {}},
			}}},
		}}
	}
	for path, want := range map[string]string{
		"list.[].free": "",
		"gone":         `no field "gone"`,
		"taken":        "the API server's own document has 1",
		"taken.[].a":   "no list",
	} {
		given := schema()
		err := setDefault(given, defaultValue{path, `"x"`})
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", path, err, want)
		case want == "" && string(given.Properties["list"].Items.Schema.Properties["free"].Default.Raw) != `"x"`:
			t.Errorf("%s: the default is not set", path)
		}
	}
}
