package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// screen shows what happens: a line per event, each with the time since the start. On a terminal the last line lives: it
// tells what is being waited for, and for how long.
type screen struct {
	terminal bool
	started  time.Time

	mu      sync.Mutex
	out     io.Writer
	chapter string
	since   time.Time
}

func newScreen(out io.Writer, terminal bool) *screen {
	return &screen{out: out, terminal: terminal, started: time.Now()}
}

// beat is how often the living line changes.
const beat = 100 * time.Millisecond

// clearLine takes the cursor to the start of an empty line.
const clearLine = "\r\x1b[2K"

// during shows a chapter while it goes on.
func (s *screen) during(title string, work func() error) error {
	s.begin(title)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		s.animate(stop)
	}()
	err := work()
	close(stop)
	<-stopped
	s.end(err)
	return err
}

func (s *screen) begin(title string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chapter, s.since = title, time.Now()
	fmt.Fprintf(s.out, "\n%s %s\n", s.clock(), s.strong(title))
}

func (s *screen) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Since(s.since).Round(beat)
	s.clear()
	s.chapter = ""
	if err == nil {
		fmt.Fprintf(s.out, "%s   done in %s\n", s.clock(), took)
	}
}

func (s *screen) animate(stop <-chan struct{}) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			s.mu.Lock()
			s.clear()
			s.live()
			s.mu.Unlock()
		}
	}
}

// say adds a line.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	for line := range strings.SplitSeq(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n") {
		fmt.Fprintln(s.out, strings.TrimRight(s.clock()+"   "+line, " "))
	}
	s.live()
}

// show adds text as it is, for people to copy from.
func (s *screen) show(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintln(s.out, text)
}

// live, clear, clock and strong are called with mu held.
func (s *screen) live() {
	if s.terminal && s.chapter != "" {
		fmt.Fprintf(s.out, "           … %.1f s", time.Since(s.since).Seconds())
	}
}

func (s *screen) clear() {
	if s.terminal && s.chapter != "" {
		fmt.Fprint(s.out, clearLine)
	}
}

func (s *screen) clock() string { return fmt.Sprintf("%6.1f s ", time.Since(s.started).Seconds()) }

func (s *screen) strong(text string) string {
	if !s.terminal {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// Write adds what programs print, line by line.
func (s *screen) Write(p []byte) (int, error) {
	if text := string(bytes.TrimSpace(p)); text != "" {
		s.say("%s", text)
	}
	return len(p), nil
}
