package chaos

import (
	"strings"
	"testing"

	"github.com/kcp-dev/workload-syncer/test/e2e/hostile"
)

func TestJudgeAnswer(t *testing.T) {
	get, patch := hostile.Attempt{Method: "GET", Path: "x"}, hostile.Attempt{Method: "PATCH", Path: "x"}
	for name, tc := range map[string]struct {
		attempt hostile.Attempt
		ours    bool
		code    int
		body    string
		says    string
	}{
		"a refused write":             {patch, true, 403, "no", ""},
		"a write that is taken":       {patch, true, 200, "", "answered 200"},
		"a read of its own":           {get, true, 200, "mine", ""},
		"a read that shows another's": {get, true, 200, "the secret is here", "holds"},
		"a refusal that tells it":     {get, true, 404, "no secret here", "holds"},
		"a refusal that repeats it":   {hostile.Attempt{Method: "PATCH", Body: "secret: null"}, true, 403, "not secret", ""},
		"a read in another's view":    {get, false, 200, "", "another target's view"},
		"a refused read there":        {get, false, 403, "", ""},
		"a server that is away":       {patch, true, 503, "", ""},
	} {
		if said := judgeAnswer(tc.attempt, tc.ours, tc.code, tc.body, []string{"secret"}); (said == "") != (tc.says == "") || !strings.Contains(said, tc.says) {
			t.Errorf("%s: %q, want %q", name, said, tc.says)
		}
	}
}
