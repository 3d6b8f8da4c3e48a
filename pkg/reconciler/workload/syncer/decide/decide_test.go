package decide

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// seen is an observation in which both caches are complete.
func seen(change func(*Observed)) Observed {
	o := Observed{UpstreamSynced: true, DownstreamSynced: true, Now: noon, OrphanGrace: time.Minute}
	change(&o)
	return o
}

func here(change func(*Upstream)) *Upstream {
	u := &Upstream{Selected: true, Claimed: true}
	change(u)
	return u
}

func asIs(*Upstream) {}

func TestNext(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   Observed
		want Decision
	}{
		{
			"a new object is synced",
			seen(func(o *Observed) { o.Upstream = &Upstream{Selected: true} }),
			Decision{Do: Sync, Why: "belongs to this target"},
		},
		{
			"a synced object is looked at again",
			seen(func(o *Observed) { o.Upstream, o.Downstream = here(asIs), &Downstream{} }),
			Decision{Do: Sync, Why: "belongs to this target"},
		},
		{
			"nothing is done before the copies have all been seen, also not for what is deleted",
			seen(func(o *Observed) {
				o.DownstreamSynced = false
				o.Upstream = here(func(u *Upstream) { u.Deleting = true })
			}),
			Decision{Do: Wait, Why: "the copies have not all been seen yet", After: untilSynced},
		},
		{
			"a copy whose object is not seen is left alone while upstream is not completely seen",
			seen(func(o *Observed) {
				o.UpstreamSynced = false
				o.OrphanSince, o.Downstream = noon.Add(-time.Hour), &Downstream{}
			}),
			Decision{Do: Wait, Why: "not seen upstream, where not everything has been seen yet", After: untilSynced},
		},
		{
			"an object that is seen is synced although upstream is not completely seen",
			seen(func(o *Observed) {
				o.UpstreamSynced = false
				o.Upstream = here(asIs)
			}),
			Decision{Do: Sync, Why: "belongs to this target"},
		},
		{
			"what is gone on both sides is forgotten",
			seen(func(*Observed) {}),
			Decision{Do: Nothing, Why: "gone on both sides"},
		},
		{
			"a copy without an object starts its grace period",
			seen(func(o *Observed) { o.Downstream = &Downstream{} }),
			Decision{Do: Wait, Why: "the copy has no upstream object; its grace period starts", After: time.Minute},
		},
		{
			"a copy without an object is kept for its grace period",
			seen(func(o *Observed) { o.Downstream, o.OrphanSince = &Downstream{}, noon.Add(-20*time.Second) }),
			Decision{Do: Wait, Why: "the copy has no upstream object; its grace period runs", After: 40 * time.Second},
		},
		{
			"and is swept after it",
			seen(func(o *Observed) { o.Downstream, o.OrphanSince = &Downstream{}, noon.Add(-time.Minute) }),
			Decision{Do: Sweep, Why: "the copy has had no upstream object for longer than the grace period"},
		},
		{
			"and at first sight if there is no grace period",
			seen(func(o *Observed) { o.Downstream, o.OrphanGrace = &Downstream{}, 0 }),
			Decision{Do: Sweep, Why: "the copy has had no upstream object for longer than the grace period"},
		},
		{
			"an orphan that is being deleted needs no sweep",
			seen(func(o *Observed) {
				o.Downstream, o.OrphanSince = &Downstream{Deleting: true, Finalizers: []string{"a/b"}}, noon.Add(-time.Hour)
			}),
			Decision{Do: Wait, Why: "the copy is being deleted", Blockers: []string{"a/b"}},
		},
		{
			"a deletion upstream deletes the copy first",
			seen(func(o *Observed) {
				o.Upstream = here(func(u *Upstream) { u.Deleting = true })
				o.Downstream = &Downstream{}
			}),
			Decision{Do: Delete, Why: "deleted upstream"},
		},
		{
			"waits until the copy is gone, and says what blocks it",
			seen(func(o *Observed) {
				o.Upstream = here(func(u *Upstream) { u.Deleting = true })
				o.Downstream = &Downstream{Deleting: true, Finalizers: []string{"example.com/block"}}
			}),
			Decision{Do: Wait, Why: "deleted upstream; the copy is being deleted", Blockers: []string{"example.com/block"}},
		},
		{
			"and only then is the claim released",
			seen(func(o *Observed) { o.Upstream = here(func(u *Upstream) { u.Deleting = true }) }),
			Decision{Do: Release, Why: "deleted upstream; nothing of ours is left downstream"},
		},
		{
			"but not while a copy that was just made is yet to be seen",
			seen(func(o *Observed) {
				o.Upstream, o.CopyUnseen = here(func(u *Upstream) { u.Deleting = true }), true
			}),
			Decision{Do: Wait, Why: "deleted upstream; a copy was made and is yet to be seen", After: time.Second},
		},
		{
			"a deleted object that was never claimed is none of our business",
			seen(func(o *Observed) {
				o.Upstream = here(func(u *Upstream) { u.Deleting, u.Claimed = true, false })
			}),
			Decision{Do: Nothing, Why: "deleted upstream"},
		},
		{
			"the request to leave removes the copy",
			seen(func(o *Observed) {
				o.Upstream = here(func(u *Upstream) { u.Leaving = true })
				o.Downstream = &Downstream{}
			}),
			Decision{Do: Delete, Why: "asked to leave this target"},
		},
		{
			"and is answered even if nothing was ever made",
			seen(func(o *Observed) {
				o.Upstream = here(func(u *Upstream) { u.Leaving, u.Claimed = true, false })
			}),
			Decision{Do: Release, Why: "asked to leave this target; nothing of ours is left downstream"},
		},
		{
			"coordinators keep the copy with soft finalizers",
			seen(func(o *Observed) {
				o.Upstream = here(func(u *Upstream) { u.Leaving, u.SoftFinalizers = true, []string{"ingress", "dns"} })
				o.Downstream = &Downstream{}
			}),
			Decision{Do: Wait, Why: "asked to leave this target; still needed by ingress, dns", Blockers: []string{"ingress", "dns"}},
		},
		{
			"the removal policy keeps the copy running without our marks",
			seen(func(o *Observed) {
				o.Upstream = here(func(u *Upstream) { u.Deleting, u.Orphan = true, true })
				o.Downstream = &Downstream{}
			}),
			Decision{Do: Orphan, Why: "deleted upstream; its removal policy keeps the copy"},
		},
		{
			"an object that no filter lets pass any more leaves",
			seen(func(o *Observed) {
				o.Upstream = here(func(u *Upstream) { u.Selected = false })
				o.Downstream = &Downstream{}
			}),
			Decision{Do: Delete, Why: "not selected for this target"},
		},
		{
			"an object that was never selected is left alone",
			seen(func(o *Observed) { o.Upstream = &Upstream{} }),
			Decision{Do: Nothing, Why: "not selected for this target"},
		},
		{
			"what every cluster makes for itself is left alone",
			seen(func(o *Observed) { o.Upstream, o.Skip = &Upstream{Selected: true}, "made by each cluster" }),
			Decision{Do: Nothing, Why: "made by each cluster"},
		},
		{
			"and leaves if it was synced by an earlier version",
			seen(func(o *Observed) {
				o.Upstream, o.Downstream, o.Skip = here(asIs), &Downstream{}, "made by each cluster"
			}),
			Decision{Do: Delete, Why: "made by each cluster"},
		},
		{
			"a copy that somebody deletes is made anew when it is gone",
			seen(func(o *Observed) {
				o.Upstream, o.Downstream = here(asIs), &Downstream{Deleting: true, Finalizers: []string{"x"}}
			}),
			Decision{Do: Wait, Why: "the copy is being deleted and will be made anew", Blockers: []string{"x"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Next(tc.in)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
