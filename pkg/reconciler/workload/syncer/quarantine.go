package syncer

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

const (
	// quarantineAfter is after how many failures in a row, for which the object itself is to blame, it is left alone until
	// it changes.
	quarantineAfter = 5
	// quarantinePeriod is how often it is tried all the same: the cluster may have learned to take it.
	quarantinePeriod = 10 * time.Minute
)

// quarantine is what is remembered of an object that is left alone.
type quarantine struct {
	// seen is what the object was like, and its copy.
	seen uint64
	// until it is tried again although nothing has changed.
	until    time.Time
	category tmc.Category
	failures int
}

func (q *quarantine) String() string {
	return fmt.Sprintf("it failed %d times in a row (%s): it is tried again when it or its copy changes, and every %s", q.failures, q.category, quarantinePeriod)
}

// held reports whether the object is to be left alone. What has changed is released.
func (p *pass) held() bool {
	q := p.record.quarantine
	if q == nil {
		return false
	}
	if left := q.until.Sub(p.now); left > 0 && p.up != nil && q.seen == p.fingerprint() {
		p.after = left
		return true
	}
	p.record.quarantine, p.record.failures = nil, 0
	p.c.loop.Pardon(p.key)
	return false
}

// judge counts failures for which the object itself is to blame, and puts it into quarantine when they are too many. An
// object in a state that the caches do not show yet is not judged.
func (p *pass) judge(err error) {
	switch {
	case err == nil && p.retrying:
		return
	case err == nil || !tmc.Poisonous(err):
		p.record.failures = 0
		return
	case p.up == nil || p.upStale():
		return
	}
	p.record.failures++
	if p.c.recovery.Enabled() && p.record.failures >= quarantineAfter {
		p.record.quarantine = &quarantine{
			seen: p.fingerprint(), until: p.now.Add(quarantinePeriod), category: tmc.CategoryOf(err), failures: p.record.failures,
		}
	}
}

// fingerprint tells whether the object has changed, or its copy. What we write on it ourselves does not count.
func (p *pass) fingerprint() uint64 {
	h := fnv.New64a()
	ours := []string{
		workloadv1alpha1.ConditionsAnnotation(p.c.target.key), workloadv1alpha1.StatusAnnotation(p.c.target.key), workloadv1alpha1.TraceAnnotation,
	}
	for _, texts := range []map[string]string{p.up.Labels, p.up.Annotations} {
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			if !slices.Contains(ours, name) {
				fmt.Fprintf(h, "%q:%q,", name, texts[name])
			}
		}
	}
	fmt.Fprintf(h, "%s %t ", p.up.UID, p.up.DeletionTimestamp != nil)
	_, _ = h.Write(p.up.content.json) // never fails
	if p.down != nil {
		fmt.Fprintf(h, " %s %s", p.down.UID, p.down.ResourceVersion)
	}
	return h.Sum64()
}

// conditionsOfPass are those that the user is to read: none while all is well.
func (p *pass) conditionsOfPass() []metav1.Condition {
	if p.problem == nil {
		return nil
	}
	at := metav1.NewTime(p.now)
	conditions := []metav1.Condition{{
		Type: workloadv1alpha1.ConditionSynced, Status: metav1.ConditionFalse,
		Reason: p.problem.reason, Message: truncate(p.problem.message, longestCondition), LastTransitionTime: at,
	}}
	if q := p.record.quarantine; q != nil {
		conditions = append(conditions, metav1.Condition{
			Type: workloadv1alpha1.ConditionQuarantined, Status: metav1.ConditionTrue,
			Reason: string(q.category), Message: q.String(), LastTransitionTime: at,
		})
	}
	return conditions
}

// quarantineEvent says that the object is in quarantine; ok is false if it is not.
func (p *pass) quarantineEvent() (event tmc.Event, ok bool) {
	if p.record.quarantine == nil {
		return event, false
	}
	return tmc.Event{Type: corev1.EventTypeWarning, Reason: workloadv1alpha1.ConditionQuarantined, Message: p.record.quarantine.String()}, true
}
