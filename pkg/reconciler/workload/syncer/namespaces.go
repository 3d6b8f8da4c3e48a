package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// namespaces makes the downstream namespaces before anything goes into them, each once, and removes them when their
// last reason to exist is gone: nothing of ours and nothing of anybody else's is in them, for as long as the delay.
type namespaces struct {
	target   target
	client   dynamic.NamespaceableResourceInterface
	metadata metadata.Interface
	settings *live
	informer cache.SharedIndexInformer
	// hasSynced: all namespaces that existed at the start have been observed.
	hasSynced cache.InformerSynced
	checks    workqueue.TypedRateLimitingInterface[string]
	// failures is how long to wait after checks that came to nothing because a server was away.
	failures workqueue.TypedRateLimiter[string]
	making   singleflight.Group
	metrics  *Metrics

	watchErrors *watchErrors

	// inUse reports whether objects of ours, or upstream objects that want to be there, need the namespace;
	// known is false while that cannot be said.
	inUse func(locator workloadv1alpha1.NamespaceLocator) (used, known bool)
	// contentTypes are the namespaced types that the physical cluster serves.
	contentTypes func() []schema.GroupVersionResource

	mu sync.RWMutex
	// names and locators are the namespaces known to exist, by locator and by name.
	names    map[workloadv1alpha1.NamespaceLocator]string
	locators map[string]workloadv1alpha1.NamespaceLocator
}

var namespacesGVR = corev1.SchemeGroupVersion.WithResource("namespaces")

// namespacesDeps is what namespaces need: ways to the cluster, for watching, writing and looking into them.
type namespacesDeps struct {
	target   target
	cluster  *tmc.Link
	dynamic  dynamic.Interface
	metadata metadata.Interface
	settings *live
	metrics  *Metrics
}

func newNamespaces(d namespacesDeps) (*namespaces, error) {
	watchErrors := &watchErrors{}
	informer, err := newDownstreamInformer(d.cluster, namespacesGVR, ourCopies(d.target.key), nil, watchErrors.told(sideCluster))
	if err != nil {
		return nil, err
	}
	n := &namespaces{
		target: d.target, client: d.dynamic.Resource(namespacesGVR), metadata: d.metadata, settings: d.settings, metrics: d.metrics,
		watchErrors: watchErrors, informer: informer,
		checks: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](max(d.settings.Load().namespaceCleanDelay, time.Second), 5*time.Minute),
			workqueue.TypedRateLimitingQueueConfig[string]{}),
		failures: workqueue.NewTypedItemExponentialFailureRateLimiter[string](time.Second, longestUncertainty),
		names:    map[workloadv1alpha1.NamespaceLocator]string{},
		locators: map[string]workloadv1alpha1.NamespaceLocator{},
	}
	registration, err := n.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { n.observe(obj) },
		UpdateFunc: func(_, obj any) { n.observe(obj) },
		DeleteFunc: func(obj any) { n.lose(obj) },
	})
	if err != nil {
		return nil, err
	}
	n.hasSynced = registration.HasSynced
	return n, nil
}

// healthy fails until all namespaces of ours are known.
func (n *namespaces) healthy(context.Context) error {
	if err := n.watchErrors.current(sideCluster); err != nil {
		return tmc.Degraded(fmt.Errorf("listing and watching namespaces in %s: %w", sideName[sideCluster], err))
	}
	if !n.hasSynced() {
		return errors.New("not all namespaces have been listed yet")
	}
	return nil
}

func (n *namespaces) observe(obj any) {
	o, ok := obj.(*object)
	if !ok {
		return
	}
	locator, ok, err := workloadv1alpha1.ParseNamespaceLocator(o.Annotations)
	if !ok || err != nil || !n.target.owns(locator) {
		return
	}
	n.mu.Lock()
	n.locators[o.Name] = locator
	if o.DeletionTimestamp == nil {
		n.names[locator] = o.Name
	} else {
		delete(n.names, locator)
	}
	n.mu.Unlock()
	n.touch(o.Name)
}

