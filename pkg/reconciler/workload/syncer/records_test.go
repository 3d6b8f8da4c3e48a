package syncer

import (
	"testing"
	"time"
)

func TestRecordsCountStates(t *testing.T) {
	r, a, b := newRecords(), Key{Name: "a"}, Key{Name: "b"}
	r.markUpstream(a, time.Now())
	r.store(b, record{state: StateFailed})
	if n := r.numbers(); n[StatePending] != 1 || n[StateFailed] != 1 || n[StateSynced] != 0 {
		t.Errorf("after a change and a failure: %v", n)
	}
	r.store(a, record{state: StateSynced})
	r.store(b, record{state: StateSynced})
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
	r.store(key, taken) // the pass could not work it off
	if got := r.load(key).upSeen; !got.Equal(first) {
		t.Errorf("the lag counts from %s, got %s", first, got)
	}
}

func TestRecordsDistrustSurvivesAPassUnderWay(t *testing.T) {
	r, key := newRecords(), Key{Name: "a"}
	r.store(key, record{cleanUp: "1", cleanDown: "2"})
	pass := r.load(key)
	r.distrust(key)
	r.store(key, pass)
	if got := r.load(key); got.cleanUp != "" || got.cleanDown != "" {
		t.Errorf("a pass that began before the distrust made it forgotten: %+v", got)
	}
	r.store(key, record{cleanUp: "1", cleanDown: "2"})
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
