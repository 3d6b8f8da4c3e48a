package virtualworkspace

import (
	"sync"

	"golang.org/x/time/rate"

	"k8s.io/utils/clock"
)

// limits bound what one target can take of the server, so that the others have theirs.
type limits struct {
	watches, requests int

	lock sync.Mutex
	used map[TargetRef]*usage
}

type usage struct{ watches, requests int }

func newLimits(watches, requests int) *limits {
	return &limits{watches: watches, requests: requests, used: map[TargetRef]*usage{}}
}

// enter counts a request until leave is called.
func (l *limits) enter(target TargetRef, watch bool) (leave func(), err error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	u := l.used[target]
	if u == nil {
		u = &usage{}
	}
	count, most, what := &u.requests, l.requests, "too many requests of this target are under way"
	if watch {
		count, most, what = &u.watches, l.watches, "this target has too many watches open"
	}
	if *count >= most {
		return nil, tooMany(what, 1)
	}
	*count++
	l.used[target] = u
	return func() {
		l.lock.Lock()
		defer l.lock.Unlock()
		*count--
		if *u == (usage{}) {
			delete(l.used, target)
		}
	}, nil
}

// Events take room in the tenants' workspaces. A syncer sends one at each transition of an object.
const (
	eventsPerSecond = 20
	eventsAtOnce    = 500
)

// eventLimits bound how many Events one target may create.
type eventLimits struct {
	clock clock.PassiveClock
	lock  sync.Mutex
	used  map[TargetRef]*rate.Limiter
}

func newEventLimits(c clock.PassiveClock) *eventLimits {
	return &eventLimits{clock: c, used: map[TargetRef]*rate.Limiter{}}
}

func (l *eventLimits) allow(target TargetRef) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.used[target] == nil {
		l.used[target] = rate.NewLimiter(eventsPerSecond, eventsAtOnce)
	}
	return l.used[target].AllowN(l.clock.Now(), 1)
}

// forget drops those that are as good as new.
func (l *eventLimits) forget() {
	l.lock.Lock()
	defer l.lock.Unlock()
	now := l.clock.Now()
	for target, limiter := range l.used {
		if limiter.TokensAt(now) >= eventsAtOnce {
			delete(l.used, target)
		}
	}
}
