package virtualworkspace

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// Config is what an operator chooses.
type Config struct {
	// Address to listen at, such as :9443.
	Address string
	// CertFile and KeyFile are the server's certificate. They are read again when they change, as is ClientCAFile, which
	// verifies the certificates of clients; empty if they come with tokens only.
	CertFile, KeyFile, ClientCAFile string
	// Provider is the workspace of the APIExports.
	Provider logicalcluster.Path
	// Upsynced are the types that SyncTargets may allow their targets to bring up, as far as the APIExport has them.
	Upsynced []schema.GroupResource
	// MaxWatches and MaxRequests are what one target may have open, and under way, at the same time.
	MaxWatches, MaxRequests int
}

// Deps are what the server needs of the rest of the program.
type Deps struct {
	// KCP reaches kcp with the manager's credentials; its host names no workspace.
	KCP *rest.Config
	// ExportURLs are where an APIExport of the provider is served, one per shard; none while that is not known.
	ExportURLs func(export string) []string
	Metrics    *Metrics
	// Tracing makes a span of each request other than watches; nil for none.
	Tracing *tmc.Tracing
	Clock   clock.WithTicker
}

// Server is the virtual workspace server.
type Server struct {
	config      Config
	exportURLs  func() []string // of the APIExport with the tenants' objects
	clock       clock.WithTicker
	metrics     *Metrics
	tracing     *tmc.Tracing
	upstream    *upstream
	catalog     *catalog
	upsynced    sets.Set[schema.GroupResource]
	access      *access
	seen        *seen
	limits      *limits
	events      *eventLimits
	certificate *tmc.Certificate
	listener    net.Listener

	// stopping ends the watches.
	stopping context.Context //nolint:containedctx // as long as the server itself
	stop     context.CancelFunc
	logger   klog.Logger
}

// New listens, so that a port that is taken is an error at the start. No request is sent to kcp.
func New(config Config, deps Deps) (*Server, error) {
	u, err := newUpstream(deps.KCP)
	if err != nil {
		return nil, err
	}
	s := newServer(config, deps, u, reviews{
		upstream: u, kcp: deps.KCP.Host, provider: config.Provider,
		targets: func() []string { return deps.ExportURLs(workloadv1alpha1.WorkloadExport) },
	})
	files := tmc.CertificateFiles{Cert: config.CertFile, Key: config.KeyFile, ClientCA: config.ClientCAFile, Protocols: []string{"h2", "http/1.1"}}
	if s.certificate, err = tmc.NewCertificate(files, s.clock); err != nil {
		return nil, fmt.Errorf("the certificate of the virtual workspace server: %w", err)
	}
	if s.listener, err = new(net.ListenConfig).Listen(context.Background(), "tcp", config.Address); err != nil {
		return nil, fmt.Errorf("serving virtual workspaces at %s: %w", config.Address, err)
	}
	return s, nil
}

func newServer(config Config, deps Deps, u *upstream, r reviewer) *Server {
	m := deps.Metrics
	s := &Server{
		config: config, exportURLs: func() []string { return deps.ExportURLs(workloadv1alpha1.KubernetesExport) }, clock: deps.Clock, metrics: m, tracing: deps.Tracing, upstream: u,
		catalog: newCatalog(u, deps.Clock), upsynced: sets.New(config.Upsynced...),
		access: newAccess(r, deps.Clock, m), seen: newSeen(deps.Clock), logger: klog.Background(),
		limits: newLimits(config.MaxWatches, config.MaxRequests), events: newEventLimits(deps.Clock),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	return s
}

// Address is where the server listens; of use with port 0.
func (s *Server) Address() string { return s.listener.Addr().String() }

// serverName is what the server is called in the log.
const serverName = "virtual-workspace"

const (
	// A client that is slow to say what it wants, or to take what it asked for, does not hold a connection.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 120 * time.Second
	sendTimeout       = 30 * time.Second
	// maxHeaderBytes is room for a token, and for little else.
	maxHeaderBytes = 32 << 10
	forgetPeriod   = 30 * time.Second
	// maxStreams is how many requests may be open on one connection, watches included.
	maxStreams = 1000
	// A client that does not answer a ping is gone, and its watches with it.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// Run serves until ctx is done, and returns when all that it started has stopped. Open watches end at once, so that their
// clients go to another replica; other requests are given two seconds.
func (s *Server) Run(ctx context.Context) error {
	s.logger = klog.FromContext(ctx).WithValues("server", serverName)
	ctx = klog.NewContext(ctx, s.logger)
	server := &http.Server{
		Handler:           s,
		TLSConfig:         s.certificate.TLS(),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	server.RegisterOnShutdown(s.stop)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	helping, done := context.WithCancel(ctx)
	defer done()
	helpers.Go(func() { s.access.run(helping) })
	helpers.Go(func() { every(helping, s.clock, forgetPeriod, s.forget) })

	return tmc.Serve(ctx, serverName, tls.NewListener(s.listener, server.TLSConfig), server)
}

// Check is for the probes: whether there is something to show, and with a certificate that clients accept.
func (s *Server) Check(ctx context.Context) error {
	if err := s.certificate.Check(ctx); err != nil {
		return err
	}
	if len(s.exportURLs()) == 0 {
		return tmc.Degraded(fmt.Errorf("APIExport %s of workspace %s is not served: nobody has bound it yet", workloadv1alpha1.KubernetesExport, s.config.Provider))
	}
	return nil
}

func (s *Server) forget(context.Context) {
	s.seen.forget()
	s.events.forget()
}

// every calls do once a period until ctx is done.
func every(ctx context.Context, c clock.WithTicker, period time.Duration, do func(context.Context)) {
	ticker := c.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			do(ctx)
		}
	}
}

// exchange is one request and its answer.
type exchange struct {
	request
	query query
	owner owner
	views views
	kind  servedType
	// shardURL is where the shard serves the APIExport.
	shardURL string
	caller   caller
	user     string

	in      *http.Request
	out     *answer
	started time.Time
	// waited is the time that kcp took.
	waited time.Duration
}

// answer remembers what was answered.
type answer struct {
	http.ResponseWriter
	code int
}

// WriteHeader remembers the code.
func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(body []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	return a.ResponseWriter.Write(body)
}

// Unwrap lets http.ResponseController find what is below.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	x := &exchange{in: in, out: &answer{ResponseWriter: w}, started: s.clock.Now()}
	w.Header().Set("Cache-Control", "no-cache, private")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	err := s.serve(x)
	cut := err != nil && x.out.code != 0
	if err != nil && !cut {
		status, _ := statusOf(err)
		if status.Code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		writeStatus(x.out, status)
	}
	s.tell(x, err)
	if cut {
		panic(http.ErrAbortHandler) // so that nobody takes the half of an answer for the whole
	}
}

