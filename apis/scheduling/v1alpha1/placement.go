package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Placement says where the work of some namespaces of its workspace shall run: in which Locations, on how many targets, and
// what those must be like. The workload manager chooses the targets and keeps to its choice: work moves only for a reason,
// which an Event and the status tell.
//
// Several Placements may select the same namespace; its work then runs on the targets of all of them.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=kcp
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Phase",type="string",JSONPath=".status.phase",description="Whether targets are selected, and namespaces use them"
// +kubebuilder:printcolumn:name="Location",type="string",JSONPath=".status.selectedLocation.locationName",description="Where the best target is"
// +kubebuilder:printcolumn:name="Targets",type="string",JSONPath=".status.targetNames",description="The selected targets"
// +kubebuilder:printcolumn:name="Reason",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].reason",description="Why the placement is, or is not, ready"
// +kubebuilder:printcolumn:name="Strategy",type="string",JSONPath=".spec.strategy",priority=1,description="On how many targets the work runs"
// +kubebuilder:printcolumn:name="Message",type="string",JSONPath=".status.conditions[?(@.type==\"Scheduled\")].message",priority=1,description="What to change"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type Placement struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the tenant wants.
	//
	// +optional
	// +kubebuilder:default={}
	Spec PlacementSpec `json:"spec,omitempty"`

	// status is what the workload manager chose.
	//
	// +optional
	Status PlacementStatus `json:"status,omitempty"`
}

// PlacementSpec is what the tenant wants of a Placement.
//
// +kubebuilder:validation:XValidation:rule="self.strategy != 'OneToAny' || !has(self.numberOfTargets) || self.numberOfTargets == 1",message="must have numberOfTargets 1, or none, with strategy OneToAny; use OneToMany or Spread for more"
// +kubebuilder:validation:XValidation:rule="self.strategy != 'OneToAny' || !has(self.topologySpreadConstraints) || size(self.topologySpreadConstraints) == 0",message="must have no topologySpreadConstraints with strategy OneToAny: a single target cannot be spread"
type PlacementSpec struct {
	// locationSelectors select Locations by their labels; a Location is selected if any of them matches. An empty one
	// matches every Location.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:default={{}}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	LocationSelectors []metav1.LabelSelector `json:"locationSelectors,omitempty"`

	// locationResource is what the instances of the Locations are.
	//
	// +optional
	// +kubebuilder:default={group: "workload.kcp.io", version: "v1alpha1", resource: "synctargets"}
	// +kubebuilder:validation:XValidation:rule="self.group == 'workload.kcp.io' && self.resource == 'synctargets'",message="must be synctargets of workload.kcp.io"
	LocationResource GroupVersionResource `json:"locationResource,omitempty"`

	// namespaceSelector selects namespaces of this workspace by their labels. Without it none is selected; an empty one
	// selects all.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="must have operators In, NotIn, Exists or DoesNotExist"
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// locationWorkspace is the workspace that holds the Locations, for example root:compute. Empty is the one that
	// provides the API scheduling.kcp.io.
	//
	// +optional
	LocationWorkspace WorkspacePath `json:"locationWorkspace,omitempty"`

	// strategy says on how many targets the work runs.
	//
	// +optional
	// +kubebuilder:default=OneToAny
	Strategy Strategy `json:"strategy,omitempty"`

	// numberOfTargets is on how many targets the work runs with the strategies OneToMany and Spread. Without it, on all
	// that fit.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	NumberOfTargets *int32 `json:"numberOfTargets,omitempty"`

	// tolerations let the work run on targets with taints.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// affinity chooses among the targets of the selected Locations by the labels and cells of the SyncTargets. Where a
	// SyncTarget has a label and a cell of the same name, the label counts.
	//
	// +optional
	Affinity *Affinity `json:"affinity,omitempty"`

	// antiAffinity keeps the work away from that of other Placements of this workspace.
	//
	// +optional
	AntiAffinity *AntiAffinity `json:"antiAffinity,omitempty"`

	// topologySpreadConstraints keep the targets of this Placement apart, with the strategies OneToMany and Spread. The
	// strategy Spread without any spreads over Locations as well as it can.
	//
	// +optional
	// +listType=map
	// +listMapKey=topologyKey
	// +kubebuilder:validation:MaxItems=8
	TopologySpreadConstraints []TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// resources is what the work needs on each target that it runs on.
	//
	// +optional
	Resources ResourceRequirements `json:"resources,omitempty"`

	// movePolicy says in which order work moves from one target to another.
	//
	// +optional
	// +kubebuilder:default=StartFirst
	MovePolicy MovePolicy `json:"movePolicy,omitempty"`

	// moveFailurePolicy says what happens when work that moves is not ready on the new target in time. It has no effect with
	// movePolicy StopFirst, where the work must not wait, and when fewer targets are wanted.
	//
	// +optional
	// +kubebuilder:default=RollBack
	MoveFailurePolicy MoveFailurePolicy `json:"moveFailurePolicy,omitempty"`
}

