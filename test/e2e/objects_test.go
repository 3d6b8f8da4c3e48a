package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// eventually is env.Eventually with the patience of this package.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	env.Eventually(t, soon, check)
}

// repeat does something over and over until stop is called, or the test ends. Failures are repeated too: what it does may
// meet an object that is not there yet.
func repeat(t *testing.T, do func() error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if do() != nil {
				<-time.After(20 * time.Millisecond)
			}
			<-time.After(10 * time.Millisecond)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// deployment is one whose pods become ready at once.
func deployment(namespace, name string, replicas int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[2]s}}
  template: %[4]s
`, namespace, name, replicas, podTemplate(name))
}

// podTemplate is the least that a workload needs, in one line.
func podTemplate(app string) string {
	return fmt.Sprintf(`{metadata: {labels: {app: %[1]s}}, spec: {containers: [{name: main, image: "example.com/%[1]s:1"}]}}`, app)
}

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
	s.t.Helper()
	s.create(c.manifest())
	definitions := s.of(crdKind, "")
	s.t.Cleanup(func() {
		if err := definitions.Delete(context.Background(), c.crd(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			s.t.Errorf("removing a type: %v", err)
		}
	})
	eventually(s.t, func() error {
		_, err := s.of(c.kind(), "").List(s.t.Context(), metav1.ListOptions{})
		return err
	})
}
