package choose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

// settle is how long a target stays in phase Leaving at least, so that whoever still acts on the phase before is seen.
const settle = 2 * time.Second

// mostTargets bounds the targets of a Placement that asks for all, as the API bounds the number that can be asked for.
const mostTargets = 256

// Decide says what the status of the Placement shall be.
func Decide(o Observed) Decision {
	p := newPass(o)
	p.judgeChosen()
	p.leaveFailed()
	p.dropSuperfluous()
	p.fill()
	p.forgetLeft()
	return p.conclude()
}

// pass is one decision in the making.
type pass struct {
	Observed

	now       time.Time
	selectors selectors
	// specErr is what cannot be understood of the spec. Nothing new is chosen then, and nothing that depends on selectors
	// judged.
	specErr error
	// targets are all, in a stable order; byKey finds them.
	targets []*Target
	byKey   map[string]*Target
	offer   offer

	selected, leaving []schedulingv1alpha1.SelectedTarget
	// rejected is what stands against targets that are not selected, as found by fill.
	rejected []rejection
	moves    []Move
	// failed are the targets of moves that are rolled back now, by key.
	failed map[string]failedTarget
	again  time.Time
}

func newPass(o Observed) *pass {
	p := &pass{Observed: o, now: o.Now.Truncate(time.Second), targets: sorted(o.Targets)}
	p.byKey = make(map[string]*Target, len(p.targets))
	for _, t := range p.targets {
		p.byKey[t.Key] = t
	}
	p.selectors, p.specErr = understand(&o.Placement.Spec)
	p.offer = p.offers()
	return p
}

// judgeChosen sorts the targets chosen so far into those to keep and those to leave.
func (p *pass) judgeChosen() {
	for _, entry := range p.Placement.Status.SelectedTargets {
		verdict := p.judge(&entry)
		switch {
		case p.rollBack(&entry, verdict), p.holdBack(&entry, verdict):
			p.selected = append(p.selected, entry)
		case entry.Phase == schedulingv1alpha1.TargetLeaving:
			if verdict.leave.ForbidsWaiting() && !entry.Reason.ForbidsWaiting() {
				entry.Reason, entry.Message = verdict.leave, verdict.message // it has become urgent
			}
			p.leaving = append(p.leaving, entry)
		case verdict.leave != "":
			p.leave(entry, verdict.leave, verdict.message)
		default:
			entry.Tolerated, entry.LeavesAt, entry.Message = verdict.tolerated, verdict.leavesAt, verdict.message
			if entry.FailedMove != nil { // there is no need for it any more
				entry.FailedMove, entry.Reason = nil, schedulingv1alpha1.TargetChosen
			}
			entry.Location = p.locationFor(&entry)
			p.selected = append(p.selected, entry)
		}
	}
}

// locationFor is the Location of a chosen target: the one that it was chosen through, for as long as that has it.
func (p *pass) locationFor(entry *schedulingv1alpha1.SelectedTarget) string {
	names := p.offer.locationsOf[entry.Key]
	if len(names) == 0 || slices.Contains(names, entry.Location) {
		return entry.Location
	}
	return names[0]
}

func (p *pass) leave(entry schedulingv1alpha1.SelectedTarget, reason schedulingv1alpha1.TargetReason, message string) {
	entry.Phase, entry.Reason, entry.Message, entry.Since = schedulingv1alpha1.TargetLeaving, reason, message, metav1.NewTime(p.now)
	entry.Tolerated, entry.LeavesAt = nil, nil
	p.leaving = append(p.leaving, entry)
	p.moves = append(p.moves, Move{Act: Leaves, Target: entry})
}

// wanted is how many targets the Placement asks for; all is true if it asks for as many as there are.
func (p *pass) wanted() (number int, all bool) {
	spec := &p.Placement.Spec
	switch {
	case spec.Strategy == schedulingv1alpha1.OneToAny || spec.Strategy == "":
		return 1, false
	case spec.NumberOfTargets != nil:
		return int(*spec.NumberOfTargets), false
	}
	return min(len(p.Targets), mostTargets), true
}

// dropSuperfluous leaves targets until no more are selected than wanted.
func (p *pass) dropSuperfluous() {
	wanted, all := p.wanted()
	for !all && len(p.selected) > wanted {
		counts := p.countDomains()
		worst := slices.MinFunc(p.selected, func(a, b schedulingv1alpha1.SelectedTarget) int { return p.compareWorth(counts, &a, &b) })
		p.selected = slices.DeleteFunc(p.selected, func(e schedulingv1alpha1.SelectedTarget) bool { return e.Key == worst.Key })
		p.leave(worst, schedulingv1alpha1.TargetNotNeeded, "fewer targets are wanted")
	}
}