// serve leads a request through the stations. Each can refuse it; none is skipped.
func (s *Server) serve(x *exchange) error {
	if err := checkHeaders(x.in.Header); err != nil {
		return err
	}
	var err, wrongPath error
	if x.caller, err = callerOf(x.in); err != nil {
		return err
	}
	if x.request, wrongPath = parsePath(x.in.Method, x.in.URL.EscapedPath()); x.target == (TargetRef{}) {
		return wrongPath
	}
	verdict := s.access.decide(x.in.Context(), x.caller, x.target)
	x.user = verdict.user
	if err := errors.Join(verdict.err, wrongPath); err != nil {
		return err
	}
	x.owner, x.views = ownerOf(x.request), viewsOf(s.upsynced, verdict.target)
	if x.query, err = parseQuery(x.verb, x.in.URL.RawQuery, x.owner); err != nil {
		return err
	}
	if x.query.watch {
		x.verb = verbWatch
	}
	if err := s.findShard(x, verdict.target); err != nil {
		return err
	}
	if x.verb == verbDiscover {
		set, err := s.catalog.of(x.in.Context(), x.shardURL)
		if err != nil {
			return err
		}
		return s.discover(x, set)
	}
	if err := s.findType(x); err != nil {
		return err
	}
	leave, err := s.limits.enter(x.target, x.verb == verbWatch)
	if err != nil {
		return err
	}
	defer leave()
	end := s.startSpan(x)
	err = s.act(x)
	end(err)
	return err
}

// startSpan goes on with the client's trace. It is asked for who may ask something only.
func (s *Server) startSpan(x *exchange) (end func(error)) {
	if !s.tracing.Enabled() || x.verb == verbWatch {
		return func(error) {}
	}
	name := x.verb + " " + x.kind.gvr.Resource
	if x.subresource != "" {
		name += "/" + x.subresource
	}
	ctx, endSpan := s.tracing.Start(tmc.FromHeader(x.in.Context(), x.in.Header), name,
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("syncTarget", x.target.String())))
	x.in = x.in.WithContext(ctx)
	return func(err error) {
		if err != nil {
			status, _ := statusOf(err)
			err = &apierrors.StatusError{ErrStatus: status}
		}
		endSpan(err)
	}
}

func (s *Server) act(x *exchange) error {
	switch x.verb {
	case verbGet:
		return s.get(x)
	case verbList:
		return s.list(x)
	case verbWatch:
		return s.watch(x)
	}
	_ = http.NewResponseController(x.out).SetReadDeadline(time.Now().Add(readTimeout)) // a server without deadlines has none to set
	if x.up {
		return s.writeUp(x)
	}
	if x.verb == verbCreate {
		return s.createEvent(x)
	}
	return s.patch(x)
}

