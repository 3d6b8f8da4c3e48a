package options

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/util/validation"

	configv1alpha1 "github.com/kcp-dev/workload-syncer/apis/config/v1alpha1"
	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/manager"
)

// addAssignmentFlags adds the flags of how objects get to the selected targets.
func addAssignmentFlags(a *configv1alpha1.Assignment, fs *pflag.FlagSet) {
	webhook := &a.Webhook
	fs.IntVar(&a.Workers, "assignment-workers", a.Workers,
		"How many objects are assigned to targets at the same time. A `number` beyond what kcp can write at once makes nothing faster.")
	fs.DurationVar(&a.MoveTimeout.Duration, "move-timeout", a.MoveTimeout.Duration,
		"How long work stays on a target that it is to leave while it is not ready on the new one. After this `duration` the move is taken back or goes on, as the Placement's moveFailurePolicy says.")
	fs.StringVar(&webhook.URL, "assignment-webhook-url", webhook.URL,
		"The `URL` at which kcp reaches this manager's webhook, which assigns objects at their creation and so saves a write for each. Must be https. When empty, there is no webhook, and one of an earlier time is removed.")
	fs.StringVar(&webhook.CAFile, "assignment-webhook-ca-file", webhook.CAFile,
		"PEM `file` with the certificates by which kcp knows the webhook. Required with --assignment-webhook-url.")
	fs.StringVar(&webhook.CertFile, "assignment-webhook-cert-file", webhook.CertFile,
		"PEM `file` with the webhook's certificate. It is read again when it changes. Required with --assignment-webhook-url.")
	fs.StringVar(&webhook.KeyFile, "assignment-webhook-key-file", webhook.KeyFile,
		"PEM `file` with the key of --assignment-webhook-cert-file.")
	fs.IntVar(&webhook.Port, "assignment-webhook-port", webhook.Port,
		"The `port` at which the webhook listens. Zero is any free one.")
}

func completeAssignment(a configv1alpha1.Assignment, bindAddress string, mistakes *cli.Mistakes) manager.Assignment {
	if a.Workers < 1 {
		mistakes.Add("assignment-workers", "%d would do no work: give at least 1", a.Workers)
	}
	if a.MoveTimeout.Duration < 0 {
		mistakes.Add("move-timeout", "%s is negative: give 0 to wait for nothing", a.MoveTimeout.Duration)
	}
	return manager.Assignment{Workers: a.Workers, MoveTimeout: a.MoveTimeout.Duration, Webhook: completeWebhook(a.Webhook, bindAddress, mistakes)}
}

// completeWebhook says how kcp reaches the webhook; nil for none.
func completeWebhook(webhook configv1alpha1.AssignmentWebhook, bindAddress string, mistakes *cli.Mistakes) *assignment.WebhookConfig {
	files := []struct{ flag, file string }{
		{"assignment-webhook-ca-file", webhook.CAFile}, {"assignment-webhook-cert-file", webhook.CertFile}, {"assignment-webhook-key-file", webhook.KeyFile},
	}
	for _, f := range files {
		switch {
		case webhook.URL != "" && f.file == "":
			mistakes.Add(f.flag, "required with --assignment-webhook-url")
		case webhook.URL == "" && f.file != "":
			mistakes.Add(f.flag, "has no effect without --assignment-webhook-url")
		}
	}
	if webhook.URL == "" {
		return nil
	}
	if u, err := url.Parse(webhook.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		mistakes.Add("assignment-webhook-url", "%q is not an https URL with a host, as https://manager.example.com:9444 is", webhook.URL)
	}
	if problems := validation.IsInRange(webhook.Port, 0, 65535); len(problems) > 0 {
		mistakes.Add("assignment-webhook-port", "%d is not a port: %s", webhook.Port, strings.Join(problems, "; "))
	}
	return &assignment.WebhookConfig{
		URL: webhook.URL, CAFile: webhook.CAFile, CertFile: webhook.CertFile, KeyFile: webhook.KeyFile,
		Address: net.JoinHostPort(bindAddress, strconv.Itoa(webhook.Port)),
	}
}
