package virtualworkspace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	jsonpatch "github.com/evanphx/json-patch/v5"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// maxUpsynced is what the API accepts of one object.
const maxUpsynced = 1536 << 10

// writeUp changes an object that the target owns: it came from the physical cluster, and goes with it.
func (s *Server) writeUp(x *exchange) error {
	switch x.verb {
	case verbCreate:
		return s.createUp(x)
	case verbDelete:
		return s.deleteUp(x)
	default:
		return s.changeUp(x)
	}
}

func (s *Server) createUp(x *exchange) error {
	body, err := x.body(maxUpsynced)
	if err != nil {
		return err
	}
	if x.contentType() != "application/json" {
		return denied(reasonBody, "objects are application/json")
	}
	sent, err := x.readUpsynced(body, nil)
	if err != nil {
		return err
	}
	if sent.GetName() == "" {
		return malformed(reasonBody, "metadata.name: an upsynced object has the name that it has downstream")
	}
	if err := s.mayCreateIn(x); err != nil {
		return err
	}
	content, err := x.owner.created(sent).MarshalJSON()
	if err != nil {
		return err
	}
	written, err := s.sendWrite(x, call{method: http.MethodPost, path: x.upstreamPath(), contentType: "application/json", body: content})
	if code := codeOf(err); code == http.StatusConflict {
		return newRefusal(reasonNotAssigned, http.StatusConflict, metav1.StatusReasonAlreadyExists, fmt.Sprintf("%s %q already exists", x.gvr.GroupResource(), sent.GetName()))
	}
	if err != nil {
		return passOnFrom(x.cluster, err)
	}
	s.metrics.direct.WithLabelValues(x.view(), wayChecked).Inc()
	return s.show(x, written, http.StatusCreated)
}

// mayCreateIn: a target has a place in the namespaces that something is assigned to it in, and in the workspaces of these.
func (s *Server) mayCreateIn(x *exchange) error {
	label := workloadv1alpha1.StateLabel(x.owner.key) + "=" + string(workloadv1alpha1.StateSync)
	query := url.Values{"labelSelector": {label}, "limit": {"1"}}
	if x.namespace != "" {
		query.Set("fieldSelector", "metadata.name="+x.namespace)
	}
	began := s.clock.Now()
	raw, err := s.upstream.ask(x.in.Context(), call{
		method: http.MethodGet, base: x.shardURL, cluster: x.cluster, path: "/api/v1/namespaces", query: query,
	})
	x.waited += s.clock.Since(began)
	if err != nil {
		return passOnFrom(x.cluster, err)
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return denied(reasonNotAssigned, "nothing is assigned to this target here")
	}
	return nil
}

// changeUp handles update and patch: both say what the object shall be in the target's view.
func (s *Server) changeUp(x *exchange) error {
	body, err := x.body(maxUpsynced)
	if err != nil {
		return err
	}
	if x.verb == verbPatch && x.contentType() != string(types.MergePatchType) {
		return denied(reasonBody, "patches are %s", types.MergePatchType)
	}
	if x.verb == verbUpdate && x.contentType() != "application/json" {
		return denied(reasonBody, "objects are application/json")
	}
	for try := 1; ; try++ {
		live, err := s.live(x.in.Context(), x)
		if err != nil {
			return err
		}
		if !live.facts.assigned {
			return notFound(x.gvr.GroupResource(), x.name)
		}
		content, pinned, err := x.changed(live, body)
		if err != nil {
			return err
		}
		written, err := s.sendWrite(x, call{method: http.MethodPut, path: x.upstreamPath(), contentType: "application/json", body: content})
		if codeOf(err) == http.StatusConflict && !pinned && try < conflictTries {
			continue
		}
		if err != nil {
			return passOnFrom(x.cluster, err)
		}
		s.metrics.direct.WithLabelValues(x.view(), wayChecked).Inc()
		return s.show(x, written, http.StatusOK)
	}
}

