package syncer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// facts are all that the SyncTarget's conditions depend on.
type facts struct {
	// discovery is why the types are not known, nil if they are.
	discovery error
	types     []TypeStatus
	// cluster and kcp are why a server does not answer, nil if it does.
	cluster, kcp error
	// health is that of the syncer's other components, and unhealthy what those have said that are not.
	health    tmc.Level
	unhealthy string
	// recovery are the recoveries that go on; recovers is false if there are none by configuration.
	recovery []tmc.RecoveryReport
	recovers bool
	// configuration is how the syncer stands to its configuration file.
	configuration tmc.ConfigState
	// stopped: the syncer ends in an orderly manner.
	stopped bool
}

// conditionsOf computes all conditions from scratch. Transition times are those of before where the status is the same.
func conditionsOf(f facts, before []metav1.Condition, generation int64, now time.Time) []metav1.Condition {
	syncer, apis := syncerReady(f), apisReady(f)
	heartbeat := heartbeatHealthy(before)
	ready := metav1.Condition{Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonSyncing, Message: "workloads are synced"}
	for _, c := range []metav1.Condition{heartbeat, syncer, apis} {
		if c.Status != metav1.ConditionTrue {
			ready = c
			break
		}
	}
	ready.Type = workloadv1alpha1.ConditionReady
	all := []metav1.Condition{ready, syncer, heartbeat, apis, componentsHealthy(f), recovered(f), configurationCurrent(f.configuration)}
	for i := range all {
		all[i].ObservedGeneration = generation
		all[i].LastTransitionTime = transitionTime(all[i], before, now)
	}
	return all
}

// heartbeatHealthy is what the first heartbeat says; from then on the manager's word about the clocks stays.
func heartbeatHealthy(before []metav1.Condition) metav1.Condition {
	c := metav1.Condition{
		Type: workloadv1alpha1.ConditionHeartbeatHealthy, Status: metav1.ConditionTrue,
		Reason: workloadv1alpha1.ReasonHeartbeatRecent, Message: "the syncer sends heartbeats",
	}
	if told := meta.FindStatusCondition(before, c.Type); told != nil && told.Status == c.Status && told.Reason == workloadv1alpha1.ReasonClockSkew {
		c.Reason, c.Message = told.Reason, told.Message
	}
	return c
}

func transitionTime(c metav1.Condition, before []metav1.Condition, now time.Time) metav1.Time {
	for _, b := range before {
		if b.Type == c.Type && b.Status == c.Status {
			return b.LastTransitionTime
		}
	}
	return metav1.NewTime(now).Rfc3339Copy()
}

func syncerReady(f facts) metav1.Condition {
	c := metav1.Condition{Type: workloadv1alpha1.ConditionSyncerReady, Status: metav1.ConditionFalse}
	switch {
	case f.stopped:
		c.Reason, c.Message = workloadv1alpha1.ReasonSyncerStopped, "the syncer was stopped"
	case f.health == tmc.NotLive:
		c.Reason, c.Message = workloadv1alpha1.ReasonSyncerStuck, f.unhealthy
	case rejection(f) != nil:
		c.Reason, c.Message = workloadv1alpha1.ReasonCredentialsRejected, rejection(f).Error()
	case f.cluster != nil:
		c.Reason, c.Message = workloadv1alpha1.ReasonClusterUnreachable, f.cluster.Error()
	case feedFailed(f.discovery): // names the URL, which may be another server than the SyncTarget's
		c.Reason, c.Message = workloadv1alpha1.ReasonFeedUnreachable, f.discovery.Error()
	case f.kcp != nil:
		c.Reason, c.Message = workloadv1alpha1.ReasonFeedUnreachable, f.kcp.Error()
	case f.discovery != nil && !missingExport(f.discovery):
		c.Reason, c.Message = workloadv1alpha1.ReasonSyncerStarting, f.discovery.Error()
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, workloadv1alpha1.ReasonSyncerRunning, "the syncer runs and reaches both sides"
	}
	return c
}

// componentsHealthy is what the probes of the syncer say, of what has no condition of its own.
func componentsHealthy(f facts) metav1.Condition {
	c := metav1.Condition{Type: workloadv1alpha1.ConditionComponentsHealthy, Status: metav1.ConditionFalse, Message: truncate(f.unhealthy, 32768)}
	switch f.health {
	case tmc.NotLive:
		c.Reason = workloadv1alpha1.ReasonSyncerStuck
	case tmc.NotReady:
		c.Reason = workloadv1alpha1.ReasonComponentsNotReady
	case tmc.LevelDegraded:
		c.Reason = workloadv1alpha1.ReasonComponentsDegraded
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, workloadv1alpha1.ReasonComponentsRunning, "all components of the syncer are healthy"
	}
	return c
}

