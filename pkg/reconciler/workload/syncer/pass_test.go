package syncer

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/decide"
)

// An object at which nothing is left to do is not worked on again while both sides stay as they are. One whose status did not come
// home, or whose condition could not be told, is tried again, although the failure changed neither side.
func TestOnlyAPassThatSucceededIsClean(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		change func(*pass)
		want   bool
	}{
		"all is in place":                        {nil, nil, true},
		"what was to be reported was not":        {errors.New("an internal error occurred"), nil, false},
		"something was written":                  {nil, func(p *pass) { p.wrote = true }, false},
		"the user has been told of a problem":    {nil, func(p *pass) { p.problem = &problem{} }, false},
		"the claim is under way":                 {nil, func(p *pass) { p.observed.Upstream.Claimed, p.claiming = false, true }, false},
		"it is to be looked at again in a while": {nil, func(p *pass) { p.after = 1 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoison(t, 0, true)
			p.down = p.up
			p.decision.Do, p.write.Do = decide.Sync, decide.Keep
			p.observed.Upstream = &decide.Upstream{Claimed: true}
			p.record.cleanUp, p.record.cleanDown = "6", "6"
			if test.change != nil {
				test.change(p)
			}
			p.noteClean(test.err)
			if clean := p.record.cleanUp == "7" && p.record.cleanDown == "7"; clean != test.want {
				t.Errorf("noted as clean: %t, want %t", clean, test.want)
			}
			if !test.want && p.record.cleanUp != "" {
				t.Errorf("still noted as clean at %s", p.record.cleanUp)
			}
		})
	}
}

// The first event of a new copy is worked off without a look into either side, if both are as the pass left them that made it.
func TestWhatWasMadeNeedsNoSecondLook(t *testing.T) {
	const ours = "9"
	for name, test := range map[string]struct {
		// making changes the pass that makes the copy, seen the one that follows when its event comes.
		making, seen func(*pass)
		want         bool
	}{
		"all is as it was made":           {nil, nil, true},
		"the claim is under way":          {func(p *pass) { p.observed.Upstream.Claimed, p.claiming = false, true }, nil, false},
		"the claim has landed since":      {func(p *pass) { p.observed.Upstream.Claimed, p.claiming = false, true }, func(p *pass) { p.up.ResourceVersion = "8" }, false},
		"the copy was there before":       {func(p *pass) { p.made = false }, nil, false},
		"the user was told of a problem":  {func(p *pass) { p.problem = &problem{} }, nil, false},
		"it was to be looked at again":    {func(p *pass) { p.after = 1 }, nil, false},
		"the object has rules of its own": {func(p *pass) { p.explicit = true }, nil, false},
		"what was told before is to be taken back": {func(p *pass) {
			p.up.Annotations = map[string]string{workloadv1alpha1.ConditionsAnnotation("key"): "[]"}
		}, nil, false},
		"the object has changed":                    {nil, func(p *pass) { p.up.ResourceVersion = "10" }, false},
		"the copy has changed":                      {nil, func(p *pass) { p.down.ResourceVersion = "10" }, false},
		"the copy has a status":                     {nil, func(p *pass) { p.down.hasStatus = true }, false},
		"the object has a status that is not there": {nil, func(p *pass) { p.up.hasStatus = true }, false},
		"the object is being deleted":               {nil, func(p *pass) { p.up.DeletionTimestamp = &metav1.Time{} }, false},
		"the copy is being deleted":                 {nil, func(p *pass) { p.down.DeletionTimestamp = &metav1.Time{} }, false},
		"the copy is not seen yet":                  {nil, func(p *pass) { p.down = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			maker := newPoison(t, 0, true)
			maker.c.target.key = "key"
			maker.decision.Do, maker.write.Do, maker.made, maker.wrote = decide.Sync, decide.Create, true, true
			maker.observed.Upstream = &decide.Upstream{Claimed: true}
			maker.record.downWritten = ours
			if test.making != nil {
				test.making(maker)
			}
			maker.noteClean(nil)

			next := newPoison(t, 0, true)
			next.record, next.down = maker.record, &object{ObjectMeta: metav1.ObjectMeta{ResourceVersion: ours}}
			if test.seen != nil {
				test.seen(next)
			}
			if got := next.asMade(); got != test.want {
				t.Errorf("as made: %t, want %t", got, test.want)
			}
		})
	}
}

// A status of the backlog is still to come as long as there is none and the type has one.
func TestSettledCopiesOfTheBacklog(t *testing.T) {
	for _, tc := range []struct {
		name                      string
		statusUpstream, hasStatus bool
		want                      bool
	}{
		{"there will be a status", true, false, true},
		{"the status is home", true, true, false},
		{"the type has none", false, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPoison(t, 0, true)
			p.c.statusUpstream = tc.statusUpstream
			p.down = &object{hasStatus: tc.hasStatus}
			p.record.backlog = true
			p.settle()
			if p.record.backlog != tc.want {
				t.Errorf("of the backlog: %t, want %t", p.record.backlog, tc.want)
			}
		})
	}
}
