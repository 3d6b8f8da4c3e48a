package v1alpha1

// This file spells every condition type and reason. docs/reference/conditions.md is generated from it: a block that
// begins with a condition type is a section, its doc comment the introduction, the other constants the reasons.

// Condition Ready of a SyncTarget: workloads are synced to the cluster, both ways. It is the sum of the other three:
// while one of those is not True, Ready has its status, reason and message, in the order HeartbeatHealthy, SyncerReady,
// APIsReady.
const (
	ConditionReady = "Ready"

	// Status True. The syncer is alive, connected to both sides, and syncs all accepted resources.
	ReasonSyncing = "Syncing"
)

// Condition SyncerReady of a SyncTarget: the syncer is connected to both sides and works. Written by the syncer.
const (
	ConditionSyncerReady = "SyncerReady"

	// Status True. The syncer runs and reaches both kcp and the physical cluster.
	ReasonSyncerRunning = "SyncerRunning"
	// Status False. The syncer has started and has not read everything yet. Wait; the message names what is missing.
	ReasonSyncerStarting = "SyncerStarting"
	// Status False. The syncer was stopped in an orderly manner. Workloads go on running, changes do not arrive.
	ReasonSyncerStopped = "SyncerStopped"
	// Status False. The API server of the physical cluster does not answer. Workloads may well be running.
	ReasonClusterUnreachable = "ClusterUnreachable"
	// Status False. kcp, or the virtual workspace, does not answer as it should. The message names the URL.
	ReasonFeedUnreachable = "FeedUnreachable"
	// Status False. One side rejected the syncer's credentials. Renew them; the syncer re-reads them by itself.
	ReasonCredentialsRejected = "CredentialsRejected"
	// Status False. The syncer was started with a --sync-target-uid other than this object's UID.
	ReasonUIDMismatch = "UIDMismatch"
	// Status False. Another live SyncTarget of this workspace already claims all its objects with the workspace feed.
	// Use --feed=assigned for both, or a workspace of its own for each.
	ReasonWorkspaceClaimed = "WorkspaceClaimed"
	// Status False. A worker of the syncer, or its engine, hangs and will not go on by itself: /livez fails, and Kubernetes
	// restarts the syncer. The message names the component. Restart it yourself if nothing else does.
	ReasonSyncerStuck = "SyncerStuck"
	// Status Unknown. The syncer has not been heard of for too long, so what it said last no longer counts.
	ReasonSyncerUnknown = "SyncerUnknown"
)

// Condition HeartbeatHealthy of a SyncTarget: the syncer is heard of regularly. Judged by the workload manager by
// observed change, never by comparing clocks; set to True by the syncer with its first heartbeat.
const (
	ConditionHeartbeatHealthy = "HeartbeatHealthy"

	// Status True. The heartbeat is renewed as it should be.
	ReasonHeartbeatRecent = "HeartbeatRecent"
	// Status Unknown. No syncer has been heard of yet. Start one with `kubectl workload sync`.
	ReasonNeverConnected = "NeverConnected"
	// Status Unknown. The heartbeat has stopped: the syncer is down, or cut off from kcp. Workloads may well be running.
	ReasonHeartbeatExpired = "HeartbeatExpired"
	// Status True. The heartbeat is renewed, but the clocks of kcp and of the physical cluster differ by more than
	// a minute. The message tells by how much.
	ReasonClockSkew = "ClockSkew"
)

// Condition ComponentsHealthy of a SyncTarget: the syncer's components that no other condition tells of are healthy, as its
// probes have it; SyncerStuck here is the same as in SyncerReady. The message names those that are not, the worst first; it
// says what they said when it began. Written by the syncer.
const (
	ConditionComponentsHealthy = "ComponentsHealthy"

	// Status True. All of them are healthy.
	ReasonComponentsRunning = "ComponentsRunning"
	// Status False. Some are not ready, and with them the syncer is not.
	ReasonComponentsNotReady = "ComponentsNotReady"
	// Status False. Some do only a part of their duty. All others work.
	ReasonComponentsDegraded = "ComponentsDegraded"
)

// Condition APIsReady of a SyncTarget: the resources of the supported APIExports are synced. Written by the syncer;
// status.syncedResources has the details of each.
const (
	ConditionAPIsReady = "APIsReady"

	// Status True. Every resource that kcp and the physical cluster have in common is synced.
	ReasonAPIsSynced = "APIsSynced"
	// Status Unknown. The resources of one side are not known yet.
	ReasonDiscovering = "Discovering"
	// Status False. Nothing is synced, because the supported APIExports and the physical cluster have no resource in
	// common, or the filters leave none.
	ReasonNoCommonAPIs = "NoCommonAPIs"
	// Status False. A supported APIExport does not exist, or is not bound in the workspace. Create it with
	// `kubectl workload init`, or bind it with `kubectl workload bind`.
	ReasonAPIExportMissing = "APIExportMissing"
	// Status False. Some resources cannot be listed, watched or written for want of a permission. The message names
	// resource, verb and side. All others are synced.
	ReasonAPIsForbidden = "APIsForbidden"
	// Status False. Some resources cannot be synced for another reason. The message names them. All others are synced.
	ReasonAPIsDegraded = "APIsDegraded"
)

