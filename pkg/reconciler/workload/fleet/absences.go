package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// Absences tells of a SyncTarget that no cache shows whether it is gone, or just not to be seen: its kcp shard is not served
// any more, its workspace is unbound or cannot be read. Gone it is only on positive evidence: its deletion itself was seen,
// or its logical cluster is served and does not have it.
type Absences struct {
	cache  *Cache[*workloadv1alpha1.SyncTarget]
	memory *Memory
	fleet  *Fleet

	// asking has one request answer all who wait for it.
	asking  sync.Mutex
	lock    sync.Mutex
	missing map[string]*missingTarget
}

// Memory is what a process remembers of SyncTargets for as long as it lives, also while their shards are not served.
type Memory struct {
	lock sync.Mutex
	// names are the SyncTargets that were seen at any time, by their keys; gone are those that are known not to exist.
	names map[string]Key
	gone  map[string]bool
}

// NewMemory has seen nothing.
func NewMemory() *Memory { return &Memory{names: map[string]Key{}, gone: map[string]bool{}} }

// missingTarget is a key that somebody names and no SyncTarget in the cache has.
type missingTarget struct {
	since time.Time
	// answer is what its logical cluster said, and at when.
	answer answer
	at     time.Time
}

// answer is what a logical cluster says when it is asked for a SyncTarget.
type answer string

const (
	notAsked   answer = ""
	notServed  answer = "not served"
	hasIt      answer = "has it"
	doesNotHas answer = "does not have it"
)

const (
	// missingFor is for how long a SyncTarget must not have been seen before that may mean that it was deleted, if its
	// deletion itself was not seen: while the manager was down, for one.
	missingFor = 15 * time.Second
	// unknownFor is how often it is asked again about what cannot be seen.
	unknownFor = time.Minute
)

// Absences are the same for all who ask.
func (f *Fleet) Absences() (*Absences, error) {
	f.absencesLock.Lock()
	defer f.absencesLock.Unlock()
	if f.absences != nil {
		return f.absences, nil
	}
	targets, err := SyncTargets(f)
	if err != nil {
		return nil, err
	}
	a := &Absences{cache: targets, memory: f.deps.Memory, fleet: f, missing: map[string]*missingTarget{}}
	if err := targets.OnChange(a.note); err != nil {
		return nil, err
	}
	f.absences = a
	return a, nil
}

// OnChange is that of the SyncTargets' cache; who hears of a deletion can ask at once whether it is one.
func (a *Absences) OnChange(heard func(Change[*workloadv1alpha1.SyncTarget])) error {
	return a.cache.OnChange(func(change Change[*workloadv1alpha1.SyncTarget]) {
		a.note(change)
		heard(change)
	})
}

// note remembers what is seen.
func (a *Absences) note(change Change[*workloadv1alpha1.SyncTarget]) {
	where := KeyOf(change.Object)
	key := keyOf(where)
	a.memory.lock.Lock()
	a.memory.names[key] = where
	if change.Deleted && !change.Inferred {
		a.memory.gone[key] = true
	} else if !change.Deleted {
		delete(a.memory.gone, key)
	}
	a.memory.lock.Unlock()
	if !change.Deleted {
		a.lock.Lock()
		delete(a.missing, key)
		a.lock.Unlock()
	}
}

func keyOf(k Key) string { return workloadv1alpha1.SyncTargetKey(string(k.Cluster), k.Name) }

// Gone reports whether it is certain that no SyncTarget has the key, which the cache does not show. Named are where it would
// have to be, according to those who name it; what does not fit the key is not believed. Again says when to ask anew.
func (a *Absences) Gone(ctx context.Context, key string, named ...Key) (gone bool, again time.Duration, err error) {
	if !a.cache.Synced() {
		return false, missingFor, nil // it may be about to be seen
	}
	where, known, seen := a.recall(key, named)
	a.asking.Lock()
	defer a.asking.Unlock()
	m, now := a.missed(ctx, key, where)
	state := absence{deletionSeen: seen, known: known, missing: now.Sub(m.since), answer: m.answer, answered: now.Sub(m.at)}
	if state.asks() {
		if state.answer, err = a.ask(ctx, where); err != nil {
			return false, 0, err
		}
		state.answered = 0
		a.answered(key, state.answer, now)
	}
	gone, again = state.judge()
	if gone && !seen {
		a.memory.lock.Lock()
		a.memory.gone[key] = true
		a.memory.lock.Unlock()
	}
	return gone, again, nil
}

