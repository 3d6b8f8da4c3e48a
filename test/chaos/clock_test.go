package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kcp-dev/workload-syncer/test/env"
)

// A Go program asks the kernel for the time without a library in between, so nothing can be put in between from outside. So the
// programs of a run with skewed clocks are built with another time.Now: one that reads, when the program starts, from a file by how
// much it is to be wrong. Their own source is untouched.

const skewSource = `package time

import "syscall"

var chaosSkew = readChaosSkew()

func readChaosSkew() (seconds int64) {
	path, ok := syscall.Getenv("CHAOS_CLOCK")
	if !ok {
		return 0
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return 0
	}
	defer syscall.Close(fd)
	var buffer [32]byte
	n, _ := syscall.Read(fd, buffer[:])
	sign := int64(1)
	for i := 0; i < n; i++ {
		switch c := buffer[i]; {
		case c == '-':
			sign = -1
		case c >= '0' && c <= '9':
			seconds = seconds*10 + int64(c-'0')
		}
	}
	return sign * seconds
}
`

// clockFlags are what a program is built with whose clock can be skewed; none if it shall not be.
func clockFlags(skewable bool) ([]string, error) {
	if !skewable {
		return nil, nil
	}
	cache, err := env.CacheDir()
	if err != nil {
		return nil, err
	}
	raw, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("asking for GOROOT: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(raw)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return nil, err
	}
	const before = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if !bytes.Contains(source, []byte(before)) {
		return nil, errors.New("time.Now of this Go looks different: teach test/chaos how to skew it")
	}
	dir := filepath.Join(cache, "skewed-clock-"+runtime.Version())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		original: filepath.Join(dir, "time.go"),
		filepath.Join(filepath.Dir(original), "chaos_skew.go"): filepath.Join(dir, "chaos_skew.go"),
	}})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "time.go"), bytes.Replace(source, []byte(before), []byte(before+"\tsec += chaosSkew\n"), 1), 0o644),
		os.WriteFile(filepath.Join(dir, "chaos_skew.go"), []byte(skewSource), 0o644),
		os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644),
	)
	return []string{"-overlay=" + filepath.Join(dir, "overlay.json")}, err
}

func TestSkewedClock(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a part of the standard library again")
	}
	flags, err := clockFlags(true)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	source, clock := filepath.Join(dir, "main.go"), filepath.Join(dir, "clock")
	err = os.WriteFile(source, []byte("package main\n\nimport \"time\"\n\nfunc main() { print(time.Now().Unix()) }\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, skew := range []int64{0, 3600, -600} {
		if err := os.WriteFile(clock, []byte(strconv.FormatInt(skew, 10)), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), "go", "run", flags[0], source)
		command.Env = append(os.Environ(), "CHAOS_CLOCK="+clock)
		said, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		told, _ := strconv.ParseInt(strings.TrimSpace(string(said)), 10, 64)
		if off := told - time.Now().Unix() - skew; off < -60 || off > 60 {
			t.Errorf("with a skew of %d s the program is %d s off", skew, off)
		}
	}
}
