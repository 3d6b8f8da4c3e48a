package virtualworkspace

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// buffers are used while something is written, so that idle watches hold none.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const (
	listBuffer  = 64 << 10
	watchBuffer = 4 << 10
	// flushAt is how much is collected before it is sent.
	flushAt = 32 << 10
	// compressFrom is the size from which compression pays, as in the Kubernetes API server.
	compressFrom = 128 << 10
)

func withBuffer(use func(*bytes.Buffer) error) error {
	buffer := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	defer func() {
		if buffer.Cap() <= 1<<20 {
			buffers.Put(buffer)
		}
	}()
	return use(buffer)
}

// upstreamGet sends the request on, and gives the answer's stream.
func (s *Server) upstreamGet(ctx context.Context, x *exchange) (io.ReadCloser, error) {
	began := s.clock.Now()
	response, err := s.upstream.send(ctx, call{
		method: http.MethodGet, base: x.shardURL, cluster: x.cluster, path: x.upstreamPath(), query: x.query.pass,
	})
	x.waited += s.clock.Since(began)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		return nil, passOnFrom(x.cluster, failureOf(response))
	}
	return response.Body, nil
}

// live reads the object itself. One that does not exist, and one that the target may not know of, look the same.
func (s *Server) live(ctx context.Context, x *exchange) (*object, error) {
	began := s.clock.Now()
	path := x.request
	path.subresource = ""
	raw, err := s.upstream.ask(ctx, call{method: http.MethodGet, base: x.shardURL, cluster: x.cluster, path: path.upstreamPath(), query: x.query.pass})
	x.waited += s.clock.Since(began)
	if isGone(err, x.request) {
		return nil, notFound(x.gvr.GroupResource(), x.name)
	}
	if err != nil {
		return nil, passOnFrom(x.cluster, err)
	}
	found, err := x.owner.take(raw)
	if err != nil {
		return nil, err
	}
	if !found.facts.mine() {
		return nil, notFound(x.gvr.GroupResource(), x.name)
	}
	return found, nil
}

// isGone: kcp says positively that this object does not exist.
func isGone(err error, r request) bool {
	var failure *apierrors.StatusError
	if !errors.As(err, &failure) {
		return false
	}
	told := failure.ErrStatus
	return told.Code == http.StatusNotFound && told.Reason == metav1.StatusReasonNotFound && told.Details != nil &&
		told.Details.Name == r.name && told.Details.Kind == r.gvr.Resource
}

// extent of what is shown of an object.
func (x *exchange) extent(f facts) extent {
	if !f.assigned || x.gvr.GroupResource() == namespaces {
		return outline
	}
	return whole
}

func (s *Server) get(x *exchange) error {
	found, err := s.live(x.in.Context(), x)
	if err != nil {
		return err
	}
	return s.show(x, found, http.StatusOK)
}

// show answers with the target's view of an object.
func (s *Server) show(x *exchange, found *object, code int) error {
	return withBuffer(func(body *bytes.Buffer) error {
		if err := found.write(body, x.owner, x.extent(found.facts)); err != nil {
			return err
		}
		body.WriteByte('\n')
		x.out.Header().Set("Content-Type", "application/json")
		x.out.WriteHeader(code)
		_, err := x.out.Write(body.Bytes())
		return err
	})
}

func (s *Server) list(x *exchange) error {
	body, err := s.upstreamGet(x.in.Context(), x)
	if err != nil {
		return err
	}
	defer body.Close()
	all := x.wildcard() && !x.query.narrowed
	if all {
		s.seen.list(x.seenType())
	}
	from := &timedReader{from: body, x: x, s: s}
	out := newListWriter(x)
	err = withBuffer(func(buffer *bytes.Buffer) error {
		l := listing{x: x, s: s, in: newJSONStream(from, listBuffer), buffer: buffer, out: out, note: all}
		return l.copy()
	})
	return errors.Join(err, out.close(err == nil))
}

// timedReader keeps the time that is spent waiting for kcp apart.
type timedReader struct {
	from io.Reader
	x    *exchange
	s    *Server
}

func (r *timedReader) Read(p []byte) (int, error) {
	began := r.s.clock.Now()
	n, err := r.from.Read(p)
	r.x.waited += r.s.clock.Since(began)
	return n, err
}

// listing copies a list as it arrives.
type listing struct {
	x      *exchange
	s      *Server
	in     *jsonStream
	buffer *bytes.Buffer
	out    *listWriter
	note   bool
}

func (l *listing) copy() error {
	if err := l.in.expect('{'); err != nil {
		return err
	}
	w := beginObject(l.buffer)
	for more := true; more; {
		name, err := l.in.value()
		if err != nil {
			return err
		}
		field, err := unquote(name)
		if err != nil {
			return err
		}
		if err := l.in.expect(':'); err != nil {
			return err
		}
		if err := l.member(w, field); err != nil {
			return err
		}
		if more, err = l.in.next('}'); err != nil {
			return err
		}
	}
	w.end()
	l.buffer.WriteByte('\n')
	return l.flush()
}

