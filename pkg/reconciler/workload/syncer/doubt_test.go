package syncer

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	testingclock "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// A kcp that has just started answers 403 and 404 for what it does not know yet. Whoever has read the SyncTarget before goes on
// asking, and whoever has not, for a while.
func TestWhichAnswersAboutASyncTargetAreFinal(t *testing.T) {
	resource := syncTargetsGVR.GroupResource()
	forbidden := apierrors.NewForbidden(resource, "east", errors.New("access denied"))
	noType := apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{}, "", "the server could not find the requested resource", 0, true)
	gone := apierrors.NewNotFound(resource, "east")
	for name, test := range map[string]struct {
		err error
		// seen: the SyncTarget has been read before. after: the answer is the same for that long.
		seen  bool
		after time.Duration
		want  bool
	}{
		"it does not exist":                                    {gone, false, 0, true},
		"it does not exist any more":                           {gone, true, 0, true},
		"it may not be read, at first":                         {forbidden, false, doubtPatience / 2, false},
		"it may not be read":                                   {forbidden, false, doubtPatience, true},
		"it may not be read any more, as far as kcp knows":     {forbidden, true, time.Hour, false},
		"its type is not served, at first":                     {noType, false, 0, false},
		"its type is not served":                               {noType, false, doubtPatience, true},
		"its type is not served any more, as far as kcp knows": {noType, true, time.Hour, false},
		"nobody answers":                                       {apierrors.NewServiceUnavailable("later"), false, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			clock := testingclock.NewFakeClock(time.Unix(1000, 0))
			s := &syncTargets{ref: SyncTargetRef{Name: "east"}, doubt: &doubt{clock: clock}}
			if test.seen {
				s.doubt.over()
			}
			err := tmc.Classify(test.err)
			if first := s.finalAnswer(err); first != nil && test.after > 0 {
				t.Errorf("the first answer is final: %v", first)
			}
			clock.Step(test.after)
			var refusal *RefusedError
			if final := s.finalAnswer(err); errors.As(final, &refusal) != test.want {
				t.Errorf("final is %v", final)
			}
		})
	}
}

// A SyncTarget that a list does not have is read before it counts as deleted.
func TestASyncTargetThatIsMissed(t *testing.T) {
	there := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: "east", UID: "1"}}
	for name, test := range map[string]struct {
		deletion any
		found    *workloadv1alpha1.SyncTarget
		err      error
		ends     bool
	}{
		"its deletion was seen":              {there, there, nil, true},
		"a list does not have it, it is":     {cache.DeletedFinalStateUnknown{Obj: there}, there, nil, false},
		"a list does not have it, it is not": {cache.DeletedFinalStateUnknown{Obj: there}, nil, refused("it does not exist"), true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			read := make(chan struct{}, 1)
			w := newWatchedTarget(&syncTargets{}, there)
			w.resolve = func(context.Context) (*workloadv1alpha1.SyncTarget, error) {
				defer func() { read <- struct{}{} }()
				return test.found, test.err
			}
			w.lose(test.deletion)
			made := make(chan struct{})
			go func() { defer close(made); w.makeSure(ctx) }()
			if _, inferred := test.deletion.(cache.DeletedFinalStateUnknown); inferred {
				<-read
			}
			if test.ends {
				if err := <-w.ended; err == nil {
					t.Error("it ends without a reason")
				}
			} else {
				<-w.updated
			}
			stop()
			<-made
			if !test.ends && len(w.ended) > 0 {
				t.Errorf("it ends: %v", <-w.ended)
			}
		})
	}
}
