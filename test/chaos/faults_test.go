package chaos

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/test/env"
)

// breaking is a way to break something. It gives what mends it again.
type breaking func(ctx context.Context, s *stage, where string, lasts time.Duration) (mend func(context.Context) error, err error)

var nothingToMend = func(context.Context) error { return nil }

var breakings = map[FaultKind]breaking{
	LinkCut:       onLink((*env.Link).Cut),
	LinkHang:      onLink((*env.Link).Hang),
	LinkSlow:      onLink(func(l *env.Link) { l.Slow(300 * time.Millisecond) }),
	LinkForgets:   onLink((*env.Link).Forget),
	LinkReset:     resetLink,
	Errors:        answering(someErrors),
	Malformed:     answering(nonsense),
	Expired:       answering(gone),
	ProgramKilled: killProgram,
	ProgramPaused: func(_ context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
		return pause(s.programs[where].Process), nil
	},
	ClockSkewed:  skewClock,
	ServerKilled: killServer,
	ServerPaused: func(_ context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
		process, _ := s.server(where)
		return pause(process), nil
	},
	Compaction:   compactServer,
	TokenRotated: rotateToken,
	WebhookNo:    rejectWrites,
	QuotaFull:    exhaustQuota,
	Terminating:  hangInTerminating,
}

// play breaks and mends, and returns when all is whole again.
func (s *stage) play(ctx context.Context, f Fault, began time.Time) error {
	if !until(ctx, began.Add(f.At)) {
		return ctx.Err()
	}
	mend, err := breakings[f.Kind](ctx, s, f.Where, f.For)
	if err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	until(ctx, began.Add(f.At+f.For))
	if err := mend(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("mending %s: %w", f, err)
	}
	return nil
}

func onLink(hurt func(*env.Link)) breaking {
	return func(_ context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
		link := s.links[where]
		hurt(link)
		return func(context.Context) error { return link.Restore() }, nil
	}
}

func resetLink(ctx context.Context, s *stage, where string, lasts time.Duration) (func(context.Context) error, error) {
	link := s.links[where]
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		link.Cut()
		if err := link.Restore(); err != nil {
			return nil, err
		}
		if !until(ctx, time.Now().Add(500*time.Millisecond)) {
			break
		}
	}
	return nothingToMend, nil
}

// answering has a proxy answer some requests in the server's place.
func answering(fault env.Fault) breaking {
	return func(_ context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
		link, proxy := s.links[where], s.proxies[where]
		proxy.Inject(fault)
		link.Through(proxy)
		return func(context.Context) error {
			proxy.Inject(nil)
			link.Through(nil)
			return nil
		}, nil
	}
}

// The script says when a proxy answers; which requests meet it depends on what comes.
func someErrors(w http.ResponseWriter, _ *http.Request) bool {
	if rand.IntN(2) == 0 {
		return false
	}
	codes := []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
	env.Refuse(w, codes[rand.IntN(len(codes))], metav1.StatusReasonUnknown)
	return true
}

