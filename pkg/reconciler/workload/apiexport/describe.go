package apiexport

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/apiexport/schema"
)

// Description is what a version of a resource is, with its schema decoded.
type Description struct {
	Scope        apiextensionsv1.ResourceScope
	Names        apiextensionsv1.CustomResourceDefinitionNames
	Subresources apiextensionsv1.CustomResourceSubresources
	Columns      []apiextensionsv1.CustomResourceColumnDefinition
	Schema       *schema.Schema
}

func decodeDescription(in apiresourcev1alpha1.ResourceDescription) (Description, error) {
	out := Description{Scope: in.Scope, Names: in.Names, Columns: in.Columns}
	if in.Subresources != nil {
		out.Subresources = *in.Subresources
	}
	var err error
	out.Schema, err = decodeSchema(in.Schema.Raw)
	return out, err
}

func decodeSchema(raw []byte) (*schema.Schema, error) {
	props := &schema.Schema{}
	if err := json.Unmarshal(raw, props); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return props, nil
}

func (d Description) encode() (*apiresourcev1alpha1.ResourceDescription, error) {
	raw, err := json.Marshal(d.Schema)
	if err != nil {
		return nil, err
	}
	out := &apiresourcev1alpha1.ResourceDescription{Scope: d.Scope, Names: d.Names, Columns: d.Columns}
	if d.Subresources.Status != nil || d.Subresources.Scale != nil {
		out.Subresources = &d.Subresources
	}
	out.Schema.Raw = raw
	return out, nil
}

// common is what two descriptions have in common: what is offered, and what a cluster serves.
func common(offered, served Description) (Description, []schema.Problem) {
	problems := differentKind(offered, served)
	merged, more := schema.Common(offered.Schema, served.Schema)
	if problems = append(problems, more...); len(problems) > 0 {
		return Description{}, problems
	}
	return Description{
		Scope:        offered.Scope,
		Names:        commonNames(offered.Names, served.Names),
		Subresources: commonSubresources(offered.Subresources, served.Subresources),
		Columns: slices.DeleteFunc(slices.Clone(offered.Columns), func(column apiextensionsv1.CustomResourceColumnDefinition) bool {
			return !slices.ContainsFunc(served.Columns, func(other apiextensionsv1.CustomResourceColumnDefinition) bool {
				return column.Name == other.Name && column.Type == other.Type && column.JSONPath == other.JSONPath
			})
		}),
		Schema: merged,
	}, nil
}

// differentKind: objects that are in namespaces, or of a kind, on one side only.
func differentKind(offered, served Description) (problems []schema.Problem) {
	if offered.Scope != served.Scope {
		problems = append(problems, schema.Problem{Path: "scope", Why: fmt.Sprintf("is offered as %s, but is %s", offered.Scope, served.Scope)})
	}
	if offered.Names.Kind != served.Names.Kind {
		problems = append(problems, schema.Problem{Path: "names.kind", Why: fmt.Sprintf("is offered as %s, but is %s", offered.Names.Kind, served.Names.Kind)})
	}
	return problems
}

func commonNames(offered, served apiextensionsv1.CustomResourceDefinitionNames) apiextensionsv1.CustomResourceDefinitionNames {
	notServed := func(names []string) func(string) bool {
		return func(name string) bool { return !slices.Contains(names, name) }
	}
	out := *offered.DeepCopy()
	out.ShortNames = slices.DeleteFunc(out.ShortNames, notServed(served.ShortNames))
	out.Categories = slices.DeleteFunc(out.Categories, notServed(served.Categories))
	return out
}

// commonSubresources: status is one as soon as it is one of some cluster, because it keeps tenants from writing what
// clusters report, and is never written down. Scaling is offered where every cluster scales the same field.
func commonSubresources(offered, served apiextensionsv1.CustomResourceSubresources) (out apiextensionsv1.CustomResourceSubresources) {
	if offered.Status != nil || served.Status != nil {
		out.Status = &apiextensionsv1.CustomResourceSubresourceStatus{}
	}
	if offered.Scale != nil && served.Scale != nil && offered.Scale.SpecReplicasPath == served.Scale.SpecReplicasPath &&
		offered.Scale.StatusReplicasPath == served.Scale.StatusReplicasPath {
		out.Scale = offered.Scale.DeepCopy()
	}
	return out
}

// narrower says what the served description accepts less than what is offered.
func narrower(offered, served Description) ([]schema.Difference, []schema.Problem) {
	if problems := differentKind(offered, served); len(problems) > 0 {
		return nil, problems
	}
	return schema.Narrower(offered.Schema, served.Schema)
}

// maxListed bounds how many fields a message names.
const maxListed = 8

func list[T fmt.Stringer](items []T) string {
	var texts []string
	for i, item := range items {
		if i == maxListed {
			texts = append(texts, fmt.Sprintf("and %d more", len(items)-maxListed))
			break
		}
		texts = append(texts, item.String())
	}
	return strings.Join(texts, "; ")
}
