package heartbeat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Settings are how patient the manager is.
type Settings struct {
	// Grace is how long a heartbeat may stay the same before the syncer counts as silent.
	Grace time.Duration
	// TaintAfter is how long a syncer must have been silent before its target is tainted as unreachable; zero for never.
	TaintAfter time.Duration
	// TaintThreshold is the share of a workspace's targets that may be silent at the same time. While more are, none is
	// tainted: then kcp or the network is at fault rather than each of the clusters.
	TaintThreshold float64
}

// Observed is all that a judgement depends on.
type Observed struct {
	Target *workloadv1alpha1.SyncTarget
	// Seen is when, by the manager's clock, the heartbeat was last seen to change, or when the manager began to look.
	Seen time.Time
	// Live: it was seen to change just then, so that the two clocks can be compared.
	Live bool
	// Silent and Heard count the targets of the workspace, this one included, whose syncers were ever heard of.
	Silent, Heard int
	Now           time.Time
}

// Judgement is what follows.
type Judgement struct {
	// Silent: the syncer counts as silent.
	Silent bool
	// Conditions that the target should have; those of the syncer's that still count are among them.
	Conditions []metav1.Condition
	// Taint: the target is due to be tainted. Untaint: its syncer is heard again.
	Taint, Untaint bool
	// Again is when to look again although nothing changed; zero for not.
	Again time.Duration
}

// Judge says how a target is doing by what was seen of its heartbeat. It compares no clocks but to tell that they differ.
func Judge(o Observed, s Settings) Judgement {
	j := Judgement{Conditions: slices.Clone(o.Target.Status.Conditions)}
	if o.Target.Status.LastSyncerHeartbeatTime == nil {
		j.set(o, metav1.Condition{
			Type: workloadv1alpha1.ConditionHeartbeatHealthy, Status: metav1.ConditionUnknown, Reason: workloadv1alpha1.ReasonNeverConnected,
			Message: "no syncer has been heard of yet: start one, see kubectl workload sync",
		})
		j.summarize(o)
		return j
	}
	if j.Silent = silent(o, s); !j.Silent {
		j.Untaint = slices.ContainsFunc(o.Target.Spec.Taints, ours)
		j.Again = o.Seen.Add(s.Grace).Sub(o.Now)
		j.tellSkew(o)
		return j
	}
	j.judgeSilence(o, s)
	j.summarize(o)
	return j
}

// silent: the heartbeat has not changed for too long. One that counted as silent when the manager began to look goes on to
// do so until it changes.
func silent(o Observed, s Settings) bool {
	if o.Now.Sub(o.Seen) >= s.Grace {
		return true
	}
	return !o.Live && expired(o.Target.Status.Conditions)
}

func expired(conditions []metav1.Condition) bool {
	c := meta.FindStatusCondition(conditions, workloadv1alpha1.ConditionHeartbeatHealthy)
	return c != nil && c.Reason == workloadv1alpha1.ReasonHeartbeatExpired
}

// judgeSilence tells that what the syncer said last no longer counts, and whether workloads are to be taken away.
func (j *Judgement) judgeSilence(o Observed, s Settings) {
	message := fmt.Sprintf("the syncer was last heard of at %s by its own clock: it is down, or cut off from kcp", o.Target.Status.LastSyncerHeartbeatTime.UTC().Format(time.RFC3339))
	tainted := slices.ContainsFunc(o.Target.Spec.Taints, ours)
	due := o.Seen.Add(s.Grace + s.TaintAfter).Sub(o.Now)
	switch {
	case s.TaintAfter == 0 || tainted:
	case due > 0:
		j.Again = due
		if told := meta.FindStatusCondition(j.Conditions, workloadv1alpha1.ConditionHeartbeatHealthy); told != nil && strings.HasPrefix(told.Message, message) {
			message = told.Message // by the manager that ran before
		}
	case tooMany(o, s):
		message += fmt.Sprintf("; workloads stay, because more than %d %% of the SyncTargets of this workspace are silent, as if kcp or the network were at fault", int(s.TaintThreshold*100))
		j.Again = s.Grace
	default:
		j.Taint = true
	}
	j.set(o, metav1.Condition{
		Type: workloadv1alpha1.ConditionHeartbeatHealthy, Status: metav1.ConditionUnknown, Reason: workloadv1alpha1.ReasonHeartbeatExpired, Message: message,
	})
	if saidGoodbye(o.Target.Status.Conditions) { // that still counts, and lets another syncer take over at once
		return
	}
	for _, t := range []string{workloadv1alpha1.ConditionSyncerReady, workloadv1alpha1.ConditionComponentsHealthy} {
		if t == workloadv1alpha1.ConditionComponentsHealthy && meta.FindStatusCondition(j.Conditions, t) == nil {
			continue // an older syncer does not tell
		}
		j.set(o, metav1.Condition{
			Type: t, Status: metav1.ConditionUnknown, Reason: workloadv1alpha1.ReasonSyncerUnknown,
			Message: "the syncer has not been heard of for too long, so what it said last no longer counts",
		})
	}
}

func tooMany(o Observed, s Settings) bool {
	return o.Heard > 0 && float64(o.Silent)/float64(o.Heard) > s.TaintThreshold
}

func saidGoodbye(conditions []metav1.Condition) bool {
	c := meta.FindStatusCondition(conditions, workloadv1alpha1.ConditionSyncerReady)
	return c != nil && c.Reason == workloadv1alpha1.ReasonSyncerStopped
}

// ours is the taint that the manager sets.
func ours(taint workloadv1alpha1.Taint) bool {
	return taint.Key == workloadv1alpha1.TaintUnreachable && taint.Effect == workloadv1alpha1.TaintNoExecute
}

// set puts a condition in, with the time of its last transition.
func (j *Judgement) set(o Observed, c metav1.Condition) {
	c.ObservedGeneration = o.Target.Generation
	c.LastTransitionTime = metav1.NewTime(o.Now).Rfc3339Copy()
	if before := meta.FindStatusCondition(j.Conditions, c.Type); before != nil && before.Status == c.Status {
		c.LastTransitionTime = before.LastTransitionTime
		if before.Reason == c.Reason && before.Message == c.Message {
			return // also if only the generation differs: that is worth no write
		}
	}
	j.Conditions = slices.DeleteFunc(slices.Clone(j.Conditions), func(other metav1.Condition) bool { return other.Type == c.Type })
	j.Conditions = append(j.Conditions, c)
}

// summarize sets Ready to the first of the others that is not True, as its documentation says.
func (j *Judgement) summarize(o Observed) {
	for _, t := range []string{workloadv1alpha1.ConditionHeartbeatHealthy, workloadv1alpha1.ConditionSyncerReady, workloadv1alpha1.ConditionAPIsReady} {
		if c := meta.FindStatusCondition(j.Conditions, t); c != nil && c.Status != metav1.ConditionTrue {
			j.set(o, metav1.Condition{Type: workloadv1alpha1.ConditionReady, Status: c.Status, Reason: c.Reason, Message: c.Message})
			return
		}
	}
}

// Changed reports whether the conditions are others than those that the target has.
func (j Judgement) Changed(target *workloadv1alpha1.SyncTarget) bool {
	return !equality.Semantic.DeepEqual(sorted(j.Conditions), sorted(target.Status.Conditions))
}

func sorted(conditions []metav1.Condition) []metav1.Condition {
	return slices.SortedFunc(slices.Values(conditions), func(a, b metav1.Condition) int {
		switch {
		case a.Type < b.Type:
			return -1
		case a.Type > b.Type:
			return 1
		}
		return 0
	})
}