func gone(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Query().Get("watch") == "" || rand.IntN(3) == 0 {
		return false
	}
	if rand.IntN(2) == 0 {
		env.Refuse(w, http.StatusGone, metav1.StatusReasonExpired)
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old"}}`+"\n")
	return true
}

// nonsense is what proxies and broken servers answer with a good conscience: all with 200.
func nonsense(w http.ResponseWriter, r *http.Request) bool {
	list := r.Method == http.MethodGet && r.URL.Query().Get("watch") == "" && strings.Contains(r.URL.Path, "/api")
	answers := []struct{ contentType, body string }{
		{"text/html", "<html><body>Please log in to the network</body></html>"},
		{"application/json", `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"`},
		{"application/json", ""},
		{"application/json", "null"},
		{"application/json", `{"type":"ADDED","object":{"kind":"Nonsense"`},
		{"application/json", `[1, 2, 3]`},
		{"application/json", `{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}`},
	}
	answer := answers[rand.IntN(len(answers))]
	if rand.IntN(2) == 0 || strings.Contains(answer.body, `"items"`) && !list {
		return false
	}
	w.Header().Set("Content-Type", answer.contentType)
	_, _ = io.WriteString(w, answer.body)
	return true
}

func killProgram(_ context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
	p := s.programs[where]
	p.Kill()
	return func(ctx context.Context) error { return p.Restart(ctx) }, nil
}

func pause(process *env.Process) func(context.Context) error {
	process.Pause()
	return func(context.Context) error {
		process.Resume()
		return nil
	}
}

// skewClock starts the program with a clock that is wrong, and with a right one in the end.
func skewClock(ctx context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
	p := s.programs[where]
	skews := []time.Duration{-40 * time.Minute, -5 * time.Minute, 10 * time.Minute, 3 * time.Hour}
	set := func(ctx context.Context, skew time.Duration) error {
		if err := os.WriteFile(p.clock, []byte(strconv.Itoa(int(skew.Seconds()))), 0o600); err != nil {
			return err
		}
		return p.Restart(ctx)
	}
	return func(ctx context.Context) error { return set(ctx, 0) }, set(ctx, skews[rand.IntN(len(skews))])
}

// server is the process that a fault names, and what compacts its etcd.
func (s *stage) server(name string) (*env.Process, func(context.Context) error) {
	if name == "kcp" {
		return s.kcp.Process, s.kcp.Compact
	}
	cluster := s.targets[strings.TrimPrefix(name, "cluster ")].cluster
	return cluster.APIServer, cluster.Compact
}

func killServer(_ context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
	process, _ := s.server(where)
	s.supervisor.expect(where)
	process.Kill()
	return func(ctx context.Context) error { return s.restart(ctx, where) }, nil
}

// restart starts a server again, and what simulates the nodes of a cluster: that is no part of what is tested.
func (s *stage) restart(ctx context.Context, where string) error {
	defer s.supervisor.restarted(where)
	process, _ := s.server(where)
	err := process.Restart(ctx)
	if name, cluster := strings.CutPrefix(where, "cluster "); err == nil && cluster {
		err = s.targets[name].cluster.Kwok.Restart(ctx)
	}
	return err
}

// compactServer has etcd forget, and the server with it: whoever watches has to list again.
func compactServer(ctx context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
	process, compact := s.server(where)
	_ = compact(ctx) // the server may be down for another reason; then the restart alone has to do
	s.supervisor.expect(where)
	process.Kill()
	return func(ctx context.Context) error { return s.restart(ctx, where) }, nil
}

// rotateToken makes a syncer's tokens worthless; new ones come later.
func rotateToken(ctx context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
	name, way, _ := strings.Cut(where, " to ")
	c := s.targets[name].toCluster
	if way == "kcp" {
		c = s.targets[name].toKCP
	}
	return func(ctx context.Context) error { return soon(ctx, c.renew) }, soon(ctx, c.revoke) // the server may be down
}

// rejecting is a webhook that rejects everything while it is registered.
type rejecting struct {
	server *http.Server
	url    string
	ca     []byte
	asked  atomic.Int64
}

func newRejecting(e *env.Env) (*rejecting, error) {
	certificate, err := e.NewServerCertificate("webhook")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	x := &rejecting{url: "https://" + listener.Addr().String(), ca: certificate.CA}
	x.server = &http.Server{Handler: x, ReadHeaderTimeout: time.Minute}
	go func() { _ = x.server.ServeTLS(listener, certificate.CertFile, certificate.KeyFile) }() // ends with the process
	return x, nil
}

func (x *rejecting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	x.asked.Add(1)
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Code: http.StatusForbidden, Message: "rejected by the script"}}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// rejectWrites has the cluster's webhook reject all that is written in the targets' namespaces.
func rejectWrites(ctx context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
	t := s.targets[strings.TrimPrefix(where, "cluster ")]
	registration := parse(`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: chaos}, webhooks: [{
		name: reject.chaos.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Fail, timeoutSeconds: 3,
		namespaceSelector: {matchExpressions: [{key: ` + workloadv1alpha1.DownstreamClusterLabel + `, operator: Exists}]},
		rules: [{apiGroups: ["", apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps, secrets, services, deployments]}]}]}`)
	webhooks, _, _ := unstructured.NestedSlice(registration.Object, "webhooks")
	webhooks[0].(map[string]any)["clientConfig"] = map[string]any{"url": s.webhook.url, "caBundle": base64.StdEncoding.EncodeToString(s.webhook.ca)}
	registration.Object["webhooks"] = webhooks
	client := inNamespace(t.down, registration, "validatingwebhookconfigurations")
	return func(ctx context.Context) error {
			return soon(ctx, func(ctx context.Context) error {
				return ignoreGone(client.Delete(ctx, "chaos", metav1.DeleteOptions{}))
			})
		}, soon(ctx, func(ctx context.Context) error {
			_, err := client.Create(ctx, registration, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// exhaustQuota lets nothing new into a third of the target's namespaces.
func exhaustQuota(ctx context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
	t := s.targets[strings.TrimPrefix(where, "cluster ")]
	var full []string
	for namespace, workspace := range t.workspaceOf {
		if workspace%3 == 0 {
			full = append(full, namespace)
		}
	}
	quota := func(namespace string) *unstructured.Unstructured {
		return parse(`{apiVersion: v1, kind: ResourceQuota, metadata: {name: chaos, namespace: ` + namespace + `},
			spec: {hard: {count/configmaps: "0", count/secrets: "0", count/services: "0", count/deployments.apps: "0"}}}`)
	}
	for _, namespace := range full {
		u := quota(namespace)
		_, _ = inNamespace(t.down, u, "resourcequotas").Create(ctx, u, metav1.CreateOptions{}) // not all namespaces are there
	}
	return func(ctx context.Context) error {
		var errs []error
		for _, namespace := range full {
			errs = append(errs, soon(ctx, func(ctx context.Context) error {
				return ignoreGone(inNamespace(t.down, quota(namespace), "resourcequotas").Delete(ctx, "chaos", metav1.DeleteOptions{}))
			}))
		}
		return errors.Join(errs...)
	}, nil
}

// hangInTerminating has a vandal delete a namespace of the target, in which something does not want to go.
func hangInTerminating(ctx context.Context, s *stage, where string, _ time.Duration) (func(context.Context) error, error) {
	t := s.targets[strings.TrimPrefix(where, "cluster ")]
	var hit string
	for namespace, workspace := range t.workspaceOf {
		if slices.Contains(inhabitants[t.name], workspace) {
			continue
		}
		stuck := parse(`{apiVersion: v1, kind: ConfigMap, metadata: {name: stuck, namespace: ` + namespace + `, finalizers: [chaos.example.com/stuck]}}`)
		if _, err := of(t.down, ConfigMap, namespace).Create(ctx, stuck, metav1.CreateOptions{}); err == nil {
			hit = namespace
			break
		}
	}
	if hit == "" {
		return nothingToMend, nil // the cluster is down: there is nothing to hurt
	}
	mend := func(ctx context.Context) error {
		return soon(ctx, func(ctx context.Context) error {
			_, err := of(t.down, ConfigMap, hit).Patch(ctx, "stuck", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			if err := ignoreGone(err); err != nil {
				return err
			}
			return ignoreGone(of(t.down, ConfigMap, hit).Delete(ctx, "stuck", metav1.DeleteOptions{}))
		})
	}
	_ = t.down.Resource(namespaces).Delete(ctx, hit, metav1.DeleteOptions{}) // else the namespace stays, with something stuck in it
	return mend, nil
}
