// Package fakekcp plays the virtual workspaces of APIExports on several kcp shards, for what a kcp with one shard cannot show:
// a shard that is served no more, and comes back. It lists and watches, and takes no writes. Who wants to know how kcp
// behaves asks kcp; here it does what was seen there.
package fakekcp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// KCP is all shards.
type KCP struct {
	server *httptest.Server

	lock    sync.Mutex
	version int
	// bound are the logical clusters of each shard.
	bound map[string]map[string]bool
	// objects are by the path of their list, at /clusters/*, and then by cluster and name.
	objects  map[string]map[string]*unstructured.Unstructured
	watchers map[string]map[chan event]bool
	lists    int
	// hanging are logical clusters whose own requests are not answered.
	hanging map[string]bool
}

type event struct {
	Type   string                     `json:"type"`
	Object *unstructured.Unstructured `json:"object"`
}

// New ends with the test.
func New(t *testing.T) *KCP {
	t.Helper()
	k := &KCP{bound: map[string]map[string]bool{}, objects: map[string]map[string]*unstructured.Unstructured{}, watchers: map[string]map[chan event]bool{}}
	k.server = httptest.NewServer(http.HandlerFunc(k.serve))
	t.Cleanup(func() {
		k.server.CloseClientConnections()
		k.server.Close()
	})
	return k
}

// Config reaches it.
func (k *KCP) Config() *rest.Config { return &rest.Config{Host: k.server.URL} }

// URL is the virtual workspace of an export on a shard.
func (k *KCP) URL(shard, export string) string {
	return k.server.URL + "/" + shard + "/services/apiexport/provider/" + export
}

// Bind has a shard serve a logical cluster.
func (k *KCP) Bind(shard, cluster string) {
	k.lock.Lock()
	defer k.lock.Unlock()
	if k.bound[shard] == nil {
		k.bound[shard] = map[string]bool{}
	}
	k.bound[shard][cluster] = true
}

// Unbind has a shard deny that there is such a logical cluster.
func (k *KCP) Unbind(shard, cluster string) {
	k.lock.Lock()
	defer k.lock.Unlock()
	delete(k.bound[shard], cluster)
}

// Hang has requests for one logical cluster be answered no more.
func (k *KCP) Hang(cluster string) {
	k.lock.Lock()
	defer k.lock.Unlock()
	if k.hanging == nil {
		k.hanging = map[string]bool{}
	}
	k.hanging[cluster] = true
}

// Lists is how many single logical clusters were asked.
func (k *KCP) Lists() int {
	k.lock.Lock()
	defer k.lock.Unlock()
	return k.lists
}

// Put has an object of the resource, e.g. "workload.kcp.io/v1alpha1/synctargets", on a shard.
func (k *KCP) Put(shard, export, resource, cluster string, u *unstructured.Unstructured) {
	k.change(shard, export, resource, cluster, u, "ADDED")
}

// Delete has it no more, and tells those who watch.
func (k *KCP) Delete(shard, export, resource, cluster string, u *unstructured.Unstructured) {
	k.change(shard, export, resource, cluster, u, "DELETED")
}

func (k *KCP) change(shard, export, resource, cluster string, u *unstructured.Unstructured, what string) {
	k.lock.Lock()
	defer k.lock.Unlock()
	u = u.DeepCopy()
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations["kcp.io/cluster"] = cluster
	u.SetAnnotations(annotations)
	k.version++
	u.SetResourceVersion(strconv.Itoa(k.version))
	list := "/" + shard + "/services/apiexport/provider/" + export + "/clusters/*/apis/" + resource
	if k.objects[list] == nil {
		k.objects[list] = map[string]*unstructured.Unstructured{}
	}
	id := cluster + "/" + u.GetNamespace() + "/" + u.GetName()
	if _, there := k.objects[list][id]; there && what == "ADDED" {
		what = "MODIFIED"
	}
	if k.objects[list][id] = u; what == "DELETED" {
		delete(k.objects[list], id)
	}
	for watcher := range k.watchers[list] {
		watcher <- event{Type: what, Object: u}
	}
}

func (k *KCP) serve(out http.ResponseWriter, request *http.Request) {
	before, after, ok := strings.Cut(request.URL.Path, "/clusters/")
	cluster, resource, also := strings.Cut(after, "/")
	if !ok || !also {
		http.NotFound(out, request)
		return
	}
	list := before + "/clusters/*/" + resource
	shard := strings.Split(before, "/")[1]
	k.lock.Lock()
	if k.hanging[cluster] {
		k.lock.Unlock()
		<-request.Context().Done()
		return
	}
	if cluster != "*" {
		k.lists++
		if !k.bound[shard][cluster] {
			k.lock.Unlock()
			refuse(out)
			return
		}
	}
	if request.URL.Query().Get("watch") != "" {
		k.watch(out, request, list) // unlocks
		return
	}
	defer k.lock.Unlock()
	items := []any{}
	for id, u := range k.objects[list] {
		if cluster == "*" || strings.HasPrefix(id, cluster+"/") {
			items = append(items, u.Object)
		}
	}
	answer(out, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": strconv.Itoa(k.version)}, "items": items})
}

// watch is called with the lock held.
func (k *KCP) watch(out http.ResponseWriter, request *http.Request, list string) {
	query := request.URL.Query()
	if query.Get("sendInitialEvents") != "" {
		k.lock.Unlock()
		answer(out, http.StatusUnprocessableEntity, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity})
		return
	}
	events := make(chan event, 100)
	from, _ := strconv.Atoi(query.Get("resourceVersion"))
	for _, u := range k.objects[list] {
		if version, _ := strconv.Atoi(u.GetResourceVersion()); version > from {
			events <- event{Type: "ADDED", Object: u}
		}
	}
	if k.watchers[list] == nil {
		k.watchers[list] = map[chan event]bool{}
	}
	k.watchers[list][events] = true
	k.lock.Unlock()
	defer func() {
		k.lock.Lock()
		delete(k.watchers[list], events)
		k.lock.Unlock()
	}()
	out.Header().Set("Content-Type", "application/json")
	flush := http.NewResponseController(out)
	_ = flush.Flush()
	for {
		select {
		case <-request.Context().Done():
			return
		case e := <-events:
			if json.NewEncoder(out).Encode(e) != nil || flush.Flush() != nil {
				return
			}
		}
	}
}

func refuse(out http.ResponseWriter) {
	answer(out, http.StatusForbidden, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonForbidden,
		Message: "access denied", Code: http.StatusForbidden,
	})
}

func answer(out http.ResponseWriter, code int, content any) {
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(code)
	if err := json.NewEncoder(out).Encode(content); err != nil {
		panic(fmt.Sprintf("encoding %T: %v", content, err)) // it is ours
	}
}