// changed is the real object as it shall be. pinned: the client insists on the version that it has seen.
func (x *exchange) changed(live *object, body []byte) (content []byte, pinned bool, err error) {
	wanted := body
	if x.verb == verbPatch {
		view := &bytes.Buffer{}
		if err := live.write(view, x.owner, whole); err != nil {
			return nil, false, err
		}
		if wanted, err = jsonpatch.MergePatch(view.Bytes(), body); err != nil {
			return nil, false, malformed(reasonBody, "the patch is not a JSON merge patch")
		}
	}
	stored, err := live.decode()
	if err != nil {
		return nil, false, err
	}
	sent, err := x.readUpsynced(wanted, stored.GetAnnotations())
	if err != nil {
		return nil, false, err
	}
	version := sent.GetResourceVersion()
	switch {
	case sent.GetUID() != "" && string(sent.GetUID()) != live.facts.uid:
		return nil, false, conflict(x.gvr.GroupResource(), x.name, "the object with this name is another one: its UID has changed")
	case version != "" && version != live.facts.resourceVersion:
		return nil, false, conflict(x.gvr.GroupResource(), x.name, "the object has been modified; please apply your changes to the latest version and try again")
	}
	content, err = x.owner.merged(stored, sent, x.subresource).MarshalJSON()
	// A patch has the version of the view that it was applied to.
	return content, version != "" && x.verb == verbUpdate, err
}

