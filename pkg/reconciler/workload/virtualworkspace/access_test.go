package virtualworkspace

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

// fakeReviews are what kcp says.
type fakeReviews struct {
	user    *authenticationv1.UserInfo
	allowed bool
	uid     string
	err     error
	asked   int
}

func (f *fakeReviews) authenticate(context.Context, string) (*authenticationv1.UserInfo, error) {
	f.asked++
	return f.user, f.err
}

func (f *fakeReviews) maySync(context.Context, authenticationv1.UserInfo, TargetRef) (bool, error) {
	return f.allowed, f.err
}

func (f *fakeReviews) syncTarget(context.Context, TargetRef) (*workloadv1alpha1.SyncTarget, error) {
	if f.uid == "" {
		return nil, f.err
	}
	return &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{UID: target.UID, Name: f.uid}}, f.err
}

var target = TargetRef{Cluster: "2x4jqf", Name: "east", UID: "u"}

func account(cluster string) *authenticationv1.UserInfo {
	return &authenticationv1.UserInfo{
		Username: "system:serviceaccount:default:syncer",
		Extra:    map[string]authenticationv1.ExtraValue{clusterNameExtra: {cluster}},
	}
}

func newTestAccess(f *fakeReviews) (*access, *clocktesting.FakeClock) {
	c := clocktesting.NewFakeClock(time.Now())
	return newAccess(f, c, NewMetrics(prometheus.NewRegistry())), c
}

func TestWhoMay(t *testing.T) {
	for _, tc := range []struct {
		what    string
		reviews fakeReviews
		code    int
	}{
		{"the account of the SyncTarget's workspace that may sync it", fakeReviews{user: account("2x4jqf"), allowed: true, uid: "u"}, 0},
		{"one that may not", fakeReviews{user: account("2x4jqf"), uid: "u"}, 403},
		{"one of the same name in another workspace", fakeReviews{user: account("other"), allowed: true, uid: "u"}, 403},
		{"one of which kcp does not say where it lives", fakeReviews{user: &authenticationv1.UserInfo{Username: "system:serviceaccount:default:syncer"}, allowed: true, uid: "u"}, 403},
		{"a user who may sync it", fakeReviews{user: &authenticationv1.UserInfo{Username: "ann"}, allowed: true, uid: "u"}, 0},
		{"a token that is nobody's", fakeReviews{allowed: true, uid: "u"}, 401},
		{"a SyncTarget that is gone", fakeReviews{user: account("2x4jqf"), allowed: true}, 403},
		{"nobody is denied while kcp does not answer", fakeReviews{err: unavailable("kcp does not answer")}, 503},
	} {
		a, _ := newTestAccess(&tc.reviews)
		v := a.decide(t.Context(), caller{token: "t"}, target)
		if code(v.err) != tc.code {
			t.Errorf("%s: %v, want %d", tc.what, v.err, tc.code)
		}
	}
}

func TestVerdictsAreRememberedBriefly(t *testing.T) {
	f := &fakeReviews{user: account("2x4jqf"), allowed: true, uid: "u"}
	a, clock := newTestAccess(f)
	for range 5 {
		a.decide(t.Context(), caller{token: "t"}, target)
	}
	if f.asked != 1 {
		t.Errorf("kcp was asked %d times", f.asked)
	}
	f.allowed = false
	clock.Step(grantedFreshness + time.Second)
	if v := a.decide(t.Context(), caller{token: "t"}, target); code(v.err) != 403 {
		t.Errorf("revoked: %v", v.err)
	}
	f.allowed = true
	clock.Step(deniedFreshness + time.Second)
	if v := a.decide(t.Context(), caller{token: "t"}, target); v.err != nil {
		t.Errorf("granted again: %v", v.err)
	}
	if v := a.decide(t.Context(), caller{token: "another"}, TargetRef{Cluster: "2x4jqf", Name: "east", UID: "v"}); v.err == nil {
		t.Error("another UID is let in")
	}
}

