package synctarget

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
)

func TestWanted(t *testing.T) {
	const base = "https://workloads.example:6443"
	shards := []string{"https://one:6443/services/apiexport/c/kubernetes", "https://two:6443/services/apiexport/c/kubernetes"}
	key := workloadv1alpha1.SyncTargetKey("2x4jqf", "east")
	urls := func(shards ...string) []workloadv1alpha1.VirtualWorkspace {
		return workloadv1alpha1.VirtualWorkspacesOf(base, shards, "2x4jqf", "east", "uid-1")
	}
	label := map[string]any{"labels": map[string]any{workloadv1alpha1.SyncTargetKeyLabel: key}}
	for name, tc := range map[string]struct {
		label            string
		urls             []workloadv1alpha1.VirtualWorkspace
		base             string
		shards           []string
		metadata, status map[string]any
	}{
		"a new target gets its key and an address per shard": {
			base: base, shards: shards,
			metadata: label, status: map[string]any{"virtualWorkspaces": urls(shards...)},
		},
		"a right one is left alone":                     {label: key, urls: urls(shards...), base: base, shards: shards},
		"a wrong key is corrected":                      {label: "x", urls: urls(shards...), base: base, shards: shards, metadata: label},
		"a shard that comes is added":                   {label: key, urls: urls(shards[:1]...), base: base, shards: shards, status: map[string]any{"virtualWorkspaces": urls(shards...)}},
		"one that goes is removed":                      {label: key, urls: urls(shards...), base: base, shards: shards[:1], status: map[string]any{"virtualWorkspaces": urls(shards[0])}},
		"with nothing bound there is none":              {label: key, urls: urls(shards...), base: base, status: map[string]any{"virtualWorkspaces": []workloadv1alpha1.VirtualWorkspace{}}},
		"none is not told to be none":                   {label: key, base: base},
		"without a server the addresses are left alone": {label: key, urls: urls(shards...), shards: shards},
	} {
		t.Run(name, func(t *testing.T) {
			st := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{
				Name: "east", UID: "uid-1", Annotations: map[string]string{logicalcluster.AnnotationKey: "2x4jqf"},
				Labels: map[string]string{workloadv1alpha1.SyncTargetKeyLabel: tc.label},
			}}
			st.Status.VirtualWorkspaces = tc.urls
			metadata, status := wanted(st, tc.base, tc.shards)
			if diff := cmp.Diff(tc.metadata, metadata); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.status, status); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}
