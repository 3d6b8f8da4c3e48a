package syncer

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func TestConditionsOf(t *testing.T) {
	accepted := TypeStatus{Resource: schema.GroupResource{Resource: "configmaps"}, State: workloadv1alpha1.ResourceAccepted}
	pending := TypeStatus{Resource: schema.GroupResource{Resource: "services"}, State: workloadv1alpha1.ResourcePending}
	forbidden := TypeStatus{Resource: schema.GroupResource{Resource: "secrets"}, State: workloadv1alpha1.ResourceDegraded, Category: tmc.Permission, Message: "may not list"}
	broken := TypeStatus{Resource: schema.GroupResource{Resource: "jobs", Group: "batch"}, State: workloadv1alpha1.ResourceDegraded, Category: tmc.Internal, Message: "boom"}
	rejected := TypeStatus{Resource: schema.GroupResource{Resource: "secrets"}, State: workloadv1alpha1.ResourceDegraded, Category: tmc.Authentication, Message: "Unauthorized"}
	refusedConnection := errors.New("connection refused")
	for _, tc := range []struct {
		name string
		in   facts
		// want are Ready, SyncerReady, HeartbeatHealthy and APIsReady.
		want [4]string
	}{
		{"all is well", facts{types: []TypeStatus{accepted}}, [4]string{"True Syncing", "True SyncerRunning", "True HeartbeatRecent", "True APIsSynced"}},
		{
			"a type that is listed for the first time",
			facts{types: []TypeStatus{accepted, pending}},
			[4]string{"Unknown Discovering", "True SyncerRunning", "True HeartbeatRecent", "Unknown Discovering"},
		},
		{
			"a missing permission is told before other trouble",
			facts{types: []TypeStatus{accepted, broken, forbidden}},
			[4]string{"False APIsForbidden", "True SyncerRunning", "True HeartbeatRecent", "False APIsForbidden"},
		},
		{"other trouble", facts{types: []TypeStatus{accepted, broken}}, [4]string{"False APIsDegraded", "True SyncerRunning", "True HeartbeatRecent", "False APIsDegraded"}},
		{"nothing in common", facts{}, [4]string{"False NoCommonAPIs", "True SyncerRunning", "True HeartbeatRecent", "False NoCommonAPIs"}},
		{
			"no binding in the workspace",
			facts{discovery: &feedError{&feed.NoBindingError{Source: "team"}}},
			[4]string{"False APIExportMissing", "True SyncerRunning", "True HeartbeatRecent", "False APIExportMissing"},
		},
		{
			"the feed's URL leads nowhere",
			facts{discovery: tmc.As(tmc.NotFound, &feedError{errors.New("404 page not found")})},
			[4]string{"False FeedUnreachable", "False FeedUnreachable", "True HeartbeatRecent", "Unknown Discovering"},
		},
		{
			"the feed's server is not there, while that of the SyncTarget is",
			facts{discovery: tmc.As(tmc.Unreachable, &feedError{refusedConnection})},
			[4]string{"False FeedUnreachable", "False FeedUnreachable", "True HeartbeatRecent", "Unknown Discovering"},
		},
		{
			"the types of the physical cluster cannot be asked for, which is not the feed's fault",
			facts{discovery: tmc.As(tmc.Permission, errors.New("forbidden"))},
			[4]string{"False SyncerStarting", "False SyncerStarting", "True HeartbeatRecent", "Unknown Discovering"},
		},
		{
			"the types are not known yet",
			facts{discovery: errors.New("not yet")},
			[4]string{"False SyncerStarting", "False SyncerStarting", "True HeartbeatRecent", "Unknown Discovering"},
		},
		{
			"the physical cluster does not answer",
			facts{cluster: refusedConnection, types: []TypeStatus{accepted}},
			[4]string{"False ClusterUnreachable", "False ClusterUnreachable", "True HeartbeatRecent", "True APIsSynced"},
		},
		{
			"credentials are rejected",
			facts{cluster: tmc.As(tmc.Authentication, errors.New("Unauthorized")), types: []TypeStatus{accepted}},
			[4]string{"False CredentialsRejected", "False CredentialsRejected", "True HeartbeatRecent", "True APIsSynced"},
		},
		{
			"credentials are rejected by a server that answers",
			facts{types: []TypeStatus{accepted, rejected}},
			[4]string{"False CredentialsRejected", "False CredentialsRejected", "True HeartbeatRecent", "False APIsDegraded"},
		},
		{
			"a worker hangs, which no other condition would tell",
			facts{types: []TypeStatus{accepted}, health: tmc.NotLive, unhealthy: "workers: web/nginx has been in work for 6m"},
			[4]string{"False SyncerStuck", "False SyncerStuck", "True HeartbeatRecent", "True APIsSynced"},
		},
		{
			"what is not done beside the syncing does not make the target unready",
			facts{types: []TypeStatus{accepted}, health: tmc.LevelDegraded, unhealthy: "capacity: the nodes may not be listed"},
			[4]string{"True Syncing", "True SyncerRunning", "True HeartbeatRecent", "True APIsSynced"},
		},
		{
			"an orderly stop",
			facts{stopped: true, types: []TypeStatus{accepted}},
			[4]string{"False SyncerStopped", "False SyncerStopped", "True HeartbeatRecent", "True APIsSynced"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got [4]string
			for i, c := range conditionsOf(tc.in, nil, 1, time.Now())[:len(got)] {
				got[i] = string(c.Status) + " " + c.Reason
				if c.Message == "" || c.ObservedGeneration != 1 {
					t.Errorf("%s has no message or generation: %+v", c.Type, c)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestComponentsHealthy(t *testing.T) {
	for _, tc := range []struct {
		name   string
		health tmc.Level
		says   string
		want   string
	}{
		{"all is well", tmc.Healthy, "", "True ComponentsRunning: all components of the syncer are healthy"},
		{"a part of the duty is not done", tmc.LevelDegraded, "capacity: forbidden", "False ComponentsDegraded: capacity: forbidden"},
		{"the duty is not done", tmc.NotReady, "namespaces: not listed", "False ComponentsNotReady: namespaces: not listed"},
		{"only a restart helps", tmc.NotLive, "engine: no answer", "False SyncerStuck: engine: no answer"},
	} {
		conditions := conditionsOf(facts{health: tc.health, unhealthy: tc.says}, nil, 1, time.Now())
		c := meta.FindStatusCondition(conditions, workloadv1alpha1.ConditionComponentsHealthy)
		if got := string(c.Status) + " " + c.Reason + ": " + c.Message; got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestConditionsKeepTheirTransitionTime(t *testing.T) {
	early, late := time.Unix(1000, 0), time.Unix(2000, 0)
	ok := facts{types: []TypeStatus{{State: workloadv1alpha1.ResourceAccepted}}}
	first := conditionsOf(ok, nil, 1, early)
	if diff := cmp.Diff(first, conditionsOf(ok, first, 1, late)); diff != "" {
		t.Errorf("the same facts give other conditions later:\n%s", diff)
	}
	failing := conditionsOf(facts{discovery: errors.New("x")}, first, 1, late)
	if got := failing[0].LastTransitionTime; !got.Equal(&metav1.Time{Time: late}) {
		t.Errorf("Ready became False at %s, want %s", got, late)
	}
}

// The manager sees both clocks. What it says of them stays while the heartbeat is healthy, or they would take turns.
func TestTheManagersWordAboutTheClocksStays(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	told := func(status metav1.ConditionStatus, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: workloadv1alpha1.ConditionHeartbeatHealthy, Status: status, Reason: reason, Message: "as told"}}
	}
	for reason, tc := range map[string]struct {
		before []metav1.Condition
		stays  bool
	}{
		workloadv1alpha1.ReasonClockSkew:        {told(metav1.ConditionTrue, workloadv1alpha1.ReasonClockSkew), true},
		workloadv1alpha1.ReasonHeartbeatExpired: {told(metav1.ConditionUnknown, workloadv1alpha1.ReasonHeartbeatExpired), false},
		workloadv1alpha1.ReasonNeverConnected:   {told(metav1.ConditionUnknown, workloadv1alpha1.ReasonNeverConnected), false},
	} {
		for _, c := range conditionsOf(facts{}, tc.before, 1, now) {
			if c.Type == workloadv1alpha1.ConditionHeartbeatHealthy && (c.Status != metav1.ConditionTrue || (c.Reason == reason) != tc.stays || (c.Message == "as told") != tc.stays) {
				t.Errorf("after %s the syncer says %s %s: %s", reason, c.Status, c.Reason, c.Message)
			}
		}
	}
}
