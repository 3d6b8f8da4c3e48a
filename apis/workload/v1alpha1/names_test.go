package v1alpha1

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func locatorOf(cluster, namespace string) NamespaceLocator {
	return NamespaceLocator{
		SyncTarget:  SyncTargetLocator{ClusterName: "1abc", Name: "east", UID: "6f4b"},
		ClusterName: cluster, Namespace: namespace,
	}
}

// Names on the wire are hashes; these were computed once and must never change, or every copy is an orphan.
func TestNamesNeverChange(t *testing.T) {
	locator := locatorOf("2def", "web")
	for _, tc := range []struct{ what, got, want string }{
		{"key", SyncTargetKey("1abc", "east"), "2p3HCkUqn2N8QX9PiE9m0WBxVweQmL5xFLAfEG"},
		{"locator", locator.String(), `{"syncTarget":{"cluster":"1abc","name":"east","uid":"6f4b"},"cluster":"2def","namespace":"web"}`},
		{"namespace", locator.DownstreamNamespace(), "kcp-17kq2mc1o5nl"},
		{"tenant", locator.TenantID(), "3lJoLwA2Fe4v8FsjoCHS6snrsgGIwFfy2rs10A"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s is %q, want %q", tc.what, tc.got, tc.want)
		}
	}
}

func TestNamesAreValid(t *testing.T) {
	key := SyncTargetKey("1abc", "east")
	for _, name := range []string{
		StateLabel(key), DeletionAnnotation(key), SoftFinalizersAnnotation(key), SyncerFinalizer(key), SpecDiffAnnotation(key),
		StatusAnnotation(key), ConditionsAnnotation(key), DownstreamClusterLabel, NamespaceLocatorAnnotation, AppliedHashAnnotation,
	} {
		if problems := validation.IsQualifiedName(name); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
	for _, value := range []string{key, locatorOf("2def", "web").TenantID()} {
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			t.Errorf("label value %s: %v", value, problems)
		}
	}
	name := locatorOf("2def", strings.Repeat("n", 63)).DownstreamNamespace()
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 || len(name) != 16 {
		t.Errorf("namespace %s: %v", name, problems)
	}
}

func TestNamespacesAndTenantsAreApart(t *testing.T) {
	web, shop, other := locatorOf("2def", "web"), locatorOf("2def", "shop"), locatorOf("3ghi", "web")
	if web.DownstreamNamespace() == shop.DownstreamNamespace() || web.DownstreamNamespace() == other.DownstreamNamespace() {
		t.Error("two upstream namespaces share one downstream")
	}
	if web.TenantID() != shop.TenantID() || web.TenantID() == other.TenantID() {
		t.Error("the tenant is the workspace, not the namespace")
	}
}

func TestParseNamespaceLocator(t *testing.T) {
	want := locatorOf("2def", "web")
	got, ok, err := ParseNamespaceLocator(map[string]string{NamespaceLocatorAnnotation: want.String()})
	if err != nil || !ok || got != want {
		t.Errorf("got %+v, %t, %v", got, ok, err)
	}
	if _, ok, err := ParseNamespaceLocator(nil); ok || err != nil {
		t.Errorf("without the annotation: %t, %v", ok, err)
	}
	if _, ok, err := ParseNamespaceLocator(map[string]string{NamespaceLocatorAnnotation: "{"}); ok || err == nil {
		t.Errorf("with nonsense in it: %t, %v", ok, err)
	}
}

func TestIsUpstreamOnly(t *testing.T) {
	for name, want := range map[string]bool{
		StateLabel("x"): true, ConditionsAnnotation("y"): true, ConflictPolicyAnnotation: true, DownstreamClusterLabel: true,
		RemovalPolicyAnnotation: false, "kcp.io/cluster": true, "apis.kcp.io/x": true, "example.com/kcp.io": false, "notkcp.io/x": false, "app": false,
	} {
		if got := IsUpstreamOnly(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestTargets(t *testing.T) {
	assigned := map[string]string{StateLabel("b"): "", StateLabel("a"): "Sync", "app": "web"}
	if got := Targets(assigned, nil); got != 2 {
		t.Errorf("got %d", got)
	}
	if got := Targets(assigned, map[string]string{DeletionAnnotation("b"): "2026-01-01T00:00:00Z"}); got != 1 {
		t.Errorf("one is to be left, and %d are counted", got)
	}
	if got := strings.Join(AssignedKeys(assigned), ","); got != "a,b" {
		t.Errorf("got %s", got)
	}
}

func TestKeyOf(t *testing.T) {
	for _, name := range []string{
		StateLabel("k"), DeletionAnnotation("k"), SoftFinalizersAnnotation("k"), SyncerFinalizer("k"), SpecDiffAnnotation("k"),
		StatusAnnotation("k"), ConditionsAnnotation("k"),
	} {
		if key, ok := KeyOf(name); !ok || key != "k" {
			t.Errorf("%s is about %q, %t", name, key, ok)
		}
	}
	for _, name := range []string{"app", AssignLabel, SummarizingAnnotation, StateLabel("")} {
		if key, ok := KeyOf(name); ok {
			t.Errorf("%s is about %q", name, key)
		}
	}
}
