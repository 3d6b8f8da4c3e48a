package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
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

	lock    sync.Mutex
	missing map[string]*missingTarget
	// dropped is when those that nobody names any more were last dropped.
	dropped time.Time
}

// Memory is what a process remembers of SyncTargets for as long as it lives, also while their shards are not served.
type Memory struct {
	lock sync.Mutex
	// names are the SyncTargets that were seen at any time, by their keys; gone are those that are known not to exist.
	names map[string]Key
	gone  map[string]bool
	// asked is when somebody last asked for a SyncTarget that is not seen.
	asked map[string]time.Time
	// learned has room for one: there are names that were not there before.
	learned chan struct{}
}

// NewMemory has seen nothing.
func NewMemory() *Memory {
	return &Memory{names: map[string]Key{}, gone: map[string]bool{}, asked: map[string]time.Time{}, learned: make(chan struct{}, 1)}
}

// Learned tells that names have come.
func (m *Memory) Learned() <-chan struct{} { return m.learned }

// Names are where SyncTargets are, or were.
func (m *Memory) Names() []Key {
	m.lock.Lock()
	defer m.lock.Unlock()
	names := slices.Collect(maps.Values(m.names))
	slices.SortFunc(names, func(a, b Key) int { return strings.Compare(a.String(), b.String()) })
	return names
}

// Recall adds names that were known before. That says nothing of whether they exist.
func (m *Memory) Recall(names []Key) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, name := range names {
		m.names[keyOf(name)] = name
	}
}

// Forget drops what is known to be gone and was not asked for since then.
func (m *Memory) Forget(since time.Time) (dropped int) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for key := range m.gone {
		if m.asked[key].Before(since) {
			delete(m.names, key)
			delete(m.gone, key)
			delete(m.asked, key)
			dropped++
		}
	}
	return dropped
}

// see takes note of a SyncTarget that is there.
func (m *Memory) see(key string, where Key) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.gone, key)
	delete(m.asked, key)
	if _, known := m.names[key]; known {
		return
	}
	m.names[key] = where
	select {
	case m.learned <- struct{}{}:
	default: // it is told already
	}
}

// lose takes note of one that is certain not to exist any more.
func (m *Memory) lose(key string, now time.Time) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if !m.gone[key] {
		m.asked[key] = now // it counts as asked for when that is found out
	}
	m.gone[key] = true
}

// missingTarget is a key that somebody names and no SyncTarget in the cache has.
type missingTarget struct {
	// asking has room for the one who asks now.
	asking chan struct{}
	since  time.Time
	// asked is when somebody asked last. Who names a key has it asked for again and again, at least every unknownFor.
	asked time.Time
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
	// unaskedFor is after how long nobody names a key any more that nobody has asked for.
	unaskedFor = 10 * unknownFor
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
	switch {
	case !change.Deleted:
		a.memory.see(key, where)
	case !change.Inferred:
		a.memory.lose(key, a.fleet.deps.Clock.Now())
	}
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
	asking := a.turn(ctx, key, where)
	select { // one request answers all who wait for it; who asks for others waits for none of it
	case asking <- struct{}{}:
		defer func() { <-asking }()
	case <-ctx.Done():
		return false, 0, fmt.Errorf("waiting for what is found out about SyncTarget %s: %w", where, ctx.Err())
	}
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
		a.memory.lose(key, now)
	}
	return gone, again, nil
}

// recall is where the SyncTarget would have to be, and whether it is known to be gone.
func (a *Absences) recall(key string, named []Key) (where Key, known, gone bool) {
	a.memory.lock.Lock()
	defer a.memory.lock.Unlock()
	where, known = a.memory.names[key]
	if a.memory.gone[key] {
		a.memory.asked[key] = a.fleet.deps.Clock.Now()
	}
	for i := 0; i < len(named) && !known; i++ {
		where, known = named[i], keyOf(named[i]) == key
	}
	return where, known, a.memory.gone[key]
}

// turn is what who asks for the key fills.
func (a *Absences) turn(ctx context.Context, key string, where Key) chan struct{} {
	m, _ := a.missed(ctx, key, where)
	return m.asking
}

// missed is since when the key has been missed.
func (a *Absences) missed(ctx context.Context, key string, where Key) (m missingTarget, now time.Time) {
	a.lock.Lock()
	defer a.lock.Unlock()
	now = a.fleet.deps.Clock.Now()
	if a.missing[key] == nil {
		a.dropUnasked(now)
		klog.FromContext(ctx).V(2).Info("A SyncTarget that something is assigned to cannot be seen", "key", key, "syncTarget", where.String())
		a.missing[key] = &missingTarget{asking: make(chan struct{}, 1), since: now}
	}
	a.missing[key].asked = now
	return *a.missing[key], now
}

// dropUnasked forgets keys that nobody names any more: tenants can name as many as they like.
func (a *Absences) dropUnasked(now time.Time) {
	if now.Sub(a.dropped) < unaskedFor {
		return
	}
	a.dropped = now
	maps.DeleteFunc(a.missing, func(_ string, m *missingTarget) bool { return now.Sub(m.asked) > unaskedFor })
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
	case !a.known && a.missing < unknownFor:
		return false, missingFor // somebody may be about to say where, or what was kept to be read
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
