package tmc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// CategoryOf is the category that err was marked with, or else what its sources tell. Where an error wraps several,
// what is known counts before what is not, and what may pass by itself before what does not.
func CategoryOf(err error) Category {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if marked, ok := e.(*Error); ok { //nolint:errorlint // this is the unwrapping
			return marked.Category
		}
		if several := parts(e); len(several) > 0 {
			return categoryOfAll(several)
		}
	}
	return categorize(err)
}

// parts are the errors that err wraps, if it is of a kind that wraps several.
func parts(err error) []error {
	switch e := err.(type) { //nolint:errorlint // the caller unwraps
	case *discovery.ErrGroupDiscoveryFailed:
		var errs []error
		for _, groupErr := range e.Groups {
			errs = append(errs, groupErr)
		}
		return errs
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	case interface{ Errors() []error }:
		return e.Errors()
	}
	return nil
}

func categoryOfAll(errs []error) Category {
	var known []Category
	for _, err := range errs {
		if c := CategoryOf(err); err != nil && c != Internal {
			known = append(known, c)
		}
	}
	slices.SortFunc(known, func(a, b Category) int { return strings.Compare(string(a), string(b)) })
	if i := slices.IndexFunc(known, Category.Retryable); i >= 0 {
		return known[i]
	}
	if len(known) > 0 {
		return known[0]
	}
	return Internal
}

// categorize asks the sources of errors in turn, the most telling first: an answer of the server, then what the
// connection says, then the clock, then what we were configured with.
func categorize(err error) Category {
	if err == nil {
		return ""
	}
	if status := apiStatus(err); status != nil {
		return categorizeStatus(err, status)
	}
	for _, source := range []func(error) Category{
		categorizeCancellation, categorizeTLS, categorizeNetwork, categorizeTimeout, categorizeConfiguration, categorizeText,
	} {
		if c := source(err); c != "" {
			return c
		}
	}
	return Internal
}

// categorizeStatus sorts what an API server answered.
func categorizeStatus(err error, status *metav1.Status) Category {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return NamespaceTerminating
	}
	if refusedByAdmission(status) {
		return Admission
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return categorizeCollision(err, status)
	case apierrors.IsNotFound(err):
		return NotFound
	case apierrors.IsUnauthorized(err):
		return Authentication
	case apierrors.IsForbidden(err):
		return categorizeForbidden(status)
	case apierrors.IsGone(err), apierrors.IsResourceExpired(err):
		return Gone
	case apierrors.IsInvalid(err):
		return categorizeInvalid(status)
	case apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err), apierrors.IsMethodNotSupported(err):
		return Validation
	case apierrors.IsNotAcceptable(err), apierrors.IsUnsupportedMediaType(err):
		return Configuration
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return Timeout
	case apierrors.IsServiceUnavailable(err), apierrors.IsTooManyRequests(err), apierrors.IsStoreReadError(err):
		return Unavailable
	}
	return categorizeServerFailure(status)
}

// categorizeCollision sorts the three things that a 409 can mean, and one that looks like the third.
func categorizeCollision(err error, status *metav1.Status) Category {
	switch {
	case apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict):
		return FieldOwnership
	case !apierrors.IsAlreadyExists(err):
		return Conflict
	case strings.HasPrefix(status.Message, "object is being deleted: namespaces "):
		return NamespaceTerminating
	}
	return AlreadyExists
}

// refusedByAdmission recognizes webhooks and admission policies, which may answer with any code.
func refusedByAdmission(status *metav1.Status) bool {
	return containsAny(status.Message, "admission webhook \"", "ValidatingAdmissionPolicy '") &&
		containsAny(status.Message, "denied the request", "denied request")
}

// categorizeForbidden tells built-in admission, which answers 403 too, from what authorization says. Everything that
// is not known for admission is taken for authorization: the same caution (nothing is concluded) and remedy apply.
func categorizeForbidden(status *metav1.Status) Category {
	switch {
	case containsAny(status.Message, "exceeded quota: ", "failed quota: ", "insufficient quota"):
		return Quota
	case containsAny(status.Message, "violates PodSecurity", "error looking up service account", " is forbidden: maximum ",
		" is forbidden: minimum ", "no PriorityClass with name"):
		return Admission
	}
	return Permission
}

// categorizeInvalid answers Immutable only if nothing else is wrong: who recreates an object for that must not find
// then that it cannot be created. That the UID is not the one that a write was made for means that the object was replaced, and
// that nothing is known of the one that is there.
func categorizeInvalid(status *metav1.Status) Category {
	messages := []string{status.Message}
	if status.Details != nil && len(status.Details.Causes) > 0 {
		if slices.ContainsFunc(status.Details.Causes, tellsReplaced) {
			return Conflict
		}
		messages = nil
		for _, cause := range status.Details.Causes {
			messages = append(messages, cause.Message)
		}
	}
	for _, message := range messages {
		if !tellsImmutable(message) {
			return Validation
		}
	}
	return Immutable
}