func (l *listing) member(w *objectWriter, field string) error {
	if field == "items" {
		w.name(field)
		return l.items()
	}
	value, err := l.in.value()
	if err != nil {
		return err
	}
	switch field {
	case "apiVersion", "kind":
		w.member(field, value)
	case "metadata":
		w.name(field)
		return l.metadata(value)
	}
	return nil
}

// metadata of a list: what is needed to go on from it.
func (l *listing) metadata(raw []byte) error {
	all, err := members(raw)
	if err != nil {
		return err
	}
	w := beginObject(l.buffer)
	for _, m := range all {
		if m.name == "resourceVersion" || m.name == "continue" || m.name == "remainingItemCount" {
			w.member(m.name, m.value)
		}
	}
	w.end()
	return nil
}

func (l *listing) items() error {
	first, err := l.in.peek()
	if err != nil {
		return err
	}
	if first != '[' {
		_, err := l.in.value() // null
		l.buffer.WriteString("[]")
		return err
	}
	l.in.at++
	l.buffer.WriteByte('[')
	if first, err = l.in.peek(); err != nil {
		return err
	}
	more, written := first != ']', false
	if !more {
		l.in.at++
	}
	for more {
		if written, err = l.item(written); err != nil {
			return err
		}
		if more, err = l.in.next(']'); err != nil {
			return err
		}
	}
	l.buffer.WriteByte(']')
	return nil
}

func (l *listing) item(written bool) (bool, error) {
	raw, err := l.in.value()
	if err != nil {
		return written, err
	}
	found, err := l.x.owner.take(raw)
	if err != nil {
		return written, err
	}
	if !found.facts.assigned {
		l.s.metrics.hidden.Inc()
		return written, nil
	}
	if l.note {
		l.s.seen.note(l.x.seenType(), found.facts, false)
	}
	if written {
		l.buffer.WriteByte(',')
	}
	if err := found.write(l.buffer, l.x.owner, l.x.extent(found.facts)); err != nil {
		return written, err
	}
	if l.buffer.Len() >= flushAt {
		return true, l.flush()
	}
	return true, nil
}

func (l *listing) flush() error {
	_, err := l.out.Write(l.buffer.Bytes())
	l.buffer.Reset()
	return err
}

// listWriter sends a list, compressed if it is long and the client can take it.
type listWriter struct {
	x          *exchange
	compress   bool
	held       []byte
	compressor *gzip.Writer
}

var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one
	}
	return w
}}

func newListWriter(x *exchange) *listWriter {
	accepted := strings.Split(strings.Join(x.in.Header.Values("Accept-Encoding"), ","), ",")
	gzips := slices.ContainsFunc(accepted, func(encoding string) bool {
		name, quality, _ := strings.Cut(strings.TrimSpace(encoding), ";")
		return name == "gzip" && strings.ReplaceAll(quality, " ", "") != "q=0"
	})
	return &listWriter{x: x, compress: gzips}
}

// Write holds the beginning back until it is known whether the list is long.
func (w *listWriter) Write(p []byte) (int, error) {
	if w.compressor != nil {
		return w.send(w.compressor, p)
	}
	if !w.compress {
		return w.send(w.x.out, p)
	}
	w.held = append(w.held, p...)
	if len(w.held) < compressFrom {
		return len(p), nil
	}
	w.begin(true)
	w.compressor = compressors.Get().(*gzip.Writer)
	w.compressor.Reset(w.x.out)
	held := w.held
	w.held = nil
	if _, err := w.send(w.compressor, held); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *listWriter) begin(compressed bool) {
	header := w.x.out.Header()
	header.Set("Content-Type", "application/json")
	header.Add("Vary", "Accept-Encoding")
	if compressed {
		header.Set("Content-Encoding", "gzip")
	}
	w.x.out.WriteHeader(http.StatusOK)
}

func (w *listWriter) send(to io.Writer, p []byte) (int, error) {
	if w.x.out.code == 0 {
		w.begin(false)
	}
	w.x.deadline(sendTimeout)
	return to.Write(p)
}

// close sends the rest if the list is complete.
func (w *listWriter) close(complete bool) error {
	if w.compressor != nil {
		defer compressors.Put(w.compressor)
		if complete {
			return w.compressor.Close()
		}
		return nil
	}
	if complete && len(w.held) > 0 {
		_, err := w.send(w.x.out, w.held)
		return err
	}
	return nil
}

// deadline bounds how long the client may take for what is sent next; 0 for as long as it likes.
func (x *exchange) deadline(d time.Duration) {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d) // that of the connection, not a decision's
	}
	_ = http.NewResponseController(x.out).SetWriteDeadline(at) // a recorder in a test has none
}