// Condition Recovered of a SyncTarget: the syncer has nothing to recover from. Written by the syncer; Ready does not depend on
// it. /debug/recovery of the syncer has the details.
const (
	ConditionRecovered = "Recovered"

	// Status True. All is well, or recovers by being tried again.
	ReasonNothingToRecover = "NothingToRecover"
	// Status True. Some objects failed too often. Each has a condition that says why.
	ReasonObjectsGivenUp = "ObjectsGivenUp"
	// Status False. The syncer does something about a failure that concerns more than one object: a server is probed, credentials
	// are read again, virtual workspaces looked for. The message names it. Wait.
	ReasonRecovering = "Recovering"
	// Status False. All attempts to recover were in vain. The message says what to do. It is tried again after a pause.
	ReasonRecoveryExhausted = "RecoveryExhausted"
	// Status Unknown. The syncer runs with --enable-tmc-recovery=false.
	ReasonRecoveryDisabled = "RecoveryDisabled"
)

// Condition ConfigurationCurrent of a SyncTarget: the syncer runs with what its configuration file says. Written by the syncer;
// Ready does not depend on it, because workloads are synced with the configuration of before.
const (
	ConditionConfigurationCurrent = "ConfigurationCurrent"

	// Status True. The configuration file is in force, or the syncer has none.
	ReasonConfigurationInForce = "ConfigurationInForce"
	// Status False. The configuration file was changed and is not valid. The message names the fields and lines. Correct it; it
	// is taken up by itself.
	ReasonConfigurationRejected = "ConfigurationRejected"
	// Status False. The configuration file was changed and is valid, but something in it cannot change while the syncer runs. The
	// message names the settings. Nothing of the change is used before the syncer is started anew.
	ReasonRestartRequired = "RestartRequired"
)

// Condition Synced of an upstream object, in its annotation conditions.workload.kcp.io/<key>: the copy is what the
// object asks for. It is written by the syncer only while it is not True, so a healthy object has no such annotation;
// an Event says the same.
const (
	ConditionSynced = "Synced"

	// Status False. The name is taken by an object that this target did not create. Remove or rename that object, or
	// choose another policy with the annotation workload.kcp.io/conflict-policy.
	ReasonConflict = "Conflict"
	// Status False. The change meets a field that cannot be changed in the copy. Revert it, delete and create the
	// object, or allow the syncer to do so with the annotation workload.kcp.io/immutable-policy: Recreate.
	ReasonImmutableField = "ImmutableField"
	// Status False. The physical cluster's admission refused the copy: a webhook, a policy, a quota. The message is
	// the cluster's own.
	ReasonRejected = "Rejected"
	// Status False. The physical cluster found the copy invalid. The message names the field.
	ReasonInvalid = "Invalid"
	// Status False. The syncer may not write this resource in the physical cluster. Extend its role.
	ReasonForbidden = "Forbidden"
	// Status False. The namespace of the copy is not there yet, or is being deleted.
	ReasonNamespaceNotReady = "NamespaceNotReady"
	// Status False. The object is being deleted and its copy is still there. The message names what blocks: the copy's
	// finalizers, or a soft finalizer of a coordinator.
	ReasonDeleting = "Deleting"
	// Status False. Another field manager in the physical cluster keeps changing fields of the copy that the object
	// sets. The message names manager and fields; the syncer corrects them with growing pauses.
	ReasonDriftFight = "DriftFight"
	// Status False. An annotation of the object cannot be understood. The message names it and the valid values.
	ReasonInvalidAnnotation = "InvalidAnnotation"
	// Status False. What the copy reports cannot be made into a status of the object. The message says why.
	ReasonStatusUnreadable = "StatusUnreadable"
	// Status False. The physical cluster does not serve this resource.
	ReasonNotServed = "NotServed"
	// Status False. Writing the copy ended in another error, which the message holds. It is retried.
	ReasonError = "Error"
	// Status Unknown. The physical cluster does not answer, or the target's syncer has not been heard of for too long.
	ReasonTargetUnreachable = "TargetUnreachable"
)

// Condition Quarantined of an upstream object, beside Synced in the same annotation: it failed so often in a row for reasons of
// its own that it is left alone until it or its copy changes, and tried only every 10 minutes. The reason is the category of the
// last error; the message of Synced says what to mend. An Event says the same.
const (
	ConditionQuarantined = "Quarantined"

	// Status True. The physical cluster, or the syncer, finds the object invalid.
	ReasonQuarantinedValidation = "Validation"
	// Status True. A change meets a field that cannot be changed in the copy.
	ReasonQuarantinedImmutable = "Immutable"
	// Status True. No copy can be made of the object: see its annotations.
	ReasonQuarantinedProjection = "Projection"
	// Status True. What the copy reports cannot be made into a status of the object.
	ReasonQuarantinedAggregation = "Aggregation"
	// Status True. The syncer itself breaks at this object. Report it; its log has the place.
	ReasonQuarantinedInternal = "Internal"
)
