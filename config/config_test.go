package config

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

func TestObjectsComeAfterWhatTheyName(t *testing.T) {
	seen := sets.New[string]()
	for _, object := range objects(t) {
		if rank(object) < 0 {
			t.Errorf("%s %s: its kind has no rank", object.GetKind(), object.GetName())
		}
		seen.Insert(object.GetKind() + "/" + object.GetName())
		if object.GetKind() != "APIExport" {
			continue
		}
		export := convert[apisv1alpha2.APIExport](t, object)
		for _, resource := range export.Spec.Resources {
			if !seen.Has("APIResourceSchema/" + resource.Schema) {
				t.Errorf("APIExport %s serves %s, which does not come before it", export.Name, resource.Schema)
			}
		}
	}
	for _, export := range Exports() {
		if !seen.Has("APIExport/" + export) {
			t.Errorf("there is no APIExport %s", export)
		}
	}
}

func TestExportsClaimNoMoreThanTheyNeed(t *testing.T) {
	for _, object := range objects(t) {
		if object.GetKind() != "APIExport" {
			continue
		}
		export := convert[apisv1alpha2.APIExport](t, object)
		for _, claim := range export.Spec.PermissionClaims {
			if slices.Contains(claim.Verbs, "*") || slices.Contains(claim.Verbs, "delete") {
				t.Errorf("the export %s claims %v on %s", export.Name, claim.Verbs, claim)
			}
		}
	}
}

func TestRolesKnowAllExports(t *testing.T) {
	for _, object := range objects(t) {
		if object.GetKind() != "ClusterRole" {
			continue
		}
		for _, rule := range convert[rbacv1.ClusterRole](t, object).Rules {
			if slices.Contains(rule.Verbs, "update") || slices.Equal(rule.Verbs, []string{"list"}) {
				continue // one export only is the manager's to change, and all may name a schema
			}
			onExports := slices.ContainsFunc(rule.Resources, func(r string) bool { return strings.HasPrefix(r, "apiexports") })
			if got, want := rule.ResourceNames, sets.New(Exports()...); onExports && !sets.New(got...).Equal(want) {
				t.Errorf("ClusterRole %s: a rule on %v names %v, want %v", object.GetName(), rule.Resources, got, want)
			}
		}
	}
}

func TestSchemasAreWhatAPIServersAccept(t *testing.T) {
	for _, object := range objects(t) {
		if object.GetKind() != "APIResourceSchema" {
			continue
		}
		t.Run(object.GetName(), func(t *testing.T) {
			crd := crdOf(t, object)
			for _, err := range validation.ValidateCustomResourceDefinition(t.Context(), crd) {
				t.Error(err)
			}
		})
	}
}

func TestSubresourcesAreThoseOfKubernetes(t *testing.T) {
	scaled := []string{"deployments.apps", "statefulsets.apps"}
	// Network policies have none. What clusters bring up is theirs as a whole: its status comes in the same write.
	withoutStatus := []string{"networkpolicies.networking.k8s.io", "pods.core", "endpoints.core", "endpointslices.discovery.k8s.io", "persistentvolumes.core"}
	for _, object := range objects(t) {
		if object.GetKind() != "APIResourceSchema" {
			continue
		}
		_, name, _ := strings.Cut(object.GetName(), ".")
		subresources := convert[apisv1alpha1.APIResourceSchema](t, object).Spec.Versions[0].Subresources
		if got, want := subresources.Scale != nil, slices.Contains(scaled, name); got != want {
			t.Errorf("%s: scale is %t, want %t", name, got, want)
		}
		if got, want := subresources.Status != nil, !slices.Contains(withoutStatus, name); got != want {
			t.Errorf("%s: status is %t, want %t", name, got, want)
		}
	}
}

