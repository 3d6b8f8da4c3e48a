package apiexport

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// refusedError says that kcp would not take, or did not take, a schema.
type refusedError struct{ error }

// Unwrap gives the reason.
func (e *refusedError) Unwrap() error { return e.error }

// crdOf describes the offer as a CustomResourceDefinition, as kcp makes one of it in each workspace that binds the export.
func crdOf(group string, o Offer) *apiextensionsv1.CustomResourceDefinition {
	subresources := o.Subresources
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: o.Names.Plural + "." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: o.Scope, Names: *o.Names.DeepCopy(),
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: o.Version, Served: true, Storage: true,
				Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: o.Schema.DeepCopy()},
				Subresources:             subresources.DeepCopy(),
				AdditionalPrinterColumns: o.Columns,
			}},
		},
	}
	if apihelpers.IsProtectedCommunityGroup(group) {
		crd.Annotations = map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "unapproved, as a physical cluster serves it"}
	}
	return crd
}

// check asks what kcp will ask before it serves the schema: a schema that it refuses then would break the bindings of all
// workspaces.
func check(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	crd = crd.DeepCopy()
	apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	in := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, in, nil); err != nil {
		return err
	}
	in.Status.StoredVersions = []string{crd.Spec.Versions[0].Name}
	if errs := validation.ValidateCustomResourceDefinition(ctx, in); len(errs) > 0 {
		return errs.ToAggregate()
	}
	return nil
}

// resourceSchema is the APIResourceSchema of an offer. Those never change, so the name begins with a hash of the content.
func resourceSchema(ctx context.Context, group string, o Offer) (*apisv1alpha1.APIResourceSchema, error) {
	if group == "" {
		return nil, &refusedError{errors.New("the core group cannot be extended")}
	}
	crd := crdOf(group, o)
	if err := check(ctx, crd); err != nil {
		return nil, &refusedError{err}
	}
	out, err := apisv1alpha1.CRDToAPIResourceSchema(crd, "unnamed")
	if err != nil {
		return nil, &refusedError{err}
	}
	out.TypeMeta = metav1.TypeMeta{APIVersion: apisv1alpha1.SchemeGroupVersion.String(), Kind: "APIResourceSchema"}
	out.Annotations = crd.Annotations
	out.Labels = map[string]string{workloadv1alpha1.NegotiatedSchemaLabel: "true"}
	content, err := json.Marshal(out.Spec)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	out.Name = "n" + hex.EncodeToString(sum[:8]) + "." + crd.Name
	return out, nil
}

// offerOf reads an APIResourceSchema that the export names.
func offerOf(in *apisv1alpha1.APIResourceSchema) (*Offer, error) {
	if len(in.Spec.Versions) == 0 {
		return nil, fmt.Errorf("APIResourceSchema %s has no version", in.Name)
	}
	v := in.Spec.Versions[0]
	for _, other := range in.Spec.Versions {
		if other.Storage {
			v = other
		}
	}
	props, err := decodeSchema(v.Schema.Raw)
	if err != nil {
		return nil, fmt.Errorf("APIResourceSchema %s: %w", in.Name, err)
	}
	return &Offer{
		Installed: in.Labels[workloadv1alpha1.NegotiatedSchemaLabel] == "",
		Version:   v.Name,
		Description: Description{
			Scope: in.Spec.Scope, Names: in.Spec.Names, Subresources: subresourcesOf(v), Columns: v.AdditionalPrinterColumns, Schema: props,
		},
	}, nil
}

func subresourcesOf(v apisv1alpha1.APIResourceVersion) apiextensionsv1.CustomResourceSubresources {
	return apiextensionsv1.CustomResourceSubresources{Status: v.Subresources.Status, Scale: v.Subresources.Scale}
}

// groupResource of an APIResourceSchema.
func groupResource(in *apisv1alpha1.APIResourceSchema) schema.GroupResource {
	return schema.GroupResource{Group: in.Spec.Group, Resource: in.Spec.Names.Plural}
}
