package choose

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// What counts how much. docs/reference/api.md tells it, from the comments of schedulingv1alpha1.ScoreName.
const (
	affinityWeight   = 200
	healthPenalty    = 150
	failedPenalty    = 300
	taintPenalty     = 100
	mostTaints       = 4
	spreadPenalty    = 50
	mostSpread       = 8
	spreadFirst      = 10
	resourcesWeight  = 100
	stickinessWeight = 1000
)

func (p *pass) candidate(t *Target, location string) *candidate {
	c := &candidate{target: t, location: location, lot: p.lot(t.Key)}
	for _, part := range []schedulingv1alpha1.Score{
		{Name: schedulingv1alpha1.ScoreStickiness, Score: p.stickiness(t)},
		{Name: schedulingv1alpha1.ScoreAffinity, Score: p.affinity(t)},
		{Name: schedulingv1alpha1.ScoreAntiAffinity, Score: p.antiAffinity(t, location)},
		{Name: schedulingv1alpha1.ScoreHealth, Score: p.health(t)},
		{Name: schedulingv1alpha1.ScoreTaints, Score: p.taints(t)},
		{Name: schedulingv1alpha1.ScoreResources, Score: p.resources(t)},
	} {
		if part.Score != 0 {
			c.fixed = append(c.fixed, part)
		}
	}
	return c
}

func (c *candidate) scores() []schedulingv1alpha1.Score {
	if c.spread == 0 {
		return c.fixed
	}
	return append(slices.Clone(c.fixed), schedulingv1alpha1.Score{Name: schedulingv1alpha1.ScoreSpread, Score: c.spread})
}

func (c *candidate) score() (sum int32) {
	for _, part := range c.scores() {
		sum += part.Score
	}
	return sum
}

// best is the candidate with the highest score that the spread allows, and if there is none, why.
func (p *pass) best(candidates []*candidate, counts []domainCount) (*candidate, []rejection) {
	var best *candidate
	var rejected []rejection
	for _, c := range candidates {
		why := p.spreadOf(c, counts)
		if why != "" {
			rejected = append(rejected, rejection{schedulingv1alpha1.ReasonSpreadUnsatisfiable, why, c.target.Name})
			continue
		}
		if best == nil || compareCandidates(c, best) > 0 {
			best = c
		}
	}
	return best, rejected
}

func compareCandidates(a, b *candidate) int {
	return cmp.Or(cmp.Compare(a.score(), b.score()), cmp.Compare(a.lot, b.lot), compareStrings(b.target.Key, a.target.Key))
}

// lot tells equal targets apart: the same for a Placement every time, and different from one Placement to the next.
func (p *pass) lot(key string) uint64 {
	sum := sha256.Sum256([]byte(string(p.Placement.UID) + "/" + key))
	return binary.BigEndian.Uint64(sum[:8])
}

func (p *pass) stickiness(t *Target) int32 {
	for _, entry := range p.leaving {
		if entry.Key == t.Key && entry.UID == t.UID && entry.Reason != schedulingv1alpha1.TargetMoveFailed {
			return stickinessWeight
		}
	}
	return 0
}

func (p *pass) affinity(t *Target) int32 {
	set := t.topology()
	var matched, all int32
	for _, preference := range p.selectors.preferred {
		all += preference.weight
		if preference.selector.Matches(set) {
			matched += preference.weight
		}
	}
	if all == 0 {
		return 0
	}
	return affinityWeight * matched / all
}

func (p *pass) antiAffinity(t *Target, location string) int32 {
	var matched, all int32
	for _, a := range p.selectors.preferablyAvoids {
		all += a.weight
		if p.neighbour(a, t, location) != "" {
			matched += a.weight
		}
	}
	if all == 0 {
		return 0
	}
	return -affinityWeight * matched / all
}

func (p *pass) health(t *Target) (score int32) {
	if t.Degraded != "" {
		score -= healthPenalty
	}
	if p.failedBefore(t) {
		score -= failedPenalty
	}
	return score
}

func (p *pass) taints(t *Target) int32 {
	var found int32
	for _, taint := range t.Taints {
		if taint.Effect != workloadv1alpha1.TaintPreferNoSchedule {
			continue
		}
		if _, tolerated := tolerance(p.Placement.Spec.Tolerations, taint); !tolerated {
			found++
		}
	}
	return -taintPenalty * min(found, mostTaints)
}

// resources is what share of the target would be left, of the scarcest of what counts: cpu, memory and what is asked for.
// Shares, not amounts: a large target does not draw everything.
func (p *pass) resources(t *Target) int32 {
	names := sets.KeySet(p.Placement.Spec.Resources.Requests).Insert(corev1.ResourceCPU, corev1.ResourceMemory)
	share, known := float64(1), false
	for _, name := range slices.Sorted(maps.Keys(names)) {
		offered, ok := t.Allocatable[name]
		if !ok || offered.Sign() <= 0 {
			continue
		}
		asked, others := p.Placement.Spec.Resources.Requests[name], p.requested(t, name)
		left := 1 - (asked.AsApproximateFloat64()+others.AsApproximateFloat64())/offered.AsApproximateFloat64()
		share, known = min(share, max(left, 0)), true
	}
	if !known {
		return 0
	}
	return int32(resourcesWeight * share)
}
