// Package harness is what tests on real servers have in common: API servers as a test sees them, programs under test, and
// for the tests of kcp's side a fleet of clusters, tenants and a manager.
package harness

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// Soon is how long anything may take on a busy machine before a test gives up on it. kcp alone takes up to 90 s until it
// serves a type that was just bound, on two cores that others use too.
const Soon = 4 * time.Minute

// Side is one API server, or one workspace of kcp, as a test sees it: with all rights, past the syncer's own links.
type Side struct {
	T       *testing.T
	Config  *rest.Config
	Typed   kubernetes.Interface
	Dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// NewSide sees the server that config reaches.
func NewSide(t *testing.T, config *rest.Config) *Side {
	t.Helper()
	s := &Side{T: t, Config: config}
	s.Typed = Must(kubernetes.NewForConfig(config))(t)
	s.Dynamic = Must(dynamic.NewForConfig(config))(t)
	disco := Must(discovery.NewDiscoveryClientForConfig(config))(t)
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))
	return s
}

// Must is for set-up: an error ends the test.
func Must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// Parse reads one object from YAML.
func Parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return u
}

// Of gives the client for objects of that kind, e.g. "apps/v1 Deployment".
func (s *Side) Of(kind, namespace string) dynamic.ResourceInterface {
	s.T.Helper()
	apiVersion, name, found := strings.Cut(kind, " ")
	if !found {
		apiVersion, name = "v1", kind
	}
	gvk := schema.FromAPIVersionAndKind(apiVersion, name)
	var mapping *meta.RESTMapping
	env.Eventually(s.T, Soon, func() (err error) { // a type may be on its way
		if mapping, err = s.mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err != nil {
			s.mapper.Reset()
		}
		return err
	})
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return s.Dynamic.Resource(mapping.Resource)
	}
	return s.Dynamic.Resource(mapping.Resource).Namespace(namespace)
}

// Client gives the client for objects such as u.
func (s *Side) Client(u *unstructured.Unstructured) dynamic.ResourceInterface {
	return s.Of(u.GetAPIVersion()+" "+u.GetKind(), u.GetNamespace())
}

// Create makes the objects of a YAML stream, and gives the last one as the server returned it.
func (s *Side) Create(documents ...string) *unstructured.Unstructured {
	s.T.Helper()
	var created *unstructured.Unstructured
	for _, document := range documents {
		u := Parse(s.T, document)
		created = Must(s.Client(u).Create(s.T.Context(), u, metav1.CreateOptions{FieldManager: "e2e"}))(s.T)
	}
	return created
}

// Get reads an object live.
func (s *Side) Get(kind, namespace, name string) (*unstructured.Unstructured, error) {
	return s.Of(kind, namespace).Get(s.T.Context(), name, metav1.GetOptions{})
}

// MustGet reads an object that has to exist.
func (s *Side) MustGet(kind, namespace, name string) *unstructured.Unstructured {
	s.T.Helper()
	return Must(s.Get(kind, namespace, name))(s.T)
}

// Merge sends a JSON merge patch, written as YAML.
func (s *Side) Merge(kind, namespace, name, patch string, subresources ...string) *unstructured.Unstructured {
	s.T.Helper()
	body := Must(yaml.YAMLToJSON([]byte(patch)))(s.T)
	return Must(s.Of(kind, namespace).Patch(s.T.Context(), name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "e2e"}, subresources...))(s.T)
}

// Delete deletes an object, which may be gone already.
func (s *Side) Delete(kind, namespace, name string) {
	s.T.Helper()
	if err := s.Of(kind, namespace).Delete(s.T.Context(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		s.T.Fatal(err)
	}
}

// Eventually waits until the object exists and check is content with it, and gives it.
func (s *Side) Eventually(kind, namespace, name string, check func(*unstructured.Unstructured) error) *unstructured.Unstructured {
	s.T.Helper()
	var seen *unstructured.Unstructured
	env.Eventually(s.T, Soon, func() (err error) {
		if seen, err = s.Get(kind, namespace, name); err != nil || check == nil {
			return err
		}
		return check(seen)
	})
	return seen
}

// EventuallyGone waits until the object does not exist.
func (s *Side) EventuallyGone(kind, namespace, name string) {
	s.T.Helper()
	env.Eventually(s.T, Soon, func() error {
		u, err := s.Get(kind, namespace, name)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		default:
			return fmt.Errorf("%s %s/%s exists, deletionTimestamp %v, finalizers %v", kind, namespace, name, u.GetDeletionTimestamp(), u.GetFinalizers())
		}
	})
}
