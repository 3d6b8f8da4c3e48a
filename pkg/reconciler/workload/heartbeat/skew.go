package heartbeat

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// skews are the differences between the clocks that are told apart. The first is the least that is told at all: what lies
// below is as likely the way of the heartbeat.
var skews = []struct {
	least time.Duration
	words string
}{
	{time.Minute, "a minute"},
	{5 * time.Minute, "5 minutes"},
	{15 * time.Minute, "15 minutes"},
	{time.Hour, "an hour"},
	{3 * time.Hour, "3 hours"},
	{12 * time.Hour, "12 hours"},
	{24 * time.Hour, "a day"},
	{7 * 24 * time.Hour, "a week"},
}

// stickiness keeps a difference that was told while it is at least this share of what was told, so that one near a limit is
// not told anew with every heartbeat.
const stickiness = 0.8

// tellSkew says in the condition of a heartbeat that is renewed whether the clocks differ. The syncer's own word comes first:
// as long as it has not called the heartbeat healthy, there is nothing to add.
func (j *Judgement) tellSkew(o Observed) {
	c := meta.FindStatusCondition(j.Conditions, workloadv1alpha1.ConditionHeartbeatHealthy)
	if !o.Live || c == nil || c.Status != metav1.ConditionTrue {
		return
	}
	told := *c
	if words := skewWords(o.Target.Status.LastSyncerHeartbeatTime.Sub(o.Seen), c.Message); words != "" {
		told.Reason, told.Message = workloadv1alpha1.ReasonClockSkew, words
	} else if c.Reason == workloadv1alpha1.ReasonClockSkew {
		told.Reason, told.Message = workloadv1alpha1.ReasonHeartbeatRecent, "the syncer sends heartbeats"
	}
	j.set(o, told)
}

// skewWords are how the difference is told, given how it was told before; nothing if it is none.
func skewWords(skew time.Duration, before string) string {
	direction := "ahead of"
	if skew < 0 {
		direction, skew = "behind", -skew
	}
	words := ""
	for _, s := range skews {
		text := "heartbeats are renewed, but the syncer's clock is " + direction + " the manager's by more than " + s.words
		kept := text == before && float64(skew) >= stickiness*float64(s.least)
		if skew >= s.least || kept {
			words = text
		}
	}
	return words
}
