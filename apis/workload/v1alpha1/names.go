package v1alpha1

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// This file spells the wire protocol: every label, annotation, finalizer and field manager that crosses a link,
// who writes it and on which side. The names are those of TMC as shipped with kcp v0.11 where that had one.
// A target's key, written <key> below, comes from [SyncTargetKey].

// Upstream, on objects in a tenant's workspace.
const (
	// stateLabelPrefix + <key> is a label written by the manager (or by hand): whether the object is assigned to the
	// target. Its values are the State constants.
	stateLabelPrefix = "state.workload.kcp.io/"

	// deletionAnnotationPrefix + <key> is an annotation written by the manager: an RFC 3339 time since when the object
	// shall leave the target. The state label stays until the copy is gone, then the syncer removes both.
	deletionAnnotationPrefix = "deletion.internal.workload.kcp.io/"

	// softFinalizersAnnotationPrefix + <key> is an annotation written by coordinators: comma-separated names.
	// While it is not empty the syncer must not delete the copy.
	softFinalizersAnnotationPrefix = "finalizers.workload.kcp.io/"

	// syncerFinalizerPrefix + <key> is a finalizer written by the syncer, or by the manager together with the state
	// label: a copy may exist downstream. The syncer removes it when the copy is gone, the manager when the SyncTarget is.
	syncerFinalizerPrefix = "workload.kcp.io/syncer-"

	// specDiffAnnotationPrefix + <key> is an annotation written by coordinators: a JSON Patch (RFC 6902) on the
	// object's spec that holds for this target only.
	specDiffAnnotationPrefix = "experimental.spec-diff.workload.kcp.io/"

	// statusAnnotationPrefix + <key> is an annotation written by the syncer when the object has several targets:
	// the status on this target, as JSON.
	statusAnnotationPrefix = "experimental.status.workload.kcp.io/"

	// conditionsAnnotationPrefix + <key> is an annotation written by the syncer while the object cannot be synced as it
	// should: a JSON list of metav1.Condition. It is absent while all is well, so a healthy object costs no write.
	conditionsAnnotationPrefix = "conditions.workload.kcp.io/"

	// syncerViewAnnotationPrefix + <key> is an annotation written by the syncer, or by the virtual workspace for it, on objects
	// with a SummarizingAnnotation: a JSON object of the fields that this target reports, by their paths. A value that has
	// been promoted to the object itself is [PromotedField].
	syncerViewAnnotationPrefix = "diff.syncer.internal.kcp.io/"

	// SummarizingAnnotation is written by users and coordinators: which fields are summarised and promoted.
	SummarizingAnnotation = "experimental.summarizing.workload.kcp.io"

	// UpsyncDerivedResourcesAnnotation is written by users: comma-separated resources, e.g. "endpoints", that the
	// physical cluster derives from this object and that shall come up.
	UpsyncDerivedResourcesAnnotation = "experimental.workload.kcp.io/upsync-derived-resources"

	// ConflictPolicyAnnotation is written by users on an upstream object: a ConflictPolicy. It overrides the syncer's
	// --conflict-policy.
	ConflictPolicyAnnotation = "workload.kcp.io/conflict-policy"

	// ImmutablePolicyAnnotation is written by users on an upstream object: an ImmutablePolicy.
	ImmutablePolicyAnnotation = "workload.kcp.io/immutable-policy"

	// RemovalPolicyAnnotation is written by users on an upstream object: a RemovalPolicy. The copy carries it too, because
	// the policy must hold when the upstream object is already gone.
	RemovalPolicyAnnotation = "workload.kcp.io/removal-policy"

	// TraceAnnotation is written by users, or by what deploys for them, on an object that they change: the W3C traceparent of
	// the change. The manager sets it with what it assigns, so that its syncer goes on with the trace. Whoever uses it takes
	// it off with a patch of the metadata that is sent anyway. It has a meaning only for programs with
	// --enable-trace-annotation.
	TraceAnnotation = "workload.kcp.io/traceparent"

	// AssignLabel is written by users on an object: whether it goes to the targets that its namespace is placed on, "true"
	// or "false". Without it, objects of compute types go, and others (ConfigMaps, Secrets, ServiceAccounts, ...) when a
	// workload names them.
	AssignLabel = "workload.kcp.io/assign"

	// NegotiatedSchemaLabel is written by the manager on an APIResourceSchema that it made of what physical clusters have in
	// common. It changes none without it.
	NegotiatedSchemaLabel = "internal.workload.kcp.io/negotiated"

	// UpsyncedVersionAnnotation is written by the syncer on an object that it syncs up: the resourceVersion downstream. It is
	// written last, so that an interrupted create, status and update is done again.
	UpsyncedVersionAnnotation = "workload.kcp.io/rv"

	// SyncTargetKeyLabel is written by the manager on a SyncTarget: its <key>.
	SyncTargetKeyLabel = "internal.workload.kcp.io/key"

	// TaintUnreachable is the key of the taint, with the effect NoExecute, that the manager sets on a SyncTarget whose syncer
	// has been silent for too long, and takes off when the syncer is heard again.
	TaintUnreachable = "workload.kcp.io/unreachable"
)

