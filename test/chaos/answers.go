package chaos

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/kcp-dev/workload-syncer/test/e2e/hostile"
)

// judgeAnswer tells what is wrong with the answer to a hostile attempt; empty if nothing. In its own view a syncer may read; nothing
// that it tries is a write that it may send, and nothing that it is shown holds what is another's. An answer may repeat what was asked.
func judgeAnswer(a hostile.Attempt, ours bool, code int, body string, secrets []string) string {
	succeeded := code < http.StatusBadRequest
	switch {
	case succeeded && !ours:
		return fmt.Sprintf("HOSTILE: %s in another target's view is answered %d", a, code)
	case succeeded && a.Method != http.MethodGet:
		return fmt.Sprintf("HOSTILE: %s is answered %d", a, code)
	}
	for _, secret := range secrets {
		if strings.Contains(body, secret) && !strings.Contains(a.Body+a.Path, secret) {
			return fmt.Sprintf("HOSTILE: the answer to %s holds %q", a, secret)
		}
	}
	return ""
}
