package heartbeat

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

var (
	now      = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	settings = Settings{Grace: time.Minute, TaintAfter: 5 * time.Minute, TaintThreshold: 0.55}
)

// change makes one thing of a case different.
type change func(*Observed)

// observed is a target whose syncer is well and was heard of ten seconds ago, one of two in its workspace.
func observed(changes ...change) Observed {
	st := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: "east", Generation: 3}}
	st.Status.LastSyncerHeartbeatTime = &metav1.Time{Time: now.Add(-10 * time.Second)}
	for _, c := range []struct{ kind, reason string }{
		{workloadv1alpha1.ConditionReady, workloadv1alpha1.ReasonSyncing},
		{workloadv1alpha1.ConditionSyncerReady, workloadv1alpha1.ReasonSyncerRunning},
		{workloadv1alpha1.ConditionHeartbeatHealthy, workloadv1alpha1.ReasonHeartbeatRecent},
		{workloadv1alpha1.ConditionAPIsReady, workloadv1alpha1.ReasonAPIsSynced},
	} {
		st.Status.Conditions = append(st.Status.Conditions, metav1.Condition{
			Type: c.kind, Status: metav1.ConditionTrue, Reason: c.reason, Message: "well", ObservedGeneration: 2, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
		})
	}
	o := Observed{Target: st, Seen: now.Add(-10 * time.Second), Live: true, Heard: 2, Now: now}
	for _, c := range changes {
		c(&o)
	}
	return o
}

func seenAgo(ago time.Duration) change { return func(o *Observed) { o.Seen = now.Add(-ago) } }

// justStarted: the manager has looked for so long, and seen nothing change yet.
func justStarted(ago time.Duration) change {
	return func(o *Observed) { o.Seen, o.Live = now.Add(-ago), false }
}

func silentOf(silent, heard int) change {
	return func(o *Observed) { o.Silent, o.Heard = silent, heard }
}
func neverHeard(o *Observed) { o.Target.Status = workloadv1alpha1.SyncTargetStatus{} }
func tainted(o *Observed) {
	o.Target.Spec.Taints = []workloadv1alpha1.Taint{{Key: workloadv1alpha1.TaintUnreachable, Effect: workloadv1alpha1.TaintNoExecute}}
}

// condition has the target say something else.
func condition(kind string, status metav1.ConditionStatus, reason, message string) change {
	return func(o *Observed) {
		c := meta.FindStatusCondition(o.Target.Status.Conditions, kind)
		c.Status, c.Reason, c.Message = status, reason, message
	}
}

func toldExpired(o *Observed) {
	for _, c := range Judge(observed(seenAgo(time.Hour), silentOf(2, 2)), settings).Conditions {
		meta.SetStatusCondition(&o.Target.Status.Conditions, c)
	}
}

// clock has the heartbeats say another time than the manager's clock does.
func clock(ahead time.Duration) change {
	return func(o *Observed) { o.Target.Status.LastSyncerHeartbeatTime = &metav1.Time{Time: o.Seen.Add(ahead)} }
}

