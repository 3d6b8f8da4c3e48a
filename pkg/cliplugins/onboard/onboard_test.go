package onboard

import (
	"bytes"
	"encoding/base64"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"sigs.k8s.io/yaml"

	"github.com/kcp-dev/logicalcluster/v3"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestManifest compares what is printed for an input with testdata/<name>.yaml.
func TestManifest(t *testing.T) {
	resources := func(names ...string) (list []schema.GroupResource) {
		for _, name := range names {
			list = append(list, schema.ParseGroupResource(name))
		}
		return list
	}
	base := Manifest{
		Name: "workload-syncer-east-12345678", Namespace: "workload-syncer-east-12345678",
		SyncTarget: "east", UID: "6f1d3f0e-0000-4000-8000-000000000001", Workspace: "root:compute", Feed: "assigned",
		Image: "registry.example.com/workload-syncer:v1", Replicas: 1,
		Resources:  resources("secrets", "deployments.apps", "configmaps", "statefulsets.apps", "ingresses.networking.k8s.io"),
		Upsynced:   resources("pods", "endpoints", "endpointslices.discovery.k8s.io", "persistentvolumes"),
		Kubeconfig: []byte("kubeconfig"),
	}
	for name, change := range map[string]func(*Manifest){
		"one-replica": func(*Manifest) {},
		"two-replicas": func(m *Manifest) {
			m.Replicas, m.Namespace, m.Filter, m.SyncerFlags = 2, "agents", true, []string{"--qps=50", "--burst=100"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := base
			change(&m)
			got, err := m.Render()
			if err != nil {
				t.Fatal(err)
			}
			again, err := m.Render()
			if err != nil || !bytes.Equal(got, again) {
				t.Errorf("the second time it is another: %v", err)
			}
			golden(t, name+".yaml", got)
			for _, rule := range regexp.MustCompile(`(?m)^\s*- ["']?\*`).FindAllString(string(got), -1) {
				t.Errorf("the manifest grants everything: %s", rule)
			}
		})
	}
}

// TestKCPRules compares the syncer's rights in kcp with testdata/rules-<feed>.yaml.
func TestKCPRules(t *testing.T) {
	for _, feed := range []string{"assigned", "workspace"} {
		raw, err := yaml.Marshal(kcpRules(Options{Name: "east", Feed: feed},
			[]schema.GroupResource{{Resource: "configmaps"}, {Group: "apps", Resource: "deployments"}}, []schema.GroupResource{{Resource: "pods"}}))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "rules-"+feed+".yaml", raw)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a-very-long-name.", 14)
	for target, readable := range map[string]string{
		"east": "workload-syncer-east-", "eu.prod": "workload-syncer-eu-prod-", long + "x": "workload-syncer-a-very-long-name-",
	} {
		name := nameFor("abc", target)
		if !strings.HasPrefix(name, readable) || len(name) > 63 || strings.Contains(name, ".") {
			t.Errorf("%s: got %s", target, name)
		}
		if name != nameFor("abc", target) || name == nameFor("abd", target) || name == nameFor("abc", target+"x") {
			t.Errorf("%s: the name is not its own", target)
		}
	}
}

func TestValidateTellsAllMistakesUnderTheirNames(t *testing.T) {
	good := Options{
		Name: "east", Image: "i", Feed: "assigned", KCPNamespace: "default", Replicas: 1,
		Labels: map[string]string{"region": "eu"}, Resources: []string{"configmaps", "deployments.apps"}, APIExports: []string{"root:compute:kubernetes", "own"}, KCPServer: "https://kcp",
	}
	if err := good.Validate(); err != nil {
		t.Errorf("nothing is wrong, but: %v", err)
	}
	bad := Options{
		Name: "East", Feed: "x", Replicas: -1, Namespace: "A", Labels: map[string]string{"a b": "c"}, Resources: []string{"Deployment"}, ExportedResources: []string{"."},
		APIExports: []string{"root:"}, KCPServer: "http://kcp",
	}
	err := bad.Validate()
	for _, flag := range []string{"NAME", "--image", "--feed", "--replicas", "--namespace", "--kcp-namespace", "--labels", "--resources", "--exported-resources", "--apiexports", "--kcp-server"} {
		if err == nil || !strings.Contains(err.Error(), flag+": ") {
			t.Errorf("nothing about %s in: %v", flag, err)
		}
	}
}

func TestTokens(t *testing.T) {
	secret := func(name string) unstructured.Unstructured {
		u := unstructured.Unstructured{}
		u.SetName(name)
		return u
	}
	for _, tc := range []struct {
		says   string
		have   []string
		newest int
		older  string
	}{
		{"there is none at first", nil, 0, ""},
		{"others are not ours", []string{"y-token", "x-token-z", "x"}, 0, ""},
		{"the first", []string{"x-token"}, 1, ""},
		{"ten is more than nine", []string{"x-token-9", "x-token-10"}, 10, "x-token-9"},
		{"what was revoked is not named", []string{"x-token-3", "x-token"}, 3, "x-token"},
	} {
		var secrets []unstructured.Unstructured
		for _, name := range tc.have {
			secrets = append(secrets, secret(name))
		}
		newest, older := newestOf("x", secrets)
		if newest != tc.newest || strings.Join(older, " ") != tc.older {
			t.Errorf("%s: got %d, %v", tc.says, newest, older)
		}
	}
}

func TestTheServerIsTheOneThatTheClusterReaches(t *testing.T) {
	kcp := &rest.Config{Host: "https://kcp:6443/clusters/root:team-a"}
	path := logicalcluster.NewPath("root:compute")
	for given, want := range map[string]string{
		"":                           "https://kcp:6443/clusters/root:compute",
		"https://kcp.example.com":    "https://kcp.example.com/clusters/root:compute",
		"https://example.com/kcp/":   "https://example.com/kcp/clusters/root:compute",
		"https://a/clusters/root:xy": "https://a/clusters/root:compute",
	} {
		if got, err := serverOf(kcp, Options{KCPServer: given}, path); err != nil || got != want {
			t.Errorf("%q: got %s, %v", given, got, err)
		}
	}
}

// certificates are two self-signed ones, made for this test.
func certificates(t *testing.T) (one, two []byte) {
	t.Helper()
	for i, name := range []string{"one.pem", "two.pem"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			one = raw
		} else {
			two = raw
		}
	}
	return one, two
}

