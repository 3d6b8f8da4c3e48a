package env_test

import (
	"os"
	"testing"

	"github.com/kcp-dev/workload-syncer/test/env"
)

func TestMain(m *testing.M) {
	if end := os.Getenv(ownerEnding); end != "" {
		beOwner(end)
	}
	os.Exit(env.Main(m, env.WithKCP(), env.WithCluster("alpha")))
}
