package tmc

import (
	"testing"
	"time"
)

func TestStall(t *testing.T) {
	var s stall
	now := time.Unix(1000, 0)
	for _, step := range []struct {
		name  string
		after time.Duration
		taken int64
		busy  bool
		want  time.Duration
	}{
		{"nothing to do, or all workers at work", time.Hour, 7, true, 0},
		{"something is ready since some time after the last look", time.Minute, 7, false, time.Minute},
		{"and nobody takes it", time.Minute, 7, false, 2 * time.Minute},
		{"one was taken", time.Minute, 8, false, 0},
		{"and no other", time.Minute, 8, false, time.Minute},
		{"the last worker is busy", time.Minute, 8, true, 0},
	} {
		now = now.Add(step.after)
		if got := s.idle(step.taken, step.busy, now); got != step.want {
			t.Errorf("%s: idle for %s, want %s", step.name, got, step.want)
		}
	}
	var fresh stall
	if got := fresh.idle(0, false, now); got != 0 {
		t.Errorf("before the first look nothing is known: idle for %s", got)
	}
}
