package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/pprof/profile"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// profiled is a process that can be asked for profiles, by the path of a page of net/http/pprof.
type profiled func(ctx context.Context, path string) ([]byte, error)

// startProfile takes CPU profiles of a syncer until the function that it returns is called, which writes them as one, and
// a heap profile with it. It does nothing unless the command line asks for profiles.
func (b *bench) startProfile(ctx context.Context, s *syncer, of string) (end func() error) {
	endCPU := b.startCPUProfile(ctx, of+"-cpu", s.page)
	return func() error { return errors.Join(endCPU(), b.writeHeap(ctx, s, of)) }
}

// page is one that is served beside the metrics, as soon as it is.
func (s *syncer) page(ctx context.Context, path string) ([]byte, error) {
	if err := s.awaitServing(ctx); err != nil {
		return nil, err
	}
	_, body, err := s.ask(ctx, "metrics", path)
	return body, err
}

// startServerProfile is startProfile for the cluster's kube-apiserver: what a copy costs there is not ours to save, but
// for what we ask.
func (b *bench) startServerProfile(ctx context.Context, of string) (end func() error, err error) {
	client, err := rawClient(b.cluster.AdminConfig(), schema.GroupVersion{Version: "v1"})
	if err != nil {
		return nil, err
	}
	return b.startCPUProfile(ctx, of+"-kube-apiserver-cpu", func(ctx context.Context, path string) ([]byte, error) {
		return client.Get().RequestURI(path).Do(ctx).Raw()
	}), nil
}

func (b *bench) startCPUProfile(ctx context.Context, of string, process profiled) (end func() error) {
	if b.profiles == "" {
		return func() error { return nil }
	}
	stop, taken := make(chan struct{}), make(chan error, 1)
	var all []*profile.Profile
	go func() { // waited for by end
		taken <- func() error {
			for {
				p, err := process.profile(ctx, "/debug/pprof/profile?seconds=1")
				if err != nil {
					return err
				}
				all = append(all, p)
				select {
				case <-stop:
					return nil
				default:
				}
			}
		}()
	}()
	return func() error {
		close(stop)
		if err := <-taken; err != nil {
			return err
		}
		merged, err := profile.Merge(all)
		if err != nil {
			return err
		}
		return b.writeProfile(of, merged)
	}
}

func (p profiled) profile(ctx context.Context, path string) (*profile.Profile, error) {
	body, err := p(ctx, path)
	if err != nil {
		return nil, err
	}
	return profile.Parse(bytes.NewReader(body))
}

// writeHeap does nothing unless the command line asks for profiles.
func (b *bench) writeHeap(ctx context.Context, s *syncer, of string) error {
	if b.profiles == "" {
		return nil
	}
	heap, err := profiled(s.page).profile(ctx, "/debug/pprof/heap?gc=1")
	if err != nil {
		return err
	}
	return b.writeProfile(of+"-heap", heap)
}

func (b *bench) writeProfile(of string, p *profile.Profile) error {
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return err
	}
	path := filepath.Join(b.profiles, of+".pb.gz")
	fmt.Fprintf(b.out, "go tool pprof -top -cum %s\n", path)
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := p.Write(file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}
