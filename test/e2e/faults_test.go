package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// faulty is a way to a server on which the test decides what is answered, for as long as the test runs.
func faulty(t *testing.T, to *rest.Config) *env.FaultProxy {
	t.Helper()
	proxy := must(env.For(t).NewFaultProxyTo(to))(t)
	t.Cleanup(proxy.Close)
	return proxy
}

// met checks that the proxy's fault was met so often.
func met(times int64, proxy *env.FaultProxy) func() error {
	return func() error {
		if hits := proxy.Hits(); hits < times {
			return fmt.Errorf("the fault was met %d times", hits)
		}
		return nil
	}
}

// refuse answers requests with a Status of that code.
func refuse(code int, reason metav1.StatusReason, when func(*http.Request) bool) env.Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !when(r) {
			return false
		}
		env.Refuse(w, code, reason)
		return true
	}
}

// now and then a request meets one of several faults.
func nowAndThen(faults ...env.Fault) env.Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return rand.IntN(8) == 0 && faults[rand.IntN(len(faults))](w, r)
	}
}

// emptyList answers with a list of nothing, which no server would, and has clients list instead of watch.
func emptyList(when func(*http.Request) bool) env.Fault {
	noStream := refuse(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, when)
	expired := refuse(http.StatusGone, metav1.StatusReasonExpired, when)
	return func(w http.ResponseWriter, r *http.Request) bool {
		query := r.URL.Query()
		switch {
		case !when(r):
			return false
		case query.Get("sendInitialEvents") != "":
			return noStream(w, r)
		case query.Get("watch") != "":
			return expired(w, r)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}`))
		return true
	}
}

func everything(*http.Request) bool { return true }

// lists are requests that list or watch all objects of one of the resources.
func lists(resources ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		for _, resource := range resources {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+resource) {
				return true
			}
		}
		return false
	}
}

// but leaves out requests whose path has one of the parts.
func but(when func(*http.Request) bool, parts ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		for _, part := range parts {
			if strings.Contains(r.URL.Path, part) {
				return false
			}
		}
		return when(r)
	}
}

// A claim that meets another version again and again is decided anew about the object as it is: kcp is asked for it past the
// cache, which may be behind. Here nothing else ends the conflicts.
func TestConflictsEndWithAFreshRead(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	kcp := faulty(t, tn.fleet.kcp.AdminConfig())
	var reads atomic.Int64
	conflict := refuse(http.StatusConflict, metav1.StatusReasonConflict, everything)
	kcp.Break(func(w http.ResponseWriter, r *http.Request) bool {
		switch about := strings.HasSuffix(r.URL.Path, "/configmaps/contested"); {
		case about && r.Method == http.MethodGet:
			reads.Add(1)
		case about && r.Method == http.MethodPatch && reads.Load() == 0:
			return conflict(w, r)
		}
		return false
	})
	tn.startSyncerWith(syncerOptions{kcp: kcp.Config()})
	tn.up.Create(fastConfigMap("contested"))
	tn.up.Eventually("ConfigMap", "web", "contested", tn.claimed)
	if reads.Load() == 0 || kcp.Hits() < 3 {
		t.Errorf("claimed after %d conflicts and %d reads, want at least 3 and 1", kcp.Hits(), reads.Load())
	}
}

// A deletion that something on the way answers in the server's place is made again: the copy is still there, and no event will
// tell so.
func TestADeletionThatIsNoneIsMadeAgain(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	cluster := faulty(t, tn.cluster.AdminConfig())
	var answered atomic.Bool
	cluster.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete || !strings.HasSuffix(r.URL.Path, "/configmaps/doomed") || answered.Swap(true) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("null"))
		return true
	})
	tn.startSyncerWith(syncerOptions{cluster: cluster.Config()})
	tn.up.Create(fastConfigMap("doomed"))
	tn.up.Eventually("ConfigMap", "web", "doomed", tn.claimed)
	tn.copyOf("ConfigMap", "doomed", has("fast", "data", "mode"))
	tn.up.Delete("ConfigMap", "web", "doomed")
	tn.up.EventuallyGone("ConfigMap", "web", "doomed")
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "doomed")
	if !answered.Load() {
		t.Error("no deletion was answered in the server's place")
	}
}

// A copy that somebody deletes before the syncer has seen it, because its watch is broken, is made again, and so is its namespace:
// no event tells of either.
func TestACopyThatWasNeverSeenIsMadeAgain(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	cluster := faulty(t, tn.cluster.AdminConfig())
	tn.startSyncerWith(syncerOptions{cluster: cluster.Config()})
	tn.up.Create(fastConfigMap("first"))
	tn.copyOf("ConfigMap", "first", has("fast", "data", "mode"))
	cluster.Break(refuse(http.StatusForbidden, metav1.StatusReasonForbidden, lists("configmaps", "namespaces")))
	tn.up.Create(fastConfigMap("unseen"))
	tn.copyOf("ConfigMap", "unseen", has("fast", "data", "mode"))
	tn.up.Eventually("ConfigMap", "web", "unseen", tn.claimed)
	tn.down.Delete("ConfigMap", tn.downNamespace("web"), "unseen")
	tn.copyOf("ConfigMap", "unseen", has("fast", "data", "mode"))

	tn.up.Create(`{apiVersion: v1, kind: Namespace, metadata: {name: later}}`)
	tn.up.Create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: unseen, namespace: later}, data: {mode: fast}}`)
	namespace := tn.downNamespace("later")
	tn.down.Eventually("ConfigMap", namespace, "unseen", has("fast", "data", "mode"))
	tn.down.Delete("Namespace", "", namespace)
	tn.down.EventuallyGone("ConfigMap", namespace, "unseen")
	tn.down.Eventually("ConfigMap", namespace, "unseen", has("fast", "data", "mode"))
}
