package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/pprof/profile"
)

// startProfile takes CPU profiles of a syncer until the function that it returns is called, which writes them as one, and
// a heap profile with it. It does nothing unless the command line asks for profiles.
func (b *bench) startProfile(ctx context.Context, s *syncer, of string) (end func() error) {
	if b.profiles == "" {
		return func() error { return nil }
	}
	stop, taken := make(chan struct{}), make(chan error, 1)
	var all []*profile.Profile
	go func() { // waited for by end
		taken <- func() error {
			if err := s.awaitServing(ctx); err != nil {
				return err
			}
			for {
				p, err := s.profile(ctx, "/debug/pprof/profile?seconds=1")
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
		return b.writeProfiles(ctx, s, of, all)
	}
}

func (s *syncer) profile(ctx context.Context, path string) (*profile.Profile, error) {
	_, body, err := s.ask(ctx, "metrics", path)
	if err != nil {
		return nil, err
	}
	return profile.Parse(bytes.NewReader(body))
}

func (b *bench) writeProfiles(ctx context.Context, s *syncer, of string, cpu []*profile.Profile) error {
	merged, err := profile.Merge(cpu)
	if err != nil {
		return err
	}
	return errors.Join(b.writeProfile(of+"-cpu", merged), b.writeHeap(ctx, s, of))
}

// writeHeap does nothing unless the command line asks for profiles.
func (b *bench) writeHeap(ctx context.Context, s *syncer, of string) error {
	if b.profiles == "" {
		return nil
	}
	heap, err := s.profile(ctx, "/debug/pprof/heap?gc=1")
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
