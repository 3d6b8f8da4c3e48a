package manager

import (
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/heartbeat"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/virtualworkspace"
)

// FeatureAssignmentWebhook assigns objects at their creation, if the webhook is configured.
const FeatureAssignmentWebhook = "AssignmentWebhook"

// Config is what a Manager needs to run: validated and complete. It is made by the command's options.
type Config struct {
	// KCP reaches the front-proxy or shard of kcp: its Host has no /clusters path. Its credentials hold for the
	// APIExports' virtual workspaces too.
	KCP *rest.Config
	// CredentialFiles are the files that KCP came from. Reread reads them again; it is called when one has changed, and
	// the manager then starts anew with what it returns, without the process ending. Both may be empty.
	CredentialFiles []string
	Reread          func() (*rest.Config, error)

	// Provider is the workspace that holds the APIExports.
	Provider logicalcluster.Path

	// VirtualWorkspace is what syncers reach, served by every replica; nil if it is served elsewhere. VirtualWorkspaceOnly:
	// this replica does nothing else.
	VirtualWorkspace     *virtualworkspace.Config
	VirtualWorkspaceOnly bool

	// Upsynced are the resources that SyncTargets may allow their targets to bring up.
	Upsynced []schema.GroupResource

	// Workers is how many objects each reconciler works on at the same time.
	Workers int

	// UnusedSchemaGrace is how long an APIResourceSchema that was negotiated stays when nobody uses it any more.
	UnusedSchemaGrace time.Duration
	// Assignment is how objects get to the selected targets.
	Assignment Assignment

	// VirtualWorkspaceURL is where syncers reach the virtual workspace server; empty if there is none.
	VirtualWorkspaceURL string

	// Heartbeat is how patient the manager is with syncers that fall silent, and TaintRate how many of their targets are
	// tainted per second at most.
	Heartbeat heartbeat.Settings
	TaintRate float64

	// LeaderElection is nil when this replica need not be elected. The Lease is in the provider's workspace.
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

// Assignment is how objects get to the selected targets.
type Assignment struct {
	// Workers is how many objects are assigned at the same time.
	Workers int
	// MoveTimeout is how long work stays where it is while it is not ready where it is to be.
	MoveTimeout time.Duration
	// Webhook is nil for none.
	Webhook *assignment.WebhookConfig
}

const (
	// stopTimeout bounds an orderly stop. Whatever is not done by then is done by the next leader.
	stopTimeout = 4 * time.Second
	// linkFreshness is how long kcp counts as reachable without being heard of.
	linkFreshness = 30 * time.Second
)
