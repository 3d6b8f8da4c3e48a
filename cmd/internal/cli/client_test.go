package cli

import (
	"fmt"
	"strings"
	"testing"
)

func TestSplitKCPHost(t *testing.T) {
	for _, tc := range []struct{ host, base, workspace, problem string }{
		{host: "https://kcp:6443", base: "https://kcp:6443"},
		{host: "https://kcp:6443/", base: "https://kcp:6443"},
		{host: "https://kcp:6443/clusters/root:a", base: "https://kcp:6443", workspace: "root:a"},
		{host: "https://kcp:6443/clusters/root:a/", base: "https://kcp:6443", workspace: "root:a"},
		{host: "https://proxy/kcp/clusters/2x8o3", base: "https://proxy/kcp", workspace: "2x8o3"},
		{host: "kcp", base: "kcp", problem: "not a URL"},
	} {
		t.Run(fmt.Sprintf("%q", tc.host), func(t *testing.T) {
			base, workspace, problem := splitKCPHost(tc.host)
			if base != tc.base || workspace.String() != tc.workspace || !strings.Contains(problem, tc.problem) || (problem == "") != (tc.problem == "") {
				t.Errorf("got %q %q %q", base, workspace, problem)
			}
		})
	}
}