// Downstream, on objects in a physical cluster. All are written by the syncer.
const (
	// DownstreamClusterLabel holds the target's <key>: this target created the object. Every downstream watch selects on it.
	DownstreamClusterLabel = "internal.workload.kcp.io/cluster"

	// NamespaceLocatorAnnotation holds a NamespaceLocator as JSON: where a namespace, or a cluster-scoped copy, comes from.
	NamespaceLocatorAnnotation = "kcp.io/namespace-locator"

	// TenantIDLabel on a namespace is one value per (workspace, target), for use in network policies. See [NamespaceLocator.TenantID].
	TenantIDLabel = "kcp.io/tenant-id"

	// derivedLabelPrefix + a resource is a label on a copy, and with it on what the cluster's controllers derive from the copy
	// and give its labels: objects of that resource shall come up. It stands beside the state label with the value Upsync,
	// which says so of all that carries no label with this prefix.
	derivedLabelPrefix = "derived.workload.kcp.io/"

	// AppliedHashAnnotation holds a hash of what was last written to the copy, so that a syncer that starts anew
	// knows without a request that nothing is to be done. Its size does not depend on the object.
	AppliedHashAnnotation = "internal.workload.kcp.io/applied-hash"

	// DownstreamNamespacePrefix starts the name of every downstream namespace.
	DownstreamNamespacePrefix = "kcp-"
)

// FieldManager owns every field that the syncer writes, on both sides.
const FieldManager = "workload-syncer"

// ManagerFieldManager owns every field that the workload manager writes.
const ManagerFieldManager = "workload-manager"

// AssignmentWebhook is the name of the MutatingWebhookConfiguration, and of the webhook in it, by which kcp asks the workload
// manager about new objects. It is in the provider's workspace.
const AssignmentWebhook = "assignment.workload.kcp.io"

// State is the value of a state label.
type State string

const (
	// StatePending means assigned, but a coordinator has yet to set StateSync.
	StatePending State = ""
	// StateSync means synced down to the target.
	StateSync State = "Sync"
	// StateUpsync means owned by the target and synced up.
	StateUpsync State = "Upsync"
)

// ConflictPolicy says what happens when the name of a copy is taken by an object that this target did not create.
type ConflictPolicy string

const (
	// ConflictFail leaves the stranger's object alone and tells the user. It is the default.
	ConflictFail ConflictPolicy = "Fail"
	// ConflictIfNoDiff takes the object over when nothing in it would change, and fails otherwise.
	ConflictIfNoDiff ConflictPolicy = "IfNoDiff"
	// ConflictForce takes the object over and overwrites the fields that the user set.
	ConflictForce ConflictPolicy = "Force"
)

// ConflictPolicies are the valid values of ConflictPolicy.
var ConflictPolicies = []ConflictPolicy{ConflictFail, ConflictIfNoDiff, ConflictForce}