// decode makes a whole object of its pieces.
func (x *object) decode() (*unstructured.Unstructured, error) {
	content := make(map[string]any, len(x.members))
	for _, m := range x.members {
		var value any
		if err := utiljson.Unmarshal(m.value, &value); err != nil {
			return nil, err
		}
		content[m.name] = value
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// readUpsynced reads an object that a target wants to be, in its view, and checks what it says about itself. Annotations
// that are there already may be repeated.
func (x *exchange) readUpsynced(body []byte, annotations map[string]string) (*unstructured.Unstructured, error) {
	sent := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(body, &sent.Object); err != nil || sent.Object == nil {
		return nil, malformed(reasonBody, "the body is not a JSON object")
	}
	if sent.GetAPIVersion() != x.gvr.GroupVersion().String() || sent.GetKind() != x.kind.Kind {
		return nil, malformed(reasonBody, "the body is no %s of %s", x.kind.Kind, x.gvr.GroupVersion())
	}
	if sent.GetNamespace() != "" && sent.GetNamespace() != x.namespace || x.name != "" && sent.GetName() != x.name {
		return nil, malformed(reasonBody, "namespace or name of the object are not those of the path")
	}
	if err := x.owner.checkUpsynced(sent, annotations); err != nil {
		return nil, err
	}
	return sent, nil
}

// checkUpsynced refuses what belongs to others. The object must carry the target's state label, and keep it.
func (o owner) checkUpsynced(sent *unstructured.Unstructured, annotations map[string]string) error {
	for _, path := range [][]string{{"metadata"}, {"metadata", "labels"}, {"metadata", "annotations"}} {
		if value, found, err := unstructured.NestedFieldNoCopy(sent.Object, path...); err != nil || found && value != nil && !isMap(value) {
			return malformed(reasonBody, "metadata, labels and annotations are objects")
		}
	}
	if sent.GetLabels()[o.stateLabel()] != string(o.state) {
		return malformed(reasonField, "an upsynced object carries the label %s: %s", o.stateLabel(), o.state)
	}
	for name := range sent.GetLabels() {
		if !o.showsLabel(name) {
			return denied(reasonField, "a target may not write the label %q", short(name))
		}
	}
	for name, value := range sent.GetAnnotations() {
		stored, repeated := annotations[name]
		if name == logicalcluster.AnnotationKey || name == workloadv1alpha1.UpsyncedVersionAnnotation || repeated && value == stored {
			continue
		}
		if ofKCP(name) {
			return denied(reasonField, "a target may not write the annotation %q", short(name))
		}
	}
	for _, finalizer := range sent.GetFinalizers() {
		if finalizer != o.finalizer() {
			return denied(reasonField, "a target may write no finalizer but %q", o.finalizer())
		}
	}
	if len(sent.GetOwnerReferences()) > 0 {
		return denied(reasonField, "what owns an object downstream is not there upstream: an upsynced object has no ownerReferences")
	}
	return nil
}

func isMap(value any) bool {
	_, ok := value.(map[string]any)
	return ok
}

// created is a new object: nothing of its metadata but what a target may choose.
func (o owner) created(sent *unstructured.Unstructured) *unstructured.Unstructured {
	created := &unstructured.Unstructured{Object: maps.Clone(sent.Object)}
	created.Object["metadata"] = map[string]any{}
	created.SetName(sent.GetName())
	created.SetNamespace(sent.GetNamespace())
	created.SetLabels(sent.GetLabels())
	created.SetAnnotations(withoutCluster(sent.GetAnnotations()))
	created.SetFinalizers(sent.GetFinalizers())
	return created
}

func withoutCluster(annotations map[string]string) map[string]string {
	annotations = maps.Clone(annotations)
	delete(annotations, logicalcluster.AnnotationKey)
	return annotations
}

// merged is the real object with the target's view of it replaced by what was sent: all that the view does not show stays.
func (o owner) merged(stored, sent *unstructured.Unstructured, subresource string) *unstructured.Unstructured {
	if subresource == "status" {
		stored.Object["status"] = sent.Object["status"]
		return stored
	}
	merged := &unstructured.Unstructured{Object: maps.Clone(sent.Object)}
	merged.Object["metadata"] = stored.Object["metadata"]
	labels, annotations := maps.Clone(sent.GetLabels()), withoutCluster(sent.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	for name, value := range stored.GetLabels() {
		if !o.showsLabel(name) {
			labels[name] = value
		}
	}
	for name, value := range stored.GetAnnotations() {
		if ofKCP(name) && name != workloadv1alpha1.UpsyncedVersionAnnotation {
			annotations[name] = value
		}
	}
	finalizers := sent.GetFinalizers()
	for _, finalizer := range stored.GetFinalizers() {
		if finalizer != o.finalizer() {
			finalizers = append(finalizers, finalizer)
		}
	}
	merged.SetLabels(labels)
	merged.SetAnnotations(annotations)
	merged.SetFinalizers(finalizers)
	return merged
}

func (s *Server) deleteUp(x *exchange) error {
	body, err := x.body(maxEvent)
	if err != nil {
		return err
	}
	var options metav1.DeleteOptions
	if len(body) > 0 {
		if err := json.Unmarshal(body, &options); err != nil {
			return malformed(reasonBody, "the body is no DeleteOptions")
		}
	}
	live, err := s.live(x.in.Context(), x)
	if err != nil {
		return err
	}
	if !live.facts.assigned {
		return notFound(x.gvr.GroupResource(), x.name)
	}
	wanted := options.Preconditions
	if wanted != nil && (wanted.UID != nil && string(*wanted.UID) != live.facts.uid || wanted.ResourceVersion != nil && *wanted.ResourceVersion != live.facts.resourceVersion) {
		return conflict(x.gvr.GroupResource(), x.name, "the object is not the one of the preconditions")
	}
	uid := types.UID(live.facts.uid)
	content, err := json.Marshal(metav1.DeleteOptions{
		TypeMeta:           metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		GracePeriodSeconds: options.GracePeriodSeconds,
		Preconditions:      &metav1.Preconditions{UID: &uid, ResourceVersion: &live.facts.resourceVersion},
	})
	if err != nil {
		return err
	}
	began := s.clock.Now()
	_, err = s.upstream.ask(x.in.Context(), call{
		method: http.MethodDelete, base: x.shardURL, cluster: x.cluster, path: x.upstreamPath(), contentType: "application/json", body: content,
	})
	x.waited += s.clock.Since(began)
	if err != nil && !isGone(err, x.request) {
		return passOnFrom(x.cluster, err)
	}
	s.metrics.direct.WithLabelValues(x.view(), wayChecked).Inc()
	writeJSON(x.out, http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess})
	return nil
}
