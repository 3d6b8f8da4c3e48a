package assignment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment/decide"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// WebhookConfig is how kcp reaches the webhook.
type WebhookConfig struct {
	// URL is what kcp calls.
	URL string
	// CAFile has the certificates by which kcp knows the webhook.
	CAFile string
	// Address is where it listens, with the certificate and key of these files.
	Address, CertFile, KeyFile string
}

// Webhook assigns objects while kcp creates them, so that no write follows. kcp asks it about the export's own types only;
// and when it cannot be asked, or does not know where an object is to be, the object is created without, and assigned by a
// patch like any other.
type Webhook struct {
	config      WebhookConfig
	metrics     *Metrics
	part        tmc.Part
	certificate *tmc.Certificate
	// unregistered is why kcp does not ask, nil if it does or this replica does not lead.
	unregistered atomic.Pointer[error]
	// controller answers while this replica leads.
	controller atomic.Pointer[Controller]
}

// NewWebhook listens at once: a port that is taken, or a certificate that cannot be read, is an error here.
func NewWebhook(config WebhookConfig, metrics *Metrics, c clock.PassiveClock) (*Webhook, error) {
	if _, err := os.ReadFile(config.CAFile); err != nil {
		return nil, fmt.Errorf("reading the certificates by which kcp knows the webhook: %w", err)
	}
	certificate, err := tmc.NewCertificate(tmc.CertificateFiles{Cert: config.CertFile, Key: config.KeyFile}, c)
	if err != nil {
		return nil, err
	}
	w := &Webhook{config: config, metrics: metrics, certificate: certificate}
	w.part, _, err = tmc.ServeTLSPart("webhook", config.Address, certificate.TLS(), http.HandlerFunc(w.serveHTTP))
	return w, err
}

// Part serves. It runs in every replica: one that does not lead knows nothing, and says so at once.
func (w *Webhook) Part() tmc.Part { return w.part }

// Check is for the probes. Without the webhook objects are assigned all the same, later.
func (w *Webhook) Check(ctx context.Context) error {
	if err := w.certificate.Check(ctx); err != nil {
		return tmc.Degraded(err)
	}
	if err := w.unregistered.Load(); err != nil {
		return tmc.Degraded(*err)
	}
	return nil
}

// noteRegistration remembers what came of having kcp ask.
func (w *Webhook) noteRegistration(err error) {
	switch {
	case w == nil:
	case err == nil:
		w.unregistered.Store(nil)
	default:
		w.unregistered.Store(&err)
	}
}

// answerFrom has the controller answer until ctx is done.
func (w *Webhook) answerFrom(ctx context.Context, c *Controller) {
	if w == nil {
		return
	}
	w.controller.Store(c)
	<-ctx.Done()
	w.controller.CompareAndSwap(c, nil)
	w.noteRegistration(nil) // the next leader's to tell
}

// maxReview bounds what is read of a request: kcp accepts no larger objects.
const maxReview = 8 << 20

func (w *Webhook) serveHTTP(out http.ResponseWriter, request *http.Request) {
	review, err := readReview(request)
	if err != nil {
		w.metrics.reviewed.WithLabelValues("invalid").Inc()
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if patch := w.patchFor(tmc.FromHeader(request.Context(), request.Header), review.Request); patch != nil {
		jsonPatch := admissionv1.PatchTypeJSONPatch
		response.PatchType, response.Patch = &jsonPatch, patch
		w.metrics.reviewed.WithLabelValues("assigned").Inc()
	} else {
		w.metrics.reviewed.WithLabelValues("nothing").Inc()
	}
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(&admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response}) // to a caller that has gone
}

func readReview(request *http.Request) (*admissionv1.AdmissionReview, error) {
	body, err := io.ReadAll(io.LimitReader(request.Body, maxReview))
	if err != nil {
		return nil, err
	}
	review := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, review); err != nil {
		return nil, fmt.Errorf("not an AdmissionReview: %w", err)
	}
	if review.Request == nil {
		return nil, errors.New("an AdmissionReview without a request")
	}
	return review, nil
}

// patchFor is a JSON patch that assigns the object that is being created; nil for none.
func (w *Webhook) patchFor(ctx context.Context, request *admissionv1.AdmissionRequest) []byte {
	c := w.controller.Load()
	if c == nil || request.Operation != admissionv1.Create || request.SubResource != "" {
		return nil
	}
	u := &unstructured.Unstructured{}
	if utiljson.Unmarshal(request.Object.Raw, &u.Object) != nil || logicalcluster.From(u).Empty() {
		return nil
	}
	u.SetNamespace(request.Namespace)
	resource := schema.GroupResource{Group: request.Resource.Group, Resource: request.Resource.Resource}
	o := compact(resource, u)
	origin := tmc.Origin{Change: tmc.ParseTraceparent(o.Annotations[workloadv1alpha1.TraceAnnotation])}
	ctx, end := c.deps.Fleet.Tracing().Start(origin.Context(ctx), "admission")
	defer end(nil)
	decision := c.decideAtCreation(ctx, resource, o)
	if !decision.Writes() {
		return nil
	}
	c.carryTrace(ctx, &decision, o)
	return asJSONPatch(u, decision)
}

// decideAtCreation decides about an object that is being created, from the caches alone.
func (c *Controller) decideAtCreation(ctx context.Context, resource schema.GroupResource, o *object) decide.Decision {
	placed, known := c.placedIn(namespaceOf(o))
	if !known {
		return decide.Decision{}
	}
	seen := c.observe(resource, o, placed, c.clock.Now())
	seen.MayLeave = func(string) decide.Verdict { return decide.Verdict{Why: "it is only being created"} }
	for _, key := range seen.Wanted {
		if st, ok := c.targets.get(key); ok && ctx.Err() == nil {
			seen.Targets[key] = decide.Target{Claims: claims(st, resource)}
		}
	}
	return decide.Next(seen)
}

// asJSONPatch replaces each map and list of the metadata that changes as a whole: it may not be there yet.
func asJSONPatch(u *unstructured.Unstructured, decision decide.Decision) []byte {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	var patch []operation
	if len(decision.Labels) > 0 {
		patch = append(patch, operation{"add", "/metadata/labels", changed(u.GetLabels(), decision.Labels)})
	}
	if len(decision.Annotations) > 0 {
		patch = append(patch, operation{"add", "/metadata/annotations", changed(u.GetAnnotations(), decision.Annotations)})
	}
	if decision.Finalizers != nil {
		patch = append(patch, operation{"add", "/metadata/finalizers", decision.Finalizers})
	}
	return toJSON(patch)
}

func changed(before map[string]string, changes map[string]any) map[string]string {
	after := map[string]string{}
	for name, value := range before {
		after[name] = value
	}
	for name, value := range changes {
		if text, ok := value.(string); ok {
			after[name] = text
		} else {
			delete(after, name)
		}
	}
	return after
}