// compareWorth puts those first that are best left: disturbed ones, those of crowded domains, those with a low score.
func (p *pass) compareWorth(counts []domainCount, a, b *schedulingv1alpha1.SelectedTarget) int {
	return cmp.Or(
		-compareBools(len(a.Tolerated) > 0, len(b.Tolerated) > 0),
		-cmp.Compare(p.crowd(counts, a), p.crowd(counts, b)),
		cmp.Compare(a.Score, b.Score),
		cmp.Compare(p.lot(a.Key), p.lot(b.Key)),
		compareStrings(a.Key, b.Key),
	)
}

// fill selects new targets until there are as many as wanted, or none is left that fits.
func (p *pass) fill() {
	wanted, _ := p.wanted()
	if p.Placement.DeletionTimestamp != nil || p.specErr != nil || len(p.selected) >= wanted {
		return
	}
	candidates := p.candidates()
	for len(p.selected) < wanted {
		counts := p.countDomains()
		best, rejected := p.best(candidates, counts)
		if best == nil {
			p.rejected = append(p.rejected, rejected...)
			return
		}
		p.choose(best)
		candidates = slices.DeleteFunc(candidates, func(c *candidate) bool { return c.target.Key == best.target.Key })
	}
}

func (p *pass) choose(c *candidate) {
	entry := schedulingv1alpha1.SelectedTarget{
		Key: c.target.Key, Cluster: c.target.Cluster, Path: c.target.Path, Name: c.target.Name, UID: c.target.UID,
		Location: c.location, Phase: schedulingv1alpha1.TargetSelected, Reason: schedulingv1alpha1.TargetChosen,
		Since: metav1.NewTime(p.now), Scores: c.scores(), Score: c.score(),
	}
	act := Selects
	if left := slices.IndexFunc(p.leaving, func(e schedulingv1alpha1.SelectedTarget) bool { return e.Key == entry.Key }); left >= 0 {
		p.leaving = slices.Delete(p.leaving, left, left+1)
		act = Returns
	}
	p.selected = append(p.selected, entry)
	p.moves = append(p.moves, Move{Act: act, Target: entry})
}

// forgetLeft drops targets that no namespace is on any more.
func (p *pass) forgetLeft() {
	p.leaving = slices.DeleteFunc(p.leaving, func(entry schedulingv1alpha1.SelectedTarget) bool {
		if p.Occupied.Has(entry.Key) {
			return false // its namespaces tell when that changes
		}
		if settled := entry.Since.Add(settle); p.now.Before(settled) {
			p.lookAgain(settled)
			return false
		}
		p.moves = append(p.moves, Move{Act: Forgets, Target: entry})
		return true
	})
}

// lookAgain asks for another look at that time, or before.
func (p *pass) lookAgain(at time.Time) {
	if p.again.IsZero() || at.Before(p.again) {
		p.again = at
	}
}

func (p *pass) conclude() Decision {
	byKey := func(a, b schedulingv1alpha1.SelectedTarget) int { return compareStrings(a.Key, b.Key) }
	slices.SortFunc(p.selected, func(a, b schedulingv1alpha1.SelectedTarget) int {
		return cmp.Or(-cmp.Compare(a.Score, b.Score), byKey(a, b))
	})
	slices.SortFunc(p.leaving, byKey)
	slices.SortStableFunc(p.moves, func(a, b Move) int {
		return cmp.Or(compareStrings(string(a.Act), string(b.Act)), byKey(a.Target, b.Target))
	})
	return Decision{Status: p.status(), Moves: p.moves, Again: p.again, Against: p.standsAgainst()}
}

// offer is what the Locations of the Provider give to the Placement.
type offer struct {
	// matching and open count Locations that the selectors match, and of those the ones that are open to the Placement.
	matching, open int
	// invalid names Locations with a selector that cannot be understood.
	invalid []string
	// locationsOf are the names of the open matching Locations of each target, in order.
	locationsOf map[string][]string
}

// offers looks through the Locations. Of those with a selector that cannot be understood it knows no target.
func (p *pass) offers() offer {
	out := offer{locationsOf: map[string][]string{}}
	locations := slices.SortedFunc(slices.Values(p.Locations), func(a, b Location) int { return compareStrings(a.Name, b.Name) })
	for i := range locations {
		l := &locations[i]
		if !matchesAny(p.selectors.locations, l.Labels) {
			continue
		}
		out.matching++
		if !l.openTo(p.Consumer, p.Provider, p.OffersToAll) {
			continue
		}
		out.open++
		selector, err := metav1.LabelSelectorAsSelector(l.InstanceSelector)
		if err != nil {
			out.invalid = append(out.invalid, l.Name)
			continue
		}
		for _, t := range p.targets {
			if t.Cluster == p.Provider.Cluster && selector.Matches(labels.Set(t.Labels)) {
				out.locationsOf[t.Key] = append(out.locationsOf[t.Key], l.Name)
			}
		}
	}
	return out
}

func compareStrings(a, b string) int { return strings.Compare(a, b) }

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