// ImmutablePolicy says what happens when a change meets an immutable field of the copy.
type ImmutablePolicy string

const (
	// ImmutableFail keeps the copy and tells the user. It is the default.
	ImmutableFail ImmutablePolicy = "Fail"
	// ImmutableRecreate deletes the copy and creates it anew. PersistentVolumeClaims and
	// CustomResourceDefinitions are never recreated.
	ImmutableRecreate ImmutablePolicy = "Recreate"
)

// RemovalPolicy says what happens to the copy when its upstream object goes.
type RemovalPolicy string

const (
	// RemovalDelete deletes the copy. It is the default.
	RemovalDelete RemovalPolicy = "Delete"
	// RemovalOrphan keeps the copy running, stripped of our marks.
	RemovalOrphan RemovalPolicy = "Orphan"
)

// SyncTargetKey is the <key> of the SyncTarget with that name in that logical cluster:
// base62(sha224("<logical cluster>:<name>")), at most 38 characters.
func SyncTargetKey(logicalCluster, name string) string {
	return hashed(logicalCluster+":"+name, 62)
}

// StateLabel is the upstream label that assigns an object to the target.
func StateLabel(key string) string { return stateLabelPrefix + key }

// DeletionAnnotation is the upstream annotation that asks an object to leave the target.
func DeletionAnnotation(key string) string { return deletionAnnotationPrefix + key }

// SoftFinalizersAnnotation is the upstream annotation that keeps the copy from being deleted.
func SoftFinalizersAnnotation(key string) string { return softFinalizersAnnotationPrefix + key }

// SyncerFinalizer is the upstream finalizer that claims an object for the target.
func SyncerFinalizer(key string) string { return syncerFinalizerPrefix + key }

// SpecDiffAnnotation is the upstream annotation with the target's JSON Patch on spec.
func SpecDiffAnnotation(key string) string { return specDiffAnnotationPrefix + key }

// StatusAnnotation is the upstream annotation with the target's status.
func StatusAnnotation(key string) string { return statusAnnotationPrefix + key }

// SyncerViewAnnotation is the upstream annotation with the fields that the target reports of an object with summarizing rules.
func SyncerViewAnnotation(key string) string { return syncerViewAnnotationPrefix + key }

// PromotedField stands in a syncer's view for a value that is the object's own.
const PromotedField = "##promoted##"

// ConditionsAnnotation is the upstream annotation that tells why the object cannot be synced to the target.
func ConditionsAnnotation(key string) string { return conditionsAnnotationPrefix + key }

