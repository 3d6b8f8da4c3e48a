package virtualworkspace

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

const (
	// maxPatch is room for the largest status and what goes with it.
	maxPatch = maxStatus + 16<<10
	maxEvent = 16 << 10
	// conflictTries is how often a write is made anew that others were in the way of.
	conflictTries = 4
)

// The ways that writes take, in metrics.
const (
	wayDirect  = "direct"
	wayChecked = "checked"
)

// body reads the body of a request, up to a limit.
func (x *exchange) body(limit int64) ([]byte, error) {
	if x.in.Header.Get("Content-Encoding") != "" {
		return nil, denied(reasonHeader, "bodies are not to be encoded")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(x.out, x.in.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge(limit)
	case err != nil:
		return nil, malformed(reasonBody, "the body cannot be read")
	}
	return raw, nil
}

func (x *exchange) contentType() string {
	kind, _, err := mime.ParseMediaType(x.in.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// patch changes what a target may change of an object that is synced down to it.
func (s *Server) patch(x *exchange) error {
	body, err := x.body(maxPatch)
	if err != nil {
		return err
	}
	t := patchTarget{
		resource: x.gvr.GroupResource(), name: x.name, owner: x.owner, subresource: x.subresource, hasStatus: x.kind.hasStatus,
	}
	wanted, err := t.readPatch(x.contentType(), body)
	if err != nil {
		return err
	}
	written, err := s.patchDirectly(x, t, wanted)
	if err == nil && written == nil {
		written, err = s.patchChecked(x, t, wanted)
	}
	if err != nil {
		return err
	}
	return s.show(x, written, http.StatusOK)
}

// patchDirectly sends the commonest change at once, if the object is known to be on no other target; it gives nothing if
// the change has to be checked instead.
func (s *Server) patchDirectly(x *exchange, t patchTarget, wanted change) (*object, error) {
	if !wanted.whole || wanted.resourceVersion != "" {
		return nil, nil
	}
	uid, ok := s.seen.alone(x.request)
	if !ok || wanted.uid != "" && wanted.uid != uid {
		return nil, nil
	}
	patch, err := t.blindly(wanted, uid)
	if err != nil {
		return nil, err
	}
	written, err := s.sendPatch(x, patch)
	if code := codeOf(err); code == http.StatusUnprocessableEntity || code == http.StatusNotFound || code == http.StatusConflict {
		return nil, nil // a test failed, or the status is invalid: a look tells which
	}
	if err != nil {
		return nil, passOnFrom(x.cluster, err)
	}
	s.metrics.direct.WithLabelValues(x.view(), wayDirect).Inc()
	return written, nil
}

// patchChecked looks at the object first, and sends a change that holds for just this version of it.
func (s *Server) patchChecked(x *exchange, t patchTarget, wanted change) (*object, error) {
	for try := 1; ; try++ {
		found, err := s.live(x.in.Context(), x)
		if err != nil {
			return nil, err
		}
		patch, err := t.translate(wanted, found)
		if err != nil || patch == nil {
			return found, err
		}
		written, err := s.sendPatch(x, *patch)
		if isStale(err, *patch) && wanted.resourceVersion == "" && try < conflictTries {
			continue
		}
		if err != nil {
			return nil, passOnFrom(x.cluster, err)
		}
		s.metrics.direct.WithLabelValues(x.view(), wayChecked).Inc()
		if patch.more {
			wanted.promoted, wanted.resourceVersion = true, ""
			continue
		}
		return written, nil
	}
}

// isStale: somebody else has written meanwhile. A JSON Patch whose test fails is answered like an invalid one; a look at
// the object tells the two apart, as its next try comes to nothing else.
func isStale(err error, patch upstreamPatch) bool {
	code := codeOf(err)
	return code == http.StatusConflict || code == http.StatusUnprocessableEntity && patch.contentType == "application/json-patch+json"
}

func (s *Server) sendPatch(x *exchange, patch upstreamPatch) (*object, error) {
	r := x.request
	r.subresource = patch.subresource
	return s.sendWrite(x, call{method: http.MethodPatch, path: r.upstreamPath(), contentType: string(patch.contentType), body: patch.body})
}

// sendWrite sends a write, and reads the object that it made.
func (s *Server) sendWrite(x *exchange, c call) (*object, error) {
	c.base, c.cluster = x.shardURL, x.cluster
	c.query = url.Values{"fieldManager": {workloadv1alpha1.FieldManager}}
	began := s.clock.Now()
	raw, err := s.upstream.ask(x.in.Context(), c)
	x.waited += s.clock.Since(began)
	if err != nil {
		return nil, err
	}
	return x.owner.take(raw)
}

// createEvent tells the users of an object what its target has to say about it.
func (s *Server) createEvent(x *exchange) error {
	body, err := x.body(maxEvent)
	if err != nil {
		return err
	}
	if x.contentType() != "application/json" {
		return denied(reasonBody, "Events are application/json")
	}
	said, err := readEvent(body, x.namespace)
	if err != nil {
		return err
	}
	if !s.events.allow(x.target) {
		return tooMany("too many Events of this target", 5)
	}
	about, err := s.aboutWhat(x, said)
	if err != nil {
		return err
	}
	content, err := json.Marshal(eventFor(said, about, x.target, x.namespace, s.clock.Now()))
	if err != nil {
		return err
	}
	_, err = s.sendWrite(x, call{method: http.MethodPost, path: x.upstreamPath(), contentType: "application/json", body: content})
	if err != nil {
		return passOnFrom(x.cluster, err)
	}
	s.metrics.direct.WithLabelValues(x.view(), wayChecked).Inc()
	x.out.Header().Set("Content-Type", "application/json")
	x.out.WriteHeader(http.StatusCreated)
	_, err = x.out.Write(content)
	return err
}

// aboutWhat finds the object that an Event is about, which has to be the target's.
func (s *Server) aboutWhat(x *exchange, said corev1.Event) (facts, error) {
	ref := said.InvolvedObject
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return facts{}, malformed(reasonBody, "the apiVersion of the object that the Event is about is none")
	}
	set, err := s.catalog.of(x.in.Context(), x.shardURL)
	if err != nil {
		return facts{}, err
	}
	kind, ok := set.ofKind(gv.WithKind(ref.Kind))
	if !ok || !x.views.accepts(kind, false).Has(verbPatch) || kind.Namespaced != (ref.Namespace != "") {
		return facts{}, denied(reasonNotAssigned, "the Event is about nothing that this target has")
	}
	about := *x
	about.request.gvr, about.request.namespace, about.request.name = kind.gvr, ref.Namespace, ref.Name
	about.query.pass = nil
	if uid, ok := s.seen.alone(about.request); ok && uid == string(ref.UID) {
		return facts{namespace: ref.Namespace, name: ref.Name, resourceVersion: ref.ResourceVersion}, nil
	}
	found, err := s.live(x.in.Context(), &about)
	x.waited = about.waited
	var refused *refusal
	switch {
	case errors.As(err, &refused) && refused.status.Code == http.StatusNotFound, err == nil && found.facts.uid != string(ref.UID):
		return facts{}, denied(reasonNotAssigned, "the Event is about nothing that this target has")
	case err != nil:
		return facts{}, err
	}
	return found.facts, nil
}