func TestTheSyncerTrustsWhatItHasTo(t *testing.T) {
	one, two := certificates(t)
	file := func(content []byte) string {
		path := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		says     string
		kcp      rest.TLSClientConfig
		options  Options
		want     string
		mistaken string
	}{
		{says: "kcp's authority", kcp: rest.TLSClientConfig{CAData: one}, want: string(one)},
		{says: "the virtual workspace's beside it", kcp: rest.TLSClientConfig{CAData: one}, options: Options{VirtualWorkspaceCAFile: file(two)}, want: string(one) + string(two)},
		{says: "each once", kcp: rest.TLSClientConfig{CAFile: file(one)}, options: Options{VirtualWorkspaceCAFile: file(append(append([]byte("a remark\n"), two...), one...)), KCPCAFile: file(one)}, want: string(one) + string(two)},
		{says: "those of the system, where the kubeconfig names none", want: ""},
		{says: "naming one forgets the system's", options: Options{VirtualWorkspaceCAFile: file(two)}, mistaken: "--kcp-ca-file"},
		{says: "named both", options: Options{KCPCAFile: file(one), VirtualWorkspaceCAFile: file(two)}, want: string(one) + string(two)},
		{says: "nobody, which is refused", kcp: rest.TLSClientConfig{Insecure: true}, mistaken: "must not"},
		{says: "a file that is none", options: Options{KCPCAFile: file([]byte("hello"))}, mistaken: "--kcp-ca-file: not just certificates"},
		{says: "an empty file", options: Options{KCPCAFile: file(nil)}, mistaken: "is empty"},
		{says: "no file", options: Options{KCPCAFile: "testdata/gone.pem"}, mistaken: "--kcp-ca-file"},
	} {
		got, err := authorities(&rest.Config{TLSClientConfig: tc.kcp}, tc.options)
		if tc.mistaken != "" {
			if err == nil || !strings.Contains(err.Error(), tc.mistaken) {
				t.Errorf("%s: got error %v", tc.says, err)
			}
			continue
		}
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: got %v\n%s", tc.says, err, got)
		}
	}
}

func TestTheKubeconfigIsTheSameEachTime(t *testing.T) {
	one, _ := certificates(t)
	first, err := kubeconfig("https://kcp/clusters/root", "", one, "secret")
	if err != nil {
		t.Fatal(err)
	}
	second, err := kubeconfig("https://kcp/clusters/root", "", one, "secret")
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("got %s and %s", first, second)
	}
	for _, want := range []string{"server: https://kcp/clusters/root", "token: secret", base64.StdEncoding.EncodeToString(one)} {
		if !strings.Contains(string(first), want) {
			t.Errorf("%s is not in\n%s", want, first)
		}
	}
}
