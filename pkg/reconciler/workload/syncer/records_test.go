package syncer

import (
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

func TestRecordsCountStates(t *testing.T) {
	r, a, b := newRecords(), Key{Name: "a"}, Key{Name: "b"}
	r.markUpstream(a, time.Now())
	r.store(b, record{state: StateFailed}, time.Unix(200, 0))
	if n := r.numbers(); n[StatePending] != 1 || n[StateFailed] != 1 || n[StateSynced] != 0 {
		t.Errorf("after a change and a failure: %v", n)
	}
	r.store(a, record{state: StateSynced}, time.Unix(200, 0))
	r.store(b, record{state: StateSynced}, time.Unix(200, 0))
	r.forget(b)
	if n := r.numbers(); n[StatePending] != 0 || n[StateFailed] != 0 || n[StateSynced] != 1 {
		t.Errorf("after both were synced and one is gone: %v", n)
	}
}

func TestRecordsKeepTheEarliestUnworkedChange(t *testing.T) {
	r, key, first := newRecords(), Key{Name: "a"}, time.Unix(100, 0)
	r.markUpstream(key, first)
	taken := r.load(key)
	if !taken.upSeen.Equal(first) {
		t.Fatalf("the pass sees the change of %s, got %s", first, taken.upSeen)
	}
	r.markUpstream(key, first.Add(time.Second))
	r.store(key, taken, time.Unix(200, 0)) // the pass could not work it off
	if got := r.load(key).upSeen; !got.Equal(first) {
		t.Errorf("the lag counts from %s, got %s", first, got)
	}
}

func TestRecordsDistrustSurvivesAPassUnderWay(t *testing.T) {
	r, key := newRecords(), Key{Name: "a"}
	r.store(key, record{cleanUp: "1", cleanDown: "2"}, time.Unix(200, 0))
	pass := r.load(key)
	r.distrust(key)
	r.store(key, pass, time.Unix(200, 0))
	if got := r.load(key); got.cleanUp != "" || got.cleanDown != "" {
		t.Errorf("a pass that began before the distrust made it forgotten: %+v", got)
	}
	r.store(key, record{cleanUp: "1", cleanDown: "2"}, time.Unix(200, 0))
	if got := r.load(key); got.cleanUp != "1" {
		t.Errorf("distrust holds for one pass only: %+v", got)
	}
}

func TestOlder(t *testing.T) {
	for _, tc := range []struct {
		version, than string
		want          bool
	}{
		{"9", "10", true}, {"10", "9", false}, {"10", "10", false}, {"", "10", false}, {"10", "", false}, {"x", "10", false},
	} {
		if got := older(tc.version, tc.than); got != tc.want {
			t.Errorf("older(%q, %q) = %t", tc.version, tc.than, got)
		}
	}
}

// The lag of a type is since when its most unfortunate object has waited.
func TestRecordsTellWhatWaitsLongest(t *testing.T) {
	r, a, b := newRecords(), Key{Name: "a"}, Key{Name: "b"}
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	waits := func(step string, seconds int64) {
		t.Helper()
		if got := r.oldest(); seconds == 0 && !got.IsZero() || seconds != 0 && !got.Equal(at(seconds)) {
			t.Errorf("%s: something waits since %s, want %d", step, got, seconds)
		}
	}
	r.store(a, record{state: StateSynced}, at(10))
	waits("all is in sync", 0)
	r.markUpstream(a, at(20))
	waits("a change was seen", 20)
	pass := r.load(a)
	pass.state = StateFailed
	r.store(a, pass, at(30))
	waits("the pass failed", 20)
	pass = r.load(a)
	pass.upSeen, pass.state = time.Time{}, StatePending
	r.store(a, pass, at(40))
	waits("it is written, and not home yet", 20)
	r.store(b, record{state: StatePending}, at(50))
	waits("another one began later", 20)
	pass = r.load(a)
	pass.state = StateSynced
	r.store(a, pass, at(60))
	waits("the first is in sync", 50)
	r.markDownstream(a, at(70))
	r.forget(b)
	waits("the other is gone", 70)
	r.load(a)
	waits("and the change is being worked on", 0)
}

// What there was at the start is made before its statuses come home; what changes live afterwards is not held up by it.
func TestRecordsTellWhatIsOfTheBacklog(t *testing.T) {
	made := time.Unix(200, 0)
	r, key := newRecords(), Key{Name: "a"}
	if r.inBacklog(key, made) {
		t.Error("what nobody knows is of the backlog")
	}
	r.store(key, record{backlog: true, made: made}, made)
	if taken := r.load(key); !taken.backlog || !r.inBacklog(key, made.Add(time.Minute)) {
		t.Error("a copy of the backlog is forgotten while a pass looks at it")
	}
	if r.inBacklog(key, made.Add(longestBacklog)) {
		t.Error("a copy that may never have a status is of the backlog for ever")
	}
	r.store(key, record{state: StateSynced}, made)
	if r.inBacklog(key, made) {
		t.Error("it is still of the backlog when its status is home")
	}
}

func TestLateEventsAreNoLiveChanges(t *testing.T) {
	for name, late := range map[string]bool{"live": false, "late": true} {
		t.Run(name, func(t *testing.T) {
			p := newPoison(t, 0, true)
			p.c.records, p.c.clock = newRecords(), testingclock.NewFakePassiveClock(time.Unix(200, 0))
			marked := false
			events := p.c.handler(upstreamKey, func(Key, time.Time) { marked = true }, func(Key) bool { return late })
			events.OnAdd(p.up, false)
			if marked == late {
				t.Errorf("noted as a live change: %t", marked)
			}
		})
	}
}
