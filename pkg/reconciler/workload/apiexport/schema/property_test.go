package schema

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What two schemas have in common accepts exactly what both accept, as API servers judge it, whatever the schemas are.
func TestCommonAcceptsWhatBothAccept(t *testing.T) {
	compatible, accepted, refused := 0, 0, 0
	for seed := range uint64(400) {
		c, a, r := checkPair(t, seed)
		compatible, accepted, refused = compatible+c, accepted+a, refused+r
	}
	t.Logf("%d pairs have something in common; of objects tried %d were accepted by both, %d were not", compatible, accepted, refused)
	if compatible < 40 || accepted < 400 || refused < 400 {
		t.Error("too few to say much")
	}
}

func FuzzCommon(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { checkPair(t, seed) })
}

// pairOf makes two schemas that servers take.
func pairOf(r random) (a, b *Schema, sa, sb *server, ok bool) {
	a = r.root()
	if b = r.root(); !r.oneIn(4) {
		b = r.variant(a)
	}
	sa, sb = validServer(a), validServer(b)
	return a, b, sa, sb, sa != nil && sb != nil
}

func checkPair(t *testing.T, seed uint64) (compatible, accepted, refused int) {
	t.Helper()
	r := newRandom(seed)
	a, b, sa, sb, ok := pairOf(r)
	if !ok {
		return 0, 0, 0
	}
	beforeA, beforeB := a.DeepCopy(), b.DeepCopy()
	common, problems := Common(a, b)
	reverse, reverseProblems := Common(b, a)
	if diff := cmp.Diff(beforeA, a) + cmp.Diff(beforeB, b); diff != "" {
		t.Fatalf("seed %d: the arguments were modified: %s", seed, diff)
	}
	if diff := cmp.Diff(common, reverse); diff != "" || len(problems) != len(reverseProblems) {
		t.Fatalf("seed %d: the order matters: %s\n%v\n%v", seed, diff, problems, reverseProblems)
	}
	if len(problems) > 0 {
		return 0, 0, 0
	}
	if again, problems := Common(common, common); len(problems) > 0 || cmp.Diff(common, again) != "" {
		t.Fatalf("seed %d: common with itself: %v %s", seed, problems, cmp.Diff(common, again))
	}
	sc, err := newServer(common)
	if err != nil {
		t.Fatalf("seed %d: %v\nA %s\nB %s\nC %s", seed, err, text2json(a), text2json(b), text2json(common))
	}
	narrowA, _ := Narrower(a, b)
	for range 60 {
		object := r.fields(pick(r, a, b, common), 3)
		ra, rb, rc := sa.refuses(object), sb.refuses(object), sc.refuses(object)
		if (ra == "" && rb == "") != (rc == "") {
			t.Fatalf("seed %d: object %s\nA %q %s\nB %q %s\nC %q %s", seed, text2json(object), ra, text2json(a), rb, text2json(b), rc, text2json(common))
		}
		if ra == "" && rb != "" && len(narrowA) == 0 {
			t.Fatalf("seed %d: B is not narrower than A, but refuses %s: %s\nA %s\nB %s", seed, text2json(object), rb, text2json(a), text2json(b))
		}
		if rc == "" {
			accepted++
		} else {
			refused++
		}
	}
	return 1, accepted, refused
}

// The order in which three schemas are brought together does not matter for what is accepted.
func TestCommonIsAssociative(t *testing.T) {
	tried := 0
	for seed := range uint64(400) {
		r := newRandom(seed)
		a, b, _, _, ok := pairOf(r)
		c := r.variant(b)
		if !ok || validServer(c) == nil {
			continue
		}
		ab, problemsAB := Common(a, b)
		bc, problemsBC := Common(b, c)
		if len(problemsAB)+len(problemsBC) > 0 {
			continue
		}
		left, problemsL := Common(ab, c)
		right, problemsR := Common(a, bc)
		if (len(problemsL) > 0) != (len(problemsR) > 0) {
			t.Fatalf("seed %d: %v against %v\n%s\n%s\n%s", seed, problemsL, problemsR, text2json(a), text2json(b), text2json(c))
		}
		if len(problemsL) > 0 {
			continue
		}
		tried++
		sl, sr := validServer(left), validServer(right)
		if sl == nil || sr == nil {
			t.Fatalf("seed %d: not valid", seed)
		}
		for range 30 {
			object := r.fields(pick(r, a, left), 3)
			if l, r := sl.refuses(object), sr.refuses(object); (l == "") != (r == "") {
				t.Fatalf("seed %d: object %s: %q against %q", seed, text2json(object), l, r)
			}
		}
	}
	t.Logf("%d triples", tried)
	if tried < 20 {
		t.Error("too few to say much")
	}
}

// API servers take what two valid schemas have in common.
func TestCommonIsValid(t *testing.T) {
	tried := 0
	for seed := uint64(0); tried < 20; seed++ {
		a, b, _, _, ok := pairOf(newRandom(seed))
		if !ok || refusesCRD(t, a) != "" || refusesCRD(t, b) != "" {
			continue
		}
		common, problems := Common(a, b)
		if len(problems) > 0 {
			continue
		}
		tried++
		if why := refusesCRD(t, common); why != "" {
			t.Errorf("seed %d: %s\nA %s\nB %s\nC %s", seed, why, text2json(a), text2json(b), text2json(common))
		}
	}
}
