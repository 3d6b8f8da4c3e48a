package env_test

import (
	"os"
	"testing"

	"github.com/kcp-dev/workload-syncer/test/env"
)

func TestMain(m *testing.M) {
	os.Exit(env.Main(m, env.WithKCP(), env.WithCluster("alpha")))
}
