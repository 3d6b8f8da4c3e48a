package syncer

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// credentialsPeriod is how often the credential files are looked at. What they name by path, such as a token file, is
// read again by client-go itself.
const credentialsPeriod = 5 * time.Second

// fresh are credentials that are still to be used.
type fresh struct {
	mu           sync.Mutex
	kcp, cluster *rest.Config
	// interrupt ends the work that uses the old ones.
	interrupt context.CancelFunc
}

// watchCredentials are the parts that read the credential files again when they change.
func (s *Syncer) watchCredentials() []tmc.Part {
	var parts []tmc.Part
	for _, file := range s.config.CredentialFiles {
		parts = append(parts, tmc.WatchKubeconfig(file, credentialsPeriod, s.clock, s.reread))
	}
	return parts
}

// reread has the work start anew with what the files say now. Files that cannot be used leave everything as it is.
func (s *Syncer) reread(context.Context) error {
	kcp, cluster, err := s.config.Reread()
	if err != nil {
		return err
	}
	s.fresh.mu.Lock()
	defer s.fresh.mu.Unlock()
	s.fresh.kcp, s.fresh.cluster = kcp, cluster
	if s.fresh.interrupt != nil {
		s.fresh.interrupt()
	}
	return nil
}

// keepWorking works until ctx is done, and anew whenever there are other credentials.
func (s *Syncer) keepWorking(ctx context.Context) error {
	for {
		working, interrupt := context.WithCancel(ctx)
		s.fresh.interruptWith(interrupt)
		err := s.work(working)
		interrupt()
		kcp, cluster := s.fresh.take()
		if kcp == nil || ctx.Err() != nil {
			return err
		}
		klog.FromContext(ctx).Info("Starting anew with other credentials")
		if err := s.connect(kcp, cluster); err != nil {
			return err
		}
	}
}

// interruptWith says how to end the work; at once if there are fresh credentials already.
func (f *fresh) interruptWith(interrupt context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.interrupt = interrupt
	if f.kcp != nil {
		interrupt()
	}
}

func (f *fresh) take() (kcp, cluster *rest.Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kcp, cluster = f.kcp, f.cluster
	f.kcp, f.cluster, f.interrupt = nil, nil, nil
	return kcp, cluster
}