// tellsReplaced is true for what is said of a patch that carries another UID than the object has.
func tellsReplaced(cause metav1.StatusCause) bool {
	return cause.Field == "metadata.uid" && tellsImmutable(cause.Message)
}

// tellsImmutable knows the words that API servers have for it.
func tellsImmutable(message string) bool {
	return containsAny(strings.ToLower(message), "immutable", "may not change", "may not be changed", "cannot be changed",
		"cannot change roleref", "updates to statefulset spec for fields other than", "pod updates may not change fields")
}

// categorizeServerFailure sorts answers that carry no reason of their own: mostly 5xx.
func categorizeServerFailure(status *metav1.Status) Category {
	if c := categorizeText(errors.New(status.Message)); c != "" {
		return c
	}
	switch {
	case containsAny(status.Message, "message larger than max", "request is too large"): // of the API server to etcd
		return Validation
	case strings.Contains(status.Message, "API export not found"): // kcp's virtual workspace of an export
		return NotFound
	case containsAny(status.Message, "failed calling webhook", "etcdserver:", "shutting down", "storage is (re)initializing"):
		return Unavailable
	case status.Code == http.StatusBadGateway:
		return Unavailable
	case status.Code >= http.StatusBadRequest && status.Code < http.StatusInternalServerError:
		return Validation
	}
	return Internal
}

func categorizeCancellation(err error) Category {
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	return ""
}

// categorizeTLS sorts failed handshakes by which side refused which.
func categorizeTLS(err error) Category {
	var (
		unverified *tls.CertificateVerificationError
		authority  x509.UnknownAuthorityError
		hostname   x509.HostnameError
		invalid    x509.CertificateInvalidError
		notTLS     tls.RecordHeaderError
		op         *net.OpError
	)
	switch {
	case errors.As(err, &unverified), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid),
		errors.As(err, &notTLS):
		return Configuration
	case errors.As(err, &op) && op.Op == "remote error": // crypto/tls's word for an alert that the server sent
		if containsAny(op.Err.Error(), "certificate", "unknown certificate authority") {
			return Authentication
		}
		return Configuration
	}
	return ""
}

// categorizeNetwork: all that says that there was no connection (a dial that times out too, other than an answer that does
// not come), or that it broke.
func categorizeNetwork(err error) Category {
	var (
		dns   *net.DNSError
		op    *net.OpError
		errno syscall.Errno
	)
	switch {
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		return Unreachable
	case errors.As(err, &errno) && categorizeErrno(errno) != "":
		return categorizeErrno(errno)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return Network
	}
	return ""
}

func categorizeErrno(errno syscall.Errno) Category {
	switch errno {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN:
		return Unreachable
	case syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT, syscall.ENOTCONN:
		return Network
	}
	return ""
}

func categorizeTimeout(err error) Category {
	var timeout interface{ Timeout() bool }
	switch {
	case strings.Contains(err.Error(), "TLS handshake timeout"):
		return Unreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	}
	return ""
}

func categorizeConfiguration(err error) Category {
	var (
		file  *fs.PathError
		parse *url.Error
	)
	switch {
	case meta.IsNoMatchError(err):
		return NotFound
	case clientcmd.IsConfigurationInvalid(err), clientcmd.IsEmptyConfig(err), clientcmd.IsContextNotFound(err),
		errors.Is(err, rest.ErrNotInCluster), errors.As(err, &file):
		return Configuration
	case errors.As(err, &parse) && parse.Op == "parse":
		return Configuration
	case strings.Contains(err.Error(), `context "`) && strings.HasSuffix(err.Error(), `" does not exist`): // clientcmd
		return Configuration
	}
	return ""
}

// categorizeText knows errors that have nothing but their text: those of net/http's HTTP/2, and of client-go's
// credentials.
func categorizeText(err error) Category {
	text := err.Error()
	switch {
	case containsAny(text, "http2: client connection lost", "http2: server sent GOAWAY", "http2: client conn is closed",
		"http2: Transport received Server's graceful shutdown", "http2: response body closed", "connection reset by peer",
		"server closed idle connection", "connection broken"):
		return Network
	case containsAny(text, "would exceed context deadline"):
		return Timeout
	case containsAny(text, "getting credentials: ", "failed to read token file", "tls: failed to find any PEM data"):
		return Authentication
	case containsAny(text, "server gave HTTP response to HTTPS client", "unsupported protocol scheme",
		"host must be a URL or a host:port pair"):
		return Configuration
	}
	return ""
}

func containsAny(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}
