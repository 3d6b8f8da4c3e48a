package v1alpha1

// This file spells every condition type and reason of this group. docs/reference/conditions.md is generated from it: a block
// that begins with a condition type is a section, its doc comment the introduction, the other constants the reasons.

// Condition Ready of a Location: Placements can choose it, and new work can be placed on an instance of it.
const (
	LocationReady = "Ready"

	// Status True. New work can be placed on at least one instance.
	ReasonInstancesAvailable = "InstancesAvailable"
	// Status False. No SyncTarget of this workspace matches the instanceSelector. Label one, or change the selector.
	ReasonNoInstances = "NoInstances"
	// Status False. There are instances, but each is not ready, cordoned or to be evicted. The message counts them. Look
	// at the SyncTargets.
	ReasonNoneAvailable = "NoneAvailable"
	// Status False. A selector cannot be understood. The message names the field.
	ReasonInvalidSelector = "InvalidSelector"
)

// Condition Scheduled of a Placement: it has all the targets that it asks for. While it is not True the message counts what
// stands against each SyncTarget that was looked at.
const (
	PlacementScheduled = "Scheduled"

	// Status True. As many targets are selected as the Placement asks for.
	ReasonTargetsSelected = "TargetsSelected"
	// Status False. Some targets are selected, but fewer than numberOfTargets. The message tells what stands against the
	// others. Ask for fewer, or change what the message names.
	ReasonTooFewTargets = "TooFewTargets"
	// Status False. A selector of the spec cannot be understood. The message names the field. What is selected stays.
	ReasonInvalidSpec = "InvalidSpec"
	// Status Unknown. The locationWorkspace does not exist, or has not bound the APIs workload.kcp.io and scheduling.kcp.io.
	// Correct it. What is selected stays.
	ReasonLocationWorkspaceUnknown = "LocationWorkspaceUnknown"
	// Status False. The locationSelectors match no Location of the locationWorkspace. The message names those that
	// there are. Change the selectors, or ask the provider for the labels.
	ReasonNoMatchingLocation = "NoMatchingLocation"
	// Status False. The Locations that match are not open to this workspace. Ask their provider to add it to their
	// consumers, or choose others.
	ReasonLocationForbidden = "LocationForbidden"
	// Status False. The Locations that match have no SyncTarget. Ask the provider, or choose others.
	ReasonNoTargets = "NoTargets"
	// Status False. No SyncTarget matches the required affinity. Change spec.affinity.required; the status of the
	// Locations tells which labels there are.
	ReasonAffinityUnmatched = "AffinityUnmatched"
	// Status False. All SyncTargets that match are not ready. Wait, or choose other Locations.
	ReasonTargetsNotReady = "TargetsNotReady"
	// Status False. All SyncTargets that match are closed to new work: cordoned, or to be evicted. Wait, or choose other
	// Locations.
	ReasonTargetsCordoned = "TargetsCordoned"
	// Status False. All SyncTargets that match have a taint. Tolerate it with spec.tolerations, or choose other Locations.
	ReasonTaintsNotTolerated = "TaintsNotTolerated"
	// Status False. No SyncTarget that matches has enough left of what spec.resources.requests asks for. The message tells
	// how much there is. Ask for less, choose other Locations, or ask the provider for more.
	ReasonInsufficientResources = "InsufficientResources"
	// Status False. Other Placements that spec.antiAffinity.required names are in every domain. Remove the requirement,
	// make it preferred, or move the others.
	ReasonAntiAffinityUnsatisfied = "AntiAffinityUnsatisfied"
	// Status False. Every further target would break a topologySpreadConstraint. Raise maxSkew, or set
	// whenUnsatisfiable: ScheduleAnyway.
	ReasonSpreadUnsatisfiable = "SpreadUnsatisfiable"
	// Status False. The SyncTargets that match cannot be used, for different reasons, which the message counts.
	ReasonNoTargetFits = "NoTargetFits"
	// Status False. The Placement is being deleted.
	ReasonPlacementDeleting = "Deleting"
)

// Condition Ready of a Placement: the work of its namespaces can run on all targets that it asks for.
const (
	PlacementReady = "Ready"

	// Status True. All targets are selected and ready, and namespaces use them.
	ReasonPlaced = "Placed"
	// Status False. The condition Scheduled is not True; its message tells why.
	ReasonNotScheduled = "NotScheduled"
	// Status False. No namespace matches the namespaceSelector. Label one, or change the selector.
	ReasonNoNamespaces = "NoNamespaces"
	// Status False. A selected target is not ready, or has a taint that is tolerated for a limited time only. The message
	// names it, and when the work leaves it.
	ReasonTargetDisturbed = "TargetDisturbed"
	// Status False. Work that was to move was not ready on the new target in time, and runs where it was. The message names the
	// targets, why, and when it is tried again. See why it does not run there.
	ReasonMoveRolledBack = "MoveRolledBack"
	// Status False. The Placement is being deleted, and its work leaves the targets that the message names.
	ReasonLeaving = "Leaving"
)
