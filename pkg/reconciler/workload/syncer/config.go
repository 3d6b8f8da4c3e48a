package syncer

import (
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// FeaturePublishAPIs tells the workload manager which types the cluster serves, so that its tenants can have them too.
const FeaturePublishAPIs = "PublishAPIs"

// Config is what a Syncer needs to run: validated and complete. It is made by the command's options.
type Config struct {
	// KCP reaches the front-proxy or shard of kcp: its Host has no /clusters path. It needs the right to the
	// SyncTarget's workspace and to the feed.
	KCP *rest.Config
	// Cluster reaches the physical cluster.
	Cluster *rest.Config

	// CredentialFiles are the files that KCP and Cluster came from. Reread reads them again; it is called when one has
	// changed, and the syncer then starts anew with what it returns, without the process ending. Both may be empty.
	CredentialFiles []string
	Reread          func() (kcp, cluster *rest.Config, err error)

	// SyncTarget names the target that this syncer serves.
	SyncTarget SyncTargetRef

	// Feed says where upstream objects come from.
	Feed FeedConfig

	// Filters narrow what is synced.
	Filters Filters

	// Workers is how many objects of one resource type are worked on at the same time.
	Workers int
	// ResyncPeriod is how often every object is looked at again although nothing changed; zero for never.
	// A look costs no request.
	ResyncPeriod time.Duration
	// HeartbeatPeriod is how often the SyncTarget's status is renewed, jittered by 10 %.
	HeartbeatPeriod time.Duration
	// StatusWindow is the shortest time between two status writes for one object.
	StatusWindow time.Duration
	// NamespaceCleanDelay is how long an empty downstream namespace of ours is kept.
	NamespaceCleanDelay time.Duration
	// OrphanGracePeriod is how long a copy without an upstream object is kept before it is swept.
	OrphanGracePeriod time.Duration
	// ConflictPolicy holds for objects that do not carry an annotation of their own.
	ConflictPolicy workloadv1alpha1.ConflictPolicy

	// LeaderElection is nil when this replica need not be elected.
	LeaderElection *tmc.LeaderElection

	// Exposition is where the probes and metrics are served.
	tmc.Exposition

	// Tracing is where traces go, and whether objects carry them.
	Tracing tmc.TracingConfig
	// EnableRecovery switches on what acts on failures that last.
	EnableRecovery bool

	// Features that are switched by name.
	Features tmc.Features

	// Source is where all this comes from, and comes from again.
	Source tmc.ConfigSource[Config]
}

// SyncTargetRef names a SyncTarget.
type SyncTargetRef struct {
	// Workspace is the path or logical cluster of the SyncTarget's workspace, e.g. root:team-a.
	Workspace logicalcluster.Path
	// Name of the SyncTarget.
	Name string
	// UID that the SyncTarget must have; empty accepts any.
	UID types.UID
}

// FeedKind is a way in which upstream objects come to a target.
type FeedKind string

const (
	// FeedWorkspace takes all objects of wanted types in the SyncTarget's own workspace.
	FeedWorkspace FeedKind = "workspace"
	// FeedAssigned takes objects of any workspace whose state label names this target.
	FeedAssigned FeedKind = "assigned"
)

// FeedConfig says where upstream objects come from.
type FeedConfig struct {
	Kind FeedKind
	// URLs of the virtual workspaces for FeedAssigned, one per kcp shard; empty takes them from the SyncTarget's status.
	URLs []string
}

// Filters narrow what is synced. The zero value lets everything pass.
type Filters struct {
	// Resources names the types to sync; empty for all.
	Resources []schema.GroupResource
	// Namespaces must match an upstream namespace's labels; nil for all. Cluster-scoped objects pass.
	Namespaces labels.Selector
	// Labels must match an upstream object's labels; nil for all.
	Labels labels.Selector
}
