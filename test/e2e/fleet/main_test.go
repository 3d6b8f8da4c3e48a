package fleet

import (
	"os"
	"testing"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// The physical clusters that all tests of this package share.
const (
	east = "east"
	west = "west"
)

// TestMain starts the servers that all tests share, when the first test asks for them.
func TestMain(m *testing.M) {
	os.Exit(env.Main(m, env.WithKCP(), env.WithCluster(east), env.WithCluster(west)))
}