func TestJudge(t *testing.T) {
	const (
		well    = "Ready=True/Syncing SyncerReady=True/SyncerRunning HeartbeatHealthy=True/HeartbeatRecent APIsReady=True/APIsSynced"
		expired = "Ready=Unknown/HeartbeatExpired SyncerReady=Unknown/SyncerUnknown HeartbeatHealthy=Unknown/HeartbeatExpired APIsReady=True/APIsSynced"
		stopped = "Ready=Unknown/HeartbeatExpired SyncerReady=False/SyncerStopped HeartbeatHealthy=Unknown/HeartbeatExpired APIsReady=True/APIsSynced"
		never   = "Ready=Unknown/NeverConnected HeartbeatHealthy=Unknown/NeverConnected"
		skewed  = "Ready=True/Syncing SyncerReady=True/SyncerRunning HeartbeatHealthy=True/ClockSkew APIsReady=True/APIsSynced"
	)
	for name, tc := range map[string]struct {
		of         Observed
		conditions string
		writes     bool
		does       string
		again      time.Duration
	}{
		"a heartbeat that changes is healthy":           {observed(), well, false, "", 50 * time.Second},
		"a target that nobody serves says so":           {observed(neverHeard), never, true, "", 0},
		"a heartbeat that stays the same runs out":      {observed(seenAgo(time.Minute)), expired, true, "", 5 * time.Minute},
		"its age does not count, nor what it says":      {observed(clock(-9*time.Hour), justStarted(0)), well, false, "", time.Minute},
		"patience begins when the manager does":         {observed(justStarted(59 * time.Second)), well, false, "", time.Second},
		"and ends":                                      {observed(justStarted(time.Minute)), expired, true, "", 5 * time.Minute},
		"what ran out before a restart stays so":        {observed(toldExpired, justStarted(0), silentOf(2, 2)), expired, false, "", 6 * time.Minute},
		"until it changes: then the syncer has its say": {observed(toldExpired), expired, false, "", 50 * time.Second},
		"a syncer that was stopped said so, and that still counts": {
			observed(condition(workloadv1alpha1.ConditionSyncerReady, metav1.ConditionFalse, workloadv1alpha1.ReasonSyncerStopped, "bye"), seenAgo(time.Hour), silentOf(2, 2)), stopped, true, "", time.Minute,
		},

		"silent for long, its work is taken away":    {observed(seenAgo(6*time.Minute), silentOf(1, 2)), expired, true, "taint", 0},
		"not while most are silent":                  {observed(seenAgo(6*time.Minute), silentOf(2, 3)), expired, true, "", time.Minute},
		"nor where there is no other":                {observed(seenAgo(6*time.Minute), silentOf(1, 1)), expired, true, "", time.Minute},
		"once is enough":                             {observed(seenAgo(time.Hour), silentOf(1, 2), tainted), expired, true, "", 0},
		"what was tainted stays so while all vanish": {observed(seenAgo(time.Hour), silentOf(3, 3), tainted), expired, true, "", 0},
		"heard again, the taint goes at once":        {observed(tainted), well, false, "untaint", 50 * time.Second},
		"a restart is no sign of life":               {observed(toldExpired, tainted, justStarted(0)), expired, true, "", 0},

		"clocks that differ are told":            {observed(clock(2 * time.Hour)), skewed, true, "", 50 * time.Second},
		"in both directions":                     {observed(clock(-2 * time.Minute)), skewed, true, "", 50 * time.Second},
		"not by a heartbeat found at the start":  {observed(clock(2*time.Hour), justStarted(0)), well, false, "", time.Minute},
		"nor in place of the syncer's own words": {observed(clock(2*time.Hour), toldExpired), expired, false, "", 50 * time.Second},
		"once they agree that is over":           {observed(condition(workloadv1alpha1.ConditionHeartbeatHealthy, metav1.ConditionTrue, workloadv1alpha1.ReasonClockSkew, skewWords(time.Hour, ""))), well, true, "", 50 * time.Second},
		"a syncer that says it has trouble is left to say so": {
			observed(condition(workloadv1alpha1.ConditionSyncerReady, metav1.ConditionFalse, workloadv1alpha1.ReasonClusterUnreachable, "gone")),
			strings.Replace(well, "SyncerReady=True/SyncerRunning", "SyncerReady=False/ClusterUnreachable", 1), false, "", 50 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := tc.of.Target.DeepCopy()
			j := Judge(tc.of, settings)
			if diff := cmp.Diff(before, tc.of.Target); diff != "" {
				t.Fatalf("the judged target was modified (-was +is):\n%s", diff)
			}
			if got := inWords(j.Conditions); got != tc.conditions {
				t.Errorf("the conditions are\n%s, want\n%s", got, tc.conditions)
			}
			if j.Changed(tc.of.Target) != tc.writes {
				t.Errorf("writes: %v", !tc.writes)
			}
			if does := map[bool]string{true: "taint"}[j.Taint] + map[bool]string{true: "untaint"}[j.Untaint]; does != tc.does {
				t.Errorf("does %q, want %q", does, tc.does)
			}
			if j.Again != tc.again {
				t.Errorf("looks again after %s, want %s", j.Again, tc.again)
			}
			// What was told is not told again.
			tc.of.Target.Status.Conditions = j.Conditions
			if again := Judge(tc.of, settings); again.Changed(tc.of.Target) {
				t.Errorf("a second look changes:\n%s", cmp.Diff(j.Conditions, again.Conditions))
			}
		})
	}
}

