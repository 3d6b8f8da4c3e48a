package syncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// reader lists and watches the objects of one type. It makes objects of the bytes as they come in: the dynamic client
// would make maps first, which costs most of the time and memory of a start, and then be told to forget them.
type reader struct {
	client   rest.Interface
	resource string
	contents *contents
}

var _ tmc.Listable[*objectList] = (*reader)(nil)

// newReader reads below the host of the config.
func newReader(config *rest.Config, client *http.Client, gvr schema.GroupVersionResource, shared *contents) (*reader, error) {
	restClient, err := newRESTClient(config, client, gvr.GroupVersion())
	if err != nil {
		return nil, err
	}
	return &reader{client: restClient, resource: gvr.Resource, contents: shared}, nil
}

// newRESTClient speaks JSON with a group and version.
func newRESTClient(config *rest.Config, client *http.Client, gv schema.GroupVersion) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.GroupVersion = &gv
	config.ContentType = runtime.ContentTypeJSON
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion() // reads errors
	restClient, err := rest.RESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	return restClient, nil
}

// List reads one page, or all if no limit is asked for.
func (r *reader) List(ctx context.Context, options metav1.ListOptions) (*objectList, error) {
	body, err := r.get(ctx, options)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	list, err := newDecoder(body, r.contents).list()
	if err != nil {
		return nil, fmt.Errorf("decoding a list of %s: %w", r.resource, err)
	}
	return list, nil
}

// Watch tells of changes until it is stopped.
func (r *reader) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	body, err := r.get(ctx, options)
	if err != nil {
		return nil, err
	}
	reporter := apierrors.NewClientErrorReporter(http.StatusInternalServerError, http.MethodGet, "ClientWatchDecoding")
	return watch.NewStreamWatcherWithLogger(klog.FromContext(ctx), &eventDecoder{newDecoder(body, r.contents), body}, reporter), nil
}

func (r *reader) get(ctx context.Context, options metav1.ListOptions) (io.ReadCloser, error) {
	return r.client.Get().Resource(r.resource).SpecificallyVersionedParams(&options, scheme.ParameterCodec, schema.GroupVersion{Version: "v1"}).Stream(ctx)
}

// eventDecoder decodes what a watch sends.
type eventDecoder struct {
	*decoder
	body io.Closer
}

// Close ends the watch.
func (d *eventDecoder) Close() { _ = d.body.Close() }

// Decode waits for the next event. A connection that broke is told in the very words that those who watch compare with:
// they go on from where it broke, and would list all anew after an error that they do not know.
func (d *eventDecoder) Decode() (watch.EventType, runtime.Object, error) {
	kind, about, err := d.event()
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, end) {
			err = end
		}
	}
	return kind, about, err
}

// decoder makes objects of JSON in one pass. It trusts API servers to write each name once and to write text.
type decoder struct {
	json *jsontext.Decoder
	// content is where that of an object is put together, and contents are those that may be shared.
	content  []byte
	contents *contents
	// shared are labels and annotations by their JSON.
	shared map[string]map[string]string
	// last is the metadata that was read last: objects that follow each other are mostly in one namespace and claimed by the same.
	last wireMetadata
}

func newDecoder(from io.Reader, shared *contents) *decoder {
	return &decoder{
		json:     jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
		contents: shared, shared: map[string]map[string]string{},
	}
}

// members calls read for each member of the object that comes next, with its value next.
func (d *decoder) members(read func(name string) error) error {
	if err := d.open('{'); err != nil {
		return err
	}
	for d.json.PeekKind() != '}' {
		name, err := d.json.ReadToken()
		if err != nil {
			return err
		}
		if err := read(name.String()); err != nil {
			return err
		}
	}
	_, err := d.json.ReadToken()
	return err
}

func (d *decoder) open(kind jsontext.Kind) error {
	token, err := d.json.ReadToken()
	if err == nil && token.Kind() != kind {
		err = fmt.Errorf("%c expected instead of %c", kind, token.Kind())
	}
	return err
}

// event reads {"type": …, "object": …}, in this order.
func (d *decoder) event() (kind watch.EventType, about runtime.Object, err error) {
	err = d.members(func(name string) error {
		switch {
		case name == "type":
			return json.UnmarshalDecode(d.json, &kind)
		case name == "object" && kind == watch.Error:
			status := &metav1.Status{}
			about = status
			return json.UnmarshalDecode(d.json, status)
		case name == "object" && kind != "":
			about, err = d.object()
			return err
		default:
			return fmt.Errorf("an event of type %q has a member %q", kind, name)
		}
	})
	if err == nil && about == nil {
		err = fmt.Errorf("an event of type %q is about nothing", kind)
	}
	return kind, about, err
}

