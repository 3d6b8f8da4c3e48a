package tmc

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// credentialsPeriod is how often the credential files are looked at. What they name by path, such as a token file, is
// read again by client-go itself.
const credentialsPeriod = 5 * time.Second

// Renewal has work start anew, without the process ending, when the files that its credentials come from change. C is
// what they are read into.
type Renewal[C any] struct {
	// Files that the credentials come from.
	Files []string
	// Reread reads them again. If it fails, everything stays as it is.
	Reread func() (C, error)
	// Use has the work use them from its next start on.
	Use func(C) error

	lock  sync.Mutex
	fresh *C
	// interrupt ends the work that uses the old ones.
	interrupt context.CancelFunc
}

// Parts watch the files.
func (r *Renewal[C]) Parts(c clock.WithTicker) []Part {
	var parts []Part
	for _, file := range r.Files {
		parts = append(parts, WatchKubeconfig(file, credentialsPeriod, c, r.reread))
	}
	return parts
}

func (r *Renewal[C]) reread(context.Context) error {
	fresh, err := r.Reread()
	if err != nil {
		return err
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.fresh = &fresh
	if r.interrupt != nil {
		r.interrupt()
	}
	return nil
}

// KeepWorking works until ctx is done, and anew whenever there are other credentials.
func (r *Renewal[C]) KeepWorking(ctx context.Context, work func(context.Context) error) error {
	for {
		working, interrupt := context.WithCancel(ctx)
		r.interruptWith(interrupt)
		err := work(working)
		interrupt()
		fresh := r.take()
		if fresh == nil || ctx.Err() != nil {
			return err
		}
		klog.FromContext(ctx).Info("Starting anew with other credentials")
		if err := r.Use(*fresh); err != nil {
			return err
		}
	}
}

// interruptWith says how to end the work; at once if there are fresh credentials already.
func (r *Renewal[C]) interruptWith(interrupt context.CancelFunc) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.interrupt = interrupt
	if r.fresh != nil {
		interrupt()
	}
}

func (r *Renewal[C]) take() *C {
	r.lock.Lock()
	defer r.lock.Unlock()
	fresh := r.fresh
	r.fresh, r.interrupt = nil, nil
	return fresh
}
