package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the summaries anew")

// What go test -json printed about packages that fail in ways which no test's own message tells, and the summary that names the
// cause. The events are those of real runs, without their times.
func TestSummaryNamesCausesThatAreNoTests(t *testing.T) {
	for _, of := range []string{
		"after-the-tests", // the package's TestMain ends with an error
		"build",           // a package does not compile, and neither does one that imports it
		"exit",            // a test ends the process
		"panic",           // of a goroutine that a test has started, while another test runs too
		"panic-in-a-test", // of the test itself
		"race",            // between two goroutines of a test
		"race-outside",    // after the tests
		"setup",           // an import is not there
		"timeout",         // while one test hangs in a part, another in itself, and a third waits for its turn
		"vet",             // what go test finds before it runs anything
	} {
		t.Run(of, func(t *testing.T) {
			events, err := os.Open(filepath.Join("testdata", of, "events.json"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = events.Close() }()
			found, err := read(events)
			if err != nil {
				t.Fatal(err)
			}
			var told strings.Builder
			found.summarize(&told, spent{wall: 61 * time.Second, cpu: 90 * time.Second})
			path := filepath.Join("testdata", of, "summary.txt")
			if *update {
				if err := os.WriteFile(path, []byte(told.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if told.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", told.String(), want)
			}
		})
	}
}