// list reads what the answer to a list is made of.
func (d *decoder) list() (*objectList, error) {
	list := &objectList{}
	err := d.members(func(name string) error {
		switch name {
		case "metadata":
			return json.UnmarshalDecode(d.json, &list.ListMeta)
		case "items":
			return d.items(list)
		default:
			return d.json.SkipValue()
		}
	})
	return list, err
}

func (d *decoder) items(into *objectList) error {
	if d.json.PeekKind() == 'n' { // null: none
		return d.json.SkipValue()
	}
	if err := d.open('['); err != nil {
		return err
	}
	for d.json.PeekKind() != ']' {
		o, err := d.object()
		if err != nil {
			return err
		}
		into.Items = append(into.Items, o)
	}
	_, err := d.json.ReadToken()
	return err
}

// object reads one. Its metadata is decoded and the rest kept as JSON, but for the type, which the cache knows.
func (d *decoder) object() (*object, error) {
	o := &object{}
	d.content = append(d.content[:0], '{')
	err := d.members(func(name string) error {
		switch name {
		case "apiVersion", "kind":
			return d.json.SkipValue()
		case "metadata":
			return d.metadata(o)
		default:
			err := d.keep(name)
			o.hasStatus = o.hasStatus || name == "status" && !bytes.HasSuffix(d.content, []byte(":{}"))
			return err
		}
	})
	d.content = append(d.content, '}')
	if o.hasStatus { // it changes all the time
		o.content = (*contents)(nil).keep(d.content)
	} else {
		o.content = d.contents.keep(d.content)
	}
	return o, err
}

// metadata reads that of the object, without what no step reads.
func (d *decoder) metadata(o *object) error {
	var m wireMetadata
	if err := json.UnmarshalDecode(d.json, &m); err != nil {
		return err
	}
	if m.Namespace == d.last.Namespace {
		m.Namespace = d.last.Namespace
	}
	if slices.Equal(m.Finalizers, d.last.Finalizers) {
		m.Finalizers = d.last.Finalizers
	}
	d.last.Namespace, d.last.Finalizers = m.Namespace, m.Finalizers
	labels, err := d.strings(m.Labels)
	if err != nil {
		return err
	}
	annotations, err := d.annotations(o, m.Annotations)
	m.keepIn(o, labels, annotations)
	return err
}

// annotations reads those of the object, and gives it the hash among them.
func (d *decoder) annotations(o *object, raw jsontext.Value) (map[string]string, error) {
	if !bytes.Contains(raw, []byte(workloadv1alpha1.AppliedHashAnnotation)) {
		return d.strings(raw)
	}
	read, err := parseStrings(raw)
	if err != nil {
		return nil, err
	}
	o.appliedHash = read[workloadv1alpha1.AppliedHashAnnotation]
	delete(read, workloadv1alpha1.AppliedHashAnnotation)
	if len(read) == 0 {
		return nil, nil
	}
	return read, nil
}

// A watch remembers so many labels and annotations to share, if they are not longer than that: it may hold on to them in
// vain.
const (
	mostShared    = 256
	longestShared = 256
)

// strings reads labels or annotations. Objects that say the same share one map: those of a target all have its label, those
// of a workspace its name.
func (d *decoder) strings(raw jsontext.Value) (map[string]string, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if known, ok := d.shared[string(raw)]; ok {
		return known, nil
	}
	read, err := parseStrings(raw)
	if err != nil {
		return nil, err
	}
	if len(raw) > longestShared {
		return read, nil
	}
	if len(d.shared) == mostShared {
		clear(d.shared)
	}
	d.shared[string(raw)] = read
	return read, nil
}

func parseStrings(raw jsontext.Value) (read map[string]string, err error) {
	err = json.Unmarshal(raw, &read, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	delete(read, corev1.LastAppliedConfigAnnotation)
	return read, err
}

func (d *decoder) keep(name string) (err error) {
	if len(d.content) > 1 {
		d.content = append(d.content, ',')
	}
	if d.content, err = jsontext.AppendQuote(d.content, name); err != nil {
		return err
	}
	value, err := d.json.ReadValue()
	d.content = append(append(d.content, ':'), value...)
	return err
}
