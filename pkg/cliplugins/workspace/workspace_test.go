package workspace

import (
	"errors"
	"net"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/kcp-dev/logicalcluster/v3"
)

func TestSplit(t *testing.T) {
	for _, test := range []struct{ name, host, base, path, wantErr string }{
		{name: "a workspace", host: "https://kcp:6443/clusters/root:team-a", base: "https://kcp:6443", path: "root:team-a"},
		{name: "a logical cluster", host: "https://kcp/clusters/1zm6vcnbndyd5fg2", base: "https://kcp", path: "1zm6vcnbndyd5fg2"},
		{name: "kcp behind a path", host: "https://example.com/kcp/clusters/root", base: "https://example.com/kcp", path: "root"},
		{name: "more after the workspace", host: "https://kcp/clusters/root/api", base: "https://kcp", path: "root"},
		{name: "no workspace", host: "https://kcp:6443/", base: "https://kcp:6443"},
		{name: "a wildcard is none", host: "https://kcp/clusters/*", wantErr: `"*" is no workspace path`},
		{name: "not a path", host: "https://kcp/clusters/Root:x", wantErr: "for example root:compute"},
		{name: "not a URL", host: "https://kcp:port", wantErr: "server's URL in the kubeconfig"},
	} {
		t.Run(test.name, func(t *testing.T) {
			base, path, err := Split(test.host)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got error %v, want %q", err, test.wantErr)
				}
				return
			}
			if err != nil || base != test.base || path.String() != test.path {
				t.Errorf("got %q, %q, %v", base, path, err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for path, valid := range map[string]bool{
		"root": true, "root:compute": true, "root:org-1:team": true,
		"": false, ":": false, "root:": false, ":root": false, "Root": false, "*": false, "root:a/b": false, "root: a": false,
	} {
		if _, err := Parse(path); (err == nil) != valid {
			t.Errorf("%q: got %v, want valid %t", path, err, valid)
		}
	}
}

func TestConfigLeavesItsArgumentAlone(t *testing.T) {
	given := &rest.Config{Host: "https://kcp/clusters/root:team-a"}
	got, err := Config(given, logicalcluster.NewPath("root:compute"))
	if err != nil || got.Host != "https://kcp/clusters/root:compute" {
		t.Errorf("got %v, %v", got, err)
	}
	if given.Host != "https://kcp/clusters/root:team-a" || given.QPS != 0 {
		t.Errorf("the argument was changed: %v", given)
	}
}

func TestExplainNamesTheRemedyAndKeepsTheError(t *testing.T) {
	resource := schema.GroupResource{Resource: "things"}
	for remedy, err := range map[string]error{
		"renew those in the kubeconfig": apierrors.NewUnauthorized("no"),
		"ask its owner for access":      apierrors.NewForbidden(resource, "a", errors.New("no")),
		"is this a kcp":                 apierrors.NewNotFound(resource, "a"),
		"check that kcp runs there":     &net.OpError{Op: "dial", Err: errors.New("refused")},
		"something else":                errors.New("something else"),
	} {
		got := Explain(err, "https://kcp/clusters/root", logicalcluster.NewPath("root:a"))
		if !strings.Contains(got.Error(), remedy) || !errors.Is(got, err) {
			t.Errorf("got %v, want %q", got, remedy)
		}
	}
}
