package options

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment"
)

func TestAssignmentFlags(t *testing.T) {
	complete := func(a *Assignment) {
		a.WebhookURL, a.WebhookCAFile, a.WebhookCertificateFile, a.WebhookKey = "https://manager:9443", "ca", "cert", "key"
	}
	for _, tc := range []struct {
		what     string
		change   func(*Assignment)
		want     *assignment.WebhookConfig
		mistakes []string
	}{
		{what: "no webhook", change: func(*Assignment) {}},
		{
			what: "a webhook", change: complete,
			want: &assignment.WebhookConfig{URL: "https://manager:9443", CAFile: "ca", CertFile: "cert", KeyFile: "key", Address: "127.0.0.1:9444"},
		},
		{
			what: "files are missing", change: func(a *Assignment) { a.WebhookURL = "https://manager:9443" },
			mistakes: []string{"assignment-webhook-ca-file", "assignment-webhook-cert-file", "assignment-webhook-key-file"},
		},
		{what: "files without a webhook", change: func(a *Assignment) { a.WebhookCAFile = "ca" }, mistakes: []string{"assignment-webhook-ca-file"}},
		{what: "not https", change: func(a *Assignment) { complete(a); a.WebhookURL = "http://manager" }, mistakes: []string{"assignment-webhook-url"}},
		{what: "no port", change: func(a *Assignment) { complete(a); a.WebhookPort = 70000 }, mistakes: []string{"assignment-webhook-port"}},
		{
			what: "no work, no time", change: func(a *Assignment) { a.Workers, a.MoveTimeout = 0, -time.Second },
			mistakes: []string{"assignment-workers", "move-timeout"},
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			a := newAssignment()
			tc.change(&a)
			var mistakes cli.Mistakes
			got := a.webhook("127.0.0.1", &mistakes)
			var flags []string
			for _, mistake := range mistakes {
				flags = append(flags, mistake.Flag)
			}
			if diff := cmp.Diff(tc.mistakes, flags); diff != "" {
				t.Errorf("mistakes: %s", diff)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" && tc.mistakes == nil {
				t.Error(diff)
			}
		})
	}
}
