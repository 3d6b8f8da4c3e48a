package v1alpha1

import (
	"strings"
	"testing"
)

func TestVirtualWorkspacesOf(t *testing.T) {
	exports := []string{"https://one:6443/services/apiexport/c/kubernetes", "https://two:6443/services/apiexport/c/kubernetes/"}
	got := VirtualWorkspacesOf("https://vw:9443/", exports, "2x4jqf", "east", "uid-1")
	if len(got) != 2 || got[0].SyncerURL == got[1].SyncerURL {
		t.Fatalf("two shards have the URLs %v", got)
	}
	for i, vw := range got {
		for view, address := range map[string]string{SyncerView: vw.SyncerURL, UpsyncerView: vw.UpsyncerURL} {
			if want := "https://vw:9443/shards/" + ShardID(exports[i]) + "/services/" + view + "/2x4jqf/east/uid-1"; address != want {
				t.Errorf("got %s, want %s", address, want)
			}
		}
	}
	if ShardID(exports[1]) != ShardID(strings.TrimSuffix(exports[1], "/")) {
		t.Error("a slash makes another shard")
	}
}