func (n *namespaces) lose(obj any) {
	o, ok := lastSeen(obj)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if locator, ok := n.locators[o.Name]; ok {
		delete(n.names, locator)
	}
	// The locator stays known: deletions of the namespace's objects may be told after its own.
}

// locator says which upstream namespace a downstream one stands for; ok is false for namespaces that are not ours.
func (n *namespaces) locator(name string) (locator workloadv1alpha1.NamespaceLocator, ok bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	locator, ok = n.locators[name]
	return locator, ok
}

// touch has the namespace checked for removal once the delay has passed.
func (n *namespaces) touch(name string) {
	n.checks.AddAfter(name, n.settings.Load().namespaceCleanDelay)
}

// lookAgain has all namespaces checked once another delay has passed.
func (n *namespaces) lookAgain() {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for name := range n.locators {
		n.touch(name)
	}
}

// ensure makes the namespace for the locator if it does not exist, and gives its name.
func (n *namespaces) ensure(ctx context.Context, locator workloadv1alpha1.NamespaceLocator) (string, error) {
	name, exists := n.known(locator)
	if exists {
		return name, nil
	}
	_, err, _ := n.making.Do(name, func() (any, error) { return nil, n.create(ctx, name, locator) })
	return name, err
}

// doubt has the namespace made anew if it is not there: the cluster said so, and that it was deleted may never be told, if it was
// never seen.
func (n *namespaces) doubt(locator workloadv1alpha1.NamespaceLocator) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.names, locator)
}

// NamespaceTakenError says that the name of a downstream namespace is taken by one that is not ours.
type NamespaceTakenError struct{ Name string }

func (e *NamespaceTakenError) Error() string {
	return fmt.Sprintf("the downstream namespace %s exists but was not created by this SyncTarget; remove it, or its annotation %s if it is a copy", e.Name, workloadv1alpha1.NamespaceLocatorAnnotation)
}

func (n *namespaces) create(ctx context.Context, name string, locator workloadv1alpha1.NamespaceLocator) error {
	desired := n.desired(name, locator)
	created, err := n.client.Create(ctx, desired, metav1.CreateOptions{FieldManager: workloadv1alpha1.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		created, err = n.reclaim(ctx, desired, locator)
	}
	if err != nil {
		return fmt.Errorf("creating namespace %s for %s|%s: %w", name, locator.ClusterName, locator.Namespace, err)
	}
	klog.FromContext(ctx).V(2).Info("Ensured the downstream namespace", "downstreamNamespace", name, "cluster", locator.ClusterName, "namespace", locator.Namespace)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.locators[created.GetName()] = locator
	n.names[locator] = created.GetName()
	return nil
}

func (n *namespaces) desired(name string, locator workloadv1alpha1.NamespaceLocator) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("v1")
	u.SetKind("Namespace")
	u.SetName(name)
	u.SetLabels(map[string]string{
		workloadv1alpha1.DownstreamClusterLabel: n.target.key,
		workloadv1alpha1.TenantIDLabel:          locator.TenantID(),
	})
	u.SetAnnotations(map[string]string{workloadv1alpha1.NamespaceLocatorAnnotation: locator.String()})
	return u
}

// reclaim takes an existing namespace for ours if it carries our very locator, and repairs its labels.
func (n *namespaces) reclaim(ctx context.Context, desired *unstructured.Unstructured, locator workloadv1alpha1.NamespaceLocator) (*unstructured.Unstructured, error) {
	live, err := n.client.Get(ctx, desired.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	found, ok, err := workloadv1alpha1.ParseNamespaceLocator(live.GetAnnotations())
	switch {
	case err != nil || !ok || found != locator:
		return nil, &NamespaceTakenError{Name: desired.GetName()}
	case live.GetDeletionTimestamp() != nil:
		return nil, apierrors.NewConflict(namespacesGVR.GroupResource(), live.GetName(), fmt.Errorf("the namespace is being deleted"))
	case live.GetLabels()[workloadv1alpha1.DownstreamClusterLabel] == n.target.key:
		return live, nil
	}
	return n.client.Apply(ctx, desired.GetName(), desired, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldManager, Force: true})
}