// Strategy says on how many targets the work runs.
//
// +kubebuilder:validation:Enum=OneToAny;OneToMany;Spread
type Strategy string

const (
	// OneToAny means: on one target, whichever fits best.
	OneToAny Strategy = "OneToAny"
	// OneToMany means: on the numberOfTargets that fit best.
	OneToMany Strategy = "OneToMany"
	// Spread means: on numberOfTargets, as evenly as can be over the domains of the topologySpreadConstraints, and only
	// then on those that fit best.
	Spread Strategy = "Spread"
)

// MovePolicy says in which order work moves from one target to another.
//
// +kubebuilder:validation:Enum=StartFirst;StopFirst
type MovePolicy string

const (
	// StartFirst means: work leaves the old target when it is ready on the new one.
	StartFirst MovePolicy = "StartFirst"
	// StopFirst means: work leaves the old target at once, for what must not run twice.
	StopFirst MovePolicy = "StopFirst"
)

// MoveFailurePolicy says what happens when work that moves is not ready on the new target in time.
//
// +kubebuilder:validation:Enum=RollBack;Proceed
type MoveFailurePolicy string

const (
	// RollBack means: the work stays on the old target, and leaves the new one. The move is tried again after 5 minutes, then
	// after twice as long each time, at most an hour; rather to another target, if there is one; and at once when the
	// spec of the Placement changes.
	RollBack MoveFailurePolicy = "RollBack"
	// Proceed means: the work leaves the old target all the same.
	Proceed MoveFailurePolicy = "Proceed"
)

