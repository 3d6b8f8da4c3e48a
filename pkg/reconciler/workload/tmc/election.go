package tmc

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// LeaderElection configures a Lease. Durations as in client-go.
type LeaderElection struct {
	Namespace, Name, Identity                 string
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// leaseOverdue is how long after the end of the Lease a replica may believe that it leads, before it counts as stuck.
const leaseOverdue = 20 * time.Second

// errLeaseLost: another replica works now, or the server did not let us renew the Lease.
var errLeaseLost = errors.New("the leader election Lease was lost")

// releaseTimeout is how long giving the Lease back may take. A server that does not answer learns of it when the Lease runs out.
const releaseTimeout = 2 * time.Second

// Campaign stands for election until ctx is done, and runs lead while this replica holds the Lease. Standby is called each
// time before it stands. Losing the Lease is no reason to end the process: usually the Lease's server is away, and a
// container that waits for it is back sooner than one that crashes again and again. Health tells meanwhile of an elector
// that does not notice that its Lease has ended.
func (c LeaderElection) Campaign(ctx context.Context, health *Health, leases coordinationv1.LeasesGetter, standby func(), lead func(context.Context) error) error {
	watched := leaderelection.NewLeaderHealthzAdaptor(leaseOverdue)
	defer health.Register(Check{
		Name: "leader-election", Kind: Liveness, Run: func(context.Context) error { return watched.Check(nil) },
	})()
	for {
		standby()
		err := c.elected(ctx, watched, leases, lead)
		if !errors.Is(err, errLeaseLost) || ctx.Err() != nil {
			return err
		}
		klog.FromContext(ctx).Error(err, "Standing for election again")
	}
}

// elected runs lead while this replica holds the Lease. The Lease is given back only when lead has returned, so that two
// replicas never work at the same time.
func (c LeaderElection) elected(ctx context.Context, watched *leaderelection.HealthzAdaptor, leases coordinationv1.LeasesGetter, lead func(context.Context) error) error {
	leaseCtx, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	workCtx, stopWork := context.WithCancel(ctx)
	defer stopWork()

	result := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name},
			Client:     leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: c.Identity},
		},
		LeaseDuration: c.LeaseDuration, RenewDeadline: c.RenewDeadline, RetryPeriod: c.RetryPeriod,
		ReleaseOnCancel: true, Name: c.Name, WatchDog: watched,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				klog.FromContext(ctx).Info("Elected", "lease", c.Namespace+"/"+c.Name, "identity", c.Identity)
				result <- lead(workCtx)
			},
			OnStoppedLeading: func() { stopWork() },
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	electing := make(chan struct{})
	go func() { // waited for below
		defer close(electing)
		elector.Run(leaseCtx)
	}()
	return awaitElection(ctx, elector, electing, result, release)
}

// awaitElection waits for the work to end, then for the Lease to be given back.
func awaitElection(ctx context.Context, elector *leaderelection.LeaderElector, electing <-chan struct{}, result <-chan error, release context.CancelFunc) error {
	var err error
	select {
	case err = <-result:
	case <-ctx.Done():
		if elector.IsLeader() {
			err = <-result
		}
	case <-electing: // the Lease was lost
		err = errors.Join(errLeaseLost, <-result)
	}
	release()
	select {
	case <-electing:
	case <-time.After(releaseTimeout): // client-go gives itself the renew deadline for it; the process ends before
		klog.FromContext(ctx).Info("The Lease could not be given back in time: its server does not answer")
	}
	return err
}
