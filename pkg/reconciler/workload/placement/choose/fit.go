package choose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// candidate is a target that passes every filter but the spread, which depends on what is chosen before it.
type candidate struct {
	target   *Target
	location string
	// fixed are the parts of the score that do not depend on what is chosen before it.
	fixed  []schedulingv1alpha1.Score
	spread int32
	lot    uint64
}

// rejection is why a target cannot be chosen: the reason that a condition would have if it held for all.
type rejection struct {
	reason, why, target string
}

// candidates are the targets of the open Locations that are not selected and pass the filters, in a stable order.
func (p *pass) candidates() []*candidate {
	var out []*candidate
	for _, t := range p.targets {
		locations := p.offer.locationsOf[t.Key]
		if len(locations) == 0 || p.isSelected(t.Key) {
			continue
		}
		for _, f := range filters() {
			if why := f.rejects(p, t, locations[0]); why != "" {
				p.rejected = append(p.rejected, rejection{f.reason, why, t.Name})
				locations = nil
				break
			}
		}
		if len(locations) > 0 {
			out = append(out, p.candidate(t, locations[0]))
		}
	}
	return out
}

func (p *pass) isSelected(key string) bool {
	return slices.ContainsFunc(p.selected, func(e schedulingv1alpha1.SelectedTarget) bool { return e.Key == key })
}

// filter rejects targets for a reason. It says why, for people; nothing if it has no objection.
type filter struct {
	reason  string
	rejects func(p *pass, t *Target, location string) string
}

// filters are in the order in which a tenant wants to hear of them: what the tenant has asked for, then the state of the
// targets, then what is taken. The first that rejects a target is told.
func filters() []filter {
	return []filter{
		{schedulingv1alpha1.ReasonAffinityUnmatched, func(p *pass, t *Target, _ string) string {
			return unless(p.affine(t), "not matched by the required affinity")
		}},
		{schedulingv1alpha1.ReasonTargetsNotReady, rejectUnready},
		{schedulingv1alpha1.ReasonTargetsNotReady, rejectFailed},
		{schedulingv1alpha1.ReasonTargetsCordoned, func(p *pass, t *Target, _ string) string {
			return unless(!t.Unschedulable && !t.evicting(p.now), "cordoned or to be evicted")
		}},
		{schedulingv1alpha1.ReasonTaintsNotTolerated, rejectTainted},
		{schedulingv1alpha1.ReasonAntiAffinityUnsatisfied, rejectAvoided},
		{schedulingv1alpha1.ReasonInsufficientResources, rejectFull},
	}
}

func unless(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

// affine is true if the required affinity allows the target.
func (p *pass) affine(t *Target) bool {
	return len(p.selectors.required) == 0 || matchesAny(p.selectors.required, t.topology())
}

// rejectUnready also rejects those that are about to be another target: of a SyncTarget that was deleted and created anew,
// the old one is left first.
func rejectUnready(p *pass, t *Target, _ string) string {
	switch {
	case t.Deleting:
		return "being deleted"
	case t.OwnWorkspaceOnly:
		return "of a syncer with --feed=workspace, which takes no work of other workspaces"
	case t.NotReady != "":
		return "not ready: " + t.NotReady
	}
	for _, entry := range p.leaving {
		if entry.Key == t.Key && entry.UID != t.UID {
			return "created anew, and the work has not left the one before"
		}
	}
	return ""
}

// rejectTainted asks for a toleration without limit: work would have to leave again otherwise.
func rejectTainted(p *pass, t *Target, _ string) string {
	for _, taint := range t.Taints {
		if taint.Effect == workloadv1alpha1.TaintPreferNoSchedule {
			continue
		}
		if seconds, tolerated := tolerance(p.Placement.Spec.Tolerations, taint); !tolerated || seconds >= 0 {
			return "with the taint " + nameOf(taint)
		}
	}
	return ""
}

func rejectAvoided(p *pass, t *Target, location string) string {
	for _, a := range p.selectors.avoided {
		if other := p.neighbour(a, t, location); other != "" {
			return fmt.Sprintf("in the same %s as Placement %s", a.topologyKey, other)
		}
	}
	return ""
}

// neighbour is another Placement that shall be avoided and is in the target's domain.
func (p *pass) neighbour(a avoided, t *Target, location string) string {
	domain, ok := t.domain(a.topologyKey, location)
	if !ok {
		return ""
	}
	name := ""
	for i := range p.Others {
		other := &p.Others[i]
		if a.selector.Matches(labels.Set(other.Labels)) && p.isIn(other, a.topologyKey, domain) && (name == "" || other.Name < name) {
			name = other.Name
		}
	}
	return name
}

func (p *pass) isIn(other *Other, topologyKey, domain string) bool {
	for _, chosen := range other.Chosen {
		t := p.byKey[chosen.Key]
		if t == nil {
			continue
		}
		if d, ok := t.domain(topologyKey, chosen.Location); ok && d == domain {
			return true
		}
	}
	return false
}

// rejectFull compares what is asked for with what is left. It tells what the target offers in all: what is left changes with
// every other Placement, and would be news each time.
func rejectFull(p *pass, t *Target, _ string) string {
	requests := p.Placement.Spec.Resources.Requests
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		asked, offered := requests[name], t.Allocatable[name]
		left := offered.DeepCopy()
		left.Sub(p.requested(t, name))
		if left.Cmp(asked) < 0 {
			return fmt.Sprintf("with less than %s %s left, of %s", asked.String(), name, offered.String())
		}
	}
	return ""
}

func (p *pass) requested(t *Target, name corev1.ResourceName) resource.Quantity {
	return p.Requested[t.Key][name]
}

// summary counts the rejections by why, and names some targets of each.
func summary(rejected []rejection) string {
	targets := map[string]sets.Set[string]{}
	for _, r := range rejected {
		if targets[r.why] == nil {
			targets[r.why] = sets.New[string]()
		}
		targets[r.why].Insert(r.target)
	}
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(targets)) {
		parts = append(parts, fmt.Sprintf("%d %s (%s)", targets[why].Len(), why, some(sets.List(targets[why]), 3)))
	}
	return some(parts, 8)
}

// some lists the first few.
func some(all []string, few int) string {
	if len(all) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:few], ", "), len(all)-few)
	}
	return strings.Join(all, ", ")
}
