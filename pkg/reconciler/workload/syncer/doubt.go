package syncer

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// doubtPatience is for how long a server may say no that has never said yes. One that has just started does so for some seconds: it
// does not know yet who may do what, or which types it serves.
const doubtPatience = 20 * time.Second

// doubt says what an answer means that tells of missing rights, types or workspaces. From a server that has answered before it means
// nothing: it is away in another way. From any other it is believed if it lasts.
type doubt struct {
	clock clock.PassiveClock

	lock     sync.Mutex
	answered bool
	since    time.Time
}

// over takes note that the server has answered.
func (d *doubt) over() {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.answered = true
}

// believes reports whether a no is final.
func (d *doubt) believes() bool {
	d.lock.Lock()
	defer d.lock.Unlock()
	now := d.clock.Now()
	if d.since.IsZero() {
		d.since = now
	}
	return !d.answered && now.Sub(d.since) >= doubtPatience
}