// run watches the namespaces and removes those without a reason to exist.
func (n *namespaces) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { n.informer.RunWithContext(ctx) })
	wg.Go(func() {
		for n.checkNext(ctx) {
		}
	})
	<-ctx.Done()
	n.checks.ShutDown()
	wg.Wait()
}

func (n *namespaces) checkNext(ctx context.Context) bool {
	name, shutdown := n.checks.Get()
	if shutdown {
		return false
	}
	defer n.checks.Done(name)
	again, err := n.check(ctx, name)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		klog.FromContext(ctx).Error(err, "Checking a namespace for removal", "downstreamNamespace", name)
		n.checks.AddAfter(name, n.failures.When(name))
	case again:
		n.failures.Forget(name)
		n.checks.AddRateLimited(name)
	default:
		n.failures.Forget(name)
		n.checks.Forget(name)
	}
	return true
}

// longestUncertainty is the longest wait after a failed check. A namespace that holds something else is looked at less often.
const longestUncertainty = 30 * time.Second

// check removes the namespace if nothing needs it; again asks for another look later, also whether it goes indeed.
func (n *namespaces) check(ctx context.Context, name string) (again bool, err error) {
	obj, exists, err := n.informer.GetIndexer().GetByKey(name)
	if err != nil || !exists {
		return false, err
	}
	namespace := obj.(*object)
	locator, ours := n.locator(name)
	if !ours || namespace.DeletionTimestamp != nil {
		return false, nil
	}
	if used, known := n.inUse(locator); !known || used {
		return !known, nil // a used one is touched again when its last object goes
	}
	if what, err := n.stranger(ctx, name); err != nil || what != "" {
		klog.FromContext(ctx).V(2).Info("Keeping a namespace of ours that holds something else", "downstreamNamespace", name, "content", what)
		return true, err
	}
	klog.FromContext(ctx).V(2).Info("Deleting the downstream namespace", "downstreamNamespace", name, "cluster", locator.ClusterName, "namespace", locator.Namespace)
	err = n.client.Delete(ctx, name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &namespace.UID, ResourceVersion: &namespace.ResourceVersion},
	})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err == nil {
		n.metrics.namespacesRemoved.Inc()
	}
	return true, err
}

// stranger names something in the namespace that would die with it: an object that neither we nor the cluster itself
// put there. Types that the syncer may not list cannot be looked at; RBAC should let it list what others in
// the cluster may create.
func (n *namespaces) stranger(ctx context.Context, name string) (what string, err error) {
	for _, gvr := range n.contentTypes() {
		list, err := n.metadata.Resource(gvr).Namespace(name).List(ctx, metav1.ListOptions{Limit: 10})
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("listing %s in %s: %w", gvr.GroupResource(), name, err)
		}
		for i := range list.Items {
			if !madeByCluster(gvr.GroupResource(), list.Items[i].Name) {
				return gvr.GroupResource().String() + " " + list.Items[i].Name, nil
			}
		}
	}
	return "", nil
}

// madeByCluster tells what every namespace has by itself.
func madeByCluster(resource schema.GroupResource, name string) bool {
	switch resource.String() {
	case "events", "events.events.k8s.io":
		return true
	case "configmaps":
		return strings.HasSuffix(name, "-root-ca.crt") || name == "openshift-service-ca.crt"
	case "serviceaccounts":
		return name == "default"
	default:
		return false
	}
}

// nameFor is the name of the namespace for the locator, whether it exists or not. Known ones spare the hashing.
func (n *namespaces) nameFor(locator workloadv1alpha1.NamespaceLocator) string {
	name, _ := n.known(locator)
	return name
}

func (n *namespaces) known(locator workloadv1alpha1.NamespaceLocator) (name string, exists bool) {
	n.mu.RLock()
	name, exists = n.names[locator]
	n.mu.RUnlock()
	if !exists {
		name = locator.DownstreamNamespace()
	}
	return name, exists
}
