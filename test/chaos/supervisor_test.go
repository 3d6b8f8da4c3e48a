package chaos

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"
)

// supervisor starts servers again that end by themselves, as whoever runs them would. They are not what is tested: a kcp v0.28.1
// now and then ends with "concurrent map writes", when a ServiceAccount works through an APIExport's virtual workspace.
type supervisor struct {
	stage *stage

	mu sync.Mutex
	// expected are servers that the script has killed, and how many times over.
	expected map[string]int
	died     map[string]int
}

func newSupervisor(s *stage) *supervisor {
	return &supervisor{stage: s, expected: map[string]int{}, died: map[string]int{}}
}

// expect is called before the script kills a server, restarted when the script has started it again.
func (x *supervisor) expect(server string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.expected[server]++
}

func (x *supervisor) restarted(server string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.expected[server]--
}

func (x *supervisor) deaths() map[string]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.died)
}

// run looks after the servers until ctx is done.
func (x *supervisor) run(ctx context.Context) {
	for until(ctx, time.Now().Add(300*time.Millisecond)) {
		for _, server := range servers {
			if x.hasDied(server) {
				if err := x.stage.restart(ctx, server); err == nil { // else all is over, or the judge has something to say
					x.count(server)
				}
			}
		}
	}
}

// hasDied tells that a server ended and nobody had killed it. It is expected to be down then until it is started again.
func (x *supervisor) hasDied(server string) bool {
	process, _ := x.stage.server(server)
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case <-process.Done():
	default:
		return false
	}
	if x.expected[server] > 0 {
		return false
	}
	x.expected[server]++
	return true
}

func (x *supervisor) count(server string) {
	fmt.Fprintf(os.Stderr, "chaos: %s had ended by itself and was started again\n", server)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.died[server]++
}