// Toleration lets work run on a target in spite of a taint, as a pod's toleration does with nodes.
//
// +kubebuilder:validation:XValidation:rule="self.operator != 'Exists' || !has(self.value) || size(self.value) == 0",message="must have no value with operator Exists"
// +kubebuilder:validation:XValidation:rule="self.operator == 'Exists' || (has(self.key) && size(self.key) > 0)",message="must have a key with operator Equal"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",message="must have effect NoExecute with tolerationSeconds"
type Toleration struct {
	// key of the taints. Empty, with operator Exists, is every key.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:Pattern=`^(([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
	Key string `json:"key,omitempty"`

	// operator says how the value is compared.
	//
	// +optional
	// +kubebuilder:default=Equal
	Operator TolerationOperator `json:"operator,omitempty"`

	// value of the taints, with operator Equal.
	//
	// +optional
	Value LabelValue `json:"value,omitempty"`

	// effect of the taints. Empty is every effect.
	//
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect string `json:"effect,omitempty"`

	// tolerationSeconds is how long work that already runs stays on a target with a taint NoExecute. Without it, for ever.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// TolerationOperator says how the value of a toleration is compared.
//
// +kubebuilder:validation:Enum=Equal;Exists
type TolerationOperator string

const (
	// TolerationEqual means: the taint has this key and this value.
	TolerationEqual TolerationOperator = "Equal"
	// TolerationExists means: the taint has this key, whatever its value.
	TolerationExists TolerationOperator = "Exists"
)

// Affinity chooses targets by labels and cells of the SyncTargets.
type Affinity struct {
	// required is what a target must match; any one of the selectors will do. Work leaves a target that no longer matches.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Required []metav1.LabelSelector `json:"required,omitempty"`

	// preferred is what a target should match. The weights of those that match are added up.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Preferred []PreferredTarget `json:"preferred,omitempty"`
}

// PreferredTarget is a preference for targets.
type PreferredTarget struct {
	// weight of the preference.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// selector over labels and cells of the SyncTargets.
	//
	// +required
	Selector metav1.LabelSelector `json:"selector"`
}

// AntiAffinity keeps work away from that of other Placements. It decides about new targets only: what runs stays.
type AntiAffinity struct {
	// required are Placements whose domains are no choice.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Required []AvoidedPlacements `json:"required,omitempty"`

	// preferred are Placements whose domains are chosen only if there is no better one.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Preferred []PreferablyAvoidedPlacements `json:"preferred,omitempty"`
}

// AvoidedPlacements are Placements to keep away from.
type AvoidedPlacements struct {
	// placementSelector selects other Placements of this workspace by their labels.
	//
	// +required
	PlacementSelector metav1.LabelSelector `json:"placementSelector"`

	// topologyKey is a label or cell of the SyncTargets: two targets with the same value are the same domain, and one
	// without it is in none. scheduling.kcp.io/target is the target itself, scheduling.kcp.io/location its Location.
	//
	// +optional
	// +kubebuilder:default="scheduling.kcp.io/target"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	TopologyKey string `json:"topologyKey,omitempty"`
}

// PreferablyAvoidedPlacements are Placements to keep away from if that is possible.
type PreferablyAvoidedPlacements struct {
	AvoidedPlacements `json:",inline"`

	// weight of the preference.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`
}

// TopologySpreadConstraint says how even the targets of a Placement are to be spread. It decides about new targets only:
// what runs stays.
type TopologySpreadConstraint struct {
	// maxSkew is by how many targets a domain may have more than the one with the fewest. All domains count that the
	// selected Locations and the required affinity allow, those without a target that is free at the moment too.
	//
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	MaxSkew int32 `json:"maxSkew,omitempty"`

	// topologyKey is a label or cell of the SyncTargets: targets with the same value are one domain.
	// scheduling.kcp.io/location is the Location, scheduling.kcp.io/target the target itself.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	TopologyKey string `json:"topologyKey"`

	// whenUnsatisfiable says what happens when a target would break the constraint, or lacks the topologyKey.
	//
	// +optional
	// +kubebuilder:default=DoNotSchedule
	WhenUnsatisfiable UnsatisfiableAction `json:"whenUnsatisfiable,omitempty"`
}

// UnsatisfiableAction says what happens when a constraint cannot be kept.
//
// +kubebuilder:validation:Enum=DoNotSchedule;ScheduleAnyway
type UnsatisfiableAction string

const (
	// DoNotSchedule means: the target is no choice.
	DoNotSchedule UnsatisfiableAction = "DoNotSchedule"
	// ScheduleAnyway means: the target is chosen only if there is no better one.
	ScheduleAnyway UnsatisfiableAction = "ScheduleAnyway"
)

// ResourceRequirements is what work needs.
type ResourceRequirements struct {
	// requests is how much of each resource the work needs on a target. A target is a choice if what it offers, less
	// what other Placements have requested there, is enough. What runs stays.
	//
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`
}

// PlacementPhase is how far a Placement has come.
//
// +kubebuilder:validation:Enum=Pending;Bound;Unbound
type PlacementPhase string

const (
	// PlacementPending means: no target is selected.
	PlacementPending PlacementPhase = "Pending"
	// PlacementBound means: a target is selected, and namespaces use it.
	PlacementBound PlacementPhase = "Bound"
	// PlacementUnbound means: a target is selected, and no namespace matches the namespaceSelector.
	PlacementUnbound PlacementPhase = "Unbound"
)

// PlacementStatus is what the workload manager chose.
type PlacementStatus struct {
	// phase is how far the Placement has come.
	//
	// +optional
	Phase PlacementPhase `json:"phase,omitempty"`

	// selectedLocation is the Location of the first selected target.
	//
	// +optional
	SelectedLocation *LocationReference `json:"selectedLocation,omitempty"`

	// targetNames are the names of the selected targets, for people.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	TargetNames string `json:"targetNames,omitempty"`

	// selectedTargets are the targets that the work runs on, and those that it is leaving.
	//
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=512
	SelectedTargets []SelectedTarget `json:"selectedTargets,omitempty"`

	// conditions are Ready and Scheduled.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// LocationReference names a Location.
type LocationReference struct {
	// path of the workspace that holds the Location.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`

	// locationName is the name of the Location.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	LocationName string `json:"locationName"`
}

// SelectedTarget is a target that a Placement chose, and why.
type SelectedTarget struct {
	// key of the target, which its names on the objects of tenants end in.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Key string `json:"key"`

	// cluster is the logical cluster of the SyncTarget.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Cluster string `json:"cluster"`

	// path of the SyncTarget's workspace.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`

	// name of the SyncTarget.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// uid of the SyncTarget: one that is deleted and created again under the same name is another target.
	//
	// +required
	UID types.UID `json:"uid"`

	// location through which the target was chosen.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Location string `json:"location,omitempty"`

	// phase says whether the work shall run on the target, or leave it.
	//
	// +required
	Phase TargetPhase `json:"phase"`

	// reason of the phase.
	//
	// +required
	Reason TargetReason `json:"reason"`

	// message tells people more about the reason.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message,omitempty"`

	// since is when the target came to its phase.
	//
	// +required
	Since metav1.Time `json:"since"`

	// tolerated is what asks for leaving the target and is put up with for the time being: taints NoExecute, and that the
	// target is not ready. A taint that is tolerated without limit is not among them.
	//
	// +optional
	// +listType=map
	// +listMapKey=taint
	// +kubebuilder:validation:MaxItems=33
	Tolerated []ToleratedTaint `json:"tolerated,omitempty"`

	// leavesAt is when the work leaves the target if nothing changes until then.
	//
	// +optional
	LeavesAt *metav1.Time `json:"leavesAt,omitempty"`

	// failedMove is the last move away from this target that was rolled back, until one succeeds or is no longer needed.
	//
	// +optional
	FailedMove *FailedMove `json:"failedMove,omitempty"`

	// score of the target when it was chosen: the sum of scores. Among the targets that fit, those with the highest are
	// chosen.
	//
	// +optional
	Score int32 `json:"score"`

	// scores are the parts of the score.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Scores []Score `json:"scores,omitempty"`
}

// FailedMove is a move that was rolled back.
type FailedMove struct {
	// to is the key of the target on which the work did not become ready.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	To string `json:"to"`

	// name of that target.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// reason is MigrationTimeout, or MigrationFailure if the target said that the work cannot run there.
	//
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`

	// message tells people more about it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// attempts is how many moves in a row have been rolled back.
	//
	// +required
	Attempts int32 `json:"attempts"`

	// retryAt is when the move is tried again.
	//
	// +required
	RetryAt metav1.Time `json:"retryAt"`

	// generation of the Placement that the move was made for. Another one is tried at once.
	//
	// +required
	Generation int64 `json:"generation"`
}

// ToleratedTaint is a taint that a Placement puts up with for the time being.
type ToleratedTaint struct {
	// taint is its key, value and effect; workload.kcp.io/not-ready:NoExecute stands for a target that is not ready.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Taint string `json:"taint"`

	// since is when the taint was added, or else when it was first seen.
	//
	// +required
	Since metav1.Time `json:"since"`
}

// Score is a part of a target's score.
type Score struct {
	// name says what was judged.
	//
	// +required
	Name ScoreName `json:"name"`

	// score is what the target got for it.
	//
	// +required
	Score int32 `json:"score"`
}

// ScoreName says what was judged of a target.
//
// +kubebuilder:validation:Enum=Affinity;AntiAffinity;Health;Taints;Spread;Resources;Stickiness
type ScoreName string

const (
	// ScoreAffinity is the share of the weights of the preferred affinity that match: 0 to 200.
	ScoreAffinity ScoreName = "Affinity"
	// ScoreAntiAffinity is the share of the weights of the preferred anti-affinity that do not match: -200 to 0.
	ScoreAntiAffinity ScoreName = "AntiAffinity"
	// ScoreHealth is -150 for a target that syncs not all the resources that it should, and -300 for one on which the work did
	// not become ready when it was last to move.
	ScoreHealth ScoreName = "Health"
	// ScoreTaints is -100 for each taint PreferNoSchedule that is not tolerated, at most 4 times.
	ScoreTaints ScoreName = "Taints"
	// ScoreSpread is -50 for each target by which the domain would exceed the emptiest, at most 8 times; with strategy
	// Spread ten times as much, so that it comes before all else.
	ScoreSpread ScoreName = "Spread"
	// ScoreResources is the share of the target that no Placement has requested, of the scarcest resource: 0 to 100.
	ScoreResources ScoreName = "Resources"
	// ScoreStickiness is 1000 for a target that the work has not left yet.
	ScoreStickiness ScoreName = "Stickiness"
)

// TargetPhase says whether work shall run on a target.
//
// +kubebuilder:validation:Enum=Selected;Leaving
type TargetPhase string

const (
	// TargetSelected means: the work shall run there.
	TargetSelected TargetPhase = "Selected"
	// TargetLeaving means: the work shall leave it. The entry goes when nothing is left there.
	TargetLeaving TargetPhase = "Leaving"
)

// TargetReason says why a target is selected or left.
//
// +kubebuilder:validation:Enum=Chosen;TargetDeleted;Evicted;Tainted;NotReady;NotInLocation;AffinityMismatch;NotNeeded;PlacementDeleted;RolledBack;MoveFailed
type TargetReason string

const (
	// TargetChosen means: it fits, and had the highest score.
	TargetChosen TargetReason = "Chosen"
	// TargetDeleted means: the SyncTarget is gone.
	TargetDeleted TargetReason = "TargetDeleted"
	// TargetEvicted means: the time spec.evictAfter of the SyncTarget has come.
	TargetEvicted TargetReason = "Evicted"
	// TargetTainted means: the SyncTarget has a taint NoExecute that is not tolerated, or no longer.
	TargetTainted TargetReason = "Tainted"
	// TargetNotReady means: the SyncTarget has not been ready for longer than that is tolerated.
	TargetNotReady TargetReason = "NotReady"
	// TargetNotInLocation means: none of the Locations that the Placement selects has the SyncTarget.
	TargetNotInLocation TargetReason = "NotInLocation"
	// TargetAffinityMismatch means: the SyncTarget does not match the required affinity.
	TargetAffinityMismatch TargetReason = "AffinityMismatch"
	// TargetNotNeeded means: fewer targets are wanted.
	TargetNotNeeded TargetReason = "NotNeeded"
	// TargetPlacementDeleted means: the Placement is being deleted.
	TargetPlacementDeleted TargetReason = "PlacementDeleted"
	// TargetRolledBack means: the work was to leave it, was not ready in time where it was to go, and stays for now.
	TargetRolledBack TargetReason = "RolledBack"
	// TargetMoveFailed means: the work was to move there, and was not ready in time.
	TargetMoveFailed TargetReason = "MoveFailed"
)

// ForbidsWaiting is true for reasons to leave a target at once, before the work is ready elsewhere: waiting would serve
// nobody, or the operator or tenant has said so.
func (r TargetReason) ForbidsWaiting() bool {
	switch r {
	case TargetDeleted, TargetTainted, TargetNotReady, TargetPlacementDeleted:
		return true
	}
	return false
}

// RollsBack is true for reasons to leave a target that let a move be taken back when the work is not ready elsewhere in time.
func (r TargetReason) RollsBack() bool {
	switch r {
	case TargetEvicted, TargetNotInLocation, TargetAffinityMismatch:
		return true
	}
	return false
}

// PlacementList is a list of Placements.
//
// +kubebuilder:object:root=true
type PlacementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Placement `json:"items"`
}
