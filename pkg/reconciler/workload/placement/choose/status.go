package choose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

func (p *pass) status() schedulingv1alpha1.PlacementStatus {
	status := schedulingv1alpha1.PlacementStatus{
		Phase:           p.phase(),
		SelectedTargets: slices.Concat(p.selected, p.leaving),
		Conditions:      slices.Clone(p.Placement.Status.Conditions),
	}
	var names []string
	for _, entry := range p.selected {
		names = append(names, entry.Name)
	}
	status.TargetNames = bounded(some(names, 8), 1024)
	if len(p.selected) > 0 && p.selected[0].Location != "" {
		first := &p.selected[0]
		status.SelectedLocation = &schedulingv1alpha1.LocationReference{Path: Workspace{Cluster: first.Cluster, Path: first.Path}.String(), LocationName: first.Location}
	}
	scheduled := p.scheduled()
	for _, condition := range []metav1.Condition{p.ready(scheduled), scheduled} {
		condition.LastTransitionTime = metav1.NewTime(p.now)
		condition.ObservedGeneration = p.Placement.Generation
		condition.Message = bounded(condition.Message, 4096)
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	return status
}

func (p *pass) phase() schedulingv1alpha1.PlacementPhase {
	switch {
	case len(p.selected) == 0:
		return schedulingv1alpha1.PlacementPending
	case p.Namespaces == 0:
		return schedulingv1alpha1.PlacementUnbound
	}
	return schedulingv1alpha1.PlacementBound
}

// scheduled tells whether the Placement has what it asks for, and if not, what to change.
func (p *pass) scheduled() metav1.Condition {
	wanted, all := p.wanted()
	switch {
	case p.Placement.DeletionTimestamp != nil:
		return notScheduled(schedulingv1alpha1.ReasonPlacementDeleting, "the Placement is being deleted")
	case p.specErr != nil:
		return notScheduled(schedulingv1alpha1.ReasonInvalidSpec, strings.ReplaceAll(p.specErr.Error(), "\n", "; "))
	case p.Provider.Cluster == "":
		c := notScheduled(schedulingv1alpha1.ReasonLocationWorkspaceUnknown, fmt.Sprintf("workspace %s does not exist, or has not bound the APIs workload.kcp.io and scheduling.kcp.io", p.Provider.Path))
		c.Status = metav1.ConditionUnknown
		return c
	case len(p.selected) >= wanted, all && len(p.selected) > 0:
		return metav1.Condition{
			Type: schedulingv1alpha1.PlacementScheduled, Status: metav1.ConditionTrue,
			Reason: schedulingv1alpha1.ReasonTargetsSelected, Message: p.count() + " selected",
		}
	case len(p.selected) > 0:
		return notScheduled(schedulingv1alpha1.ReasonTooFewTargets, fmt.Sprintf("%s selected, and %d wanted%s", p.count(), wanted, p.against()))
	}
	return p.unscheduled()
}

// unscheduled tells why nothing at all is selected.
func (p *pass) unscheduled() metav1.Condition {
	switch {
	case p.offer.matching == 0:
		return notScheduled(schedulingv1alpha1.ReasonNoMatchingLocation, p.noLocation())
	case p.offer.open == 0:
		return notScheduled(schedulingv1alpha1.ReasonLocationForbidden, fmt.Sprintf("the %d Locations of %s that match are not open to workspace %s", p.offer.matching, p.Provider, p.Consumer))
	case len(p.offer.invalid) > 0:
		return notScheduled(schedulingv1alpha1.ReasonNoTargets, fmt.Sprintf("the instanceSelector of Location %s cannot be understood", some(p.offer.invalid, 3)))
	case len(p.offer.locationsOf) == 0:
		return notScheduled(schedulingv1alpha1.ReasonNoTargets, fmt.Sprintf("the %d Locations of %s that match have no SyncTarget", p.offer.open, p.Provider))
	}
	return notScheduled(p.commonReason(), fmt.Sprintf("no target fits%s", p.against()))
}

// commonReason is what stands against all targets that the required affinity leaves.
func (p *pass) commonReason() string {
	reasons := sets.New[string]()
	for _, r := range p.rejected {
		reasons.Insert(r.reason)
	}
	if reasons.Len() > 1 {
		reasons.Delete(schedulingv1alpha1.ReasonAffinityUnmatched)
	}
	if reasons.Len() != 1 {
		return schedulingv1alpha1.ReasonNoTargetFits
	}
	return reasons.UnsortedList()[0]
}

func (p *pass) noLocation() string {
	if len(p.Locations) == 0 {
		return fmt.Sprintf("workspace %s has no Locations", p.Provider)
	}
	var names []string
	for i := range p.Locations {
		l := &p.Locations[i]
		if l.openTo(p.Consumer, p.Provider, p.OffersToAll) {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("no Location of %s is open to workspace %s", p.Provider, p.Consumer)
	}
	slices.Sort(names)
	return fmt.Sprintf("spec.locationSelectors match no Location of %s, which has %s", p.Provider, some(names, 5))
}

func notScheduled(reason, message string) metav1.Condition {
	return metav1.Condition{Type: schedulingv1alpha1.PlacementScheduled, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// against tells what stands against the targets that are not selected.
func (p *pass) against() string {
	if len(p.rejected) == 0 {
		return ""
	}
	return ": " + summary(p.rejected)
}

func (p *pass) count() string {
	if len(p.selected) == 1 {
		return "1 target is"
	}
	return fmt.Sprintf("%d targets are", len(p.selected))
}

// ready tells whether work can run where it shall.
func (p *pass) ready(scheduled metav1.Condition) metav1.Condition {
	ready := metav1.Condition{Type: schedulingv1alpha1.PlacementReady, Status: metav1.ConditionFalse}
	disturbed := slices.IndexFunc(p.selected, func(e schedulingv1alpha1.SelectedTarget) bool { return len(e.Tolerated) > 0 })
	switch {
	case p.Placement.DeletionTimestamp != nil:
		ready.Reason, ready.Message = schedulingv1alpha1.ReasonLeaving, "the work leaves "+p.leavingNames()
	case scheduled.Status != metav1.ConditionTrue:
		ready.Reason, ready.Message = schedulingv1alpha1.ReasonNotScheduled, scheduled.Message
	case disturbed >= 0:
		ready.Reason, ready.Message = schedulingv1alpha1.ReasonTargetDisturbed, disturbance(&p.selected[disturbed])
	case p.rolledBack() != nil:
		entry := p.rolledBack()
		ready.Reason = schedulingv1alpha1.ReasonMoveRolledBack
		ready.Message = fmt.Sprintf("the work stays on %s: %s; it is tried again at %s", entry.Name, entry.Message, entry.FailedMove.RetryAt.UTC().Format(time.RFC3339))
	case p.Namespaces == 0:
		ready.Reason, ready.Message = schedulingv1alpha1.ReasonNoNamespaces, "no namespace of this workspace matches spec.namespaceSelector"
	default:
		ready.Status, ready.Reason = metav1.ConditionTrue, schedulingv1alpha1.ReasonPlaced
	}
	return ready
}

func disturbance(entry *schedulingv1alpha1.SelectedTarget) string {
	until := "; the Placement tolerates it"
	if entry.LeavesAt != nil {
		until = fmt.Sprintf("; the work leaves at %s unless that changes", entry.LeavesAt.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s: %s%s", entry.Name, entry.Message, until)
}

func (p *pass) leavingNames() string {
	var names []string
	for _, entry := range p.leaving {
		names = append(names, entry.Name)
	}
	if len(names) == 0 {
		return "no target any more"
	}
	return some(names, 8)
}

func bounded(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-3], "") + "..."
}
