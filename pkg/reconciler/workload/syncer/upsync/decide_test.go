package upsync

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	up, down := &Upstream{Claimed: true, Version: "7"}, &Downstream{Version: "7"}
	for _, tc := range []struct {
		what   string
		change func(*Observed)
		want   Verb
		after  time.Duration
	}{
		{"what is as it should be is kept", func(*Observed) {}, Keep, 0},
		{"what is in neither place is nothing", func(o *Observed) { o.Upstream, o.Downstream = nil, nil }, Nothing, 0},
		{"what is not upstream yet is created there", func(o *Observed) { o.Upstream = nil }, Create, 0},
		{"but not what is about to go", func(o *Observed) { o.Upstream, o.Downstream = nil, &Downstream{Version: "7", Deleting: true} }, Nothing, 0},
		{"nor what was created a moment ago", func(o *Observed) { o.Upstream, o.Unseen = nil, true }, Wait, untilSeen},
		{"a new version goes up", func(o *Observed) { o.Downstream = &Downstream{Version: "8"} }, Update, 0},
		{"also that of one that is about to go", func(o *Observed) { o.Downstream = &Downstream{Version: "8", Deleting: true} }, Update, 0},
		{"one that comes a moment after the last waits", func(o *Observed) { o.Downstream, o.SinceWrite = &Downstream{Version: "8"}, time.Second }, Wait, time.Second},
		{"an interrupted write is done again", func(o *Observed) { o.Upstream = &Upstream{Claimed: true} }, Update, 0},
		{"a claim that somebody took off is put back", func(o *Observed) { o.Upstream = &Upstream{Version: "7"} }, Update, 0},
		{"what somebody changed upstream is corrected", func(o *Observed) { o.Upstream = &Upstream{Claimed: true, Version: "7", Contradiction: "spec"} }, Update, 0},
		{"our own write is waited for", func(o *Observed) { o.Upstream = &Upstream{Version: "6", Stale: true} }, Wait, untilSeen},
		{"what somebody deleted upstream is let go", func(o *Observed) { o.Upstream = &Upstream{Claimed: true, Version: "7", Deleting: true} }, Release, 0},
		{"and then waited for", func(o *Observed) { o.Upstream = &Upstream{Version: "7", Deleting: true} }, Wait, 0},
		{"what the cluster has no more is removed", func(o *Observed) { o.Downstream = nil }, Remove, 0},
		{"not before everything was seen there", func(o *Observed) { o.Downstream, o.DownstreamSynced = nil, false }, Wait, untilSynced},
		{"and nothing is created before everything was seen upstream", func(o *Observed) { o.Upstream, o.UpstreamSynced = nil, false }, Wait, untilSynced},
	} {
		t.Run(tc.what, func(t *testing.T) {
			o := Observed{Upstream: up, Downstream: down, UpstreamSynced: true, DownstreamSynced: true, SinceWrite: time.Hour, Window: 2 * time.Second}
			tc.change(&o)
			got := Next(o)
			if got.Do != tc.want || got.After != tc.after || got.Why == "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}
