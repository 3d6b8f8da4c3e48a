package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// named is all that is read of an object by watchNames.
type named struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
}

// watchNames is watchFor by name, for many objects: it reads no more of them than that, because what a watch of ours takes
// of the machine is missing to what is measured.
func watchNames(ctx context.Context, config *rest.Config, resource schema.GroupVersionResource, selector string) (*sightings, error) {
	client, err := rawClient(config, resource.GroupVersion())
	if err != nil {
		return nil, err
	}
	w := &namesWatch{
		sightings: &sightings{at: map[string]time.Time{}, news: make(chan struct{}, 1)},
		client:    client, resource: resource.Resource, selector: selector,
	}
	if err := w.list(ctx); err != nil {
		return nil, err
	}
	go func() { // ends with ctx, or with a watch that cannot go on
		for w.watch(ctx) == nil && ctx.Err() == nil {
		}
		w.end()
	}()
	return w.sightings, nil
}

// rawClient is for reading what a server sends.
func rawClient(config *rest.Config, gv schema.GroupVersion) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.GroupVersion = &gv
	config.APIPath = "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.ContentType = runtime.ContentTypeJSON
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return rest.RESTClientFor(config)
}

type namesWatch struct {
	*sightings
	client             rest.Interface
	resource, selector string
	// version is the last that was seen.
	version string
}

func (w *namesWatch) get(ctx context.Context, watch bool) (io.ReadCloser, error) {
	request := w.client.Get().Resource(w.resource).Param("labelSelector", w.selector)
	if watch {
		request = request.Param("watch", "true").Param("resourceVersion", w.version)
	}
	return request.Stream(ctx)
}

func (w *namesWatch) list(ctx context.Context) error {
	body, err := w.get(ctx, false)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	var list struct {
		named
		Items []named `json:"items"`
	}
	if err := json.UnmarshalRead(body, &list, jsontext.AllowDuplicateNames(true)); err != nil {
		return err
	}
	for _, item := range list.Items {
		w.note(item.Metadata.Name)
	}
	w.version = list.Metadata.ResourceVersion
	return nil
}

// watch reads events until the server ends the watch, which is no error.
func (w *namesWatch) watch(ctx context.Context) error {
	body, err := w.get(ctx, true)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	events := jsontext.NewDecoder(body, jsontext.AllowDuplicateNames(true))
	for {
		var event struct {
			Type   string `json:"type"`
			Object named  `json:"object"`
		}
		if err := json.UnmarshalDecode(events, &event); err != nil {
			return nil // however the stream ends, the next watch goes on after what was seen
		}
		switch event.Type {
		case "ADDED", "MODIFIED":
			w.note(event.Object.Metadata.Name)
		case "ERROR":
			return fmt.Errorf("watching %s: the server cannot go on after version %s", w.resource, w.version)
		}
		w.version = event.Object.Metadata.ResourceVersion
	}
}
