package decide

import (
	"reflect"
	"testing"
	"time"
)

// FuzzNext checks what must hold for every observation: nothing is deleted without evidence, a claim covers a copy, and
// what was decided once and done needs no second decision of the same kind.
func FuzzNext(f *testing.F) {
	for seed := range uint32(64) {
		f.Add(seed*2654435761, int64(seed)*int64(time.Second), "x")
	}
	f.Fuzz(func(t *testing.T, bits uint32, orphanFor int64, name string) {
		o := observationOf(bits, time.Duration(orphanFor), name)
		d := Next(o)
		if !reflect.DeepEqual(d, Next(o)) {
			t.Fatalf("not deterministic: %+v", o)
		}
		if d.Why == "" {
			t.Fatalf("no reason given for %+v", o)
		}
		checkEvidence(t, o, d)
		checkProgress(t, o, d)
	})
}

// observationOf spreads the bits over the facts.
func observationOf(bits uint32, orphanFor time.Duration, name string) Observed {
	bit := func() bool { b := bits&1 == 1; bits >>= 1; return b }
	o := Observed{UpstreamSynced: bit(), DownstreamSynced: bit(), CopyUnseen: bit(), Now: noon, OrphanGrace: time.Minute}
	if bit() {
		o.Upstream = &Upstream{Deleting: bit(), Selected: bit(), Leaving: bit(), Claimed: bit(), Orphan: bit()}
		if bit() {
			o.Upstream.SoftFinalizers = []string{name}
		}
	}
	if bit() {
		o.Downstream, o.CopyUnseen = &Downstream{Deleting: bit(), Finalizers: []string{name}}, false
	}
	if bit() {
		o.Skip = "skip " + name
	}
	if bit() {
		o.OrphanSince = noon.Add(-orphanFor)
	}
	return o
}

func checkEvidence(t *testing.T, o Observed, d Decision) {
	removal := d.Do == Delete || d.Do == Sweep || d.Do == Orphan
	switch {
	case removal && o.Downstream == nil:
		t.Fatalf("%s without a copy: %+v", d.Do, o)
	case removal && !o.DownstreamSynced:
		t.Fatalf("%s before the copies were seen: %+v", d.Do, o)
	case d.Do == Delete && o.Upstream == nil:
		t.Fatalf("deleted because it was not visible: %+v", o)
	case d.Do == Sweep && (!o.UpstreamSynced || o.Upstream != nil || o.Now.Sub(o.OrphanSince) < o.OrphanGrace):
		t.Fatalf("swept without evidence: %+v", o)
	case removal && o.Upstream != nil && len(o.Upstream.SoftFinalizers) > 0:
		t.Fatalf("%s in spite of soft finalizers: %+v", d.Do, o)
	case d.Do == Release && (o.Downstream != nil || o.CopyUnseen || !o.DownstreamSynced):
		t.Fatalf("released with a copy in place: %+v", o)
	case d.Do == Sync && (o.Upstream.Deleting || o.Upstream.Leaving || !o.Upstream.Selected):
		t.Fatalf("synced what is to leave: %+v", o)
	}
}

// checkProgress does what was decided to the observation, and decides again.
func checkProgress(t *testing.T, o Observed, d Decision) {
	switch d.Do {
	case Delete, Sweep, Orphan:
		o.Downstream = nil
		if next := Next(o); next.Do != Release && next.Do != Nothing {
			t.Fatalf("after %s came %s: %+v", d.Do, next.Do, o)
		}
	case Release:
		o.Upstream.Claimed, o.Upstream.Leaving = false, false
		if next := Next(o); next.Do == Release {
			t.Fatalf("released twice: %+v", o)
		}
	}
}
