package cli

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// LeaderElection is how replicas agree on the one that works.
type LeaderElection struct {
	Enabled           bool
	LeaseDuration     time.Duration
	RenewDeadline     time.Duration
	RetryPeriod       time.Duration
	ResourceNamespace string
	ResourceName      string
}

// LeaseTexts are what differs between programs in the help of the flags.
type LeaseTexts struct {
	// Where the Lease is, e.g. "in the physical cluster".
	Where string
	// Namespace and Name say what holds when the flag is empty.
	Namespace, Name string
}

// NewLeaderElection returns the defaults.
func NewLeaderElection() LeaderElection {
	return LeaderElection{LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second}
}

// AddFlags adds the flags.
func (l *LeaderElection) AddFlags(fs *pflag.FlagSet, texts LeaseTexts) {
	fs.BoolVar(&l.Enabled, "leader-elect", l.Enabled,
		"Work only while holding a Lease "+texts.Where+". Needed to run more than one replica.")
	fs.DurationVar(&l.LeaseDuration, "leader-elect-lease-duration", l.LeaseDuration,
		"How long a standby waits for a leader that no longer renews its Lease.")
	fs.DurationVar(&l.RenewDeadline, "leader-elect-renew-deadline", l.RenewDeadline,
		"How long the leader tries to renew its Lease before it gives up. Must be shorter than the lease duration.")
	fs.DurationVar(&l.RetryPeriod, "leader-elect-retry-period", l.RetryPeriod,
		"How long to wait between two tries to acquire or renew the Lease.")
	fs.StringVar(&l.ResourceNamespace, "leader-elect-resource-namespace", l.ResourceNamespace,
		"The `namespace` of the Lease. "+texts.Namespace)
	fs.StringVar(&l.ResourceName, "leader-elect-resource-name", l.ResourceName,
		"The `name` of the Lease. "+texts.Name)
}

// Complete gives the configuration, and notes what is wrong with it. Its namespace and name have to be set, or to be found
// missing, by the caller; nil if this replica need not be elected.
func (l LeaderElection) Complete(around Surroundings, mistakes *Mistakes) *tmc.LeaderElection {
	if problems := apivalidation.NameIsDNSSubdomain(l.ResourceName, false); len(problems) > 0 {
		mistakes.Add("leader-elect-resource-name", "%q is not a name: %s", l.ResourceName, strings.Join(problems, "; "))
	}
	l.validateDurations(mistakes)
	hostname, err := around.Hostname()
	if err != nil {
		mistakes.Add("leader-elect", "the replica cannot name itself: %v", err)
	}
	return &tmc.LeaderElection{
		Namespace:     l.ResourceNamespace,
		Name:          l.ResourceName,
		Identity:      hostname + "_" + uuid.NewString(), // two replicas on one host are still two
		LeaseDuration: l.LeaseDuration,
		RenewDeadline: l.RenewDeadline,
		RetryPeriod:   l.RetryPeriod,
	}
}

func (l LeaderElection) validateDurations(mistakes *Mistakes) {
	if l.LeaseDuration <= l.RenewDeadline {
		mistakes.Add("leader-elect-lease-duration", "%s is not longer than --leader-elect-renew-deadline (%s): two leaders could work at once", l.LeaseDuration, l.RenewDeadline)
	}
	if jittered := time.Duration(leaderelection.JitterFactor * float64(l.RetryPeriod)); l.RenewDeadline <= jittered {
		mistakes.Add("leader-elect-renew-deadline", "%s is not longer than %.1f times --leader-elect-retry-period (%s): no second try would fit", l.RenewDeadline, leaderelection.JitterFactor, jittered)
	}
	if l.RetryPeriod <= 0 {
		mistakes.Add("leader-elect-retry-period", "%s is not positive", l.RetryPeriod)
	}
}
