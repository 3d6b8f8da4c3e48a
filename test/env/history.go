package env

import (
	"fmt"
	"strings"
	"time"
)

// history remembers different answers, and when each began.
type history struct {
	began   time.Time
	answers []answer
}

type answer struct {
	after time.Duration
	text  string
}

// historyLength is enough to see how something came to a halt.
const historyLength = 6

func (h *history) add(err error) {
	if h.began.IsZero() {
		h.began = time.Now()
	}
	text := fmt.Sprint(err)
	if n := len(h.answers); n > 0 && h.answers[n-1].text == text {
		return
	}
	h.answers = append(h.answers, answer{time.Since(h.began), text})
	h.answers = h.answers[max(0, len(h.answers)-historyLength):]
}

func (h *history) String() string {
	var lines []string
	for _, a := range h.answers {
		lines = append(lines, fmt.Sprintf("  from %s: %s", a.after.Round(10*time.Millisecond), a.text))
	}
	return strings.Join(lines, "\n")
}
