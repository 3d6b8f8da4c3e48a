package choose

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// patience is how long a target may not be ready before a Placement says so: a syncer that starts anew is no news, and
// costs no write.
const patience = 30 * time.Second

// verdict is whether a chosen target is to be left, and why; or until when what speaks for it is tolerated.
type verdict struct {
	leave     schedulingv1alpha1.TargetReason
	message   string
	tolerated []schedulingv1alpha1.ToleratedTaint
	leavesAt  *metav1.Time
}

// judge looks for a reason to leave a chosen target, the most urgent first.
func (p *pass) judge(entry *schedulingv1alpha1.SelectedTarget) verdict {
	if p.Placement.DeletionTimestamp != nil {
		return verdict{leave: schedulingv1alpha1.TargetPlacementDeleted, message: "the Placement is being deleted"}
	}
	target := p.byKey[entry.Key]
	if target == nil || target.UID != entry.UID || target.Deleting {
		return verdict{leave: schedulingv1alpha1.TargetDeleted, message: "the SyncTarget is gone"}
	}
	tolerated := p.judgeTaints(entry, target)
	if tolerated.leave != "" || target.Unseen {
		return tolerated
	}
	if p.evicts(target) {
		return verdict{leave: schedulingv1alpha1.TargetEvicted, message: fmt.Sprintf("the SyncTarget's evictAfter, %s, has come", target.EvictAfter.UTC().Format(time.RFC3339))}
	}
	if reason, message := p.judgeSelectors(target); reason != "" {
		return verdict{leave: reason, message: message}
	}
	return tolerated
}

func (p *pass) evicts(target *Target) bool {
	if target.EvictAfter.IsZero() {
		return false
	}
	if target.evicting(p.now) {
		return true
	}
	p.lookAgain(target.EvictAfter.Time)
	return false
}

// judgeSelectors asks whether the Placement still wants the target. What is not known is no reason to leave.
func (p *pass) judgeSelectors(target *Target) (schedulingv1alpha1.TargetReason, string) {
	if p.specErr != nil {
		return "", ""
	}
	known := p.Provider.Cluster != "" && p.Consumer.Path != "" // which Locations there are, and whether they are open
	if known && len(p.offer.invalid) == 0 && len(p.offer.locationsOf[target.Key]) == 0 {
		return schedulingv1alpha1.TargetNotInLocation, fmt.Sprintf("no Location of %s that the Placement selects and may use has the SyncTarget", p.Provider)
	}
	if !p.affine(target) {
		return schedulingv1alpha1.TargetAffinityMismatch, "spec.affinity.required does not match the SyncTarget"
	}
	return "", ""
}

// cause is something that asks for leaving a target, and since when.
type cause struct {
	taint  workloadv1alpha1.Taint
	since  time.Time
	noted  bool // in the status already
	silent bool // nothing is known of what runs there
	reason schedulingv1alpha1.TargetReason
	text   string
}

// judgeTaints looks at taints NoExecute, and at the one that a target has in effect while it is not ready.
func (p *pass) judgeTaints(entry *schedulingv1alpha1.SelectedTarget, target *Target) verdict {
	var out verdict
	for _, c := range p.causes(entry, target) {
		seconds, tolerated := p.toleranceOf(c)
		limit, limited := c.since.Add(time.Duration(seconds)*time.Second), seconds >= 0
		if !tolerated || limited && !p.now.Before(limit) {
			return verdict{leave: c.reason, message: c.text + overdue(tolerated, seconds)}
		}
		if c.reason == schedulingv1alpha1.TargetTainted && !limited {
			continue // it is on such a target on purpose
		}
		if news := c.since.Add(patience); c.reason == schedulingv1alpha1.TargetNotReady && !c.noted && p.now.Before(news) {
			p.lookAgain(earlier(news, limit, limited))
			continue
		}
		out.note(c, limit, limited)
	}
	if out.leavesAt != nil {
		p.lookAgain(out.leavesAt.Time)
	}
	return out
}

func earlier(news, limit time.Time, limited bool) time.Time {
	if limited && limit.Before(news) {
		return limit
	}
	return news
}