func (s *Server) watch(x *exchange) error {
	ctx, leave := s.access.join(x.in.Context(), x.caller, x.target)
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()

	body, err := s.upstreamGet(ctx, x)
	if err != nil {
		return err
	}
	defer body.Close()
	open := s.metrics.watches.WithLabelValues(x.view())
	open.Inc()
	defer open.Dec()
	all := x.wildcard() && !x.query.narrowed
	if all {
		defer s.seen.watch(x.seenType())()
	}
	x.out.Header().Set("Content-Type", "application/json")
	x.out.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(x.out).Flush(); err != nil {
		return err
	}
	w := watching{x: x, s: s, in: newJSONStream(body, watchBuffer), note: all}
	if err := w.copy(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil // it ends: by the client, by kcp, by a stop or because a right was lost; the client asks again
}

// watching copies the events of a watch as they arrive.
type watching struct {
	x    *exchange
	s    *Server
	in   *jsonStream
	note bool
}

func (w *watching) copy() error {
	for {
		raw, err := w.in.value()
		if errors.Is(err, io.ErrUnexpectedEOF) && w.in.at == len(w.in.buf) {
			return nil
		}
		if err != nil {
			return err
		}
		arrived := w.s.clock.Now()
		kind, err := w.event(raw)
		if err != nil {
			return err
		}
		if kind == "" {
			continue
		}
		w.s.metrics.events.WithLabelValues(w.x.view(), kind).Inc()
		w.s.metrics.addedTo(w.x.in.Context(), &w.x.request, verbWatch, w.s.clock.Since(arrived))
		w.in.shrink(listBuffer)
	}
}

// event sends one event on. It gives the type, or nothing if the event is nothing to the target.
func (w *watching) event(raw []byte) (kind string, err error) {
	all, err := members(raw)
	if err != nil {
		return "", err
	}
	var about []byte
	for _, m := range all {
		switch m.name {
		case "type":
			kind = m.text()
		case "object":
			about = m.value
		}
	}
	shown := false
	err = withBuffer(func(out *bytes.Buffer) (err error) {
		event := beginObject(out)
		event.name("type")
		writeString(out, kind)
		event.name("object")
		if shown, err = w.object(out, watch.EventType(kind), about); err != nil || !shown {
			return err
		}
		event.end()
		out.WriteByte('\n')
		return w.send(out.Bytes())
	})
	if !shown {
		kind = ""
	}
	return kind, err
}

func (w *watching) send(event []byte) error {
	w.x.deadline(sendTimeout)
	defer w.x.deadline(0)
	if _, err := w.x.out.Write(event); err != nil {
		return err
	}
	if w.in.at = skipSpace(w.in.buf, w.in.at); w.in.at < len(w.in.buf) {
		return nil // another one is there already
	}
	return http.NewResponseController(w.x.out).Flush()
}

// object writes what an event is about, unless that is nothing to the target.
func (w *watching) object(out *bytes.Buffer, kind watch.EventType, raw []byte) (shown bool, err error) {
	switch kind {
	case watch.Bookmark:
		return true, writeBookmark(out, raw)
	case watch.Error:
		return true, writeWatchError(out, raw)
	case watch.Added, watch.Modified, watch.Deleted:
	default:
		return false, nil
	}
	found, err := w.x.owner.take(raw)
	if err != nil {
		return false, err
	}
	if w.note {
		w.s.seen.note(w.x.seenType(), found.facts, kind == watch.Deleted)
	}
	if kind == watch.Deleted { // no longer the target's: the name says enough
		return true, found.write(out, w.x.owner, outline)
	}
	if !found.facts.assigned {
		w.s.metrics.hidden.Inc()
		return false, nil
	}
	return true, found.write(out, w.x.owner, w.x.extent(found.facts))
}

// writeBookmark makes a bookmark anew, from nothing but the resourceVersion and what informers wait for.
func writeBookmark(out *bytes.Buffer, raw []byte) error {
	var bookmark metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &bookmark); err != nil {
		return err
	}
	annotations := map[string]string{}
	if bookmark.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
		annotations[metav1.InitialEventsAnnotationKey] = "true"
	}
	if blueprint, ok := bookmark.Annotations[initialListBlueprint]; ok && isEmptyList(blueprint) {
		annotations[initialListBlueprint] = blueprint
	}
	metadata := map[string]any{"resourceVersion": bookmark.ResourceVersion}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	content, err := json.Marshal(map[string]any{"apiVersion": bookmark.APIVersion, "kind": bookmark.Kind, "metadata": metadata})
	out.Write(content)
	return err
}

// initialListBlueprint is the annotation of the bookmark that ends the initial events of a watch, for clients that make a
// list of them.
const initialListBlueprint = "kubernetes.io/initial-events-list-blueprint"

// isEmptyList: the blueprint of a list is one without items, in base64.
func isEmptyList(blueprint string) bool {
	raw, err := base64.StdEncoding.DecodeString(blueprint)
	if err != nil {
		return false
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	return json.Unmarshal(raw, &list) == nil && len(list.Items) == 0
}

// writeWatchError passes on that a watch has to begin anew; everything else is kcp's business.
func writeWatchError(out *bytes.Buffer, raw []byte) error {
	var status metav1.Status
	if err := json.Unmarshal(raw, &status); err != nil {
		return err
	}
	told := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: "the watch of kcp ended with an error",
	}
	if status.Code == http.StatusGone || status.Code == http.StatusGatewayTimeout || status.Code == http.StatusTooManyRequests {
		told.Code, told.Reason, told.Message, told.Details = status.Code, status.Reason, status.Message, status.Details
	}
	content, err := json.Marshal(told)
	out.Write(content)
	return err
}
