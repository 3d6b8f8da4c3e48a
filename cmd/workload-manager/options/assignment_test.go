package options

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment"
)

func TestAssignmentFlags(t *testing.T) {
	complete := func(a *configv1alpha1.Assignment) {
		a.Webhook = configv1alpha1.AssignmentWebhook{URL: "https://manager:9443", CAFile: "ca", CertFile: "cert", KeyFile: "key", Port: 9444}
	}
	for _, tc := range []struct {
		what     string
		change   func(*configv1alpha1.Assignment)
		want     *assignment.WebhookConfig
		mistakes []string
	}{
		{what: "no webhook", change: func(*configv1alpha1.Assignment) {}},
		{
			what: "a webhook", change: complete,
			want: &assignment.WebhookConfig{URL: "https://manager:9443", CAFile: "ca", CertFile: "cert", KeyFile: "key", Address: "127.0.0.1:9444"},
		},
		{
			what: "files are missing", change: func(a *configv1alpha1.Assignment) { a.Webhook.URL = "https://manager:9443" },
			mistakes: []string{"assignment-webhook-ca-file", "assignment-webhook-cert-file", "assignment-webhook-key-file"},
		},
		{what: "files without a webhook", change: func(a *configv1alpha1.Assignment) { a.Webhook.CAFile = "ca" }, mistakes: []string{"assignment-webhook-ca-file"}},
		{what: "not https", change: func(a *configv1alpha1.Assignment) { complete(a); a.Webhook.URL = "http://manager" }, mistakes: []string{"assignment-webhook-url"}},
		{what: "no port", change: func(a *configv1alpha1.Assignment) { complete(a); a.Webhook.Port = 70000 }, mistakes: []string{"assignment-webhook-port"}},
		{
			what: "no work, no time", change: func(a *configv1alpha1.Assignment) { a.Workers, a.MoveTimeout.Duration = 0, -time.Second },
			mistakes: []string{"assignment-workers", "move-timeout"},
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			a := configv1alpha1.NewManagerConfiguration().Assignment
			tc.change(&a)
			var mistakes cli.Mistakes
			got := completeAssignment(a, "127.0.0.1", &mistakes).Webhook
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
