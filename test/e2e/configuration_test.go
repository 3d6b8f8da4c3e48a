package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/e2e/harness"
)

// configFile is a configuration file that a test changes.
type configFile struct {
	t       *testing.T
	path    string
	content map[string]any
}

// printConfiguration has the syncer print what its command line says, as a file.
func (tn *tenant) printConfiguration(flags ...string) *configFile {
	tn.t.Helper()
	command := tn.syncerCommand(syncerOptions{flags: append(flags, "-v=0", "--print-config")})
	printed, err := exec.CommandContext(tn.t.Context(), command.Path, command.Args...).Output() // #nosec G204 -- the program under test
	if err != nil {
		tn.t.Fatal(err)
	}
	c := &configFile{t: tn.t, path: filepath.Join(tn.t.TempDir(), "syncer.yaml")}
	if err := yaml.Unmarshal(printed, &c.content); err != nil {
		tn.t.Fatalf("%v\n%s", err, printed)
	}
	c.write(string(printed))
	return c
}

func (c *configFile) write(text string) {
	c.t.Helper()
	if err := os.WriteFile(c.path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// set changes one field of the file, and gives the line that it is in.
func (c *configFile) set(value any, path ...string) int {
	c.t.Helper()
	if err := unstructured.SetNestedField(c.content, value, path...); err != nil {
		c.t.Fatal(err)
	}
	raw := must(yaml.Marshal(c.content))(c.t)
	c.write(string(raw))
	before, _, _ := strings.Cut(string(raw), "\n  "+path[len(path)-1]+":")
	return strings.Count(before, "\n") + 2
}

// configured checks the SyncTarget's condition about the configuration.
func configured(status, reason string, words ...string) func(*unstructured.Unstructured) error {
	return condition(workloadv1alpha1.ConditionConfigurationCurrent, status, reason, words...)
}

// A running syncer takes up what can change, refuses what is wrong and names it, and says what needs a restart; all the while
// it syncs.
func TestAConfigurationFileIsFollowed(t *testing.T) {
	t.Parallel()
	tn := newTenant(t)
	file := tn.printConfiguration(onlyCore)
	command := tn.syncerCommand(syncerOptions{})
	command.Args = []string{"--config=" + file.path} // says all that the flags did
	s := &syncer{harness.Start(t, tn.fleet.env, command)}
	s.AwaitReady()
	_, inForce := s.Ask("metrics", "/configz")
	var served map[string]any
	if err := json.Unmarshal([]byte(inForce), &served); err != nil {
		t.Fatalf("%v\n%s", err, inForce)
	}
	if diff := cmp.Diff(file.content, served); diff != "" {
		t.Errorf("/configz differs from the file (-file +served):\n%s", diff)
	}
	tn.up.Create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, namespace: web, labels: {stage: prod}}, data: {mode: fast}}`)
	kept := tn.copyOf("ConfigMap", "kept", nil)
	tn.putConfigMap("other")

	// The log level.
	if strings.Contains(s.Output(), `"Decided"`) {
		t.Error("decisions are logged without being asked for")
	}
	file.set(int64(4), "logging", "verbosity")
	s.says(`settings=["logging.verbosity"]`)
	tn.up.Merge("ConfigMap", "web", "other", `data: {mode: slow}`)
	s.says(`"Decided"`)

	// A filter on objects: what is no longer selected leaves as it always does, and the rest stays as it is.
	file.set([]any{"stage=prod"}, "filters", "labelSelectors")
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "other")
	tn.up.Eventually("ConfigMap", "web", "other", tn.released)
	if err := tn.down.unharmed(kept); err != nil {
		t.Error(err)
	}

	// A file that is not valid is refused as a whole.
	line := file.set([]any{"stage=prod", "a==b==c"}, "filters", "labelSelectors")
	where := fmt.Sprintf("%s, line %d: filters.labelSelectors", file.path, line)
	tn.awaitTarget(configured("False", workloadv1alpha1.ReasonConfigurationRejected, where, `"a==b==c" is not a label selector`))
	s.awaitMetric(exactly(0), "workload_config_last_reload_successful")
	s.awaitMetric(atLeast(1), "workload_config_reloads_total", "result=rejected")
	if code, body := s.Ask("health", "/readyz?verbose"); code != http.StatusOK || !strings.Contains(body, "configuration") || !strings.Contains(body, where) {
		t.Errorf("readyz: %d\n%s", code, body)
	}
	tn.up.Merge("ConfigMap", "web", "kept", `data: {mode: rejected}`)
	tn.copyOf("ConfigMap", "kept", has("rejected", "data", "mode"))

	// What needs a restart is said, and nothing of the file is used.
	file.set([]any{}, "filters", "labelSelectors")
	tn.awaitTarget(configured("True", workloadv1alpha1.ReasonConfigurationInForce, file.path))
	file.set([]any{"stage=test"}, "filters", "labelSelectors")
	tn.down.EventuallyGone("ConfigMap", tn.downNamespace("web"), "kept")
	file.set(int64(3), "sync", "workers")
	tn.awaitTarget(configured("False", workloadv1alpha1.ReasonRestartRequired, "sync.workers"))
	s.awaitMetric(exactly(1), "workload_config_restart_required")
	file.set([]any{}, "filters", "labelSelectors")
	tn.down.absent("ConfigMap", tn.downNamespace("web"), "kept")
	file.set(int64(32), "sync", "workers")
	tn.awaitTarget(configured("True", workloadv1alpha1.ReasonConfigurationInForce))
	kept = tn.copyOf("ConfigMap", "kept", nil)
	s.awaitMetric(exactly(1), "workload_config_last_reload_successful")

	// A type that is taken out stays as it is, claim and copy, and is no longer synced.
	file.set([]any{"secrets"}, "filters", "resources")
	tn.awaitTarget(func(u *unstructured.Unstructured) error {
		if synced, _, _ := unstructured.NestedSlice(u.Object, "status", "syncedResources"); len(synced) != 1 {
			return fmt.Errorf("synced are %v", synced)
		}
		return nil
	})
	tn.up.Create(`{apiVersion: v1, kind: Secret, metadata: {name: later, namespace: web}}`)
	tn.copyOf("Secret", "later", nil)
	tn.up.Merge("ConfigMap", "web", "kept", `data: {mode: unseen}`)
	tn.up.Eventually("ConfigMap", "web", "kept", tn.claimed)
	remains(t, 2*time.Second, func() error { return tn.down.unharmed(kept) })
	file.set([]any{"configmaps", "secrets"}, "filters", "resources")
	tn.copyOf("ConfigMap", "kept", has("unseen", "data", "mode"))

	events := must(tn.up.Typed.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{}))(t)
	told := map[string]bool{}
	for i := range events.Items {
		if e := &events.Items[i]; e.InvolvedObject.Kind == "SyncTarget" {
			told[e.Type+" "+e.Reason] = true
		}
	}
	for _, want := range []string{"Warning ConfigurationRejected", "Warning RestartRequired", "Normal ConfigurationInForce"} {
		if !told[want] {
			t.Errorf("no Event %s: %v", want, told)
		}
	}
}
