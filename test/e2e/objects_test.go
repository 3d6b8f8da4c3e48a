package e2e

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// customType is a type of a group of its own, so that tests do not meet.
type customType struct {
	group, name, scope string
	versions           []string
	status             bool
}

// newCustomType is a type without a status subresource; the last version is the one that is stored.
func newCustomType(name, scope string, versions ...string) customType {
	return customType{group: "e2e-" + rand.String(8) + ".example.com", name: name, scope: scope, versions: versions}
}

func (c customType) withStatus() customType {
	c.status = true
	return c
}

// in is the same type, served in other versions.
func (c customType) in(versions ...string) customType {
	c.versions = versions
	return c
}

func (c customType) plural() string { return strings.ToLower(c.name) + "s" }
func (c customType) crd() string    { return c.plural() + "." + c.group }

// kind is the type's in its last version, as the methods of side want it.
func (c customType) kind() string { return c.kindIn(c.versions[len(c.versions)-1]) }

func (c customType) kindIn(version string) string {
	return c.group + "/" + version + " " + c.name
}

// object is one of the type with that spec.
func (c customType) object(namespace, name, spec string) string {
	apiVersion, _, _ := strings.Cut(c.kind(), " ")
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %q}\nspec: {%s}", apiVersion, c.name, name, namespace, spec)
}

// manifest is the CustomResourceDefinition.
func (c customType) manifest() string {
	var versions []string
	for i, version := range c.versions {
		subresources := "{}"
		if c.status {
			subresources = "{status: {}}"
		}
		versions = append(versions, fmt.Sprintf(`{name: %s, served: true, storage: %v, subresources: %s, schema: {openAPIV3Schema: {type: object, properties: {
			spec: {type: object, properties: {size: {type: integer}, mode: {type: string}}},
			status: {type: object, properties: {phase: {type: string}, observedGeneration: {type: integer}}}}}}}`,
			version, i == len(c.versions)-1, subresources))
	}
	text := fmt.Sprintf(`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %s},
		spec: {group: %s, scope: %s, names: {kind: %s, plural: %s, singular: %s}, versions: [%s]}}`,
		c.crd(), c.group, c.scope, c.name, c.plural(), strings.ToLower(c.name), strings.Join(versions, ", "))
	return strings.ReplaceAll(text, "\t", " ")
}

const crdKind = "apiextensions.k8s.io/v1 CustomResourceDefinition"

// define creates the type's CustomResourceDefinition and waits until it is served. It is removed with the test.
func (s *side) define(c customType) {
	s.T.Helper()
	s.Create(c.manifest())
	definitions := s.Of(crdKind, "")
	s.T.Cleanup(func() {
		if err := definitions.Delete(context.Background(), c.crd(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			s.T.Errorf("removing a type: %v", err)
		}
	})
	eventually(s.T, func() error {
		_, err := s.Of(c.kind(), "").List(s.T.Context(), metav1.ListOptions{})
		return err
	})
}
