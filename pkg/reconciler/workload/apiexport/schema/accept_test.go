package schema

import (
	"context"
	"encoding/json"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// server treats objects as an API server does that has the schema in a CustomResourceDefinition.
type server struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

func newServer(s *Schema) (*server, error) {
	in := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(s, in, nil); err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(in)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(in)
	if err != nil {
		return nil, err
	}
	return &server{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

// refuses says why an object is not accepted.
func (s *server) refuses(object map[string]any) string {
	object = runtime.DeepCopyJSON(object)
	unknown := pruning.PruneWithOptions(object, s.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return "unknown " + unknown[0]
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(object, s.structural)
	defaulting.Default(object, s.structural)
	errs := validation.ValidateCustomResource(nil, object, s.validator)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if len(errs) == 0 && s.rules != nil {
		errs, _ = s.rules.Validate(context.Background(), nil, s.structural, object, nil, celconfig.RuntimeCELCostBudget)
	}
	if len(errs) > 0 {
		return errs[0].Error()
	}
	return ""
}

// refusesCRD says why an API server would not take the schema.
func refusesCRD(t *testing.T, s *Schema) string {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Singular: "thing", Kind: "Thing", ListKind: "ThingList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s},
			}},
		},
	}
	crd = crd.DeepCopy() // what follows sets defaults in it
	apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	in := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, in, nil); err != nil {
		return err.Error()
	}
	in.Status.StoredVersions = []string{"v1"}
	if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), in); len(errs) > 0 {
		return errs.ToAggregate().Error()
	}
	return ""
}

func parse(t testing.TB, raw string) *Schema {
	t.Helper()
	s := &Schema{}
	if err := json.Unmarshal([]byte(raw), s); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return s
}

// object is the schema of an object with these fields.
func object(t testing.TB, properties string) *Schema {
	t.Helper()
	return parse(t, `{"type":"object","properties":{`+properties+`}}`)
}

func text2json(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// validServer is nil for a schema that a server does not take; rules whose cost is not bounded do not matter here.
func validServer(s *Schema) *server {
	srv, err := newServer(s)
	if err != nil {
		return nil
	}
	if errs := schema.ValidateStructural(nil, srv.structural); len(errs) > 0 {
		return nil
	}
	errs, err := defaulting.ValidateDefaults(context.Background(), nil, srv.structural, true, true)
	if err != nil || len(errs) > 0 {
		return nil
	}
	return srv
}
