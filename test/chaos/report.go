package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Report is what a run tells at its end.
type Report struct {
	Seed       uint64        `json:"seed"`
	Took       time.Duration `json:"tookNanoseconds"`
	Workspaces int           `json:"workspaces"`
	Objects    int           `json:"objects"`
	Rounds     []RoundReport `json:"rounds"`
	// Programs by name: what they took at the beginning and after each round.
	Programs map[string][]Footprint `json:"programs"`
	Judged   Judged                 `json:"judged"`
	// ServersDied are kcp and API servers that ended though nobody had killed them, and how often.
	ServersDied map[string]int `json:"serversDied,omitempty"`
}

// RoundReport is what came of a round.
type RoundReport struct {
	Name   string       `json:"name"`
	Acts   map[Verb]int `json:"acts"`
	Faults []string     `json:"faults"`
	Kinds  []FaultKind  `json:"kinds"`
	// Converged is the time from when all was whole again until both sides were as they had to be.
	Converged time.Duration `json:"convergedNanoseconds"`
	// Complaints of the judge.
	Complaints []string `json:"complaints,omitempty"`
}

// Judged counts what was looked at, so that it is seen that something was.
type Judged struct {
	Writes           int `json:"syncerWrites"`
	Deletes          int `json:"deletionsOfCopies"`
	DeletesByName    int `json:"deletionsJudgedByName"`
	NamespaceDeletes int `json:"deletionsOfNamespaces"`
	Strangers        int `json:"strangers"`
	Rejections       int `json:"writesRejectedByWebhook"`
	ProxyAnswers     int `json:"answersByProxies"`
	HostileAttempts  int `json:"hostileAttempts"`
	HostileRefused   int `json:"hostileRefused"`
}

// FaultsByKind counts the faults.
func (r *Report) FaultsByKind() map[FaultKind]int {
	counts := map[FaultKind]int{}
	for _, round := range r.Rounds {
		for _, kind := range round.Kinds {
			counts[kind]++
		}
	}
	return counts
}

// Table is for people.
func (r *Report) Table(w io.Writer) {
	fmt.Fprintf(w, "\nSeed %d: %d objects in %d workspaces, %d rounds in %s\n\n", r.Seed, r.Objects, r.Workspaces, len(r.Rounds), r.Took.Round(time.Second))
	fmt.Fprintf(w, "%-28s %6s %7s %12s  %s\n", "round", "acts", "faults", "converged", "complaints")
	times := make([]time.Duration, 0, len(r.Rounds))
	for _, round := range r.Rounds {
		acts := 0
		for _, n := range round.Acts {
			acts += n
		}
		fmt.Fprintf(w, "%-28s %6d %7d %12s  %d\n", round.Name, acts, len(round.Kinds), round.Converged.Round(100*time.Millisecond), len(round.Complaints))
		times = append(times, round.Converged)
	}
	if len(times) > 0 {
		slices.Sort(times)
		fmt.Fprintf(w, "\nConverged after all was whole again: median %s, at most %s\n", times[len(times)/2].Round(100*time.Millisecond), times[len(times)-1].Round(100*time.Millisecond))
	}
	fmt.Fprintf(w, "\n%-32s %s\n", "fault", "times")
	counts := r.FaultsByKind()
	for _, kind := range sortedKeys(counts) {
		fmt.Fprintf(w, "%-32s %5d\n", kind, counts[kind])
	}
	fmt.Fprintf(w, "\n%-32s %-24s %s\n", "program", "goroutines, first → last", "heap, first → last")
	for _, name := range sortedKeys(r.Programs) {
		prints := r.Programs[name]
		first, last := prints[0], prints[len(prints)-1]
		fmt.Fprintf(w, "%-32s %-24s %s\n", name, fmt.Sprintf("%d → %d", first.Goroutines, last.Goroutines), fmt.Sprintf("%.1f → %.1f MiB", mib(first.Heap), mib(last.Heap)))
	}
	j := r.Judged
	fmt.Fprintf(w, "\nJudged: %d writes of syncers, %d deletions of copies (%d by name only) and %d of namespaces, %d strangers' objects, %d hostile attempts (%d refused)\n",
		j.Writes, j.Deletes, j.DeletesByName, j.NamespaceDeletes, j.Strangers, j.HostileAttempts, j.HostileRefused)
	for _, server := range sortedKeys(r.ServersDied) {
		fmt.Fprintf(w, "By itself, without being killed, %s ended %d times\n", server, r.ServersDied[server])
	}
	fmt.Fprintf(w, "Injected: %d answers in a server's place, %d writes rejected by a webhook\n", j.ProxyAnswers, j.Rejections)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// Write keeps the report as JSON.
func (r *Report) Write(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
