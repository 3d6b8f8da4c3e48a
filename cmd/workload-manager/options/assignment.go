package options

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kcp-dev/workload-syncer/cmd/internal/cli"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/assignment"
)

// Assignment are the flags of how objects get to the selected targets.
type Assignment struct {
	Workers     int
	MoveTimeout time.Duration

	WebhookURL, WebhookCAFile          string
	WebhookCertificateFile, WebhookKey string
	WebhookPort                        int
}

func newAssignment() Assignment {
	return Assignment{Workers: 16, MoveTimeout: 10 * time.Minute, WebhookPort: 9444}
}

func (a *Assignment) addFlags(fs *pflag.FlagSet) {
	fs.IntVar(&a.Workers, "assignment-workers", a.Workers,
		"How many objects are assigned to targets at the same time. A `number` beyond what kcp can write at once makes nothing faster.")
	fs.DurationVar(&a.MoveTimeout, "move-timeout", a.MoveTimeout,
		"How long work stays on a target that it is to leave while it is not ready on the new one. After this `duration` it leaves all the same.")
	fs.StringVar(&a.WebhookURL, "assignment-webhook-url", a.WebhookURL,
		"The `URL` at which kcp reaches this manager's webhook, which assigns objects at their creation and so saves a write for each. Must be https. When empty, there is no webhook, and one of an earlier time is removed.")
	fs.StringVar(&a.WebhookCAFile, "assignment-webhook-ca-file", a.WebhookCAFile,
		"PEM `file` with the certificates by which kcp knows the webhook. Required with --assignment-webhook-url.")
	fs.StringVar(&a.WebhookCertificateFile, "assignment-webhook-cert-file", a.WebhookCertificateFile,
		"PEM `file` with the webhook's certificate. It is read again when it changes. Required with --assignment-webhook-url.")
	fs.StringVar(&a.WebhookKey, "assignment-webhook-key-file", a.WebhookKey,
		"PEM `file` with the key of --assignment-webhook-cert-file.")
	fs.IntVar(&a.WebhookPort, "assignment-webhook-port", a.WebhookPort,
		"The `port` at which the webhook listens. Zero is any free one.")
}

// webhook is how kcp reaches the webhook; nil for none.
func (a *Assignment) webhook(bindAddress string, mistakes *cli.Mistakes) *assignment.WebhookConfig {
	if a.Workers < 1 {
		mistakes.Add("assignment-workers", "%d would do no work: give at least 1", a.Workers)
	}
	if a.MoveTimeout < 0 {
		mistakes.Add("move-timeout", "%s is negative: give 0 to wait for nothing", a.MoveTimeout)
	}
	files := []struct{ flag, file string }{
		{"assignment-webhook-ca-file", a.WebhookCAFile}, {"assignment-webhook-cert-file", a.WebhookCertificateFile}, {"assignment-webhook-key-file", a.WebhookKey},
	}
	for _, f := range files {
		switch {
		case a.WebhookURL != "" && f.file == "":
			mistakes.Add(f.flag, "required with --assignment-webhook-url")
		case a.WebhookURL == "" && f.file != "":
			mistakes.Add(f.flag, "has no effect without --assignment-webhook-url")
		}
	}
	if a.WebhookURL == "" {
		return nil
	}
	if u, err := url.Parse(a.WebhookURL); err != nil || u.Scheme != "https" || u.Host == "" {
		mistakes.Add("assignment-webhook-url", "%q is not an https URL with a host, as https://manager.example.com:9444 is", a.WebhookURL)
	}
	if problems := validation.IsInRange(a.WebhookPort, 0, 65535); len(problems) > 0 {
		mistakes.Add("assignment-webhook-port", "%d is not a port: %s", a.WebhookPort, strings.Join(problems, "; "))
	}
	return &assignment.WebhookConfig{
		URL: a.WebhookURL, CAFile: a.WebhookCAFile, CertFile: a.WebhookCertificateFile, KeyFile: a.WebhookKey,
		Address: net.JoinHostPort(bindAddress, strconv.Itoa(a.WebhookPort)),
	}
}
