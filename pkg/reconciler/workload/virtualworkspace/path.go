package virtualworkspace

import (
	"net/http"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// TargetRef names the SyncTarget that a request is made for. Whether there is one, and whether the caller may speak for it,
// is not known yet.
type TargetRef struct {
	Cluster logicalcluster.Name
	Name    string
	UID     types.UID
}

// key is the target's key in labels and annotations.
func (t TargetRef) key() string { return workloadv1alpha1.SyncTargetKey(string(t.Cluster), t.Name) }

// String is for people: 2x4jqf|east.
func (t TargetRef) String() string { return string(t.Cluster) + "|" + t.Name }

// The verbs that a request can have. Others are refused by the parser.
const (
	verbGet    = "get"
	verbList   = "list"
	verbWatch  = "watch"
	verbCreate = "create"
	verbUpdate = "update"
	verbPatch  = "patch"
	verbDelete = "delete"
	// verbDiscover is for all that tells which types there are, and nothing of their objects.
	verbDiscover = "discover"
)

// everyCluster stands for all logical clusters.
var everyCluster = logicalcluster.Name(logicalcluster.Wildcard.String())

// request is what method and path ask for.
type request struct {
	shard   string
	up      bool // the up-sync view; the down-sync view if not
	target  TargetRef
	cluster logicalcluster.Name // everyCluster for all
	verb    string

	// discovery are the segments below the cluster when the verb is discover: the types, and nothing about objects.
	discovery []string

	gvr         schema.GroupVersionResource
	namespace   string
	name        string
	subresource string
}

// wildcard: the request is about the objects of all logical clusters.
func (r request) wildcard() bool { return r.cluster == everyCluster }

// view is the name of the view in paths and metrics.
func (r request) view() string {
	if r.up {
		return workloadv1alpha1.UpsyncerView
	}
	return workloadv1alpha1.SyncerView
}

var (
	// Names that servers make: no dots to walk with, no capital letters, nothing to encode.
	plainSegment = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	// Names of groups, versions, resources and SyncTargets.
	dottedSegment = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	uidSegment    = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$`)
	// Names of objects: RBAC has colons and more. All of these characters stand for themselves in a path.
	nameSegment = regexp.MustCompile(`^[-A-Za-z0-9._~:@!$&'()+,;=]+$`)
)

// parsePath takes method and path apart. The path is as it was sent, still encoded: an encoded character is never needed,
// but for the star, so each is a trick.
//
// With an error the target is known if it could be read: whether the caller may speak for it is asked before anything is
// said about the rest of the path.
func parsePath(method, escaped string) (request, error) {
	segments, err := splitPath(escaped)
	if err != nil {
		return request{}, err
	}
	r, rest, err := parsePrefix(segments)
	if err != nil {
		return r, err
	}
	known := request{shard: r.shard, up: r.up, target: r.target}
	if err := r.parseBelowCluster(method, rest); err != nil {
		return known, err
	}
	return r, nil
}

func splitPath(escaped string) ([]string, error) {
	path, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return nil, denied(reasonPath, "the path does not begin with a slash")
	}
	segments := strings.Split(path, "/")
	for _, segment := range segments {
		switch {
		case segment == "":
			return nil, denied(reasonPath, "the path has an empty segment")
		case segment == "." || segment == "..":
			return nil, denied(reasonPath, "the path has a segment of dots")
		case segment != "*" && !strings.EqualFold(segment, "%2A") && !nameSegment.MatchString(segment):
			return nil, denied(reasonPath, "the path has an encoded or unknown character")
		}
	}
	return segments, nil
}

// parsePrefix reads /shards/<shard>/services/<view>/<logical cluster>/<SyncTarget>/<uid>/clusters/<cluster>.
func parsePrefix(s []string) (r request, rest []string, err error) {
	const length = 9
	if len(s) < length || s[0] != workloadv1alpha1.ShardsPath || s[2] != workloadv1alpha1.ServicesPath || s[7] != "clusters" {
		return r, nil, notServed()
	}
	switch s[3] {
	case workloadv1alpha1.SyncerView:
	case workloadv1alpha1.UpsyncerView:
		r.up = true
	default:
		return r, nil, notServed()
	}
	if !plainSegment.MatchString(s[1]) || !plainSegment.MatchString(s[4]) || !dottedSegment.MatchString(s[5]) || !uidSegment.MatchString(s[6]) {
		return r, nil, notServed()
	}
	r.shard = s[1]
	r.target = TargetRef{Cluster: logicalcluster.Name(s[4]), Name: s[5], UID: types.UID(s[6])}
	switch {
	case s[8] == "*" || strings.EqualFold(s[8], "%2A"):
		r.cluster = everyCluster
	case plainSegment.MatchString(s[8]):
		r.cluster = logicalcluster.Name(s[8])
	default:
		return r, nil, denied(reasonPath, "what follows /clusters/ is neither the name of a logical cluster nor a star")
	}
	return r, s[length:], nil
}

func (r *request) parseBelowCluster(method string, s []string) error {
	if len(s) == 0 {
		return notServed()
	}
	for _, segment := range s {
		if !nameSegment.MatchString(segment) {
			return denied(reasonPath, "a star stands for logical clusters only")
		}
	}
	if isDiscovery(s) {
		if method != http.MethodGet {
			return denied(reasonVerb, "discovery is for reading")
		}
		r.verb, r.discovery = verbDiscover, s
		return nil
	}
	switch {
	case s[0] == "api" && len(s) > 2 && s[1] == "v1":
		r.gvr.Version, s = s[1], s[2:]
	case s[0] == "apis" && len(s) > 3 && dottedSegment.MatchString(s[1]) && plainSegment.MatchString(s[2]):
		r.gvr.Group, r.gvr.Version, s = s[1], s[2], s[3:]
	default:
		return notServed()
	}
	if err := r.parseResource(s); err != nil {
		return err
	}
	return r.parseVerb(method)
}

// isDiscovery: /version, /api, /api/v1, /apis, /apis/<group>, /apis/<group>/<version>, /openapi/...
func isDiscovery(s []string) bool {
	switch s[0] {
	case "version":
		return len(s) == 1
	case "api":
		return len(s) <= 2
	case "apis":
		return len(s) <= 3
	case "openapi":
		return true
	}
	return false
}

// parseResource reads what follows the version: [namespaces/<namespace>/]<resource>[/<name>[/<subresource>]].
func (r *request) parseResource(s []string) error {
	const namespaces = "namespaces"
	if s[0] == namespaces && len(s) > 2 && !isNamespaceSubresource(s[2]) {
		if !plainSegment.MatchString(s[1]) {
			return notServed()
		}
		r.namespace, s = s[1], s[2:]
		if s[0] == namespaces {
			return denied(reasonPath, "there are no namespaces in namespaces")
		}
	}
	if len(s) > 3 {
		return denied(reasonSubresource, "nothing is served below subresources")
	}
	if !plainSegment.MatchString(s[0]) {
		return notServed()
	}
	r.gvr.Resource = s[0]
	if len(s) > 1 {
		r.name = s[1]
	}
	if len(s) > 2 {
		r.subresource = s[2]
	}
	return nil
}

func isNamespaceSubresource(segment string) bool { return segment == "status" || segment == "finalize" }

func (r *request) parseVerb(method string) error {
	switch {
	case method == http.MethodGet && r.name != "":
		r.verb = verbGet
	case method == http.MethodGet:
		r.verb = verbList // or watch: the query tells
	case method == http.MethodPost && r.name == "":
		r.verb = verbCreate
	case method == http.MethodPut && r.name != "":
		r.verb = verbUpdate
	case method == http.MethodPatch && r.name != "":
		r.verb = verbPatch
	case method == http.MethodDelete && r.name != "":
		r.verb = verbDelete
	case method == http.MethodDelete:
		return denied(reasonVerb, "a whole collection is never deleted")
	default:
		return denied(reasonVerb, "the method is not served at this path")
	}
	if r.wildcard() && r.name != "" {
		return denied(reasonPath, "a single object is reached in its own logical cluster, not in all of them")
	}
	if r.wildcard() && r.verb == verbCreate {
		return denied(reasonPath, "nothing is created in all logical clusters")
	}
	if r.wildcard() && r.namespace != "" {
		return denied(reasonPath, "all logical clusters are read in all their namespaces")
	}
	return nil
}
