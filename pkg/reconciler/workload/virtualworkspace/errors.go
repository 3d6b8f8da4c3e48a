package virtualworkspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// reason says why a request was refused, in metrics and in the log.
type reason string

const (
	reasonPath          reason = "Path"
	reasonQuery         reason = "Query"
	reasonHeader        reason = "Header"
	reasonVerb          reason = "Verb"
	reasonType          reason = "Type"
	reasonSubresource   reason = "Subresource"
	reasonField         reason = "Field"
	reasonNotAssigned   reason = "NotAssigned"
	reasonBody          reason = "Body"
	reasonCredentials   reason = "Credentials"
	reasonNotAuthorized reason = "NotAuthorized"
	reasonLimit         reason = "Limit"
)

var reasons = []reason{
	reasonPath, reasonQuery, reasonHeader, reasonVerb, reasonType, reasonSubresource, reasonField, reasonNotAssigned,
	reasonBody, reasonCredentials, reasonNotAuthorized, reasonLimit,
}

// refusal is an answer that this server gives by itself. Its message never names what the caller may not know.
type refusal struct {
	reason reason
	status metav1.Status
}

func (r *refusal) Error() string { return r.status.Message }

func newRefusal(why reason, code int32, apiReason metav1.StatusReason, message string) *refusal {
	return &refusal{reason: why, status: metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: code, Reason: apiReason, Message: message,
	}}
}

// denied is the 403 for what no target may do.
func denied(why reason, format string, args ...any) error {
	return newRefusal(why, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(format, args...))
}

// notServed is the 404 of a path or type. It does not say that an object does not exist.
func notServed() error {
	return newRefusal(reasonType, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
}

// notFound is the 404 of an object: it does not exist, or is not the target's, which the target cannot tell apart.
func notFound(resource schema.GroupResource, name string) error {
	return &refusal{reason: reasonNotAssigned, status: apierrors.NewNotFound(resource, name).Status()}
}

// conflict is the 409 of a write that was made for another state of the object.
func conflict(resource schema.GroupResource, name, message string) error {
	return &refusal{reason: reasonNotAssigned, status: apierrors.NewConflict(resource, name, errors.New(message)).Status()}
}

// malformed is the 400 of a body or a query.
func malformed(why reason, format string, args ...any) error {
	return newRefusal(why, http.StatusBadRequest, metav1.StatusReasonBadRequest, fmt.Sprintf(format, args...))
}

func unauthenticated() error {
	return newRefusal(reasonCredentials, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
}

func tooLarge(limit int64) error {
	return newRefusal(reasonLimit, http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge,
		fmt.Sprintf("the body is larger than %d bytes", limit))
}

// tooMany asks the client to come back later.
func tooMany(what string, seconds int32) error {
	r := newRefusal(reasonLimit, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, what)
	r.status.Details = &metav1.StatusDetails{RetryAfterSeconds: seconds}
	return r
}

// unavailable is the 503 of a server that cannot ask kcp: nothing is known, so nothing is denied.
func unavailable(what string) error {
	r := newRefusal("", http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, what)
	r.status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return r
}

// answered is an answer of kcp that is passed on as it is.
type answered struct{ status metav1.Status }

func (a *answered) Error() string { return a.status.Message }

// statusOf is what to answer for an error, and why it was refused, if it was.
func statusOf(err error) (metav1.Status, reason) {
	var refused *refusal
	var passed *answered
	switch {
	case errors.As(err, &refused):
		return refused.status, refused.reason
	case errors.As(err, &passed):
		return passed.status, ""
	default: // a text of ours may name what the caller may not know
		return newRefusal("", http.StatusInternalServerError, metav1.StatusReasonInternalError, "an internal error occurred").status, ""
	}
}

func writeStatus(w http.ResponseWriter, status metav1.Status) {
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	writeJSON(w, int(status.Code), status)
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		code, raw = http.StatusInternalServerError, []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(raw) // the client is gone: nobody is left to tell
}
