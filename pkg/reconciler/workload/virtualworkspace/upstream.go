package virtualworkspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// upstream sends requests to kcp, with the manager's credentials.
type upstream struct {
	client *http.Client
	config *rest.Config
}

// largestAnswer is what a single object and an error may have.
const largestAnswer = 8 << 20

// newUpstream shares one transport for all shards. Answers are asked for uncompressed: kcp is near, and they are taken
// apart here.
func newUpstream(config *rest.Config) (*upstream, error) {
	config = rest.CopyConfig(config)
	config.DisableCompression = true
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to kcp: %w", err)
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &upstream{client: client, config: config}, nil
}

// call is one request to kcp.
type call struct {
	method string
	// base is the URL of a virtual workspace, or of kcp itself.
	base    string
	cluster logicalcluster.Name
	// path below the cluster; it begins with a slash.
	path        string
	query       url.Values
	contentType string
	body        []byte
	// named is the object that the call is about, where a caller needs to know that it does not exist.
	named string
}

func (u *upstream) send(ctx context.Context, c call) (*http.Response, error) {
	address := strings.TrimSuffix(c.base, "/") + "/clusters/" + string(c.cluster) + c.path
	if len(c.query) > 0 {
		address += "?" + c.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, c.method, address, bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if c.contentType != "" {
		request.Header.Set("Content-Type", c.contentType)
	}
	response, err := u.client.Do(request)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) { // nobody waits for an answer then; what took too long is no answer
		return nil, errors.Join(unavailable("kcp does not answer"), err)
	}
	return response, err
}

// ask sends a request whose answer is short, and reads it. An answer that is no success is an error.
func (u *upstream) ask(ctx context.Context, c call) ([]byte, error) {
	response, err := u.send(ctx, c)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, failureOf(response)
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, largestAnswer+1))
	if err != nil {
		return nil, errors.Join(unavailable("kcp ended its answer too early"), err)
	}
	if len(raw) > largestAnswer {
		return nil, fmt.Errorf("kcp's answer has more than %d bytes", largestAnswer)
	}
	return raw, nil
}

// failureOf reads the status that kcp answered with.
func failureOf(response *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // what could be read has to do
	failure := &apierrors.StatusError{}
	if json.Unmarshal(raw, &failure.ErrStatus) != nil || failure.ErrStatus.Kind != "Status" {
		failure.ErrStatus = metav1.Status{Status: metav1.StatusFailure, Message: http.StatusText(response.StatusCode)}
	}
	failure.ErrStatus.Code = int32(response.StatusCode) //nolint:gosec // a status code has three digits
	if seconds, err := strconv.ParseInt(response.Header.Get("Retry-After"), 10, 32); err == nil {
		if failure.ErrStatus.Details == nil {
			failure.ErrStatus.Details = &metav1.StatusDetails{}
		}
		failure.ErrStatus.Details.RetryAfterSeconds = int32(seconds)
	}
	return failure
}

// passOn makes of kcp's failure what the client is told. What concerns the manager and not the client is the manager's:
// that it may not do something says nothing about the client, and certainly not that an object is gone.
func passOn(err error) error {
	var failure *apierrors.StatusError
	if !errors.As(err, &failure) {
		return err
	}
	status := failure.ErrStatus
	switch code := int(status.Code); code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return errors.Join(unavailable("kcp does not let the virtual workspace server do this"), err)
	case http.StatusNotFound:
		return notServed()
	case http.StatusConflict: // the message tells how kcp stores the object
		status.Message = "the object has been modified; please apply your changes to the latest version and try again"
		return &answered{status: status}
	case http.StatusGone, http.StatusTooManyRequests, http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return &answered{status: status}
	default:
		return errors.Join(unavailable("kcp cannot answer at the moment"), err)
	}
}

// passOnFrom is passOn for a request to one logical cluster. Kcp answers 403 for one that does not exist, or is not bound to
// the APIExport, or no longer: nothing is known of its objects, and the client is told just that.
func passOnFrom(cluster logicalcluster.Name, err error) error {
	var failure *apierrors.StatusError
	if cluster != everyCluster && errors.As(err, &failure) && failure.ErrStatus.Code == http.StatusForbidden {
		return denied(reasonNotAssigned, "this workspace cannot be read through this virtual workspace")
	}
	return passOn(err)
}

// shardsByID are the URLs of the APIExport's virtual workspaces, by the ID that paths have.
func shardsByID(urls []string) map[string]string {
	byID := make(map[string]string, len(urls))
	for _, address := range urls {
		byID[workloadv1alpha1.ShardID(address)] = address
	}
	return byID
}

// upstreamPath is the path of the resource or object below the cluster.
func (r request) upstreamPath() string {
	path := "/api/" + r.gvr.Version
	if r.gvr.Group != "" {
		path = "/apis/" + r.gvr.Group + "/" + r.gvr.Version
	}
	if r.namespace != "" {
		path += "/namespaces/" + r.namespace
	}
	path += "/" + r.gvr.Resource
	if r.name != "" {
		path += "/" + r.name
	}
	if r.subresource != "" {
		path += "/" + r.subresource
	}
	return path
}
