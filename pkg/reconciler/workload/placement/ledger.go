package placement

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
)

// ledger knows what all Placements together request of each target.
type ledger struct {
	lock    sync.Mutex
	entries map[fleet.Key]*entry
	totals  map[string]corev1.ResourceList
}

// entry is a Placement: its claim as the cache shows it, and as it was decided if the cache does not show that yet.
type entry struct {
	seen    claim
	assumed *claim
}

// claim is what a Placement requests of each of the targets that it is on.
type claim struct {
	keys     []string
	requests corev1.ResourceList
}

func newLedger() *ledger {
	return &ledger{entries: map[fleet.Key]*entry{}, totals: map[string]corev1.ResourceList{}}
}

// claimOf is empty for a Placement that requests nothing.
func claimOf(spec *schedulingv1alpha1.PlacementSpec, status *schedulingv1alpha1.PlacementStatus) claim {
	if len(spec.Resources.Requests) == 0 {
		return claim{}
	}
	c := claim{requests: spec.Resources.Requests}
	for i := range status.SelectedTargets {
		c.keys = append(c.keys, status.SelectedTargets[i].Key)
	}
	slices.Sort(c.keys)
	return c
}

func (c claim) equal(d claim) bool {
	return slices.Equal(c.keys, d.keys) && equality.Semantic.DeepEqual(c.requests, d.requests)
}

func (e *entry) claim() claim {
	if e.assumed != nil {
		return *e.assumed
	}
	return e.seen
}

// see takes what the cache shows, and reports whether room became free.
func (l *ledger) see(key fleet.Key, c claim) (freed bool) {
	return l.change(key, func(e *entry) {
		e.seen = c
		if e.assumed != nil && e.assumed.equal(c) {
			e.assumed = nil
		}
	})
}

// assume takes what was decided. It holds until the cache shows it, or it is dropped.
func (l *ledger) assume(key fleet.Key, c claim) (freed bool) {
	return l.change(key, func(e *entry) {
		if e.assumed = &c; e.seen.equal(c) {
			e.assumed = nil
		}
	})
}

// drop forgets what was decided and could not be written.
func (l *ledger) drop(key fleet.Key) (freed bool) {
	return l.change(key, func(e *entry) { e.assumed = nil })
}

// forget forgets a Placement that is gone.
func (l *ledger) forget(key fleet.Key) (freed bool) {
	return l.change(key, func(e *entry) { e.seen, e.assumed = claim{}, nil })
}

func (l *ledger) change(key fleet.Key, change func(*entry)) (freed bool) {
	l.lock.Lock()
	defer l.lock.Unlock()
	e := l.entries[key]
	if e == nil {
		e = &entry{}
		l.entries[key] = e
	}
	before := e.claim()
	change(e)
	after := e.claim()
	if !before.equal(after) {
		l.add(before, -1)
		l.add(after, 1)
		freed = !covers(after, before)
	}
	if e.assumed == nil && len(e.seen.keys) == 0 {
		delete(l.entries, key)
	}
	return freed
}

// covers is true if all of the other claim is in this one.
func covers(c, other claim) bool {
	for _, key := range other.keys {
		if !slices.Contains(c.keys, key) {
			return false
		}
	}
	for name, amount := range other.requests {
		if now := c.requests[name]; now.Cmp(amount) < 0 {
			return len(other.keys) == 0
		}
	}
	return true
}

func (l *ledger) add(c claim, sign int) {
	for _, key := range c.keys {
		total := maps.Clone(l.totals[key]) // a copy: requested hands the old one out
		if total == nil {
			total = corev1.ResourceList{}
		}
		for name, amount := range c.requests {
			sum := total[name].DeepCopy()
			if sign > 0 {
				sum.Add(amount)
			} else {
				sum.Sub(amount)
			}
			total[name] = sum
			if sum.IsZero() {
				delete(total, name)
			}
		}
		if l.totals[key] = total; len(total) == 0 {
			delete(l.totals, key)
		}
	}
}

// requested is what Placements other than the one of that key request of the targets.
func (l *ledger) requested(key fleet.Key, targets []string) map[string]corev1.ResourceList {
	l.lock.Lock()
	defer l.lock.Unlock()
	var own claim
	if e := l.entries[key]; e != nil {
		own = e.claim()
	}
	out := make(map[string]corev1.ResourceList, len(targets))
	for _, target := range targets {
		total := l.totals[target]
		if slices.Contains(own.keys, target) {
			total = maps.Clone(total)
			for name, amount := range own.requests {
				left := total[name].DeepCopy()
				left.Sub(amount)
				total[name] = left
			}
		}
		if len(total) > 0 {
			out[target] = total
		}
	}
	return out
}