// rejection is why a server does not accept who the syncer says it is, nil if none rejects it. Servers that answer at all
// show it by what cannot be listed.
func rejection(f facts) error {
	for _, err := range []error{f.cluster, f.kcp, f.discovery} {
		if err != nil && tmc.CategoryOf(err) == tmc.Authentication {
			return err
		}
	}
	for _, t := range f.types {
		if t.State == workloadv1alpha1.ResourceDegraded && t.Category == tmc.Authentication {
			return errors.New(t.Resource.String() + ": " + t.Message)
		}
	}
	return nil
}

// feedFailed: the feed does not answer, or not as its URL should.
func feedFailed(err error) bool {
	var failed *feedError
	return errors.As(err, &failed) && !missingExport(err)
}

func missingExport(err error) bool {
	var missing *feed.NoBindingError
	return errors.As(err, &missing)
}

func apisReady(f facts) metav1.Condition {
	c := metav1.Condition{Type: workloadv1alpha1.ConditionAPIsReady, Status: metav1.ConditionFalse}
	degraded, forbidden, pending, accepted := tally(f.types)
	switch {
	case missingExport(f.discovery):
		c.Reason, c.Message = workloadv1alpha1.ReasonAPIExportMissing, f.discovery.Error()
	case f.discovery != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, workloadv1alpha1.ReasonDiscovering, f.discovery.Error()
	case len(forbidden) > 0:
		c.Reason, c.Message = workloadv1alpha1.ReasonAPIsForbidden, strings.Join(append(forbidden, degraded...), "; ")
	case len(degraded) > 0:
		c.Reason, c.Message = workloadv1alpha1.ReasonAPIsDegraded, strings.Join(degraded, "; ")
	case pending > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, workloadv1alpha1.ReasonDiscovering, fmt.Sprintf("%d resource types are being listed", pending)
	case accepted == 0:
		c.Reason, c.Message = workloadv1alpha1.ReasonNoCommonAPIs, "kcp and the physical cluster have no accepted resource type in common; check SyncTarget.spec.supportedAPIExports and --resource-filters"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, workloadv1alpha1.ReasonAPIsSynced, fmt.Sprintf("%d resource types are synced", accepted)
	}
	c.Message = truncate(c.Message, 32768)
	return c
}

func tally(types []TypeStatus) (degraded, forbidden []string, pending, accepted int) {
	for _, t := range types {
		line := t.Resource.String() + ": " + t.Message
		switch {
		case t.State == workloadv1alpha1.ResourceDegraded && t.Category == tmc.Permission:
			forbidden = append(forbidden, line)
		case t.State == workloadv1alpha1.ResourceDegraded:
			degraded = append(degraded, line)
		case t.State == workloadv1alpha1.ResourcePending:
			pending++
		case t.State == workloadv1alpha1.ResourceAccepted:
			accepted++
		}
	}
	return degraded, forbidden, pending, accepted
}

func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return s[:limit]
}

// syncedResourcesOf is the list for the SyncTarget's status.
func syncedResourcesOf(types []TypeStatus) []workloadv1alpha1.SyncedResource {
	resources := make([]workloadv1alpha1.SyncedResource, 0, len(types))
	for _, t := range types {
		resource := workloadv1alpha1.SyncedResource{
			Group: t.Resource.Group, Resource: t.Resource.Resource, Versions: versionsOf(t), State: t.State, Message: truncate(t.Message, 1024),
			Objects:        int64(t.Objects[StateSynced]),
			PendingObjects: int64(t.Objects[StatePending] + t.Objects[StateFailed] + t.Objects[StateQuarantined]),
			FailedObjects:  int64(t.Objects[StateFailed] + t.Objects[StateQuarantined]),
		}
		if !t.Oldest.IsZero() {
			resource.PendingSince = &metav1.Time{Time: t.Oldest.Truncate(time.Second)}
		}
		resources = append(resources, resource)
	}
	return resources
}

func versionsOf(t TypeStatus) []string {
	if t.Version == "" {
		return nil
	}
	return []string{t.Version}
}
