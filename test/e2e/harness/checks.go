package harness

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// Remains checks for a while that something goes on holding. It is how a test shows that nothing happens; the time is
// that of the check, not of a machine.
func Remains(t *testing.T, during time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(during); time.Now().Before(deadline); {
		if err := check(); err != nil {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// Field reads a field for a message or comparison; nil if it is not there.
func Field(u *unstructured.Unstructured, path ...string) any {
	value, _, _ := unstructured.NestedFieldNoCopy(u.Object, path...)
	return value
}

// Has checks that a field has a value.
func Has(want any, path ...string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		if got := Field(u, path...); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s %s: %s is %v, want %v", u.GetKind(), u.GetName(), strings.Join(path, "."), got, want)
		}
		return nil
	}
}

// All checks several things.
func All(checks ...func(*unstructured.Unstructured) error) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		for _, check := range checks {
			if err := check(u); err != nil {
				return err
			}
		}
		return nil
	}
}

// Eventually is env.Eventually with the patience of this package.
func Eventually(t *testing.T, check func() error) {
	t.Helper()
	env.Eventually(t, Soon, check)
}

// Repeat does something over and over until stop is called, or the test ends. Failures are repeated too: what it does may
// meet an object that is not there yet.
func Repeat(t *testing.T, do func() error) (stop func()) {
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

// Deployment is one whose pods become ready at once.
func Deployment(namespace, name string, replicas int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[2]s}}
  template: %[4]s
`, namespace, name, replicas, PodTemplate(name))
}

// PodTemplate is the least that a workload needs, in one line.
func PodTemplate(app string) string {
	return fmt.Sprintf(`{metadata: {labels: {app: %[1]s}}, spec: {containers: [{name: main, image: "example.com/%[1]s:1"}]}}`, app)
}
