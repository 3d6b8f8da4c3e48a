package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// What becomes of a wish, whatever comes between.
func TestWishes(t *testing.T) {
	const live, backlog = tmc.PriorityLive, tmc.PriorityBacklog
	key, refused := Key{Name: "a"}, errors.New("refused")
	seen := func(version string) *object { return &object{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}} }
	for name, test := range map[string]struct {
		do func(*claims) // may answer with nothing taken
		// want is what the lane would send, and failed whether a failure is to be mended.
		want   string
		failed bool
		// version and err are what the next pass takes.
		version string
		err     error
	}{
		"nothing is wanted":   {do: func(*claims) {}},
		"it waits to be sent": {do: func(c *claims) { c.want(key, seen("1"), spanNumber(1), live) }, want: "1 by 01 at 0"},
		"it is sent as the last pass saw it, for the first one, at the better of the places": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), backlog)
			c.want(key, seen("2"), spanNumber(2), live)
			c.want(key, seen("3"), spanNumber(3), backlog)
		}, want: "3 by 01 at 0"},
		"it is sent, and not twice at once": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			of, _, _ := c.next(key)
			if !c.sending(key, of) {
				t.Error("it is wanted")
			}
			c.want(key, seen("2"), spanNumber(2), live)
			if n := c.loop.Len(); n != 1 { // the first time: the lane of this test takes nothing
				t.Errorf("%d wait", n)
			}
			answer(c, key, "2", nil)
		}, version: "2"},
		"it was taken back before it is sent": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			of, _, _ := c.next(key)
			c.forget(key)
			if c.sending(key, of) {
				t.Error("it is sent")
			}
		}},
		"it was taken back": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			c.forget(key)
		}},
		"it has landed": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			answer(c, key, "2", nil)
		}, version: "2"},
		"it has landed, and a pass that does not know wants it again": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			answer(c, key, "2", nil)
			c.want(key, seen("1"), spanNumber(2), live)
		}, version: "2"},
		"what has landed is taken once, and what is wanted then is wanted anew": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			answer(c, key, "2", nil)
			_, _ = c.take(key)
			c.want(key, seen("3"), spanNumber(2), backlog)
		}, want: "3 by 02 at -100"},
		"it has failed": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			answer(c, key, "", refused)
		}, err: refused},
		"it has failed, and is not sent again before a pass has taken the failure": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			answer(c, key, "", refused)
			c.want(key, seen("2"), spanNumber(2), live)
		}, err: refused},
		"a pass has taken the failure, which is yet to be mended": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			answer(c, key, "", refused)
			_, _ = c.take(key)
		}, failed: true},
		"the next pass has it sent again, at its old place": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			answer(c, key, "", refused)
			_, _ = c.take(key)
			c.want(key, seen("2"), spanNumber(2), backlog)
		}, want: "2 by 01 at 0", failed: true},
		"it lands after a failure": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			answer(c, key, "", refused)
			_, _ = c.take(key)
			c.want(key, seen("2"), spanNumber(2), live)
			answer(c, key, "3", nil)
		}, version: "3", failed: true},
		"it is answered after it was taken back": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			of, _, _ := c.next(key)
			c.forget(key)
			if c.answered(key, of, "", refused) {
				t.Error("nobody wants to know")
			}
		}},
		"what was taken back is answered when it is wanted again": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			of, _, _ := c.next(key)
			c.forget(key)
			c.want(key, seen("5"), spanNumber(2), live)
			c.answered(key, of, "2", nil)
			c.drop(key, of)
		}, want: "5 by 02 at 0"},
		"there is nothing to be claimed": {do: func(c *claims) {
			c.want(key, seen("1"), spanNumber(1), live)
			of, _, _ := c.next(key)
			c.drop(key, of)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClaims(tmc.LoopOptions[Key]{Name: "test"})
			t.Cleanup(c.loop.Close)
			test.do(c)
			got := ""
			if _, w, ok := c.next(key); ok {
				got = fmt.Sprintf("%s by %s at %d", w.seen.ResourceVersion, w.from.SpanID().String()[:2], w.priority)
			}
			failed := c.failed(key)
			version, err := c.take(key)
			if got != test.want || failed != test.failed || version != test.version || !errors.Is(err, test.err) {
				t.Errorf("sends %q, failed before: %t, version %q, error %v", got, failed, version, err)
			}
			if version, err := c.take(key); version != "" || err != nil {
				t.Errorf("taken once more: %q, %v", version, err)
			}
			c.forget(key)
			if len(c.wishes) != 0 {
				t.Error("it is still remembered")
			}
		})
	}
}