// checkHeaders refuses what would have kcp or a proxy take the request for somebody else's, and what is no plain request.
func checkHeaders(header http.Header) error {
	for name := range header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "impersonate-") || strings.HasPrefix(lower, "x-remote-") || lower == "upgrade" {
			return denied(reasonHeader, "the header %q is not served", short(name))
		}
	}
	if !acceptsJSON(header.Values("Accept")) {
		return newRefusal(reasonHeader, http.StatusNotAcceptable, "NotAcceptable", "answers are application/json only: no tables, no partial objects, no other encoding")
	}
	return nil
}

func acceptsJSON(accepts []string) bool {
	if len(accepts) == 0 {
		return true
	}
	for _, accept := range accepts {
		for part := range strings.SplitSeq(accept, ",") {
			kind, parameters, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err == nil && parameters["as"] == "" && (kind == "application/json" || kind == "application/*" || kind == "*/*") {
				return true
			}
		}
	}
	return false
}

// findShard: a SyncTarget sees the objects of the APIExports that it supports, of which this server has one.
func (s *Server) findShard(x *exchange, target *workloadv1alpha1.SyncTarget) error {
	urls := s.exportURLs()
	if len(urls) == 0 {
		return unavailable("the kcp shards are not known yet")
	}
	address, ok := shardsByID(urls)[x.shard]
	if !ok || !s.supports(target, address) {
		return notServed()
	}
	x.shardURL = address
	return nil
}

// supports: the export may be named by the path of the provider's workspace, by its logical cluster, or alone.
func (s *Server) supports(target *workloadv1alpha1.SyncTarget, exportURL string) bool {
	segments := strings.Split(strings.TrimSuffix(exportURL, "/"), "/")
	name := segments[len(segments)-1]
	cluster := segments[max(0, len(segments)-2)]
	for _, export := range target.Spec.SupportedAPIExports {
		if export.Export == name && (export.Path == "" || export.Path == s.config.Provider.String() || export.Path == cluster) {
			return true
		}
	}
	return false
}

func (s *Server) findType(x *exchange) error {
	found, ok, err := s.catalog.find(x.in.Context(), x.shardURL, x.gvr)
	if err != nil {
		return err
	}
	if !ok {
		return notServed()
	}
	verbs := x.views.accepts(found, x.up)
	switch {
	case len(verbs) == 0:
		return notServed()
	case found.Namespaced && x.namespace == "" && (x.name != "" || x.verb == verbCreate), !found.Namespaced && x.namespace != "":
		return notServed()
	case !verbs.Has(x.verb):
		return denied(reasonVerb, "a target may not %s %s in this view", x.verb, x.gvr.GroupResource())
	case x.subresource != "" && (x.subresource != "status" || !found.hasStatus || !statusVerbs.Has(x.verb)):
		return denied(reasonSubresource, "a target may not %s the subresource %q", x.verb, short(x.subresource))
	}
	x.kind = found
	return nil
}

// tell counts the request and logs it: who did what to which object, and never what was in it.
func (s *Server) tell(x *exchange, err error) {
	resource, took := resourceLabel(x), s.clock.Since(x.started)
	code := strconv.Itoa(x.out.code)
	s.metrics.requests.WithLabelValues(x.view(), verbLabel(x.verb), resource, code).Inc()
	if x.verb != verbWatch && x.verb != "" {
		tmc.Observe(x.in.Context(), s.metrics.duration.WithLabelValues(x.view(), x.verb), took.Seconds())
		s.metrics.addedTo(x.in.Context(), &x.request, x.verb, took-x.waited)
	}
	values := []any{
		"user", x.user, "syncTarget", x.target.String(), "view", x.view(), "verb", verbLabel(x.verb), "resource", short(x.gvr.GroupResource().String()),
		"subresource", short(x.subresource), "cluster", string(x.cluster), "namespace", x.namespace, "name", short(x.name),
		"code", code, "took", took.Round(10 * time.Microsecond).String(), "from", x.in.RemoteAddr,
	}
	status, why := statusOf(err)
	switch {
	case err == nil && (x.verb == verbGet || x.verb == verbList || x.verb == verbWatch || x.verb == verbDiscover):
		s.logger.V(4).Info("Served", values...)
	case err == nil:
		s.logger.V(2).Info("Served", values...)
	case why != "":
		s.metrics.denials.WithLabelValues(x.view(), string(why)).Inc()
		s.logger.V(2).Info("Refused", append(values, "reason", why, "message", status.Message)...)
	case x.in.Context().Err() != nil:
		s.logger.V(4).Info("The client went away", values...)
	default:
		s.logger.V(2).Info("Could not serve", append(values, "err", err.Error())...)
	}
}

// resourceLabel is bounded: clients may ask for anything.
func resourceLabel(x *exchange) string {
	switch {
	case x.kind.gvr.Resource != "":
		return x.kind.gvr.GroupResource().String()
	case x.gvr.Resource != "":
		return "other"
	default:
		return "none"
	}
}

func verbLabel(verb string) string {
	if verb == "" {
		return "unknown"
	}
	return verb
}
