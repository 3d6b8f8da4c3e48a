package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/runtime"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"

	"github.com/kcp-dev/workload-syncer/config"
)

// kubernetesSchemas are those of the export kubernetes, as a real API server described them.
func kubernetesSchemas(t *testing.T) map[string]*Schema {
	t.Helper()
	objects, err := config.Objects()
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*Schema{}
	for _, object := range objects {
		var resource apisv1alpha1.APIResourceSchema
		if object.GetKind() != "APIResourceSchema" {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &resource); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(resource.Spec.Group, "kcp.io") {
			continue // our own
		}
		schemas[resource.Spec.Names.Kind] = parse(t, string(resource.Spec.Versions[0].Schema.Raw))
	}
	if len(schemas) < 10 {
		t.Fatalf("only %d schemas", len(schemas))
	}
	return schemas
}

func TestKubernetesWithItself(t *testing.T) {
	for kind, s := range kubernetesSchemas(t) {
		common, problems := Common(s, s)
		if len(problems) > 0 {
			t.Errorf("%s: %v", kind, problems)
			continue
		}
		if diff := cmp.Diff(Normal(s), common); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
		if differences, _ := Narrower(s, s); len(differences) > 0 {
			t.Errorf("%s is narrower than itself: %v", kind, differences)
		}
	}
}

// What became of TMC: each newer Kubernetes made all built-in types incompatible.
func TestANewerKubernetesIsCompatible(t *testing.T) {
	for kind, newer := range kubernetesSchemas(t) {
		r := newRandom(uint64(len(kind)))
		older, dropped := newer.DeepCopy(), 0
		grewSince(r, older, nil, &dropped)
		common, problems := Common(newer, older)
		if len(problems) > 0 {
			t.Errorf("%s: %v", kind, problems)
			continue
		}
		if dropped == 0 {
			t.Errorf("%s: nothing was dropped", kind)
		}
		if differences, _ := Narrower(older, newer); len(differences) > 0 {
			t.Errorf("%s: the newer one is narrower than the older one: %v", kind, differences)
		}
		if differences, _ := Narrower(newer, older); len(differences) == 0 {
			t.Errorf("%s: the older one is not narrower", kind)
		}
		if diff := cmp.Diff(fieldsOf(older), fieldsOf(common)); diff != "" {
			t.Errorf("%s: (-older +common) %s", kind, diff)
		}
	}
}

// grewSince takes from a schema what a later version could have added: optional fields, but no keys of lists.
func grewSince(r random, s *Schema, keys []string, dropped *int) {
	if items := itemsOf(s); items != nil {
		grewSince(r, items, s.XListMapKeys, dropped)
	}
	if values := valuesOf(s); values != nil {
		grewSince(r, values, nil, dropped)
	}
	keep := slices.Concat([]string{"apiVersion", "kind", "metadata"}, keys, s.Required)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		if !slices.Contains(keep, name) && len(s.Properties) > 1 && r.oneIn(7) {
			delete(s.Properties, name)
			*dropped++
			continue
		}
		grewSince(r, &field, nil, dropped)
		s.Properties[name] = field
	}
}

// fieldsOf is the tree of a schema's fields, without what is said of them.
func fieldsOf(s *Schema) map[string]any {
	out := map[string]any{}
	for name, field := range s.Properties {
		out[name] = fieldsOf(&field)
	}
	if items := itemsOf(s); items != nil {
		out["[]"] = fieldsOf(items)
	}
	if values := valuesOf(s); values != nil {
		out["{}"] = fieldsOf(values)
	}
	return out
}

func TestAnIncompatibleKubernetes(t *testing.T) {
	deployment := kubernetesSchemas(t)["Deployment"]
	raw, err := json.Marshal(deployment)
	if err != nil {
		t.Fatal(err)
	}
	other := parse(t, string(raw))
	spec := other.Properties["spec"]
	replicas := spec.Properties["replicas"]
	replicas.Type, replicas.Default, replicas.Format = "string", nil, ""
	spec.Properties["replicas"] = replicas
	_, problems := Common(deployment, other)
	if len(problems) != 1 || problems[0].String() != "spec.replicas is offered as integer, but is string" {
		t.Error(problems)
	}
}
