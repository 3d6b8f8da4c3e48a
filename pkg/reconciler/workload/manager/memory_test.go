package manager

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/fleet"
)

func TestSeenLines(t *testing.T) {
	names := []fleet.Key{{Cluster: "2far", Name: "east"}, {Cluster: "2near", Name: "west"}}
	if got := parseSeen(formatSeen(names)); !slices.Equal(got, names) {
		t.Errorf("got %v", got)
	}
	if got := parseSeen("\nnonsense\n/a\nb/\n 2far/east \r\n"); !slices.Equal(got, names[:1]) {
		t.Errorf("got %v", got)
	}
}

// What one manager has seen the next one knows; nothing is written that is right, and nothing before what was kept was read.
func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := fake.NewClientset()
		var refuses atomic.Bool
		refuses.Store(true)
		server.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			return refuses.Load(), nil, errors.New("it does not answer")
		})
		writes := func() (n int) {
			for _, action := range server.Actions() {
				if action.GetVerb() != "get" {
					n++
				}
			}
			return n
		}
		kept := func() string {
			t.Helper()
			found, err := server.CoreV1().ConfigMaps(metav1.NamespaceDefault).Get(t.Context(), seenTargets, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return found.Data[seenTargetsKey]
		}
		keep := func(memory *fleet.Memory) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			k := &keeper{configMaps: server.CoreV1().ConfigMaps(metav1.NamespaceDefault), memory: memory, clock: clock.RealClock{}}
			go func() { ended <- k.Run(ctx) }()
			return func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		}
		passed := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}

		first := fleet.NewMemory()
		stop := keep(first)
		first.Recall([]fleet.Key{{Cluster: "2far", Name: "east"}})
		passed(time.Minute)
		if writes() != 0 {
			t.Error("something was written although what is kept could not be read")
		}
		refuses.Store(false)
		passed(2 * time.Minute)
		if got := kept(); got != "2far/east\n" || writes() != 1 {
			t.Errorf("kept is %q after %d writes", got, writes())
		}
		stop()

		second := fleet.NewMemory()
		second.Recall([]fleet.Key{{Cluster: "2near", Name: "west"}})
		stop = keep(second)
		passed(2 * time.Second)
		if got := second.Names(); len(got) != 2 || kept() != "2far/east\n2near/west\n" || writes() != 2 {
			t.Errorf("the second knows %v, kept is %q after %d writes", got, kept(), writes())
		}
		passed(3 * seenPeriod)
		if writes() != 2 {
			t.Errorf("%d writes although nothing has changed", writes())
		}
		stop()
	})
}
