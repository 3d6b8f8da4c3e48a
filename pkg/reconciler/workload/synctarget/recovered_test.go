package synctarget

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
)

func TestRecoveryEvents(t *testing.T) {
	said := func(status metav1.ConditionStatus, reason, message string) *metav1.Condition {
		return &metav1.Condition{Type: "Recovered", Status: status, Reason: reason, Message: message}
	}
	c, key := &recoveries{}, fleet.Key{Cluster: "compute", Name: "east"}
	for _, step := range []struct {
		what string
		now  *metav1.Condition
		want string
	}{
		{"what was so before the manager started is no news", said("True", "NothingToRecover", ""), ""},
		{"objects that fail are told on them", said("True", "ObjectsGivenUp", "3 objects"), ""},
		{"credentials are looked for", said("False", "Recovering", "authentication of kcp"), "Warning Recovering: authentication of kcp"},
		{"more of the same is no news", said("False", "Recovering", "authentication of kcp; connectivity of cluster"), ""},
		{"in vain", said("False", "RecoveryExhausted", "authentication of kcp"), "Warning RecoveryExhausted: authentication of kcp"},
		{"and then it is over", said("True", "NothingToRecover", ""), "Normal Recovered: the syncer has recovered from: authentication of kcp"},
		{"a syncer without recovery says nothing", said("Unknown", "RecoveryDisabled", ""), ""},
		{"nor does a target without a syncer", nil, ""},
		{"one that comes back is new", said("False", "Recovering", ""), ""},
	} {
		got := ""
		if event, worth := recoveryEvent(c.see(key, step.now), step.now); worth {
			got = event.Type + " " + event.Reason + ": " + event.Message
		}
		if got != step.want {
			t.Errorf("%s: got %q, want %q", step.what, got, step.want)
		}
	}
}
