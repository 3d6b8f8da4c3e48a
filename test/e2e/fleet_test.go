package e2e

import (
	"testing"

	"github.com/kcp-dev/logicalcluster/v3"

	"github.com/kcp-dev/workload-syncer/config"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/bind"
	"github.com/kcp-dev/workload-syncer/pkg/cliplugins/setup"
)

const apisGroup = "apis.kcp.io/v1alpha2"

// exports are what a tenant binds.
var exports = []string{config.WorkloadExport, config.KubernetesExport}

// initProvider makes the workspace that provides the APIs to all tenants, as kubectl workload init does.
func (f *fleet) initProvider(t *testing.T) {
	t.Helper()
	if _, err := setup.Apply(t.Context(), f.kcp.AdminConfig(), f.provider, t.Output()); err != nil {
		t.Fatal(err)
	}
}

// bind binds a workspace to the provider's exports and accepts all that they claim, as kubectl workload bind does.
func (f *fleet) bind(t *testing.T, path logicalcluster.Path) {
	t.Helper()
	if err := bind.Bind(t.Context(), f.kcp.AdminConfig(), path, f.provider, exports, t.Output()); err != nil {
		t.Fatal(err)
	}
}
