package choose

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulingv1alpha1 "github.com/kcp-dev/workload-syncer/apis/scheduling/v1alpha1"
)

const (
	placed = schedulingv1alpha1.ReasonPlaced
	enough = schedulingv1alpha1.ReasonTargetsSelected
	not    = schedulingv1alpha1.ReasonNotScheduled
)

// TestNew says where a new Placement goes.
func TestNew(t *testing.T) {
	gone := now.Add(-time.Minute)
	for _, test := range []struct {
		name string
		o    *Observed
		want told
	}{
		{"it goes to a target that is ready", newWorld(target("east", notReady), target("west")), told{"west", "", enough, placed}},
		{"without a namespace it is not ready", newWorld(target("east")).with(func(o *Observed) { o.Namespaces = 0 }), told{"east", "", enough, "NoNamespaces"}},

		{"it waits while none is ready", newWorld(target("east", notReady)), told{"", "", "TargetsNotReady", not}},
		{"a target whose syncer looks at its own workspace only takes none", newWorld(target("east", func(t *Target) { t.OwnWorkspaceOnly = true })), told{"", "", "TargetsNotReady", not}},
		{"a target that is being deleted takes none", newWorld(target("east", func(t *Target) { t.Deleting = true })), told{"", "", "TargetsNotReady", not}},
		{"a target that syncs not everything is the last choice", newWorld(target("east", func(t *Target) { t.Degraded = "APIsForbidden" }), target("west")), told{"west", "", enough, placed}},
		{"but a choice", newWorld(target("east", func(t *Target) { t.Degraded = "APIsForbidden" })), told{"east", "", enough, placed}},
		{"a cordoned target takes none", newWorld(target("east", cordoned)), told{"", "", "TargetsCordoned", not}},
		{"nor one that is being evicted", newWorld(target("east", evictAt(gone))), told{"", "", "TargetsCordoned", not}},
		{"one that will be evicted later does", newWorld(target("east", evictAt(now.Add(time.Hour)))), told{"east", "", enough, placed}},

		{"a taint keeps it away", newWorld(target("east", tainted("NoSchedule"))), told{"", "", "TaintsNotTolerated", not}},
		{"unless it is tolerated", newWorld(target("east", tainted("NoSchedule"))).asks(toleratesFor(-1)), told{"east", "", enough, placed}},
		{"NoExecute too", newWorld(target("east", tainted("NoExecute"))).asks(toleratesFor(-1)), told{"east", "", enough, placed}},
		{"tolerated for some time is for those that are there: it would have to go again", newWorld(target("east", tainted("NoExecute"))).asks(toleratesFor(60)), told{"", "", "TaintsNotTolerated", not}},
		{"PreferNoSchedule is the last choice", newWorld(target("east", tainted("PreferNoSchedule")), target("west")), told{"west", "", enough, placed}},
		{"but a choice", newWorld(target("east", tainted("PreferNoSchedule"))), told{"east", "", enough, placed}},

		{"required affinity over labels", newWorld(target("east"), target("west", label("gpu", "yes"))).asks(requires("gpu", "yes")), told{"west", "", enough, placed}},
		{"and over cells", newWorld(target("east"), target("west", cell("region", "eu"))).asks(requires("region", "eu")), told{"west", "", enough, placed}},
		{"the label counts where both are there", newWorld(target("west", cell("region", "eu"), label("region", "us"))).asks(requires("region", "eu")), told{"", "", "AffinityUnmatched", not}},
		{"any of several will do", newWorld(target("west", label("gpu", "yes"))).asks(requires("region", "eu"), requires("gpu", "yes")), told{"west", "", enough, placed}},
		{"the larger weights win", newWorld(target("east", label("a", "1")), target("west", label("b", "1"), label("c", "1"))).asks(prefers(50, "a", "1"), prefers(30, "b", "1"), prefers(30, "c", "1")), told{"west", "", enough, placed}},

		{"what it needs must be there", newWorld(target("east", offers("4")), target("west", offers("2"))).asks(needs("3")), told{"east", "", enough, placed}},
		{"less what others have asked for", newWorld(target("east", offers("4")), target("west", offers("3"))).asks(needs("3")).with(func(o *Observed) { o.Requested = map[string]corev1.ResourceList{"k-east": resources("2")} }), told{"west", "", enough, placed}},
		{"or else it waits", newWorld(target("east", offers("2"))).asks(needs("3")), told{"", "", "InsufficientResources", not}},
		{"of what a target does not tell it has nothing", newWorld(target("east", func(t *Target) { t.Allocatable = nil })).asks(needs("1")), told{"", "", "InsufficientResources", not}},
		{"the emptier target is better", newWorld(target("east"), target("west")).with(func(o *Observed) { o.Requested = map[string]corev1.ResourceList{"k-east": resources("5")} }), told{"west", "", enough, placed}},

		{"the same reason against all that the affinity leaves", newWorld(target("east", cordoned), target("west", notReady)).asks(requires("name", "east")), told{"", "", "TargetsCordoned", not}},
		{"different reasons against all of them", newWorld(target("east", cordoned), target("west", notReady)), told{"", "", "NoTargetFits", not}},
		{"a selector that nobody understands", newWorld(target("east")).asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.LocationSelectors = []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Has"}}}}
		}), told{"", "", "InvalidSpec", not}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tell(decide(t, *test.o)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestLocations says which targets a Placement may choose at all.
func TestLocations(t *testing.T) {
	eu := Location{Name: "eu", Labels: map[string]string{"region": "eu"}, InstanceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"region": "eu"}}}
	us := Location{Name: "us", Labels: map[string]string{"region": "us"}, InstanceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"region": "us"}}}
	in := func(locations ...Location) *Observed {
		return newWorld(target("east", label("region", "us")), target("berlin", label("region", "eu"))).with(func(o *Observed) { o.Locations = locations })
	}
	selects := func(values ...string) func(*schedulingv1alpha1.PlacementSpec) {
		return func(s *schedulingv1alpha1.PlacementSpec) {
			s.LocationSelectors = nil
			for _, v := range values {
				s.LocationSelectors = append(s.LocationSelectors, metav1.LabelSelector{MatchLabels: map[string]string{"region": v}})
			}
		}
	}
	open := func(l Location, to ...schedulingv1alpha1.WorkspacePath) Location {
		l.Consumers = to
		return l
	}
	for _, test := range []struct {
		name string
		o    *Observed
		want told
	}{
		{"by the labels of the Location", in(eu, us).asks(selects("us")), told{"east", "", enough, placed}},
		{"any of several selectors", in(eu, us).asks(selects("asia", "eu")), told{"berlin", "", enough, placed}},
		{"no Location matches", in(eu, us).asks(selects("asia")), told{"", "", "NoMatchingLocation", not}},
		{"there is none", in(), told{"", "", "NoMatchingLocation", not}},
		{"a Location without instanceSelector has no targets", in(Location{Name: "empty"}), told{"", "", "NoTargets", not}},
		{"SyncTargets of other workspaces are in no Location", in(eu).with(func(o *Observed) { o.Targets[1].Cluster = "2other" }), told{"", "", "NoTargets", not}},
		{"the workspace of the Locations is not known", in(eu).with(func(o *Observed) { o.Provider = Workspace{Path: "root:gone"} }), told{"", "", "LocationWorkspaceUnknown", not}},

		{"a Location of the API's provider is open to all", in(eu), told{"berlin", "", enough, placed}},
		{"unless it names its consumers", in(open(eu, "root:others")), told{"", "", "LocationForbidden", not}},
		{"by path", in(open(eu, "root:teams:a")), told{"berlin", "", enough, placed}},
		{"by a path above", in(open(eu, "root:others", "root:teams")), told{"berlin", "", enough, placed}},
		{"which ends at a name", in(open(eu, "root:team")), told{"", "", "LocationForbidden", not}},
		{"by logical cluster", in(open(eu, "2team")), told{"berlin", "", enough, placed}},
		{"elsewhere a Location is closed", in(eu).with(func(o *Observed) { o.OffersToAll = false }), told{"", "", "LocationForbidden", not}},
		{"but to consumers that it names", in(open(eu, "root:teams")).with(func(o *Observed) { o.OffersToAll = false }), told{"berlin", "", enough, placed}},
		{"and to its own workspace", in(eu).with(func(o *Observed) { o.OffersToAll, o.Consumer = false, o.Provider }), told{"berlin", "", enough, placed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tell(decide(t, *test.o)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestKept says what moves work that runs, and what does not.
func TestKept(t *testing.T) {
	gone, later := now.Add(-time.Second), now.Add(time.Hour)
	free := target("west")
	for _, test := range []struct {
		name string
		o    *Observed
		want told
	}{
		{"it stays", newWorld(target("east"), free).on("east"), told{"east", "", enough, placed}},
		{"though another would be better", newWorld(target("east"), target("west", label("a", "1"))).asks(prefers(100, "a", "1")).on("east"), told{"east", "", enough, placed}},
		{"on a cordoned target", newWorld(target("east", cordoned), free).on("east"), told{"east", "", enough, placed}},
		{"on a full one", newWorld(target("east", offers("0")), free).asks(needs("3")).on("east"), told{"east", "", enough, placed}},
		{"on one with a taint NoSchedule", newWorld(target("east", tainted("NoSchedule")), free).on("east"), told{"east", "", enough, placed}},
		{"on one that will be evicted later", newWorld(target("east", evictAt(later)), free).on("east"), told{"east", "", enough, placed}},
		{"on one that syncs not everything", newWorld(target("east", func(t *Target) { t.Degraded = "APIsDegraded" }), free).on("east"), told{"east", "", enough, placed}},
		{"on one that is not ready, for a while", newWorld(target("east", notReady), free).on("east"), told{"east", "", enough, "TargetDisturbed"}},
		{"a syncer that starts anew is no news", newWorld(target("east", notReady, func(t *Target) { t.NotReadySince = metav1.NewTime(now.Add(-patience / 2)) }), free).on("east"), told{"east", "", enough, placed}},
		{"while the spec cannot be understood", newWorld(target("east"), free).on("east").asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.Affinity = &schedulingv1alpha1.Affinity{Required: []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Has"}}}}}
		}), told{"east", "", "InvalidSpec", not}},
		{"while the workspace of the Locations is not known", newWorld(target("east"), free).on("east").with(func(o *Observed) { o.Provider = Workspace{Path: "root:gone"} }), told{"east", "", "LocationWorkspaceUnknown", not}},
		{"while its own workspace is not known, to which the Location may be open", newWorld(target("east"), free).on("east").with(func(o *Observed) {
			o.Consumer.Path, o.Locations[0].Consumers = "", []schedulingv1alpha1.WorkspacePath{"root:teams"}
		}), told{"east", "", enough, placed}},
		{"while the instanceSelector of a Location cannot be understood", newWorld(target("east"), free).on("east").with(func(o *Observed) {
			o.Locations[0].InstanceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Has"}}}
		}), told{"east", "", enough, placed}},

		{"it leaves a SyncTarget that is gone", newWorld(free).on("east"), told{"west", "east: TargetDeleted", enough, placed}},
		{"or is being deleted", newWorld(target("east", func(t *Target) { t.Deleting = true }), free).on("east"), told{"west", "east: TargetDeleted", enough, placed}},
		{"or was created anew, which is another", newWorld(target("east", func(t *Target) { t.UID = "new" }), free).on("east"), told{"west", "east: TargetDeleted", enough, placed}},
		{"that one is no choice before the old one is left", newWorld(target("east", func(t *Target) { t.UID = "new" })).on("east"), told{"", "east: TargetDeleted", "TargetsNotReady", not}},
		{"it leaves when evictAfter has come", newWorld(target("east", evictAt(now)), free).on("east"), told{"west", "east: Evicted", enough, placed}},
		{"it leaves for a taint NoExecute", newWorld(target("east", tainted("NoExecute")), free).on("east"), told{"west", "east: Tainted", enough, placed}},
		{"also with nowhere to go", newWorld(target("east", tainted("NoExecute"))).on("east"), told{"", "east: Tainted", "TaintsNotTolerated", not}},
		{"not for one that it tolerates", newWorld(target("east", tainted("NoExecute")), free).asks(toleratesFor(-1)).on("east"), told{"east", "", enough, placed}},
		{"nor before its time", newWorld(target("east", taintedSince("NoExecute", now.Add(-59*time.Second))), free).asks(toleratesFor(60)).on("east"), told{"east", "", enough, "TargetDisturbed"}},
		{"but then", newWorld(target("east", taintedSince("NoExecute", now.Add(-60*time.Second))), free).asks(toleratesFor(60)).on("east"), told{"west", "east: Tainted", enough, placed}},
		{"of several tolerations the shortest counts", newWorld(target("east", taintedSince("NoExecute", now.Add(-30*time.Second))), free).asks(toleratesFor(60), toleratesFor(20)).on("east"), told{"west", "east: Tainted", enough, placed}},
		{"it leaves a target that has not been ready for five minutes", newWorld(target("east", notReady, func(t *Target) { t.NotReadySince = metav1.NewTime(now.Add(-301 * time.Second)) }), free).on("east"), told{"west", "east: NotReady", enough, placed}},
		{"or for as long as it says", newWorld(target("east", notReady), free).on("east").asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.Tolerations = []schedulingv1alpha1.Toleration{{Key: schedulingv1alpha1.NotReadyTaint, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(10))}}
		}), told{"west", "east: NotReady", enough, placed}},
		{"or never", newWorld(target("east", notReady, func(t *Target) { t.NotReadySince = metav1.NewTime(now.Add(-time.Hour)) }), free).on("east").asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.Tolerations = []schedulingv1alpha1.Toleration{{Operator: "Exists"}}
		}), told{"east", "", enough, "TargetDisturbed"}},
		{"a target of which nothing is heard is kept: what runs there is not known", newWorld(target("east", notReady, silent, func(t *Target) { t.NotReadySince = metav1.NewTime(now.Add(-time.Hour)) }), free).on("east"), told{"east", "", enough, "TargetDisturbed"}},
		{"until the manager taints it", newWorld(target("east", notReady, silent, tainted("NoExecute")), free).on("east"), told{"west", "east: Tainted", enough, placed}},
		{"or for as long as the Placement says", newWorld(target("east", notReady, silent), free).on("east").asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.Tolerations = []schedulingv1alpha1.Toleration{{Key: schedulingv1alpha1.NotReadyTaint, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(60))}}
		}), told{"west", "east: NotReady", enough, placed}},
		{"a SyncTarget that cannot be seen is kept", newWorld(free).unseen("east"), told{"east", "", enough, "TargetDisturbed"}},
		{"though nothing says that it is in a Location still", newWorld(free).unseen("east").with(func(o *Observed) {
			o.Locations[0].InstanceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": "west"}}
		}), told{"east", "", enough, "TargetDisturbed"}},
		{"or that the required affinity matches", newWorld(target("west", label("a", "1"))).unseen("east").asks(requires("a", "1")), told{"east", "", enough, "TargetDisturbed"}},
		{"and is no choice for others", newWorld().with(func(o *Observed) {
			o.Targets = []Target{Unseen(&schedulingv1alpha1.SelectedTarget{Key: "k-east", Name: "east", Cluster: provider}, now)}
		}), told{"", "", "TargetsNotReady", not}},
		{"it leaves when no Location has the target", newWorld(target("east"), free).on("east").with(func(o *Observed) {
			o.Locations[0].InstanceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": "west"}}
		}), told{"west", "east: NotInLocation", enough, placed}},
		{"or the Placement selects other Locations", newWorld(target("east"), free).on("east").asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.LocationSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}
		}), told{"", "east: NotInLocation", "NoMatchingLocation", not}},
		{"it leaves when the required affinity no longer matches", newWorld(target("east"), target("west", label("a", "1"))).on("east").asks(requires("a", "1")), told{"west", "east: AffinityMismatch", enough, placed}},
		{"it leaves when fewer targets are wanted", newWorld(target("east"), target("west", tainted("NoSchedule"))).on("east", "west").with(func(o *Observed) {
			o.Placement.Status.SelectedTargets[0].Score = 1
		}), told{"east", "west: NotNeeded", enough, placed}},
		{"first those that are disturbed", newWorld(target("east", notReady), target("west")).on("east", "west").with(func(o *Observed) {
			o.Placement.Status.SelectedTargets[0].Score = 1
		}), told{"west", "east: NotNeeded", enough, placed}},
		{"a deleted Placement leaves all its targets", newWorld(target("east"), target("west")).asks(many("OneToMany", 2)).on("east", "west").with(func(o *Observed) {
			o.Placement.DeletionTimestamp = new(metav1.NewTime(gone))
		}), told{"", "east: PlacementDeleted, west: PlacementDeleted", "Deleting", "Leaving"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tell(decide(t, *test.o)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestLeaving says how a target is left.
func TestLeaving(t *testing.T) {
	left := func(o *Observed) { o.Occupied.Clear() }
	for _, test := range []struct {
		name string
		o    *Observed
		want told
	}{
		{"it is in the status while namespaces are on it", newWorld(target("east", cordoned), target("west")).leaving("east", "NotNeeded", time.Hour).on("west"), told{"west", "east: NotNeeded", enough, placed}},
		{"and goes with the last", newWorld(target("east", cordoned), target("west")).leaving("east", "NotNeeded", time.Hour).on("west").with(left), told{"west", "", enough, placed}},
		{"but not at once: who acts on the phase before must be seen", newWorld(target("east", cordoned), target("west")).leaving("east", "NotNeeded", settle/2).on("west").with(left), told{"west", "east: NotNeeded", enough, placed}},
		{"work comes back if the cause is gone and it has nowhere else", newWorld(target("east")).leaving("east", "NotReady", time.Minute), told{"east", "", enough, placed}},
		{"even if another would be better", newWorld(target("east"), target("west", label("a", "1"))).asks(prefers(100, "a", "1")).leaving("east", "Tainted", time.Minute), told{"east", "", enough, placed}},
		{"not if it has moved", newWorld(target("east"), target("west")).leaving("east", "NotReady", time.Minute).on("west"), told{"west", "east: NotReady", enough, placed}},
		{"a reason that cannot wait takes the place of one that can", newWorld(target("west")).leaving("east", "Evicted", time.Minute).on("west"), told{"west", "east: TargetDeleted", enough, placed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tell(decide(t, *test.o)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestSeveral says on how many targets a Placement is, and how they are spread.
func TestSeveral(t *testing.T) {
	zones := func(zones ...string) (targets []Target) {
		for i, zone := range zones {
			targets = append(targets, target(string(rune('a'+i)), cell("zone", zone)))
		}
		return targets
	}
	const hard, soft = schedulingv1alpha1.DoNotSchedule, schedulingv1alpha1.ScheduleAnyway
	for _, test := range []struct {
		name string
		o    *Observed
		want told
	}{
		{"OneToMany without a number is on all that fit", newWorld(target("a"), target("b", cordoned), target("c")).asks(many("OneToMany", 0)), told{"a c", "", enough, placed}},
		{"and on those that come", newWorld(target("a"), target("b")).asks(many("OneToMany", 0)).on("a"), told{"a b", "", enough, placed}},
		{"with a number it is on the best", newWorld(target("a", label("x", "1")), target("b"), target("c", label("x", "1"))).asks(many("OneToMany", 2), prefers(1, "x", "1")), told{"a c", "", enough, placed}},
		{"too few are better than none", newWorld(target("a"), target("b", cordoned)).asks(many("OneToMany", 2)), told{"a", "", "TooFewTargets", not}},
		{"a constraint keeps them apart", newWorld(zones("x", "x", "y", "y")...).asks(many("OneToMany", 4), spreadOver("zone", 1, hard)), told{"a b c d", "", enough, placed}},
		{"to the point of too few", newWorld(zones("x", "x", "x", "y")...).asks(many("OneToMany", 4), spreadOver("zone", 1, hard)).on("a", "b", "d"), told{"a b d", "", "TooFewTargets", not}},
		{"unless it may be broken", newWorld(zones("x", "x", "x", "y")...).asks(many("OneToMany", 4), spreadOver("zone", 1, soft)), told{"a b c d", "", enough, placed}},
		{"a target without the key is no choice", newWorld(append(zones("x"), target("z"))...).asks(many("OneToMany", 2), spreadOver("zone", 9, hard)), told{"a", "", "TooFewTargets", not}},
		{"a domain whose targets are all cordoned is a domain still", newWorld(append(zones("x", "x"), target("z", cell("zone", "y"), cordoned))...).asks(many("OneToMany", 2), spreadOver("zone", 1, hard)).on("a"), told{"a", "", "TooFewTargets", not}},
		{"Spread takes another zone before a better target", newWorld(target("a", cell("zone", "x"), label("x", "1")), target("b", cell("zone", "x"), label("x", "1")), target("c", cell("zone", "y"))).
			asks(many("Spread", 2), spreadOver("zone", 1, soft), prefers(100, "x", "1")).on("a"), told{"a c", "", enough, placed}},
		{"OneToMany a better target before another zone", newWorld(target("a", cell("zone", "x"), label("x", "1")), target("b", cell("zone", "x"), label("x", "1")), target("c", cell("zone", "y"))).
			asks(many("OneToMany", 2), spreadOver("zone", 1, soft), prefers(100, "x", "1")).on("a"), told{"a b", "", enough, placed}},
		{"Spread without a constraint is over Locations", newWorld(target("a", label("r", "1")), target("b", label("r", "1")), target("c", label("r", "2"))).asks(many("Spread", 2)).on("a").with(func(o *Observed) {
			o.Locations = []Location{
				{Name: "all", InstanceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"r": "1"}}},
				{Name: "two", InstanceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"r": "2"}}},
			}
		}), told{"a c", "", enough, placed}},
		{"what runs is not moved to mend a skew", newWorld(zones("x", "x", "y", "y")...).asks(many("Spread", 2), spreadOver("zone", 1, hard)).on("a", "b"), told{"a b", "", enough, placed}},
		{"but a target that is not needed any more goes from the most crowded domain", newWorld(zones("x", "x", "y")...).asks(many("Spread", 2), spreadOver("zone", 1, hard)).on("a", "b", "c").with(func(o *Observed) {
			o.Placement.Status.SelectedTargets[0].Score = 1
			o.Placement.Status.SelectedTargets[1].Score = 2
		}), told{"b c", "a: NotNeeded", enough, placed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tell(decide(t, *test.o)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestAntiAffinity says how Placements keep away from each other.
func TestAntiAffinity(t *testing.T) {
	apart := func(key string) *schedulingv1alpha1.AntiAffinity {
		return &schedulingv1alpha1.AntiAffinity{Required: []schedulingv1alpha1.AvoidedPlacements{{
			PlacementSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, TopologyKey: key,
		}}}
	}
	world := func(key string) *Observed {
		return newWorld(target("a", cell("zone", "x")), target("b", cell("zone", "x")), target("c", cell("zone", "y"))).with(func(o *Observed) {
			o.Others = []Other{{Name: "db", Labels: map[string]string{"app": "db"}, Chosen: []Chosen{{Key: "k-a", Location: "all"}}}, {Name: "x", Chosen: []Chosen{{Key: "k-c"}}}}
			o.Placement.Spec.AntiAffinity = apart(key)
			o.Placement.Spec.Strategy = schedulingv1alpha1.OneToMany
		})
	}
	for _, test := range []struct {
		name string
		o    *Observed
		want told
	}{
		{"not the same target", world(schedulingv1alpha1.TargetTopologyKey), told{"b c", "", enough, placed}},
		{"not the same zone", world("zone"), told{"c", "", enough, placed}},
		{"not the same Location", world(schedulingv1alpha1.LocationTopologyKey), told{"", "", "AntiAffinityUnsatisfied", not}},
		{"what nobody is in keeps nobody away", world("rack"), told{"a b c", "", enough, placed}},
		{"what runs stays", world("zone").on("a"), told{"a c", "", enough, placed}},
		{"rather not the same zone", world("zone").asks(many("OneToMany", 1)).with(func(o *Observed) {
			anti := o.Placement.Spec.AntiAffinity
			anti.Preferred, anti.Required = []schedulingv1alpha1.PreferablyAvoidedPlacements{{Weight: 1, AvoidedPlacements: anti.Required[0]}}, nil
		}), told{"c", "", enough, placed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tell(decide(t, *test.o)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestMessages are what a tenant reads.
func TestMessages(t *testing.T) {
	for _, test := range []struct {
		name, condition string
		o               *Observed
		want            []string
	}{
		{
			"what stands against each target is counted", "Scheduled", newWorld(target("a", cordoned), target("b", cordoned), target("c", offers("2"))).asks(needs("4")),
			[]string{"2 cordoned or to be evicted (a, b)", "1 with less than 4 cpu left, of 2 (c)"},
		},
		{"a taint is named", "Scheduled", newWorld(target("a", tainted("NoSchedule"))), []string{"with the taint maintenance:NoSchedule (a)"}},
		{"the Locations that there are", "Scheduled", newWorld(target("a")).asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.LocationSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}
		}), []string{"match no Location of root:compute, which has all"}},
		{"the field that cannot be understood", "Scheduled", newWorld(target("a")).asks(func(s *schedulingv1alpha1.PlacementSpec) {
			s.Affinity = &schedulingv1alpha1.Affinity{Required: []metav1.LabelSelector{{}, {MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Has"}}}}}
		}), []string{"spec.affinity.required[1]", "Has"}},
		{"when the work will leave", "Ready", newWorld(target("a", notReady)).on("a"), []string{"a: the SyncTarget is not ready: ClusterUnreachable", "leaves at 2026-01-02T03:08:05Z"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := decide(t, *test.o)
			message := meta.FindStatusCondition(d.Status.Conditions, test.condition).Message
			for _, want := range test.want {
				if !strings.Contains(message, want) {
					t.Errorf("got %q, want %q", message, want)
				}
			}
		})
	}
}

// TestScoresAreTold follows a choice: its score stands in the status and stays there, whatever becomes of the target.
func TestScoresAreTold(t *testing.T) {
	o := *newWorld(target("a", label("x", "1"), tainted("PreferNoSchedule"))).asks(prefers(3, "x", "1"), prefers(1, "y", "1"), needs("5"))
	d := decide(t, o)
	want := []schedulingv1alpha1.Score{
		{Name: schedulingv1alpha1.ScoreAffinity, Score: 150}, {Name: schedulingv1alpha1.ScoreTaints, Score: -100}, {Name: schedulingv1alpha1.ScoreResources, Score: 50},
	}
	entry := d.Status.SelectedTargets[0]
	if !equality.Semantic.DeepEqual(entry.Scores, want) || entry.Score != 100 {
		t.Errorf("got %+v", entry)
	}
	if len(d.Moves) != 1 || d.Moves[0].Act != Selects || !d.Again.IsZero() {
		t.Errorf("got moves %+v, again %s", d.Moves, d.Again)
	}
	o = settled(o, d)
	o.Targets[0].Allocatable = resources("100")
	o.Now = now.Add(time.Hour)
	if next := decide(t, o); !equality.Semantic.DeepEqual(next.Status, o.Placement.Status) || len(next.Moves) > 0 {
		t.Errorf("the status changes without a reason:\n%+v\n%+v", o.Placement.Status, next.Status)
	}
}

// TestAnOutage follows a target that stops being ready through everything that the Placement says of it.
func TestAnOutage(t *testing.T) {
	o := *newWorld(target("east"), target("west")).asks(requires("name", "east")).on("east")
	o = settled(o, decide(t, o))
	began := now
	at := func(seconds int, isReady bool) Decision {
		t.Helper()
		o.Now = began.Add(time.Duration(seconds) * time.Second)
		o.Targets[0].NotReady, o.Targets[0].NotReadySince = "ClusterUnreachable", metav1.NewTime(began)
		if isReady {
			o.Targets[0].NotReady, o.Targets[0].NotReadySince = "", metav1.Time{}
		}
		d := decide(t, o)
		o = settled(o, d)
		return d
	}
	if d := at(1, false); d.Again != began.Add(patience) || d.Status.SelectedTargets[0].Tolerated != nil {
		t.Errorf("at first it is no news, but looked at again: %+v", d)
	}
	d := at(31, false)
	if entry := d.Status.SelectedTargets[0]; entry.LeavesAt == nil || !entry.LeavesAt.Time.Equal(began.Add(300*time.Second)) || d.Again != entry.LeavesAt.Time {
		t.Errorf("then it says when the work leaves: %+v", d)
	}
	if d := at(40, true); tell(d).ready != placed || d.Status.SelectedTargets[0].LeavesAt != nil {
		t.Errorf("nothing is left of it once the target is ready: %+v", d)
	}
	at(50, false)
	if d := at(301, false); tell(d).leaving != "east: NotReady" || len(d.Moves) != 1 || d.Moves[0].Act != Leaves {
		t.Errorf("the time has come: %+v", d)
	}
	if d := at(310, true); tell(d).selected != "east" || len(d.Moves) != 1 || d.Moves[0].Act != Returns {
		t.Errorf("the target is back, and the work has nowhere else: %+v", d)
	}
}

func TestEvictionIsAwaited(t *testing.T) {
	at := now.Add(time.Hour)
	if d := decide(t, *newWorld(target("a", evictAt(at))).on("a")); d.Again != at {
		t.Errorf("got %s", d.Again)
	}
}
