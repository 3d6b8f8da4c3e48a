package publish

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/config"
)

var (
	widgets = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	gadgets = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "gadgets"}
)

func description(raw string) apiresourcev1alpha1.ResourceDescription {
	return apiresourcev1alpha1.ResourceDescription{Scope: "Namespaced", Schema: runtime.RawExtension{Raw: []byte(raw)}}
}

func imported(gvr schema.GroupVersionResource, raw string) *apiresourcev1alpha1.APIResourceImport {
	name := apiresourcev1alpha1.NameOf(gvr)
	return &apiresourcev1alpha1.APIResourceImport{
		ObjectMeta: metav1.ObjectMeta{Name: name.ImportName("east")},
		Spec:       apiresourcev1alpha1.APIResourceImportSpec{SyncTarget: "east", ResourceName: name, ResourceDescription: description(raw)},
	}
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		name    string
		found   found
		imports []*apiresourcev1alpha1.APIResourceImport
		want    string
	}{
		{"nothing", found{}, nil, ""},
		{"what is served is imported", found{resources: served1(`{"type":"object"}`)}, nil, "create widgets.v1.example.com.east"},
		{
			"what was imported as it is stays, whatever the order of its fields",
			found{resources: served1(`{"type":"object","properties":{"a":{},"b":{}}}`)},
			[]*apiresourcev1alpha1.APIResourceImport{imported(widgets, `{"properties":{"b":{},"a":{}},"type":"object"}`)},
			"",
		},
		{
			"what changed is imported anew",
			found{resources: served1(`{"type":"object"}`)},
			[]*apiresourcev1alpha1.APIResourceImport{imported(widgets, `{"type":"string"}`)},
			"update widgets.v1.example.com.east",
		},
		{
			"what is not served any more is removed",
			found{},
			[]*apiresourcev1alpha1.APIResourceImport{imported(widgets, `{}`)},
			"remove widgets.v1.example.com.east",
		},
		{
			"of what nothing can be said stays",
			found{failed: map[schema.GroupResource]error{widgets.GroupResource(): errors.New("no answer")}},
			[]*apiresourcev1alpha1.APIResourceImport{imported(widgets, `{}`), imported(gadgets, `{}`)},
			"remove gadgets.v1.example.com.east",
		},
		{
			"a second import of the same is removed",
			found{resources: served1(`{}`)},
			[]*apiresourcev1alpha1.APIResourceImport{imported(widgets, `{}`), imported(widgets, `{}`)},
			"remove widgets.v1.example.com.east",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before []*apiresourcev1alpha1.APIResourceImport
			for _, i := range test.imports {
				before = append(before, i.DeepCopy())
			}
			c := plan(test.found, test.imports, "east")
			var got []string
			for verb, imports := range map[string][]apiresourcev1alpha1.APIResourceImport{"create": c.create, "update": c.update, "remove": c.remove} {
				for _, i := range imports {
					got = append(got, verb+" "+i.Name)
				}
			}
			if text := strings.Join(got, ", "); text != test.want {
				t.Errorf("got %q, want %q", text, test.want)
			}
			if diff := cmp.Diff(before, test.imports); diff != "" {
				t.Errorf("the imports were modified: %s", diff)
			}
		})
	}
}

func served1(raw string) map[schema.GroupVersionResource]apiresourcev1alpha1.ResourceDescription {
	return map[schema.GroupVersionResource]apiresourcev1alpha1.ResourceDescription{widgets: description(raw)}
}

func TestDescribe(t *testing.T) {
	version := func(name string, served, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: served, Storage: storage,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
		}
	}
	webhook := &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter}
	for _, test := range []struct {
		name       string
		versions   []apiextensionsv1.CustomResourceDefinitionVersion
		conversion *apiextensionsv1.CustomResourceConversion
		deleting   bool
		want       []string
	}{
		{"those that are served", []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true, true), version("v1beta1", true, false), version("v1alpha1", false, false)}, nil, false, []string{"v1", "v1beta1"}},
		{"with a webhook the one that is stored", []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true, false), version("v1beta1", true, true)}, webhook, false, []string{"v1beta1"}},
		{"or the first, if that is not served", []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true, false), version("v1beta1", false, true)}, webhook, false, []string{"v1"}},
		{"none while it is being deleted", []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true, true)}, nil, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			crd := &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: "example.com", Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets"}, Versions: test.versions, Conversion: test.conversion,
			}}
			if test.deleting {
				crd.DeletionTimestamp = &metav1.Time{}
			}
			into := map[schema.GroupVersionResource]apiresourcev1alpha1.ResourceDescription{}
			if err := describe(crd, into); err != nil {
				t.Fatal(err)
			}
			var got []string
			for gvr := range into {
				got = append(got, gvr.Version)
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The clusters are compared with what kubectl workload init installs.
func TestKubernetesIsTheExport(t *testing.T) {
	objects, err := config.Objects()
	if err != nil {
		t.Fatal(err)
	}
	want := sets.New[schema.GroupVersionResource]()
	for _, object := range objects {
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		var s apisv1alpha1.APIResourceSchema
		if object.GetKind() != "APIResourceSchema" || json.Unmarshal(raw, &s) != nil || strings.HasSuffix(s.Spec.Group, "kcp.io") {
			continue
		}
		if slices.Contains(workloadv1alpha1.ClusterMadeResources(), schema.GroupResource{Group: s.Spec.Group, Resource: s.Spec.Names.Plural}) {
			continue // nothing of a tenant goes down there that it could have to fit
		}
		want.Insert(schema.GroupVersionResource{Group: s.Spec.Group, Version: s.Spec.Versions[0].Name, Resource: s.Spec.Names.Plural})
	}
	if got := sets.New(kubernetes...); !got.Equal(want) {
		t.Errorf("too many: %v, missing: %v", got.Difference(want), want.Difference(got))
	}
}

func TestOf(t *testing.T) {
	yes, no := &metav1.Condition{Status: metav1.ConditionTrue}, &metav1.Condition{Status: metav1.ConditionFalse}
	beta := widgets.GroupResource().WithVersion("v1beta1")
	for _, test := range []struct {
		name     string
		verdicts map[schema.GroupVersionResource]Verdict
		want     string
	}{
		{"none", nil, ""},
		{"the one that is offered", map[schema.GroupVersionResource]Verdict{widgets: {Available: yes}, beta: {Available: no}}, "v1"},
		{"also if it is another", map[schema.GroupVersionResource]Verdict{widgets: {Available: no}, beta: {Available: yes}}, "v1beta1"},
		{"none of another resource", map[schema.GroupVersionResource]Verdict{gadgets: {Available: yes}}, ""},
	} {
		if version, _, imported := (Report{Verdicts: test.verdicts}).Of(widgets.GroupResource()); version != test.want || imported != (test.want != "") {
			t.Errorf("%s: got %q", test.name, version)
		}
	}
}