// recall is where the SyncTarget would have to be, and whether it is known to be gone.
func (a *Absences) recall(key string, named []Key) (where Key, known, gone bool) {
	a.memory.lock.Lock()
	defer a.memory.lock.Unlock()
	where, known = a.memory.names[key]
	for i := 0; i < len(named) && !known; i++ {
		where, known = named[i], keyOf(named[i]) == key
	}
	return where, known, a.memory.gone[key]
}

// missed is since when the key has been missed.
func (a *Absences) missed(ctx context.Context, key string, where Key) (m missingTarget, now time.Time) {
	a.lock.Lock()
	defer a.lock.Unlock()
	now = a.fleet.deps.Clock.Now()
	if a.missing[key] == nil {
		klog.FromContext(ctx).V(2).Info("A SyncTarget that something is assigned to cannot be seen", "key", key, "syncTarget", where.String())
		a.missing[key] = &missingTarget{since: now}
	}
	return *a.missing[key], now
}

func (a *Absences) answered(key string, said answer, now time.Time) {
	a.lock.Lock()
	defer a.lock.Unlock()
	if m := a.missing[key]; m != nil {
		m.answer, m.at = said, now
	}
}

// ask asks the logical cluster itself, past the cache.
func (a *Absences) ask(ctx context.Context, where Key) (answer, error) {
	there, served, err := a.cache.LiveIn(ctx, where.Cluster)
	if err != nil {
		return notAsked, fmt.Errorf("making sure that SyncTarget %s is gone: %w", where, err)
	}
	if !served {
		return notServed, nil
	}
	for _, st := range there {
		if st.Name == where.Name {
			return hasIt, nil
		}
	}
	return doesNotHas, nil
}

// unseen is how many keys are missed of which it is not known whether their SyncTargets exist.
func (a *Absences) unseen() (n int) {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.memory.lock.Lock()
	defer a.memory.lock.Unlock()
	for key := range a.missing {
		if !a.memory.gone[key] {
			n++
		}
	}
	return n
}

// absence is what is known of a SyncTarget that the cache does not show.
type absence struct {
	// deletionSeen: it was seen to be deleted, or has been found to be gone before.
	deletionSeen bool
	// known: it is known where it would have to be.
	known bool
	// missing is for how long it has been missed, answered how long ago the answer was given.
	missing  time.Duration
	answer   answer
	answered time.Duration
}

// asks reports whether its logical cluster has to be asked: the answer matters, and there is none that is fresh.
func (a absence) asks() bool {
	stale := a.answer == notAsked || a.answer == hasIt && a.answered >= missingFor || a.answer == notServed && a.answered >= unknownFor
	return a.known && stale && (a.deletionSeen || a.missing >= missingFor)
}

// judge says whether it is gone, or else when to ask again.
func (a absence) judge() (gone bool, again time.Duration) {
	switch {
	case a.answer == doesNotHas:
		return true, 0
	case a.answer == hasIt:
		return false, missingFor // the cache is about to show it
	case a.deletionSeen:
		return true, 0 // and nothing can say more: its workspace went with it
	case !a.known || a.answer == notServed:
		return false, unknownFor
	}
	return false, missingFor - a.missing
}

// LiveIn lists the objects of one logical cluster anew, past the cache. It is for the rare decision that must not rest on
// what a cache no longer shows. Served is false if no shard serves the export there, or lets us see it: then nothing is known.
func (c *Cache[T]) LiveIn(ctx context.Context, cluster logicalcluster.Name) (found []T, served bool, err error) {
	var failed error
	for _, shard := range c.shards {
		there, err := c.listIn(ctx, shard, cluster)
		switch {
		case err == nil:
			found, served = append(found, there...), true
		case !isNotServed(err):
			failed = err
		}
	}
	if served {
		return found, true, nil
	}
	return nil, false, failed
}