func overdue(tolerated bool, seconds int64) string {
	if !tolerated {
		return ", which the Placement does not tolerate"
	}
	return fmt.Sprintf(", for longer than the %d seconds that the Placement tolerates", seconds)
}

// note adds a cause that is tolerated for the time being.
func (v *verdict) note(c cause, limit time.Time, limited bool) {
	v.tolerated = append(v.tolerated, schedulingv1alpha1.ToleratedTaint{Taint: nameOf(c.taint), Since: metav1.NewTime(c.since)})
	if limited && (v.leavesAt == nil || limit.Before(v.leavesAt.Time)) {
		v.leavesAt = new(metav1.NewTime(limit))
	}
	if v.message == "" {
		v.message = c.text
	}
}

func (p *pass) causes(entry *schedulingv1alpha1.SelectedTarget, target *Target) []cause {
	var out []cause
	for _, taint := range target.Taints {
		if taint.Effect != workloadv1alpha1.TaintNoExecute {
			continue
		}
		c := p.dated(entry, cause{taint: taint, reason: schedulingv1alpha1.TargetTainted, text: "the SyncTarget has the taint " + nameOf(taint)}, p.now)
		if taint.TimeAdded != nil {
			c.since = taint.TimeAdded.Time
		}
		out = append(out, c)
	}
	if target.NotReady != "" {
		seen := target.NotReadySince.Truncate(time.Second)
		if seen.IsZero() {
			seen = p.now
		}
		text := "the SyncTarget is not ready: " + target.NotReady
		if target.Silent {
			text += ", and what runs there is not known"
		}
		out = append(out, p.dated(entry, cause{
			taint:  workloadv1alpha1.Taint{Key: schedulingv1alpha1.NotReadyTaint, Effect: workloadv1alpha1.TaintNoExecute},
			reason: schedulingv1alpha1.TargetNotReady, text: text, silent: target.Silent,
		}, seen))
	}
	return out
}

// dated gives the cause the time that the status has for it, which outlives this process, or else the one at which it was
// seen first.
func (p *pass) dated(entry *schedulingv1alpha1.SelectedTarget, c cause, seen time.Time) cause {
	c.since = seen
	for _, noted := range entry.Tolerated {
		if noted.Taint == nameOf(c.taint) {
			c.since, c.noted = noted.Since.Time, true
		}
	}
	return c
}

// toleranceOf is the tolerance of a cause. A Placement that says nothing about targets that are not ready stays for a while
// on one whose syncer says so, and for ever on one that is silent: whether those are to be left is for the manager to judge,
// which sees all targets, and taints them.
func (p *pass) toleranceOf(c cause) (seconds int64, tolerated bool) {
	seconds, tolerated = tolerance(p.Placement.Spec.Tolerations, c.taint)
	if tolerated || c.reason != schedulingv1alpha1.TargetNotReady {
		return seconds, tolerated
	}
	if c.silent {
		return -1, true
	}
	return schedulingv1alpha1.DefaultNotReadySeconds, true
}

// tolerance is for how many seconds a taint is tolerated on a target that work runs on; negative is for ever. Of several
// tolerations that match, the shortest counts.
func tolerance(tolerations []schedulingv1alpha1.Toleration, taint workloadv1alpha1.Taint) (seconds int64, tolerated bool) {
	seconds = -1
	for i := range tolerations {
		t := &tolerations[i]
		if !tolerates(t, taint) {
			continue
		}
		tolerated = true
		if t.TolerationSeconds != nil && (seconds < 0 || *t.TolerationSeconds < seconds) {
			seconds = *t.TolerationSeconds
		}
	}
	return seconds, tolerated
}

func tolerates(t *schedulingv1alpha1.Toleration, taint workloadv1alpha1.Taint) bool {
	switch {
	case t.Effect != "" && t.Effect != string(taint.Effect):
		return false
	case t.Operator == schedulingv1alpha1.TolerationExists:
		return t.Key == "" || t.Key == taint.Key
	}
	return t.Key == taint.Key && string(t.Value) == taint.Value
}

func nameOf(taint workloadv1alpha1.Taint) string {
	if taint.Value == "" {
		return fmt.Sprintf("%s:%s", taint.Key, taint.Effect)
	}
	return fmt.Sprintf("%s=%s:%s", taint.Key, taint.Value, taint.Effect)
}
