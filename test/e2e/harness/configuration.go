package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// ConfigFile is a program's configuration file.
type ConfigFile struct {
	T    *testing.T
	Path string
	// Kind of the configuration, such as SyncerConfiguration.
	Kind string
}

// NewConfigFile writes one that sets nothing.
func NewConfigFile(t *testing.T, kind string) *ConfigFile {
	t.Helper()
	c := &ConfigFile{T: t, Path: filepath.Join(t.TempDir(), "config.yaml"), Kind: kind}
	c.Write("")
	return c
}

// Write changes what it sets.
func (c *ConfigFile) Write(settings string) {
	c.T.Helper()
	content := "apiVersion: config.workload.kcp.io/v1alpha1\nkind: " + c.Kind + "\n" + settings
	if err := os.WriteFile(c.Path, []byte(content), 0o600); err != nil {
		c.T.Fatal(err)
	}
}

// Follows checks that the program refuses what is not valid, says what needs a restart, and takes up the rest.
func (s *Program) Follows(c *ConfigFile) {
	s.T.Helper()
	for _, step := range []struct{ settings, result string }{
		{"bogus: 1\n", "rejected"},
		{"recovery: {enabled: false}\n", "restart_required"},
		{"logging: {flushFrequency: 3s}\n", "success"},
	} {
		before := Sum(s.Scrape(), "workload_config_reloads_total", "result="+step.result)
		c.Write(step.settings)
		Eventually(s.T, func() error {
			metrics := s.Scrape()
			if Sum(metrics, "workload_config_reloads_total", "result="+step.result) == before {
				return fmt.Errorf("%q has not become %s", step.settings, step.result)
			}
			return nil
		})
		metrics := s.Scrape()
		inForce, restart := Sum(metrics, "workload_config_last_reload_successful") == 1, Sum(metrics, "workload_config_restart_required") == 1
		if inForce != (step.result == "success") || restart != (step.result == "restart_required") {
			s.T.Errorf("after %q the metrics say that it is in force: %t, and that a restart is required: %t", step.settings, inForce, restart)
		}
	}
}