func answer(c *claims, key Key, version string, err error) {
	of, _, _ := c.next(key)
	c.answered(key, of, version, err)
}

// claimant is a controller over a kcp of the test, whose loops do not run. Its one object is a Job that has run to its end and whose
// copy was cleaned up, so that nothing is left to be done but to claim it.
type claimant struct {
	*ResourceController
	t   *testing.T
	key Key
	// refuse is the code that claims are answered with; 0 to take them.
	refuse int
	// sent are the changes that kcp was asked for: "claim 7", the version that it was for, or "condition".
	sent []string
}

func newClaimant(t *testing.T) *claimant {
	t.Helper()
	c := &claimant{t: t, key: Key{Cluster: "team", Name: "a"}}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(server.Close)
	from, err := feed.NewWorkspace(&rest.Config{Host: server.URL}, "team", "here")
	if err != nil {
		t.Fatal(err)
	}
	gvr, everything := schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}, newLive(settings{})
	c.ResourceController = &ResourceController{
		resourceType: resourceType{gvr: gvr, gvk: gvr.GroupVersion().WithKind("Job"), servedDownstream: true, statusUpstream: true},
		target:       target{key: "here", name: "here"}, settings: everything, feed: from, selection: &selection{feed: from, settings: everything},
		records: newRecords(), clock: clock.RealClock{}, metrics: NewMetrics(prometheus.NewRegistry()).forType(gvr.GroupResource()),
		recovery: tmc.NewRecovery(tmc.RecoveryOptions{Enabled: true, Registerer: prometheus.NewRegistry()}), tracing: newTracing(t, false),
		upsynced: func() []schema.GroupResource { return nil },
	}
	c.loop = tmc.NewLoop(tmc.LoopOptions[Key]{Name: "jobs"})
	c.claims = newClaims(tmc.LoopOptions[Key]{Name: "jobs claims"})
	t.Cleanup(func() { c.loop.Close(); c.claims.loop.Close() })
	informer, err := newUpstreamInformer(from.Sources()[0], gvr, newContents(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	c.sources = []*sourceCache{{source: from.Sources()[0], informer: informer}}
	c.shows("7", "")
	return c
}

const jobOf = `{apiVersion: batch/v1, kind: Job, metadata: {name: a, uid: "1", resourceVersion: %q, annotations: {kcp.io/cluster: team}, %s}, spec: {}, status: {conditions: [{type: Complete, status: "True"}]}}`

// object is what the claimant's object may look like.
func (c *claimant) object(version, metadata string) *object {
	c.t.Helper()
	o, err := compact(parse(c.t, fmt.Sprintf(jobOf, version, metadata)))
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

// shows has the cache show the object so.
func (c *claimant) shows(version, metadata string) {
	c.t.Helper()
	if err := c.sources[0].informer.GetIndexer().Add(c.object(version, metadata)); err != nil {
		c.t.Fatal(err)
	}
}

// serve answers every change of the object by making version 9 of it.
func (c *claimant) serve(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	switch body := string(raw); {
	case r.Method != http.MethodPatch: // an Event
		fmt.Fprint(w, body)
		return
	case strings.Contains(body, `"finalizers":[]`):
		c.sent = append(c.sent, "release")
	case strings.Contains(body, `"finalizers"`):
		_, version, _ := strings.Cut(body, `"resourceVersion":"`)
		c.sent = append(c.sent, "claim "+strings.Split(version, `"`)[0])
		if c.refuse != 0 {
			w.WriteHeader(c.refuse)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":%q,"code":%d}`, reasons[c.refuse], c.refuse)
			return
		}
	default:
		c.sent = append(c.sent, "condition")
	}
	fmt.Fprint(w, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","uid":"1","resourceVersion":"9"}}`)
}

var reasons = map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 409: metav1.StatusReasonConflict}

// pass looks at the object, and checks what the pass ends with, how the object is doing then, and whether it is to be claimed.
func (c *claimant) pass(what string, want error, state State, wanted bool) {
	c.t.Helper()
	_, err := c.process(c.t.Context(), c.key)
	if exactly := want == nil || errors.Is(want, tmc.ErrUndecided); !errors.Is(err, want) && (exactly || tmc.CategoryOf(err) != tmc.CategoryOf(want)) {
		c.t.Errorf("%s: the pass ends with %v, want %v", what, err, want)
	}
	if got := c.records.numbers()[state]; got != 1 {
		c.t.Errorf("%s: the object is not %s: %v", what, state, c.records.numbers())
	}
	if _, _, asked := c.claims.next(c.key); asked != wanted {
		c.t.Errorf("%s: is to be claimed: %t, want %t", what, asked, wanted)
	}
}

// lane does what waits to be claimed.
func (c *claimant) lane(what string) {
	c.t.Helper()
	if _, err := c.claim(c.t.Context(), c.key); err != nil {
		c.t.Errorf("%s: %v", what, err)
	}
}

// asked checks what kcp was asked for since the last time.
func (c *claimant) asked(what string, want ...string) {
	c.t.Helper()
	if got := strings.Join(c.sent, ", "); got != strings.Join(want, ", ") {
		c.t.Errorf("%s: kcp is asked for %q, want %q", what, got, want)
	}
	c.sent = nil
}

const ours = "finalizers: [workload.kcp.io/syncer-here]"

// The lane claims what is wanted, as it is when its turn comes.
func TestTheLaneClaims(t *testing.T) {
	for name, test := range map[string]struct {
		// meanwhile is what happens between the pass and the lane.
		meanwhile func(*claimant)
		want      []string
		// wanted: it still is afterwards, and again: the lane looks at it again.
		wanted, again bool
	}{
		"what a pass wants":         {nil, []string{"claim 7"}, false, false},
		"as it is by then":          {func(c *claimant) { c.shows("8", "labels: {app: other}") }, []string{"claim 8"}, false, false},
		"not what is gone":          {func(c *claimant) { _ = c.sources[0].informer.GetIndexer().Delete(c.object("7", "")) }, nil, false, false},
		"not what is being deleted": {func(c *claimant) { c.shows("8", `deletionTimestamp: "2026-01-01T00:00:00Z"`) }, nil, false, false},
		"not what has been claimed": {func(c *claimant) { c.shows("8", ours) }, nil, false, false},
		"not what is to leave": {func(c *claimant) {
			c.shows("8", `annotations: {kcp.io/cluster: team, `+workloadv1alpha1.DeletionAnnotation("here")+`: now}`)
		}, nil, false, false},
		"not what is not selected any more":   {func(c *claimant) { c.settings.Store(&settings{filters: Filters{Labels: labels.Nothing()}}) }, nil, false, false},
		"not another one of the same name":    {func(c *claimant) { c.shows("8", `uid: "2"`) }, nil, false, false},
		"not what is wanted no more":          {func(c *claimant) { c.claims.forget(c.key) }, nil, false, false},
		"later what the cache is behind of":   {func(c *claimant) { c.writes("8") }, nil, true, true},
		"what a pass has read past the cache": {func(c *claimant) { c.claims.want(c.key, c.object("8", ""), trace.SpanContext{}, tmc.PriorityLive) }, []string{"claim 8"}, false, false},
		"what was read so, and is newer by now": {func(c *claimant) {
			c.claims.want(c.key, c.object("8", ""), trace.SpanContext{}, tmc.PriorityLive)
			c.shows("9", "")
		}, []string{"claim 9"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClaimant(t)
			c.pass("at first", nil, StatePending, true)
			if test.meanwhile != nil {
				test.meanwhile(c)
			}
			again, err := c.claim(t.Context(), c.key)
			c.asked(name, test.want...)
			if _, _, asked := c.claims.next(c.key); asked != test.wanted || again > 0 != test.again || err != nil {
				t.Errorf("still wanted: %t, looked at again after %s, %v", asked, again, err)
			}
			c.lane("a second look")
			c.asked("a second look")
		})
	}
}

// writes has the syncer have written that version.
func (c *claimant) writes(version string) {
	record := c.records.load(c.key)
	record.upWritten = version
	c.records.store(c.key, record, c.clock.Now())
}

// The answer that a syncer does not wait for any more when it stops is no failure.
func TestAStopIsNoFailureOfTheClaim(t *testing.T) {
	c := newClaimant(t)
	c.pass("at first", nil, StatePending, true)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := c.claim(ctx, c.key); err != nil || c.loop.Len() != 0 || c.claims.failed(c.key) {
		t.Errorf("%v, %d passes are due, failed: %t", err, c.loop.Len(), c.claims.failed(c.key))
	}
}

// A pass that wants a claim is followed by one that knows that it has landed, whether the cache shows it or not.
func TestAClaimThatLands(t *testing.T) {
	c := newClaimant(t)
	c.pass("a new object is wanted, and nothing waits for that", nil, StatePending, true)
	c.lane("the claim is sent")
	c.asked("the claim is sent", "claim 7")
	c.pass("it has landed, the cache is behind", nil, StatePending, false)
	if c.records.lastWritten(c.key) != "9" {
		t.Errorf("the last write upstream made %q", c.records.lastWritten(c.key))
	}
	c.shows("9", ours)
	c.pass("the cache shows it", nil, StateSynced, false)

	c.shows("10", "")
	c.pass("somebody takes it off", nil, StatePending, true)
	c.shows("11", ours)
	c.pass("and puts it back", nil, StateSynced, false)
	c.lane("which leaves nothing to be done")
	c.asked("which leaves nothing to be done")
}

// A claim that fails is the failure of the next pass, once. Until it has landed, nothing that failed counts as mended.
func TestAClaimThatFails(t *testing.T) {
	c := newClaimant(t)
	forbidden := tmc.As(tmc.Permission, errors.New("no"))
	c.refuse = http.StatusForbidden
	c.pass("it is wanted", nil, StatePending, true)
	c.lane("it is refused")
	c.asked("it is refused", "claim 7")
	if c.loop.Len() != 1 {
		t.Error("no pass is due")
	}
	c.pass("the pass tells", forbidden, StateFailed, false)
	c.asked("the pass tells", "condition")
	c.shows("9", fmt.Sprintf(`annotations: {kcp.io/cluster: team, %s: '[{"type":"Synced","status":"False","reason":"Forbidden"}]'}`, workloadv1alpha1.ConditionsAnnotation("here")))
	c.pass("the retry has it sent again, and mends nothing", tmc.ErrUndecided, StateFailed, true)
	c.asked("what was told still holds")
	c.lane("it is refused again")
	c.asked("it is refused again", "claim 9")
	c.pass("which the pass tells again", forbidden, StateFailed, false)
	c.asked("which the pass tells again", "condition") // the words differ from those that the test made up

	c.refuse = 0
	c.pass("the next retry", tmc.ErrUndecided, StateFailed, true)
	c.forbidden.Store(&forbidden)
	c.lane("it lands")
	c.asked("it lands", "claim 9")
	if c.writeError() != nil {
		t.Error("claims still count as forbidden")
	}
	c.shows("10", ours)
	c.pass("and all is well", nil, StateSynced, false)
}

// Conflicts in a row are those of the claim, whatever passes come between, and end with a fresh read.
func TestClaimsThatMeetAnotherVersion(t *testing.T) {
	c := newClaimant(t)
	c.refuse = http.StatusConflict
	conflict := tmc.As(tmc.Conflict, errors.New("no"))
	c.pass("at first", nil, StatePending, true)
	for i := 1; i <= freshAfter; i++ {
		c.lane("it is refused")
		c.pass("the pass fails", conflict, StateFailed, false)
		if i < freshAfter {
			c.pass("the next has it sent again", tmc.ErrUndecided, StateFailed, true)
			c.pass("another event changes nothing", tmc.ErrUndecided, StateFailed, true)
		}
	}
	if got := c.records.load(c.key).conflicts; got != freshAfter {
		t.Errorf("%d conflicts were counted", got)
	}
	c.asked("three claims", "claim 7", "claim 7", "claim 7")
}

// A claim that lands when it is wanted no more is taken off again by the pass that its event brings.
func TestAClaimThatLandsTooLate(t *testing.T) {
	c := newClaimant(t)
	c.pass("at first", nil, StatePending, true)
	of, _, _ := c.claims.next(c.key) // and kcp takes its time
	c.settings.Store(&settings{filters: Filters{Labels: labels.Nothing()}})
	if _, err := c.process(t.Context(), c.key); err != nil || c.claims.answered(c.key, of, "9", nil) {
		t.Errorf("it is still wanted, %v", err)
	}
	c.shows("9", ours)
	if _, err := c.process(t.Context(), c.key); err != nil {
		t.Error(err)
	}
	c.asked("it is released", "release")
}
