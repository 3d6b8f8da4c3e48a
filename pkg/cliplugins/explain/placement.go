package explain

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// PlacementFacts are all that an answer about a Placement depends on.
type PlacementFacts struct {
	Workspace  string
	Now        time.Time
	Placement  *schedulingv1alpha1.Placement
	Namespaces []corev1.Namespace
}

// Placement tells which targets it has, with the score behind each choice, and what it still asks for.
func Placement(f PlacementFacts) Report {
	p := f.Placement
	r := Report{Object: "Placement " + p.Name, Workspace: f.Workspace}
	r.Hops = append(r.Hops, asks(p), scheduling(p, f.Now, fmt.Sprintf("Change what the message names, here or at the provider: kubectl edit placement %s", p.Name)))
	for i := range p.Status.SelectedTargets {
		r.Hops = append(r.Hops, choice(&p.Status.SelectedTargets[i], f.Now))
	}
	r.Hops = append(r.Hops, f.namespaces())
	if ready := meta.FindStatusCondition(p.Status.Conditions, schedulingv1alpha1.PlacementReady); ready != nil && ready.Status != metav1.ConditionTrue && ready.Reason != schedulingv1alpha1.ReasonNotScheduled && ready.Reason != schedulingv1alpha1.ReasonNoNamespaces {
		r.Hops = append(r.Hops, pending("Ready", fmt.Sprintf("%s: %s", ready.Reason, ready.Message)))
	}
	r.conclude("placed on " + orNobody(p.Status.TargetNames))
	return r
}

func orNobody(names string) string {
	if names == "" {
		return "no target"
	}
	return names
}

func asks(p *schedulingv1alpha1.Placement) Hop {
	locations := make([]string, 0, len(p.Spec.LocationSelectors))
	for i := range p.Spec.LocationSelectors {
		locations = append(locations, everything(metav1.FormatLabelSelector(&p.Spec.LocationSelectors[i])))
	}
	number := "one target"
	if p.Spec.Strategy != "" && p.Spec.Strategy != schedulingv1alpha1.OneToAny {
		number = "all targets that fit"
		if n := p.Spec.NumberOfTargets; n != nil {
			number = fmt.Sprintf("%d targets", *n)
		}
		number += fmt.Sprintf(" (%s)", p.Spec.Strategy)
	}
	where := ""
	if p.Spec.LocationWorkspace != "" {
		where = " of " + string(p.Spec.LocationWorkspace)
	}
	return info("Asks for", fmt.Sprintf("%s in locations%s with %s", number, where, strings.Join(locations, " or ")))
}

func everything(selector string) string {
	if selector == "<none>" {
		return "any labels"
	}
	return selector
}

// scheduling tells whether a Placement has its targets, and remedy is where that leads if it has not.
func scheduling(p *schedulingv1alpha1.Placement, now time.Time, remedy string) Hop {
	name := "Placement " + p.Name
	condition := meta.FindStatusCondition(p.Status.Conditions, schedulingv1alpha1.PlacementScheduled)
	switch {
	case condition == nil:
		return problem(name, "no workload manager has looked at it", "Ask the provider whether its workload-manager runs.")
	case condition.ObservedGeneration < p.Generation:
		return pending(name, "the workload manager has not looked at its last change yet")
	case condition.Status != metav1.ConditionTrue && condition.Reason == schedulingv1alpha1.ReasonTooFewTargets:
		return pending(name, fmt.Sprintf("%s: %s (for %s)", condition.Reason, condition.Message, ago(&condition.LastTransitionTime, now)))
	case condition.Status != metav1.ConditionTrue:
		return problem(name, fmt.Sprintf("%s: %s (for %s)", condition.Reason, condition.Message, ago(&condition.LastTransitionTime, now)), remedy)
	}
	return ok(name, "scheduled to "+orNobody(p.Status.TargetNames))
}

// choice shows a target's score and the parts that it is the sum of.
func choice(target *schedulingv1alpha1.SelectedTarget, now time.Time) Hop {
	hop := Hop{Name: "Target " + target.Name, State: OK, Says: fmt.Sprintf("%s for %s: %s", strings.ToLower(string(target.Phase)), ago(&target.Since, now), target.Reason)}
	if target.Message != "" {
		hop.Says += ": " + target.Message
	}
	if target.Phase == schedulingv1alpha1.TargetLeaving {
		hop.State = Pending
	}
	if target.LeavesAt != nil {
		hop.Says += fmt.Sprintf("; its work leaves it at %s unless that changes", target.LeavesAt.UTC().Format(time.RFC3339))
	}
	if target.Location != "" {
		hop.Hops = append(hop.Hops, info("Location", target.Location))
	}
	score := info("Score", strconv.Itoa(int(target.Score)))
	for _, part := range target.Scores {
		score.Hops = append(score.Hops, info(string(part.Name), strconv.Itoa(int(part.Score))))
	}
	hop.Hops = append(hop.Hops, score)
	return hop
}

func (f PlacementFacts) namespaces() Hop {
	var names []string
	for i := range f.Namespaces {
		if matches(f.Placement, &f.Namespaces[i]) {
			names = append(names, f.Namespaces[i].Name)
		}
	}
	if len(names) == 0 {
		return problem("Namespaces", "there is none that it selects: "+namespacesOf(f.Placement), "Label a namespace, or change spec.namespaceSelector.")
	}
	return ok("Namespaces", strings.Join(names, ", "))
}

// namespacesOf is which namespaces a Placement selects, in words.
func namespacesOf(p *schedulingv1alpha1.Placement) string {
	switch selector := p.Spec.NamespaceSelector; {
	case selector == nil:
		return "it has no namespaceSelector"
	case len(selector.MatchLabels)+len(selector.MatchExpressions) == 0:
		return "all"
	default:
		return metav1.FormatLabelSelector(selector)
	}
}
