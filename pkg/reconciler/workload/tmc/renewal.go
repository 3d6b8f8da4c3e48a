package tmc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/rest"
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
	// Fingerprint differs for credentials that differ; see [Fingerprint]. It is needed for [Renewal.Renew] only.
	Fingerprint func(C) (string, error)

	lock  sync.Mutex
	fresh *C
	// used is the fingerprint of those in use. renewed: Renew has taken them up, of which the watch of the files will hear too.
	used    string
	renewed bool
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
	found := ""
	if r.Fingerprint != nil {
		found, _ = r.Fingerprint(fresh) // what cannot be read differs from what can
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	already := r.renewed && found != "" && found == r.used
	r.renewed = false
	if already {
		return nil
	}
	r.fresh = &fresh
	if r.interrupt != nil {
		r.interrupt()
	}
	return nil
}

// InUse takes note of the credentials that the work starts with.
func (r *Renewal[C]) InUse(current C) {
	used, _ := r.Fingerprint(current) // what cannot be read differs from what can
	r.lock.Lock()
	defer r.lock.Unlock()
	r.used = used
}

// Renew reads everything again that the credentials come from, also the files that they name, because a server does not
// accept them: without waiting for anybody to see that a file has changed. That nothing has is an error.
func (r *Renewal[C]) Renew(context.Context) error {
	fresh, err := r.Reread()
	if err != nil {
		return err
	}
	found, err := r.Fingerprint(fresh)
	if err != nil {
		return err
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	if found == r.used {
		return As(Authentication, errors.New("the files that the credentials come from hold what they held before"))
	}
	r.used, r.fresh, r.renewed = found, &fresh, true
	if r.interrupt != nil {
		r.interrupt()
	}
	return nil
}

// Fingerprint tells apart ways to servers that differ in address, authority or credentials, those in files included.
func Fingerprint(configs ...*rest.Config) (string, error) {
	sum := sha256.New()
	for _, config := range configs {
		loaded := rest.CopyConfig(config)
		if err := rest.LoadTLSFiles(loaded); err != nil {
			return "", As(Configuration, fmt.Errorf("reading the certificates for %s: %w", config.Host, err))
		}
		token := loaded.BearerToken
		if loaded.BearerTokenFile != "" {
			content, err := os.ReadFile(loaded.BearerTokenFile)
			if err != nil {
				return "", As(Authentication, fmt.Errorf("reading the token for %s: %w", config.Host, err))
			}
			token = string(content)
		}
		fmt.Fprintf(sum, "%q %q %q %q %q %q %q %t\n", loaded.Host, loaded.CAData, loaded.CertData, loaded.KeyData, token,
			loaded.Username, loaded.Password, loaded.Insecure)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
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
		if r.Fingerprint != nil {
			r.InUse(*fresh)
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