// TestDefaults tells what kcp fills in, in the words of what a user writes and gets.
func TestDefaults(t *testing.T) {
	for _, test := range []struct{ name, resource, given, want string }{{
		name: "a Deployment gets replicas and a strategy", resource: "deployments.apps",
		given: `{"spec":{"template":{"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}]}}}}`,
		want: `{"spec":{"progressDeadlineSeconds":600,"replicas":1,"revisionHistoryLimit":10,
			"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"},
			"template":{"spec":{"containers":[{"name":"c","ports":[{"containerPort":80,"protocol":"TCP"}]}]}}}}`,
	}, {
		name: "a Deployment that is recreated gets no rolling update, which would be invalid", resource: "deployments.apps",
		given: `{"spec":{"strategy":{"type":"Recreate"}}}`,
		want:  `{"spec":{"progressDeadlineSeconds":600,"replicas":1,"revisionHistoryLimit":10,"strategy":{"type":"Recreate"}}}`,
	}, {
		name: "no replicas is a number of replicas", resource: "deployments.apps",
		given: `{"spec":{"replicas":0,"strategy":{"rollingUpdate":{"maxSurge":0}}}}`,
		want: `{"spec":{"progressDeadlineSeconds":600,"replicas":0,"revisionHistoryLimit":10,
			"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":"25%"},"type":"RollingUpdate"}}}`,
	}, {
		name: "a StatefulSet that is updated by hand gets no partition", resource: "statefulsets.apps",
		given: `{"spec":{"updateStrategy":{"type":"OnDelete"}}}`,
		want: `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain","whenScaled":"Retain"},
			"podManagementPolicy":"OrderedReady","replicas":1,"revisionHistoryLimit":10,"updateStrategy":{"type":"OnDelete"}}}`,
	}, {
		name: "a Job's completions are left alone: without them it is a work queue", resource: "jobs.batch",
		given: `{"spec":{"parallelism":3}}`,
		want:  `{"spec":{"completionMode":"NonIndexed","parallelism":3,"suspend":false}}`,
	}, {
		name: "a Service", resource: "services.core",
		given: `{"spec":{"ports":[{"port":80}]}}`,
		want:  `{"spec":{"ports":[{"port":80,"protocol":"TCP"}],"sessionAffinity":"None","type":"ClusterIP"}}`,
	}, {
		name: "a SyncTarget takes the kubernetes export, and brings up what clusters make", resource: "synctargets.workload.kcp.io",
		given: `{}`,
		want:  `{"spec":{"supportedAPIExports":[{"export":"kubernetes","path":""}],"upsyncedResources":["pods","endpoints","endpointslices.discovery.k8s.io","persistentvolumes"]}}`,
	}, {
		name: "a SyncTarget that brings up nothing", resource: "synctargets.workload.kcp.io",
		given: `{"spec":{"upsyncedResources":[]}}`,
		want:  `{"spec":{"supportedAPIExports":[{"export":"kubernetes","path":""}],"upsyncedResources":[]}}`,
	}, {
		name: "a Location is of SyncTargets", resource: "locations.scheduling.kcp.io",
		given: `{}`,
		want:  `{"spec":{"resource":{"group":"workload.kcp.io","resource":"synctargets","version":"v1alpha1"}}}`,
	}, {
		name: "a Placement chooses any one target of any Location, for no namespace", resource: "placements.scheduling.kcp.io",
		given: `{"spec":{"tolerations":[{"key":"a"}],"topologySpreadConstraints":[{"topologyKey":"b"}],"antiAffinity":{"required":[{"placementSelector":{}}]}}}`,
		want: `{"spec":{"antiAffinity":{"required":[{"placementSelector":{},"topologyKey":"scheduling.kcp.io/target"}]},
			"locationResource":{"group":"workload.kcp.io","resource":"synctargets","version":"v1alpha1"},
			"locationSelectors":[{}],"moveFailurePolicy":"RollBack","movePolicy":"StartFirst","strategy":"OneToAny","tolerations":[{"key":"a","operator":"Equal"}],
			"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"b","whenUnsatisfiable":"DoNotSchedule"}]}}`,
	}} {
		t.Run(test.name, func(t *testing.T) {
			content, want := parse(t, test.given), parse(t, test.want)
			defaulting.Default(content, structuralOf(t, test.resource))
			if got, want := text(t, content), text(t, want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestObjectsAreCopies(t *testing.T) {
	first := fresh(t)[0]
	first.SetName("changed")
	if name := fresh(t)[0].GetName(); name == "changed" {
		t.Error("a caller's change is seen by the next")
	}
}

func fresh(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	objects, err := Objects()
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// decoded is Objects, once for all tests: it reads megabytes of YAML.
var decoded = sync.OnceValues(Objects)

func objects(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	objects, err := decoded()
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func convert[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	out := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, out, true); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	return out
}

// crdOf is what kcp makes of an APIResourceSchema in a workspace that binds it. A CustomResourceDefinition cannot be in the core
// group, so that is given a name.
func crdOf(t *testing.T, object *unstructured.Unstructured) *apiextensions.CustomResourceDefinition {
	t.Helper()
	schema := convert[apisv1alpha1.APIResourceSchema](t, object)
	group := schema.Spec.Group
	if !strings.Contains(group, ".") {
		group += "x.example.com"
	}
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: schema.Spec.Names.Plural + "." + group, Annotations: schema.Annotations},
		Spec:       apiextensionsv1.CustomResourceDefinitionSpec{Group: group, Names: schema.Spec.Names, Scope: schema.Spec.Scope},
		Status:     apiextensionsv1.CustomResourceDefinitionStatus{StoredVersions: []string{schema.Spec.Versions[0].Name}},
	}
	for _, version := range schema.Spec.Versions {
		props, err := version.GetSchema()
		if err != nil {
			t.Fatal(err)
		}
		crd.Spec.Versions = append(crd.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{
			Name: version.Name, Served: version.Served, Storage: version.Storage, Subresources: &version.Subresources,
			Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: props},
			AdditionalPrinterColumns: version.AdditionalPrinterColumns,
		})
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	internal := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil); err != nil {
		t.Fatal(err)
	}
	return internal
}

func structuralOf(t *testing.T, resource string) *structuralschema.Structural {
	t.Helper()
	for _, object := range objects(t) {
		if object.GetKind() != "APIResourceSchema" || !strings.HasSuffix(object.GetName(), "."+resource) {
			continue
		}
		crd := crdOf(t, object)
		shared := crd.Spec.Validation
		if shared == nil {
			shared = crd.Spec.Versions[0].Schema
		}
		schema, err := structuralschema.NewStructural(shared.OpenAPIV3Schema)
		if err != nil {
			t.Fatal(err)
		}
		return schema
	}
	t.Fatalf("there is no schema of %s", resource)
	return nil
}

func parse(t *testing.T, raw string) (content map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), &content); err != nil {
		t.Fatal(err)
	}
	return content
}

func text(t *testing.T, content map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
