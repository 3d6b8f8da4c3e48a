package syncer

import (
	"testing"
	"time"
)

func TestUntilStatus(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tc := range []struct {
		name       string
		window     time.Duration
		made, last time.Time
		want       time.Duration
	}{
		{"the first change of a copy that was there before is told at once", time.Second, time.Time{}, time.Time{}, 0},
		{"what controllers say of a new copy is told in one write", time.Second, ago(100 * time.Millisecond), time.Time{}, 400 * time.Millisecond},
		{"a new copy is told of soon, however long the window", time.Hour, ago(time.Second), time.Time{}, 0},
		{"without a window nothing waits", 0, now, now, 0},
		{"after a write the window has to pass", time.Minute, time.Time{}, ago(20 * time.Second), 40 * time.Second},
		{"and then the next is told at once", time.Minute, time.Time{}, ago(2 * time.Minute), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &pass{c: &ResourceController{settings: newLive(settings{statusWindow: tc.window})}, now: now, record: record{made: tc.made, lastStatus: tc.last}}
			if got := max(0, p.untilStatus()); got != tc.want {
				t.Errorf("waits %s, want %s", got, tc.want)
			}
		})
	}
}
