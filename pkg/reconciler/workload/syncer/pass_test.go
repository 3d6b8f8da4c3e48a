package syncer

import (
	"errors"
	"testing"

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
		"the claim is yet to be seen":            {nil, func(p *pass) { p.observed.Upstream.Claimed = false }, false},
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
