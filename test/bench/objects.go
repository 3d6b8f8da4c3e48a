package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var (
	configMaps     = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	namespaces     = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	deployments    = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	ingresses      = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}
	endpointSlices = schema.GroupVersionResource{Group: "apis.kcp.io", Version: "v1alpha1", Resource: "apiexportendpointslices"}
	syncTargets    = workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")
)

// configMap has 2 KiB that no other one has, so that nobody gains by keeping or sending the same only once.
func configMap(namespace, name string) *unstructured.Unstructured {
	data := map[string]any{}
	letters := rand.New(rand.NewChaCha8(sha256.Sum256([]byte(namespace + "/" + name))))
	for i := range 8 {
		var value strings.Builder
		for range 216 {
			value.WriteByte('a' + byte(letters.IntN(26)))
		}
		data[fmt.Sprintf("setting-%d", i)] = value.String()
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": namespace}, "data": data,
	}}
}

// deployment runs no pods: nodes are not what is measured.
func deployment(namespace, name string) *unstructured.Unstructured {
	labels := map[string]any{"app": name}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{
			"replicas": int64(0), "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{
				"containers": []any{map[string]any{
					"name": "main", "image": "registry.example.com/app:1.0", "ports": []any{map[string]any{"containerPort": int64(8080)}},
					"env":       []any{map[string]any{"name": "MODE", "value": "production"}},
					"resources": map[string]any{"requests": map[string]any{"cpu": "100m", "memory": "128Mi"}},
				}},
			}},
		},
	}}
}

func ingress(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{"defaultBackend": map[string]any{"service": map[string]any{"name": "x", "port": map[string]any{"number": int64(80)}}}},
	}}
}

// objectOf makes objects of a type.
func objectOf(resource schema.GroupVersionResource) func(namespace, name string) *unstructured.Unstructured {
	if resource == deployments {
		return deployment
	}
	return configMap
}

// load is a number of objects to be created side by side.
type load struct {
	resource schema.GroupVersionResource
	count    int
	workers  int
	// object makes the one of that number, and says where it goes.
	object func(i int) (dynamic.Interface, *unstructured.Unstructured)
}

// created is when each object of a load was acknowledged, by its mark; see sightings.
type created struct {
	mu   sync.Mutex
	at   map[string]time.Time
	took time.Duration
}

// perSecond is the rate of the whole load.
func (c *created) perSecond() float64 { return float64(len(c.at)) / c.took.Seconds() }

func (l load) create(ctx context.Context) (*created, error) {
	c := &created{at: map[string]time.Time{}}
	var group errgroup.Group
	group.SetLimit(l.workers)
	start := time.Now()
	for i := range l.count {
		group.Go(func() error {
			side, u := l.object(i)
			if _, err := side.Resource(l.resource).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{}); err != nil {
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.at[u.GetName()] = time.Now()
			return nil
		})
	}
	err := group.Wait()
	c.took = time.Since(start)
	return c, err
}
