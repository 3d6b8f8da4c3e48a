package tmc

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Error is an error that was sorted. Make one with [Classify] or [As], where the error comes from an API's client;
// above that, wrap it with %w and ask [CategoryOf].
type Error struct {
	Category Category
	// Context says what was being done to what; may be empty.
	Context Context
	// Err is the error as it came.
	Err error
}

// Context is what is known about the circumstances of an error. Every field is optional.
type Context struct {
	// Component is the part of the program, e.g. "heartbeat".
	Component string
	// Operation is what was being done, e.g. "applying".
	Operation string
	// Server is the API server that it was done at.
	Server string
	// Target is the SyncTarget that it was done for.
	Target string
	// Cluster is the logical cluster, where the server has more than one.
	Cluster string
	// Resource is the type of the object, and Kind its kind.
	Resource        schema.GroupResource
	Kind            schema.GroupVersionKind
	Namespace, Name string
}

// String tells the circumstances as in "applying team-a|web/nginx (deployments.apps)".
func (c Context) String() string {
	object := c.Name
	if c.Namespace != "" {
		object = c.Namespace + "/" + object
	}
	if c.Cluster != "" {
		object = c.Cluster + "|" + object
	}
	words := []string{c.Operation, object}
	switch {
	case !c.Resource.Empty():
		words = append(words, "("+c.Resource.String()+")")
	case !c.Kind.Empty():
		words = append(words, "("+c.Kind.GroupKind().String()+")")
	}
	if c.Server != "" {
		words = append(words, "at "+c.Server)
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// Error is the text of the circumstances and of the error as it came.
func (e *Error) Error() string {
	if circumstances := e.Context.String(); circumstances != "" {
		return circumstances + ": " + e.Err.Error()
	}
	return e.Err.Error()
}

// Unwrap lets errors.Is and errors.As see the error as it came.
func (e *Error) Unwrap() error { return e.Err }

// Severity is that of the category.
func (e *Error) Severity() Severity { return e.Category.Severity() }

// Retryable is that of the category.
func (e *Error) Retryable() bool { return e.Category.Retryable() }

// Hint is the remedy that goes with the category.
func (e *Error) Hint() string { return e.Category.Hint() }

// As marks err as being of the category, whatever it says of itself. It answers nil for nil.
func As(category Category, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Category: category, Err: err}
}

// Classify sorts err. It answers nil for nil, and leaves alone an error that was sorted before and then wrapped.
func Classify(err error) error {
	if err == nil || marked(err) != nil {
		return err
	}
	return &Error{Category: CategoryOf(err), Err: err}
}

// WithContext sorts err and says what was being done. It keeps the category of an error that was sorted before.
func WithContext(err error, circumstances Context) error {
	if err == nil {
		return nil
	}
	return &Error{Category: CategoryOf(err), Context: circumstances, Err: err}
}

// ContextOf is what is known about the circumstances of an error: the outermost that says anything.
func ContextOf(err error) Context {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(*Error); ok && e.Context != (Context{}) { //nolint:errorlint // this is the unwrapping
			return e.Context
		}
	}
	return Context{}
}

// Poisonous reports whether what failed is itself to blame, so that it is of no use to try again before it has changed: not
// the server, not somebody who may mend it where nothing tells us.
func Poisonous(err error) bool {
	switch CategoryOf(err) {
	case Validation, Immutable, Projection, Aggregation:
		return true
	}
	return errors.Is(err, ErrPanicked)
}

// Summary says what went wrong without any word of a server's answer, which may quote the object: for places where secrets
// have no business.
func Summary(err error) string {
	said := err.Error()
	if status := apiStatus(err); status != nil {
		said = strings.TrimSpace(fmt.Sprintf("the server answered %d %s", status.Code, status.Reason))
		if circumstances := ContextOf(err).String(); circumstances != "" {
			said = circumstances + ": " + said
		}
	}
	if len(said) > longestSummary {
		said = strings.ToValidUTF8(said[:longestSummary], "")
	}
	return said
}

const longestSummary = 512

// marked finds the Error that err wraps. It does not look into errors that wrap several: their category is made
// from all of them.
func marked(err error) *Error {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(*Error); ok { //nolint:errorlint // this is the unwrapping
			return e
		}
	}
	return nil
}

// RetryAfter is how long the server asked to wait, if it did.
func RetryAfter(err error) (time.Duration, bool) {
	status := apiStatus(err)
	if status == nil || status.Details == nil || status.Details.RetryAfterSeconds <= 0 {
		return 0, false
	}
	return time.Duration(status.Details.RetryAfterSeconds) * time.Second, true
}

// IsObjectNotFound is true only on positive evidence that this very object does not exist, on a server that serves its
// type: a NotFound status, written by that server, that names the resource and the object. Resource is the plural
// ("deployments", or "deployments.apps" to insist on the group).
//
// It is false for the 404 of a path or type that is not served. The difference cannot be read from the details alone:
// for a response that is not a Status ("404 page not found") client-go makes one up and fills in the resource and name
// that were asked for, with another message and the cause UnexpectedServerResponse.
func IsObjectNotFound(err error, resource, name string) bool {
	status := apiStatus(err)
	if status == nil || status.Reason != metav1.StatusReasonNotFound || status.Code != http.StatusNotFound || status.Details == nil {
		return false
	}
	if _, madeUp := apierrors.StatusCause(err, metav1.CauseTypeUnexpectedServerResponse); madeUp {
		return false
	}
	wanted, told := schema.ParseGroupResource(resource), status.Details
	return name != "" && told.Name == name && told.Kind == wanted.Resource &&
		(wanted.Group == "" || wanted.Group == told.Group) &&
		strings.HasSuffix(status.Message, `"`+name+`" not found`)
}

// apiStatus is the answer of an API server that err wraps, or nil.
func apiStatus(err error) *metav1.Status {
	var answered apierrors.APIStatus
	if !errors.As(err, &answered) {
		return nil
	}
	status := answered.Status()
	return &status
}
