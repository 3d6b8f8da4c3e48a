package env

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// Ports come from below the range from which kernels pick ports for outgoing connections: a server that is down for a
// moment must not lose its port to one of those.
const (
	firstPort = 20000
	lastPort  = 21999
)

// portClaims hands out loopback ports that no other process claims, by a locked file per port. The kernel drops the
// locks when the process ends.
type portClaims struct {
	dir string

	mu    sync.Mutex
	files []*os.File
}

// claim returns a port on which nobody listens, and which is ours until release.
func (c *portClaims) claim() (int, error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return 0, err
	}
	count := lastPort - firstPort + 1
	start := rand.IntN(count)
	for i := range count {
		port := firstPort + (start+i)%count
		ok, err := c.tryClaim(port)
		if ok || err != nil {
			return port, err
		}
	}
	return 0, fmt.Errorf("every port from %d to %d is in use or claimed (claims are in %s)", firstPort, lastPort, c.dir)
}

func (c *portClaims) tryClaim(port int) (bool, error) {
	file, err := tryLock(filepath.Join(c.dir, strconv.Itoa(port)))
	if errors.Is(err, errLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return false, file.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files = append(c.files, file)
	return true, listener.Close()
}

// claimAll fills several variables with ports.
func (c *portClaims) claimAll(ports ...*int) error {
	for _, port := range ports {
		claimed, err := c.claim()
		if err != nil {
			return err
		}
		*port = claimed
	}
	return nil
}

func (c *portClaims) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, file := range c.files {
		_ = file.Close()
	}
	c.files = nil
}

// address is a port on the loopback interface.
func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