// IsUpstreamOnly reports whether a label or annotation of an upstream object has no meaning downstream:
// protocol names of this or of another target, and kcp's own marks.
func IsUpstreamOnly(name string) bool {
	if name == RemovalPolicyAnnotation {
		return false
	}
	for _, prefix := range []string{
		stateLabelPrefix, deletionAnnotationPrefix, softFinalizersAnnotationPrefix, specDiffAnnotationPrefix,
		statusAnnotationPrefix, conditionsAnnotationPrefix, syncerViewAnnotationPrefix,
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	group, _, _ := strings.Cut(name, "/")
	return group == "kcp.io" || strings.HasSuffix(group, ".kcp.io")
}

// NamespaceLocator says where a downstream namespace or cluster-scoped copy comes from. Its JSON form is stored in
// NamespaceLocatorAnnotation; field order and names are part of the protocol, because names are hashes of it.
type NamespaceLocator struct {
	// SyncTarget is the target that created the namespace.
	SyncTarget SyncTargetLocator `json:"syncTarget"`
	// ClusterName is the logical cluster of the upstream namespace.
	ClusterName string `json:"cluster,omitempty"`
	// Namespace is the upstream namespace; empty on cluster-scoped copies.
	Namespace string `json:"namespace"`
}

// SyncTargetLocator identifies a SyncTarget for ever.
type SyncTargetLocator struct {
	// ClusterName is the logical cluster of the SyncTarget.
	ClusterName string `json:"cluster"`
	// Name of the SyncTarget.
	Name string `json:"name"`
	// UID of the SyncTarget.
	UID types.UID `json:"uid"`
}

// ParseNamespaceLocator reads the locator from an object's annotations; ok is false when there is none.
func ParseNamespaceLocator(annotations map[string]string) (locator NamespaceLocator, ok bool, err error) {
	raw, ok := annotations[NamespaceLocatorAnnotation]
	if !ok {
		return locator, false, nil
	}
	if err := json.Unmarshal([]byte(raw), &locator); err != nil {
		return locator, false, fmt.Errorf("annotation %s: %w", NamespaceLocatorAnnotation, err)
	}
	return locator, true, nil
}

// String is the locator's JSON form, as stored in NamespaceLocatorAnnotation.
func (l NamespaceLocator) String() string {
	raw, err := json.Marshal(l)
	if err != nil {
		panic(err) // a struct of strings always marshals
	}
	return string(raw)
}

// DownstreamNamespace is the name of the namespace for this locator: one per (workspace, namespace, target), 16 characters.
func (l NamespaceLocator) DownstreamNamespace() string {
	return DownstreamNamespacePrefix + hashed(l.String(), 36)[:12]
}

// TenantID is the value of TenantIDLabel: the same for all namespaces of one workspace on one target.
func (l NamespaceLocator) TenantID() string {
	l.Namespace = ""
	return hashed(l.String(), 62)
}

func hashed(s string, base int) string {
	sum := sha256.Sum224([]byte(s))
	return new(big.Int).SetBytes(sum[:]).Text(base)
}

// Targets is how many targets an upstream object with these labels and annotations is assigned to, those aside that it
// was asked to leave: what these still show of it no longer counts.
func Targets(objectLabels, objectAnnotations map[string]string) int {
	targets := 0
	for name := range objectLabels {
		key, ok := strings.CutPrefix(name, stateLabelPrefix)
		if _, leaving := objectAnnotations[DeletionAnnotation(key)]; ok && !leaving {
			targets++
		}
	}
	return targets
}

// KeyOf is the <key> of the target that a label, annotation or finalizer of an upstream object is about; ok is false for
// names that are about no target.
func KeyOf(name string) (key string, ok bool) {
	for _, prefix := range []string{
		stateLabelPrefix, deletionAnnotationPrefix, softFinalizersAnnotationPrefix, syncerFinalizerPrefix,
		specDiffAnnotationPrefix, statusAnnotationPrefix, conditionsAnnotationPrefix, syncerViewAnnotationPrefix,
	} {
		if key, ok = strings.CutPrefix(name, prefix); ok && key != "" {
			return key, true
		}
	}
	return "", false
}

// AssignedKeys are the <key>s of the targets that an upstream object with these labels is assigned to, sorted.
func AssignedKeys(objectLabels map[string]string) []string {
	var keys []string
	for name := range objectLabels {
		if key, ok := strings.CutPrefix(name, stateLabelPrefix); ok && key != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// DerivedLabel is the downstream label of a copy, and of what is derived from it, that has derived objects of the resource
// come up.
func DerivedLabel(resource schema.GroupResource) string {
	return derivedLabelPrefix + resource.String()
}

// DerivedLabels reports whether labels name resources whose derived objects shall come up, and whether this resource is one.
func DerivedLabels(objectLabels map[string]string, resource schema.GroupResource) (some, this bool) {
	for name := range objectLabels {
		some = some || strings.HasPrefix(name, derivedLabelPrefix)
	}
	_, this = objectLabels[DerivedLabel(resource)]
	return some, this
}

// ClusterMadeResources are those whose objects a physical cluster makes by itself for what it runs. They are never synced down.
func ClusterMadeResources() []schema.GroupResource {
	return []schema.GroupResource{
		{Resource: "pods"}, {Resource: "endpoints"}, {Group: "discovery.k8s.io", Resource: "endpointslices"}, {Resource: "persistentvolumes"},
	}
}
