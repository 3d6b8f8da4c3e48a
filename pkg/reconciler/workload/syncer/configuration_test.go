package syncer

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/syncer/feed"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

func TestConfigurationCurrent(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   tmc.ConfigState
		want string
	}{
		{"no file", tmc.ConfigState{Verdict: tmc.ConfigInForce}, "True ConfigurationInForce: the syncer has no configuration file"},
		{"a file", tmc.ConfigState{Path: "/a", Verdict: tmc.ConfigInForce}, "True ConfigurationInForce: /a is in force"},
		{"a file with a mistake", tmc.ConfigState{Path: "/a", Verdict: tmc.ConfigRejected, Message: "/a, line 3: no"}, "False ConfigurationRejected: /a, line 3: no"},
		{"a file for the next start", tmc.ConfigState{Path: "/a", Verdict: tmc.ConfigNeedsRestart, Message: "a restart is needed"}, "False RestartRequired: a restart is needed"},
	} {
		for _, c := range conditionsOf(facts{configuration: tc.in}, nil, 1, time.Now()) {
			if got := string(c.Status) + " " + c.Reason + ": " + c.Message; c.Type == "ConfigurationCurrent" && got != tc.want {
				t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
			}
		}
	}
}

// Without the feature nobody is told which types the cluster serves.
func TestPublishingIsAFeature(t *testing.T) {
	nowhere := &rest.Config{Host: "https://localhost"} // nothing listens, and no request is sent
	for _, enabled := range []bool{true, false} {
		s, err := New(Config{
			KCP: nowhere, Cluster: nowhere, Feed: FeedConfig{Kind: FeedAssigned},
			Features: tmc.Features{FeaturePublishAPIs: {Stage: "BETA", Enabled: enabled}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if published := s.newPublisher(target{}, &watchedTarget{}) != nil; published != enabled {
			t.Errorf("enabled: %t, published: %t", enabled, published)
		}
		families, err := s.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "kubernetes_feature_enabled" && (family.GetMetric()[0].GetGauge().GetValue() == 1) != enabled {
				t.Errorf("the metric says %v", family)
			}
		}
	}
}

// Filters that change are those that the next look goes by. A namespace that has not been seen decides nothing.
func TestFiltersChangeWhileObjectsAreLookedAt(t *testing.T) {
	f, err := feed.NewWorkspace(&rest.Config{Host: "https://localhost"}, "root", "key")
	if err != nil {
		t.Fatal(err)
	}
	now := newLive(settings{})
	s, err := newSelection(f, now)
	if err != nil {
		t.Fatal(err)
	}
	o := &object{}
	o.ObjectMeta = metav1.ObjectMeta{Namespace: "web", Labels: map[string]string{"stage": "prod"}}
	selector := func(text string) labels.Selector {
		parsed, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for _, tc := range []struct {
		name            string
		filters         Filters
		selected, known bool
	}{
		{"no filter", Filters{}, true, true},
		{"one that it passes", Filters{Labels: selector("stage=prod")}, true, true},
		{"one that it does not pass", Filters{Labels: selector("stage=test")}, false, true},
		{"one on namespaces, none of which was seen", Filters{Namespaces: selector("stage=prod")}, false, false},
		{"none again", Filters{}, true, true},
	} {
		now.Store(&settings{filters: tc.filters})
		s.follow()
		if selected, known := s.selects(o); selected != tc.selected || known != tc.known {
			t.Errorf("%s: selected %t, known %t", tc.name, selected, known)
		}
	}
}
