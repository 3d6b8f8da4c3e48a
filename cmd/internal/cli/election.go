package cli

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/tools/leaderelection"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// LeaseTexts are what differs between programs in the help of the flags.
type LeaseTexts struct {
	// Where the Lease is, e.g. "in the physical cluster".
	Where string
	// Namespace and Name say what holds when the flag is empty.
	Namespace, Name string
}

// AddLeaderElectionFlags adds the flags.
func AddLeaderElectionFlags(l *configv1alpha1.LeaderElection, fs *pflag.FlagSet, texts LeaseTexts) {
	fs.BoolVar(&l.LeaderElect, "leader-elect", l.LeaderElect,
		"Work only while holding a Lease "+texts.Where+". Needed to run more than one replica.")
	fs.DurationVar(&l.LeaseDuration.Duration, "leader-elect-lease-duration", l.LeaseDuration.Duration,
		"How long a standby waits for a leader that no longer renews its Lease.")
	fs.DurationVar(&l.RenewDeadline.Duration, "leader-elect-renew-deadline", l.RenewDeadline.Duration,
		"How long the leader tries to renew its Lease before it gives up. Must be shorter than the lease duration.")
	fs.DurationVar(&l.RetryPeriod.Duration, "leader-elect-retry-period", l.RetryPeriod.Duration,
		"How long to wait between two tries to acquire or renew the Lease.")
	fs.StringVar(&l.ResourceNamespace, "leader-elect-resource-namespace", l.ResourceNamespace,
		"The `namespace` of the Lease. "+texts.Namespace)
	fs.StringVar(&l.ResourceName, "leader-elect-resource-name", l.ResourceName,
		"The `name` of the Lease. "+texts.Name)
}

// CompleteLeaderElection gives the configuration, and notes what is wrong with it. Its namespace and name have to be set, or to be found
// missing, by the caller; nil if this replica need not be elected.
func CompleteLeaderElection(l configv1alpha1.LeaderElection, around Surroundings, mistakes *Mistakes) *tmc.LeaderElection {
	if problems := apivalidation.NameIsDNSSubdomain(l.ResourceName, false); len(problems) > 0 {
		mistakes.Add("leader-elect-resource-name", "%q is not a name: %s", l.ResourceName, strings.Join(problems, "; "))
	}
	validateLeaseDurations(l, mistakes)
	hostname, err := around.Hostname()
	if err != nil {
		mistakes.Add("leader-elect", "the replica cannot name itself: %v", err)
	}
	return &tmc.LeaderElection{
		Namespace:     l.ResourceNamespace,
		Name:          l.ResourceName,
		Identity:      hostname + "_" + uuid.NewString(), // two replicas on one host are still two
		LeaseDuration: l.LeaseDuration.Duration,
		RenewDeadline: l.RenewDeadline.Duration,
		RetryPeriod:   l.RetryPeriod.Duration,
	}
}

func validateLeaseDurations(of configv1alpha1.LeaderElection, mistakes *Mistakes) {
	lease, renew, retry := of.LeaseDuration.Duration, of.RenewDeadline.Duration, of.RetryPeriod.Duration
	if lease <= renew {
		mistakes.Add("leader-elect-lease-duration", "%s is not longer than --leader-elect-renew-deadline (%s): two leaders could work at once", lease, renew)
	}
	if jittered := time.Duration(leaderelection.JitterFactor * float64(retry)); renew <= jittered {
		mistakes.Add("leader-elect-renew-deadline", "%s is not longer than %.1f times --leader-elect-retry-period (%s): no second try would fit", renew, leaderelection.JitterFactor, jittered)
	}
	if retry <= 0 {
		mistakes.Add("leader-elect-retry-period", "%s is not positive", retry)
	}
}