// inWords gives the conditions in the order of their documentation.
func inWords(conditions []metav1.Condition) string {
	var words []string
	for _, kind := range []string{workloadv1alpha1.ConditionReady, workloadv1alpha1.ConditionSyncerReady, workloadv1alpha1.ConditionHeartbeatHealthy, workloadv1alpha1.ConditionAPIsReady} {
		if c := meta.FindStatusCondition(conditions, kind); c != nil {
			words = append(words, kind+"="+string(c.Status)+"/"+c.Reason)
		}
	}
	return strings.Join(words, " ")
}

func TestTransitionsAreDated(t *testing.T) {
	o := observed(seenAgo(time.Minute))
	for _, c := range Judge(o, settings).Conditions {
		before := meta.FindStatusCondition(o.Target.Status.Conditions, c.Type)
		moved := c.Status != before.Status
		if want := map[bool]time.Time{true: now, false: before.LastTransitionTime.Time}[moved]; !c.LastTransitionTime.Time.Equal(want) {
			t.Errorf("%s is since %s, want %s", c.Type, c.LastTransitionTime, want)
		}
		if moved && c.ObservedGeneration != 3 {
			t.Errorf("%s is of generation %d", c.Type, c.ObservedGeneration)
		}
	}
}

func TestWhatKeepsWorkIsTold(t *testing.T) {
	j := Judge(observed(seenAgo(time.Hour), silentOf(3, 4)), settings)
	for _, kind := range []string{workloadv1alpha1.ConditionHeartbeatHealthy, workloadv1alpha1.ConditionReady} {
		if c := meta.FindStatusCondition(j.Conditions, kind); !strings.Contains(c.Message, "workloads stay") || !strings.Contains(c.Message, "55 %") {
			t.Errorf("%s says %q", kind, c.Message)
		}
	}
	settings := settings
	settings.TaintAfter = 0
	if j := Judge(observed(seenAgo(24*time.Hour), silentOf(1, 2)), settings); j.Taint || j.Again != 0 {
		t.Errorf("with zero for never it is tainted, or looked at again: %+v", j)
	}
}

func TestSkewIsToldInStepsThatStick(t *testing.T) {
	told := ""
	for _, step := range []struct {
		skew  time.Duration
		words string
	}{
		{30 * time.Second, ""},
		{time.Minute, "ahead of the manager's by more than a minute"},
		{55 * time.Second, "ahead of the manager's by more than a minute"}, // near the limit it does not flap
		{40 * time.Second, ""},
		{55 * time.Second, ""},
		{61 * time.Minute, "ahead of the manager's by more than an hour"},
		{59 * time.Minute, "ahead of the manager's by more than an hour"},
		{20 * time.Minute, "ahead of the manager's by more than 15 minutes"},
		{-4 * time.Hour, "behind the manager's by more than 3 hours"},
		{300 * 24 * time.Hour, "ahead of the manager's by more than a week"},
		{time.Second, ""},
	} {
		told = skewWords(step.skew, told)
		if !strings.HasSuffix(told, step.words) || (told == "") != (step.words == "") {
			t.Errorf("%s: told %q, want %q", step.skew, told, step.words)
		}
	}
}