// An open watch outlives a kcp that does not answer for a while, and no revocation for a minute.
func TestSessionsEnd(t *testing.T) {
	f := &fakeReviews{user: account("2x4jqf"), allowed: true, uid: "u"}
	a, clock := newTestAccess(f)
	ctx, leave := a.join(t.Context(), caller{token: "t"}, target)
	defer leave()
	step := func(d time.Duration) {
		for range int(d / (recheckPeriod / 4)) {
			clock.Step(recheckPeriod / 4)
			a.recheck(t.Context())
		}
	}
	step(5 * time.Minute)
	f.err = unavailable("kcp does not answer")
	step(unknownPatience - recheckPeriod)
	if ctx.Err() != nil {
		t.Fatalf("it ended: %v", context.Cause(ctx))
	}
	f.err = nil
	step(2 * recheckPeriod)
	f.allowed = false
	step(time.Minute - recheckPeriod/4)
	await(t, ctx)
	if code(context.Cause(ctx)) != 403 {
		t.Errorf("a minute after the revocation: %v", context.Cause(ctx))
	}

	f.allowed = true
	clock.Step(time.Minute)
	silent, leave := a.join(t.Context(), caller{token: "t"}, target)
	f.err = unavailable("kcp does not answer")
	step(2 * time.Minute)
	await(t, silent) // nothing has been known for minutes
	leave()
	a.lock.Lock()
	defer a.lock.Unlock()
	if len(a.sessions) > 0 {
		t.Errorf("%d sessions are left", len(a.sessions))
	}
}

// await waits for what follows from a recheck a moment later.
func await(t *testing.T, ended context.Context) {
	t.Helper()
	select {
	case <-ended.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the watch goes on")
	}
}

func TestLimits(t *testing.T) {
	l := newLimits(1, 2)
	leave, err := l.enter(target, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.enter(target, true); code(err) != 429 {
		t.Errorf("a second watch: %v", err)
	}
	other := target
	other.Name = "west"
	if _, err := l.enter(other, true); err != nil {
		t.Errorf("another target's watch: %v", err)
	}
	if _, err := l.enter(target, false); err != nil {
		t.Errorf("a request: %v", err)
	}
	leave()
	if _, err := l.enter(target, true); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
}

func TestEventLimits(t *testing.T) {
	c := clocktesting.NewFakeClock(time.Now())
	l := newEventLimits(c)
	for range eventsAtOnce {
		if !l.allow(target) {
			t.Fatal("too early")
		}
	}
	if l.allow(target) {
		t.Error("no end")
	}
	c.Step(time.Minute)
	if !l.allow(target) {
		t.Error("for ever")
	}
	c.Step(time.Hour)
	l.forget()
	if len(l.used) > 0 {
		t.Error("it is remembered for ever")
	}
}

func TestSeen(t *testing.T) {
	c := clocktesting.NewFakeClock(time.Now())
	s := newSeen(c)
	r := request{target: target, shard: "s", cluster: "abc", namespace: "web", name: "x"}
	of := facts{uid: "u1", cluster: "abc", namespace: "web", name: "x"}
	among := of
	among.others = true

	s.list(r.seenType())
	s.note(r.seenType(), of, false)
	if _, ok := s.alone(r); ok {
		t.Error("what no watch keeps up to date is used")
	}
	done := s.watch(r.seenType())
	if uid, ok := s.alone(r); !ok || uid != "u1" {
		t.Errorf("watched: %q, %t", uid, ok)
	}
	s.note(r.seenType(), among, false)
	if _, ok := s.alone(r); ok {
		t.Error("an object on several targets is taken for one on one")
	}
	s.note(r.seenType(), of, false)
	s.note(r.seenType(), of, true)
	if _, ok := s.alone(r); ok {
		t.Error("an object that is gone is remembered")
	}
	s.note(r.seenType(), of, false)
	done()
	c.Step(seenPatience + time.Second)
	s.forget()
	if len(s.types) > 0 || s.room != objectsSeen {
		t.Errorf("%v is remembered, with room for %d", s.types, s.room)
	}
	s.room = 0
	defer s.watch(r.seenType())()
	s.note(r.seenType(), of, false)
	if _, ok := s.alone(r); ok {
		t.Error("there is no room")
	}
}

// A kcp that takes too long to review a caller says nothing about them: the client is asked to come back.
func TestKCPThatDoesNotAnswerInTime(t *testing.T) {
	kcp := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer kcp.Close()
	u, err := newUpstream(&rest.Config{Host: kcp.URL})
	if err != nil {
		t.Fatal(err)
	}
	review := reviews{upstream: u, kcp: kcp.URL, provider: logicalcluster.NewPath("root:compute")}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = review.authenticate(ctx, "token")
	if status, why := statusOf(passOn(err)); status.Code != http.StatusServiceUnavailable || why != "" || status.Details.RetryAfterSeconds == 0 {
		t.Errorf("the client is told %d %s (%s): %v", status.Code, status.Message, why, err)
	}
}
